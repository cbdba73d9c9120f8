//! One connection that stands: write a beat, wait for bytes until an instant. Options are set once,
//! and the read timeout again only when it has moved.

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::drive::inbox::Inbox;
use crate::sys::{self, Ready};

/// Reads past a deadline before it is judged: what waited is read first, but a peer that floods
/// cannot put off the verdict.
const READS_IN_OVERTIME: u32 = 16;

pub(crate) struct Connection {
    socket: Arc<Socket>,
    pub(crate) peer: SocketAddr,
    pub(crate) inbox: Inbox,
    /// Whether it was seen, since the last wake-up, that no FIN waits to be read.
    looked: bool,
    read_timeout: Duration,
    overtime: u32,
}

/// How a wait ended.
#[derive(Debug)]
pub(crate) enum Woke {
    /// Bytes are in the inbox.
    Bytes,
    /// The time is up, and no byte waits.
    Quiet,
    /// A signal, or the process had been stopped.
    Interrupted,
    Lost(Loss),
}

/// A read timeout fires late, by 240 ms at 5 s: so it covers 7/8 of the wait, and poll the rest.
fn read_timeout(timeout: Duration) -> Duration {
    (timeout * 7 / 8).max(Duration::from_millis(1))
}

impl Connection {
    /// Takes a socket that is connected, either way round.
    pub(crate) fn new(
        socket: Arc<Socket>,
        peer: SocketAddr,
        write_timeout: Duration,
    ) -> io::Result<Connection> {
        socket.set_tcp_nodelay(true)?;
        socket.set_write_timeout(Some(write_timeout))?;
        // No read timeout yet: the first wait for an ack sets it.
        let (inbox, read_timeout) = (Inbox::new(), Duration::MAX);
        Ok(Connection { socket, peer, inbox, looked: false, read_timeout, overtime: 0 })
    }

    /// Writes all of `bytes` within the write timeout, and says when the last of them were handed
    /// to the kernel: taken before the call, because a thread may be put aside right after it. None
    /// of it is written if the peer has closed: a FIN that nobody looked at would turn into a
    /// reset.
    pub(crate) fn write(&mut self, bytes: &[u8], timeout: Duration) -> Result<Instant, Loss> {
        if !self.looked {
            if let Woke::Lost(loss) = self.read_now() {
                return Err(loss);
            }
        }
        let start = Instant::now();
        let mut handed = start;
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.socket.send_with_flags(rest, libc::MSG_NOSIGNAL) {
                Ok(n) => rest = &rest[n..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.loss(&error)),
            }
            if rest.is_empty() {
                break;
            }
            handed = Instant::now();
            if handed >= start + timeout {
                let detail = format!(
                    "{} of {} bytes written to {} within {timeout:?}",
                    bytes.len() - rest.len(),
                    bytes.len(),
                    self.peer
                );
                return Err(Loss::new(Cause::WriteStalled, detail));
            }
        }
        self.looked = false;
        Ok(handed)
    }

    /// Waits for bytes, at most until then. `ack` is the timeout of the beat in flight, if one is.
    pub(crate) fn wait(&mut self, until: Option<Instant>, ack: Option<Duration>) -> Woke {
        let now = Instant::now();
        let left = until.map(|until| until.saturating_duration_since(now));
        if left == Some(Duration::ZERO) {
            return self.read_in_overtime();
        }
        self.overtime = 0;
        if let (Some(timeout), Some(left)) = (ack, left) {
            if let Err(error) = self.set_read_timeout(timeout) {
                return Woke::Lost(self.loss(&error));
            }
            if left >= self.read_timeout {
                return self.read();
            }
        }
        match sys::wait_readable(&*self.socket, left) {
            Ok(Ready::Yes) => self.read_now(),
            Ok(Ready::TimedOut) => {
                self.looked = true;
                Woke::Quiet
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Woke::Interrupted,
            Err(error) => Woke::Lost(self.loss(&error)),
        }
    }

    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        let wanted = read_timeout(timeout);
        if wanted.abs_diff(self.read_timeout) > self.read_timeout / 8 {
            self.socket.set_read_timeout(Some(wanted))?;
            self.read_timeout = wanted;
        }
        Ok(())
    }

    /// The time is up: what waits to be read is read before anybody is judged.
    fn read_in_overtime(&mut self) -> Woke {
        self.overtime += 1;
        if self.overtime > READS_IN_OVERTIME {
            self.overtime = 0;
            return Woke::Quiet;
        }
        match self.read_now() {
            Woke::Interrupted => Woke::Quiet,
            woke => woke,
        }
    }

    /// One blocking read, at most for the read timeout.
    fn read(&mut self) -> Woke {
        let result = (&*self.socket).read(self.inbox.space());
        self.on_read(result)
    }

    /// One read that does not wait.
    fn read_now(&mut self) -> Woke {
        let result = sys::recv_now(&*self.socket, self.inbox.space());
        self.on_read(result)
    }

    fn on_read(&mut self, result: io::Result<usize>) -> Woke {
        match result {
            Ok(0) => Woke::Lost(Loss::new(
                Cause::ClosedByPeer,
                format!("{} closed the connection", self.peer),
            )),
            Ok(n) => {
                self.looked = false;
                self.inbox.filled(n);
                Woke::Bytes
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => {
                    self.looked = true;
                    Woke::Interrupted
                }
                ErrorKind::Interrupted => Woke::Interrupted,
                _ => Woke::Lost(self.loss(&error)),
            },
        }
    }

    /// The kernel's retransmission timeout for this path.
    pub(crate) fn rto(&self) -> Option<Duration> {
        sys::retransmission_timeout(&*self.socket)
    }

    fn loss(&self, error: &io::Error) -> Loss {
        let cause = match error.raw_os_error() {
            // Not a read timeout, which is EAGAIN: the kernel gave up sending.
            Some(libc::ETIMEDOUT) => Cause::KernelGaveUp,
            _ => cause_of(error).unwrap_or(Cause::Reset),
        };
        Loss::new(cause, format!("{}: {error}", self.peer))
    }
}

/// What an error of the kernel means, where it means the same at any time.
pub(crate) fn cause_of(error: &io::Error) -> Option<Cause> {
    Some(match error.raw_os_error()? {
        libc::ECONNREFUSED => Cause::Refused,
        libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED => Cause::Reset,
        libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN => Cause::Unreachable,
        libc::ENETDOWN => Cause::NoLocalRoute,
        libc::EACCES | libc::EPERM => Cause::Prohibited,
        libc::EADDRNOTAVAIL | libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => {
            Cause::LocalResources
        }
        _ => return None,
    })
}
