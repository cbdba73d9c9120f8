//! One connection that stands: write a beat, wait for bytes until an instant. Options are set once,
//! and the read timeout again only when it has moved.

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use socket2::Socket;

use crate::cause::{Cause, Loss, cause_of};
use crate::net::inbox::Inbox;
use crate::net::tls::{Layer, Opened, Secure};
use crate::protocol::FRAME_LIMIT;
use crate::sys::{self, Ready};
use crate::tcp_info::TcpInfo;

/// Reads past a deadline before it is judged: what waited is read first, but a peer that floods
/// cannot put off the verdict.
const READS_IN_OVERTIME: u32 = 16;

/// Reads before a write: what came, and whether an end is right behind it.
const LOOKS: u32 = 2;

pub(crate) struct Connection {
    socket: Arc<Socket>,
    /// TLS between socket and inbox, if there is some.
    layer: Option<Box<Layer>>,
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

impl Woke {
    /// A read that brought no bytes.
    pub(crate) fn of(error: &io::Error, peer: SocketAddr) -> Woke {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Woke::Interrupted,
            _ => Woke::Lost(loss_of(error, peer)),
        }
    }
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
        let layer = None;
        Ok(Connection { socket, layer, peer, inbox, looked: false, read_timeout, overtime: 0 })
    }

    /// The same connection under TLS, once both sides are content. A handshake that is not over by
    /// the deadline is a loss.
    pub(crate) fn secured(mut self, how: &Secure, deadline: Instant) -> Result<Connection, Loss> {
        self.layer = Some(Box::new(how.shake_hands(&self.socket, self.peer, deadline)?));
        Ok(self)
    }

    /// Writes all of `bytes` within the write timeout, and says when the last of them were handed
    /// to the kernel: taken before the call, because a thread may be put aside right after it. None
    /// of it is written if the peer has closed: a FIN that nobody looked at would turn into a
    /// reset.
    pub(crate) fn write(&mut self, bytes: &[u8], timeout: Duration) -> Result<Instant, Loss> {
        for _ in 0..LOOKS {
            if self.looked || self.inbox.rest().len() > FRAME_LIMIT / 2 {
                break;
            }
            match self.read_now() {
                Woke::Lost(loss) => return Err(loss),
                Woke::Bytes => {} // an end may be right behind them
                Woke::Quiet | Woke::Interrupted => break,
            }
        }
        let bytes = match &mut self.layer {
            Some(layer) => layer.seal(bytes),
            None => bytes,
        };
        let handed = send_all(&self.socket, self.peer, bytes, timeout)?;
        self.looked = false;
        Ok(handed)
    }

    /// Waits for bytes, at most until then. `ack` is how long a beat in flight is waited for in one
    /// piece, if one is: its timeout, or the time until it is looked at.
    pub(crate) fn wait(&mut self, until: Option<Instant>, ack: Option<Duration>) -> Woke {
        if let Some(woke) = self.opened() {
            return woke; // the rest of what came with an earlier read
        }
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
        let result = (&*self.socket).read(space(&mut self.layer, &mut self.inbox));
        self.on_read(result)
    }

    /// One read that does not wait.
    fn read_now(&mut self) -> Woke {
        let result = sys::recv_now(&*self.socket, space(&mut self.layer, &mut self.inbox));
        self.on_read(result)
    }

    fn on_read(&mut self, result: io::Result<usize>) -> Woke {
        match result {
            // Also without a good-bye within TLS: it is gone.
            Ok(0) => self.closed(),
            Ok(n) => {
                self.looked = false;
                self.on_bytes(n)
            }
            Err(error) => {
                self.looked |= error.kind() == ErrorKind::WouldBlock;
                Woke::of(&error, self.peer)
            }
        }
    }

    fn on_bytes(&mut self, n: usize) -> Woke {
        let Some(layer) = &mut self.layer else {
            self.inbox.filled(n);
            return Woke::Bytes;
        };
        layer.filled(n, self.peer);
        // What TLS itself has to answer, or says of what it refuses, goes out at once.
        let answer = layer.seal(&[]);
        if !answer.is_empty() {
            if let Err(loss) = send_all(&self.socket, self.peer, answer, Duration::ZERO) {
                return self.opened().unwrap_or(Woke::Lost(loss));
            }
        }
        self.opened().unwrap_or(Woke::Bytes)
    }

    /// What is there, without waiting: the rest of an earlier read, or what one more brings.
    pub(crate) fn read_on(&mut self) -> Woke {
        match self.opened() {
            Some(woke) => woke,
            None => self.read_now(),
        }
    }

    /// What TLS has opened and not yet handed on.
    fn opened(&mut self) -> Option<Woke> {
        match self.layer.as_mut()?.open_into(&mut self.inbox) {
            Opened::Bytes => Some(Woke::Bytes),
            Opened::Closed => Some(self.closed()),
            Opened::Lost(loss) => Some(Woke::Lost(loss)),
            Opened::Nothing => None,
        }
    }

    fn closed(&self) -> Woke {
        Woke::Lost(end(self.peer))
    }

    /// What it is made of, for whoever reads and writes in other ways.
    pub(crate) fn into_parts(mut self) -> (Arc<Socket>, Option<Box<Layer>>) {
        (Arc::clone(&self.socket), self.layer.take())
    }

    /// The socket, for whoever looks at it after the connection is given up.
    pub(crate) fn shared(&self) -> Arc<Socket> {
        Arc::clone(&self.socket)
    }

    /// When the certificate of the peer expires, if there is one.
    pub(crate) fn certificate_expires(&self) -> Option<SystemTime> {
        self.layer.as_ref()?.certificate_expires()
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// What the kernel knows of it, if it tells.
    pub(crate) fn tcp_info(&self) -> Option<TcpInfo> {
        TcpInfo::of(&*self.socket).ok()
    }

    /// The kernel's retransmission timeout for this path.
    pub(crate) fn rto(&self) -> Option<Duration> {
        sys::retransmission_timeout(&*self.socket)
    }

    fn loss(&self, error: &io::Error) -> Loss {
        loss_of(error, self.peer)
    }
}

