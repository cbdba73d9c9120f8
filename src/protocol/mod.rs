//! Protocol: what a beat looks like on the wire, and how its ack is told from everything else. Two
//! functions; one file per protocol.

mod connect_only;
mod exchange;
mod http;
mod line;
mod redis;
pub(crate) mod shown;

pub use connect_only::ConnectOnly;
pub use exchange::Exchange;
pub use http::Http;
pub use line::Line;
pub use redis::Redis;

use crate::cause::{Cause, Loss};

/// The longest frame that is waited for, in bytes. More without an end is no ack of anything; the
/// link goes Down with `wrong-reply`.
pub const FRAME_LIMIT: usize = 64 * 1024;

/// One whole message from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// The answer to a beat; with the number of that beat, if the protocol has numbers.
    Ack(Option<u64>),
    /// A beat of the peer, with its number; a [`Responder`](crate::Responder) acks it.
    Beat(Option<u64>),
    /// A valid message that is neither.
    Data,
}

/// The peer said something that this protocol does not allow. The link goes Down with this cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected(pub(crate) Loss);

impl Rejected {
    /// Bytes that are not the ack. Say what was expected and show what came; [`escaped`] helps.
    pub fn wrong_reply(detail: impl Into<String>) -> Rejected {
        Rejected(Loss::new(Cause::WrongReply, detail))
    }

    /// The peer refused the credentials. The link tries again, at most every 10 s.
    pub fn login_refused(detail: impl Into<String>) -> Rejected {
        Rejected(Loss::new(Cause::LoginRefused, detail))
    }
}

/// Bytes of a peer for people: escaped, the first 64 at most.
///
/// # Examples
///
/// ```
/// assert_eq!(keepbeat::protocol::escaped(b"+OK\r\n"), r"+OK\r\n");
/// ```
pub fn escaped(bytes: &[u8]) -> String {
    shown::shown(bytes, &[])
}

/// What a beat looks like, and what its ack.
///
/// Two functions are enough: [`beat`](Protocol::beat) and [`parse`](Protocol::parse). Both run on
/// the link's own thread; if one panics, that link goes Down with `protocol-panicked` and ends, and
/// no other link notices. If one blocks, only that link is late.
///
/// # Examples
///
/// A protocol of one's own, for a device that answers `?` with `!`:
///
/// ```
/// use keepbeat::protocol::{escaped, Frame, Protocol, Rejected};
///
/// struct Bang;
///
/// impl Protocol for Bang {
///     fn beat(&mut self, _seq: u64, out: &mut Vec<u8>) {
///         out.push(b'?');
///     }
///
///     fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
///         match bytes {
///             [] => Ok(None),
///             [b'!', ..] => Ok(Some((Frame::Ack(None), 1))),
///             other => Err(Rejected::wrong_reply(format!("not `!` but `{}`", escaped(other)))),
///         }
///     }
/// }
/// ```
pub trait Protocol: Send {
    /// Appends beat number `seq` to `out`. Appending nothing means that the protocol has no beat:
    /// the beat counts as answered as long as the connection stands.
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>);

    /// Takes one frame from the front of `bytes`: the frame and how many bytes it is long.
    /// `Ok(None)` asks for more bytes; it is asked again with more, and with the same ones still in
    /// front.
    ///
    /// # Errors
    ///
    /// [`Rejected`] for bytes that this protocol does not allow.
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected>;

    /// A new connection stands: forget what was half read on the old one, and append what opens the
    /// conversation, a login say. Does nothing unless a protocol needs it. The first beat follows
    /// at once, so the answers to both arrive together.
    fn connected(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Whether the peer has announced, in an orderly way, that the connection ends after the ack
    /// that was just parsed. Asked after each ack. If so the connection is closed, the next beat
    /// opens another, and the link stays as it is: no loss, nobody to blame. Never, unless a
    /// protocol has such an announcement.
    fn is_over(&self) -> bool {
        false
    }

    /// The peer has closed the connection. A frame that only the end of a connection ends is whole
    /// now; anything else is a loss with `closed-by-peer`, unless the protocol knows better.
    ///
    /// # Errors
    ///
    /// [`Rejected`] where what came before the end was not allowed.
    fn closed(&mut self) -> Result<Option<Frame>, Rejected> {
        Ok(None)
    }

    /// Appends the answer to a beat of the peer. Only a [`Responder`](crate::Responder) asks for
    /// it; does nothing unless a protocol can be the other end.
    fn ack(&mut self, seq: Option<u64>, out: &mut Vec<u8>) {
        let _ = (seq, out);
    }
}

impl<P: Protocol + ?Sized> Protocol for Box<P> {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        (**self).beat(seq, out)
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        (**self).parse(bytes)
    }

    fn connected(&mut self, out: &mut Vec<u8>) {
        (**self).connected(out)
    }

    fn ack(&mut self, seq: Option<u64>, out: &mut Vec<u8>) {
        (**self).ack(seq, out)
    }

    fn is_over(&self) -> bool {
        (**self).is_over()
    }

    fn closed(&mut self) -> Result<Option<Frame>, Rejected> {
        (**self).closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` cut at every place, and checks that the frames are the same as uncut.
    pub(super) fn frames(protocol: &mut dyn Protocol, pieces: &[&[u8]]) -> Vec<Frame> {
        let (mut buffer, mut frames) = (Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some((frame, len)) = protocol.parse(&buffer).expect("valid bytes") {
                assert!(len > 0 && len <= buffer.len());
                buffer.drain(..len);
                frames.push(frame);
            }
        }
        frames
    }
}
