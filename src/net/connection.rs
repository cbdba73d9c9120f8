//! One connection that stands: write a beat, wait for bytes until an instant. Options are set once,
//! and the read timeout again only when it has moved.

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use socket2::Socket;

use crate::cause::Loss;
use crate::net::inbox::Inbox;
use crate::net::read_half::{ReadHalf, loss_of, space};
use crate::net::tls::{Layer, Secure};
use crate::net::write_half::send_all;
use crate::protocol::FRAME_LIMIT;
use crate::sys::{self, Ready};
use crate::tcp_info::TcpInfo;

pub(crate) use crate::net::read_half::Woke;

/// Reads before a write: what came, and whether an end is right behind it.
const LOOKS: u32 = 2;

pub(crate) struct Connection {
    pub(crate) read: ReadHalf,
    /// TLS between socket and inbox, if there is some.
    layer: Option<Box<Layer>>,
    read_timeout: Duration,
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
        let read = ReadHalf::new(socket, peer, Inbox::new());
        Ok(Connection { read, layer: None, read_timeout: Duration::MAX })
    }

    /// The same connection under TLS, once both sides are content. A handshake that is not over by
    /// the deadline is a loss.
    pub(crate) fn secured(mut self, how: &Secure, deadline: Instant) -> Result<Connection, Loss> {
        self.layer =
            Some(Box::new(how.shake_hands(&self.read.socket, self.read.peer, deadline)?));
        Ok(self)
    }

    /// Writes all of `bytes` within the write timeout, and says when the last of them were handed
    /// to the kernel: taken before the call, because a thread may be put aside right after it. None
    /// of it is written if the peer has closed: a FIN that nobody looked at would turn into a
    /// reset.
    pub(crate) fn write(&mut self, bytes: &[u8], timeout: Duration) -> Result<Instant, Loss> {
        for _ in 0..LOOKS {
            if self.read.looked || self.read.inbox.rest().len() > FRAME_LIMIT / 2 {
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
        let handed = send_all(&self.read.socket, self.read.peer, bytes, timeout)?;
        self.read.looked = false;
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
        self.read.is_in_time();
        if let (Some(timeout), Some(left)) = (ack, left) {
            if let Err(error) = self.set_read_timeout(timeout) {
                return Woke::Lost(self.loss(&error));
            }
            if left >= self.read_timeout {
                return self.read_blocked();
            }
        }
        match sys::wait_readable(&*self.read.socket, left) {
            Ok(Ready::Yes) => self.read_now(),
            Ok(Ready::TimedOut) => {
                self.read.looked = true;
                Woke::Quiet
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Woke::Interrupted,
            Err(error) => Woke::Lost(self.loss(&error)),
        }
    }

    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        let wanted = read_timeout(timeout);
        if wanted.abs_diff(self.read_timeout) > self.read_timeout / 8 {
            self.read.socket.set_read_timeout(Some(wanted))?;
            self.read_timeout = wanted;
        }
        Ok(())
    }

    /// The time is up: what waits to be read is read before anybody is judged.
    fn read_in_overtime(&mut self) -> Woke {
        if !self.read.may_read_in_overtime() {
            return Woke::Quiet;
        }
        match self.read_now() {
            Woke::Interrupted => Woke::Quiet,
            woke => woke,
        }
    }

    /// One blocking read, at most for the read timeout.
    fn read_blocked(&mut self) -> Woke {
        let Connection { read: ReadHalf { socket, inbox, .. }, layer, .. } = self;
        let result = (&**socket).read(space(layer.as_deref_mut(), inbox));
        self.on_read(result)
    }

    /// One read that does not wait.
    fn read_now(&mut self) -> Woke {
        let Connection { read: ReadHalf { socket, inbox, .. }, layer, .. } = self;
        let result = sys::recv_now(&**socket, space(layer.as_deref_mut(), inbox));
        self.on_read(result)
    }

    fn on_read(&mut self, result: io::Result<usize>) -> Woke {
        let Connection { read, layer, .. } = self;
        let peer = read.peer;
        // What TLS itself has to answer, or says of what it refuses, goes out at once.
        read.on_read(layer.as_deref_mut(), result, |socket, bytes| {
            send_all(socket, peer, bytes, Duration::ZERO).map(drop)
        })
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
        self.read.opened(self.layer.as_deref_mut())
    }

    /// What it is made of, for whoever reads and writes in other ways.
    pub(crate) fn into_parts(mut self) -> (Arc<Socket>, Option<Box<Layer>>) {
        (Arc::clone(&self.read.socket), self.layer.take())
    }

    /// The socket, for whoever looks at it after the connection is given up.
    pub(crate) fn shared(&self) -> Arc<Socket> {
        Arc::clone(&self.read.socket)
    }

    /// Whether it is under TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.layer.is_some()
    }

    /// When the certificate of the peer expires, if there is one.
    pub(crate) fn certificate_expires(&self) -> Option<SystemTime> {
        self.layer.as_ref()?.certificate_expires()
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.read.socket
    }

    /// What the kernel knows of it, if it tells.
    pub(crate) fn tcp_info(&self) -> Option<TcpInfo> {
        TcpInfo::of(&*self.read.socket).ok()
    }

    fn loss(&self, error: &io::Error) -> Loss {
        loss_of(error, self.read.peer)
    }
}

impl Drop for Connection {
    /// Under TLS an end without a good-bye looks like an attack to some.
    fn drop(&mut self) {
        if let Some(layer) = &mut self.layer {
            let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
            let _ = self.read.socket.send_with_flags(layer.farewell(), flags); // it may be gone
        }
    }
}