impl Drop for Connection {
    /// Under TLS an end without a good-bye looks like an attack to some.
    fn drop(&mut self) {
        if let Some(layer) = &mut self.layer {
            let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
            let _ = self.socket.send_with_flags(layer.farewell(), flags); // it may be gone
        }
    }
}

/// Where the next bytes of the socket go.
fn space<'a>(layer: &'a mut Option<Box<Layer>>, inbox: &'a mut Inbox) -> &'a mut [u8] {
    match layer {
        Some(layer) => layer.space(),
        None => inbox.space(),
    }
}

/// How far a write came.
pub(crate) enum Sent {
    /// To the end; since then the last bytes are with the kernel.
    All(Instant),
    /// So many bytes, and the time was up.
    Part(usize),
    Failed(Loss),
}

/// Sends what the socket takes, and waits for room until then; at least one try is made.
pub(crate) fn send_some(socket: &Socket, peer: SocketAddr, bytes: &[u8], until: Instant) -> Sent {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let mut done = 0;
    loop {
        // Taken before the call: the thread may be put aside right after it.
        let now = Instant::now();
        match socket.send_with_flags(&bytes[done..], flags) {
            Ok(n) => done += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let left = until.saturating_duration_since(now);
                if left.is_zero() {
                    return Sent::Part(done);
                }
                match sys::wait_writable(socket, left) {
                    Err(error) if error.kind() != ErrorKind::Interrupted => {
                        return Sent::Failed(loss_of(&error, peer));
                    }
                    _ => {}
                }
            }
            Err(error) => return Sent::Failed(loss_of(&error, peer)),
        }
        if done == bytes.len() {
            return Sent::All(now);
        }
    }
}

/// Sends all of `bytes` within the timeout, and says when the last of them were handed over.
fn send_all(
    socket: &Socket,
    peer: SocketAddr,
    bytes: &[u8],
    timeout: Duration,
) -> Result<Instant, Loss> {
    match send_some(socket, peer, bytes, Instant::now() + timeout) {
        Sent::All(at) => Ok(at),
        Sent::Failed(loss) => Err(loss),
        Sent::Part(n) => {
            let all = bytes.len();
            let detail = format!("{n} of {all} bytes written to {peer} within {timeout:?}");
            Err(Loss::new(Cause::WriteStalled, detail))
        }
    }
}

/// The peer closed the connection.
pub(crate) fn end(peer: SocketAddr) -> Loss {
    Loss::new(Cause::ClosedByPeer, format!("{peer} closed the connection"))
}

/// What an error of a connection that stood means.
pub(crate) fn loss_of(error: &io::Error, peer: SocketAddr) -> Loss {
    let cause = match error.raw_os_error() {
        // Not a read timeout, which is EAGAIN: the kernel gave up sending.
        Some(libc::ETIMEDOUT) => Cause::KernelGaveUp,
        // poll looks at no more descriptors than the process may have.
        Some(libc::EINVAL) => Cause::LocalResources,
        _ => cause_of(error).unwrap_or(Cause::Reset),
    };
    Loss::new(cause, format!("{peer}: {error}"))
}
