//! Pipe: the bytes of one connection, both ways, each within a time. Plain TCP here; TLS and
//! proxies wrap another pipe.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::facts::Facts;
use super::pool::places::Seen;
use crate::sys;

/// What an idle connection shows when somebody looks.
#[derive(Debug)]
pub(crate) enum Probe {
    /// Nothing: it can be used.
    Quiet,
    /// Bytes that nobody asked for.
    Bytes,
    /// The peer has closed.
    Closed,
    /// The kernel knows of an error.
    Broken(io::Error),
}

impl Probe {
    /// As the pool is told.
    pub(crate) fn seen(&self) -> Seen {
        match self {
            Probe::Quiet => Seen::Quiet,
            Probe::Bytes => Seen::Bytes,
            Probe::Closed => Seen::Closed,
            Probe::Broken(error) if error.raw_os_error() == Some(libc::ETIMEDOUT) => Seen::Silent,
            Probe::Broken(_) => Seen::Reset,
        }
    }
}

/// A wait that ended by time is `WouldBlock`; `TimedOut` is the kernel's own, which gave up.
pub(crate) trait Pipe: std::fmt::Debug + Send + Sync {
    /// Waits for bytes, at most so long; 0 at the end.
    fn read(&mut self, buffer: &mut [u8], most: Option<Duration>) -> io::Result<usize>;

    /// Writes all bytes, within the time.
    fn write_all(&mut self, bytes: &[u8], most: Option<Duration>) -> Result<(), Unwritten>;

    /// Looks without waiting. Takes nothing that a response is made of.
    fn probe(&mut self) -> Probe;

    /// Whether bytes wait inside, beside those in the kernel: a response that nobody asked for.
    fn holds_bytes(&mut self) -> bool {
        false
    }

    /// What is known of the connection.
    fn facts(&self) -> Facts;

    /// Lets go of what an idle connection does not need.
    fn shed(&mut self) {}
}

/// A look at a socket, without waiting and without taking anything.
pub(crate) fn look(socket: &TcpStream) -> Probe {
    match sys::peek_now(socket, &mut [0]) {
        Ok(0) => Probe::Closed,
        Ok(_) => Probe::Bytes,
        Err(error) if error.kind() == ErrorKind::WouldBlock => Probe::Quiet,
        Err(error) => Probe::Broken(error),
    }
}

/// A write that failed.
#[derive(Debug)]
pub(crate) struct Unwritten {
    pub(crate) error: io::Error,
    /// Whether the kernel took any byte of it.
    pub(crate) begun: bool,
    /// A response waits to be read although the request is not written: the peer does not want the
    /// rest.
    pub(crate) answered: bool,
}

impl Unwritten {
    pub(crate) fn new(error: io::Error, begun: bool) -> Unwritten {
        Unwritten { error, begun, answered: false }
    }
}

pub(crate) fn timed_out() -> io::Error {
    ErrorKind::WouldBlock.into()
}

pub(crate) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the agent was shut down")
}

/// How much longer than wanted a read timeout may stand: 1/32, so that the little that a request
/// after another has less of its time costs no system call.
const SLACK: u32 = 32;

/// A writer without room looks this often whether the beginning of an answer has become one.
const AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Plain {
    stream: Arc<TcpStream>,
    facts: Facts,
    read_timeout: Option<Duration>,
}

impl Plain {
    pub(crate) fn new(stream: Arc<TcpStream>) -> Plain {
        let (local, peer) = (stream.local_addr().ok(), stream.peer_addr().ok());
        let facts = Facts { local, peer, ..Facts::default() };
        Plain { stream, facts, read_timeout: None }
    }

    fn set_read_timeout(&mut self, most: Option<Duration>) -> io::Result<()> {
        let stands = match (most, self.read_timeout) {
            (None, None) => true,
            (Some(wanted), Some(set)) => set >= wanted && set - wanted <= wanted / SLACK,
            _ => false,
        };
        if !stands {
            // A little longer, so that one that began a little sooner has room. The kernel reads
            // zero as for ever.
            let longer = |most: Duration| most.max(Duration::from_millis(1)) + most / (2 * SLACK);
            let wanted = most.map(longer);
            self.stream.set_read_timeout(wanted)?;
            self.read_timeout = wanted;
        }
        Ok(())
    }

    /// Until there is room, or a final response came first.
    fn wait_for_room(&self, until: Option<Instant>, watch: &mut bool) -> io::Result<Room> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(timed_out());
        }
        // What was not yet an answer stays readable, and so would end every wait at once.
        let most = if *watch { left } else { Some(left.map_or(AGAIN, |left| left.min(AGAIN))) };
        let ready = sys::wait_room(&*self.stream, most, *watch)?;
        if ready.write {
            return Ok(Room::There);
        }
        if ready.read || !*watch {
            *watch = false;
            if self.is_answered() {
                return Ok(Room::Answered);
            }
        }
        Ok(Room::Wait)
    }

    /// Whether a final response waits to be read: an interim one, 100 or 103, says nothing about
    /// the rest of the request.
    fn is_answered(&self) -> bool {
        let mut head = [0; 4096];
        let Ok(n) = sys::peek_now(&*self.stream, &mut head) else { return false };
        let mut head = &head[..n];
        while head.len() >= 10 && head.starts_with(b"HTTP/1.") {
            if head[9] != b'1' {
                return true;
            }
            let Some(end) = memchr::memmem::find(head, b"\r\n\r\n") else { return false };
            head = &head[end + 4..];
        }
        false
    }
}

enum Room {
    There,
    Answered,
    Wait,
}

impl Pipe for Plain {
    fn read(&mut self, buffer: &mut [u8], most: Option<Duration>) -> io::Result<usize> {
        let start = Instant::now();
        let mut left = most;
        loop {
            self.set_read_timeout(left)?;
            match (&*self.stream).read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    left = most.map(|most| most.saturating_sub(start.elapsed()));
                    if left == Some(Duration::ZERO) {
                        return Err(timed_out());
                    }
                }
                result => return result,
            }
        }
    }

    fn write_all(&mut self, bytes: &[u8], most: Option<Duration>) -> Result<(), Unwritten> {
        let mut rest = bytes;
        let (mut until, mut watch) = (None, true);
        while !rest.is_empty() {
            let begun = rest.len() < bytes.len();
            let failed = |error| Unwritten::new(error, begun);
            let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
            match SockRef::from(&*self.stream).send_with_flags(rest, flags) {
                Ok(n) => rest = &rest[n..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let now = Instant::now();
                    let until = *until.get_or_insert(most.map(|most| now + most));
                    match self.wait_for_room(until, &mut watch).map_err(failed)? {
                        Room::There | Room::Wait => {}
                        Room::Answered => {
                            let error = ErrorKind::ConnectionAborted.into();
                            return Err(Unwritten { error, begun: true, answered: true });
                        }
                    }
                }
                Err(error) => {
                    let answered = self.is_answered();
                    return Err(Unwritten { error, begun, answered });
                }
            }
        }
        Ok(())
    }

    fn probe(&mut self) -> Probe {
        look(&self.stream)
    }

    fn facts(&self) -> Facts {
        self.facts
    }
}
