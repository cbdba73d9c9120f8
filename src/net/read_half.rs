//! The half of a connection from which bytes come: what was read, whether an end was looked for,
//! and the way of bytes through TLS.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::Socket;

use crate::cause::{Cause, Loss, cause_of};
use crate::net::inbox::Inbox;
use crate::net::tls::{Layer, Opened};

/// Reads past a deadline before it is judged: what waited is read first, but a peer that floods
/// cannot put off the verdict.
const READS_IN_OVERTIME: u32 = 16;

pub(crate) struct ReadHalf {
    pub(crate) socket: Arc<Socket>,
    pub(crate) peer: SocketAddr,
    pub(crate) inbox: Inbox,
    /// Whether it was seen, since the last wake-up, that no FIN waits to be read.
    pub(crate) looked: bool,
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

impl ReadHalf {
    pub(crate) fn new(socket: Arc<Socket>, peer: SocketAddr, inbox: Inbox) -> ReadHalf {
        ReadHalf { socket, peer, inbox, looked: false, overtime: 0 }
    }

    /// The deadline is still to come.
    pub(crate) fn is_in_time(&mut self) {
        self.overtime = 0;
    }

    /// Whether one more read is made past the deadline.
    pub(crate) fn may_read_in_overtime(&mut self) -> bool {
        self.overtime = (self.overtime + 1) % (READS_IN_OVERTIME + 1);
        self.overtime != 0
    }

    /// What a read into [`space`] has brought. What TLS itself has to say to it goes out by
    /// `answer`.
    pub(crate) fn on_read(
        &mut self,
        layer: Option<&mut Layer>,
        result: io::Result<usize>,
        answer: impl FnOnce(&Socket, &[u8]) -> Result<(), Loss>,
    ) -> Woke {
        match result {
            // Also without a good-bye within TLS: it is gone.
            Ok(0) => Woke::Lost(end(self.peer)),
            Ok(n) => {
                self.looked = false;
                let Some(layer) = layer else {
                    self.inbox.filled(n);
                    return Woke::Bytes;
                };
                layer.filled(n, self.peer);
                let bytes = layer.seal(&[]);
                let answered = if bytes.is_empty() { Ok(()) } else { answer(&self.socket, bytes) };
                let woke = self.opened(Some(layer));
                woke.unwrap_or(answered.map_or_else(Woke::Lost, |()| Woke::Bytes))
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => {
                    self.looked |= error.kind() == ErrorKind::WouldBlock;
                    Woke::Interrupted
                }
                _ => Woke::Lost(loss_of(&error, self.peer)),
            },
        }
    }

    /// What TLS has opened and not yet handed on.
    pub(crate) fn opened(&mut self, layer: Option<&mut Layer>) -> Option<Woke> {
        match layer?.open_into(&mut self.inbox) {
            Opened::Bytes => Some(Woke::Bytes),
            Opened::Closed => Some(Woke::Lost(end(self.peer))),
            Opened::Lost(loss) => Some(Woke::Lost(loss)),
            Opened::Nothing => None,
        }
    }
}

/// Where the next bytes of the socket go.
pub(crate) fn space<'a>(layer: Option<&'a mut Layer>, inbox: &'a mut Inbox) -> &'a mut [u8] {
    match layer {
        Some(layer) => layer.space(),
        None => inbox.space(),
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
