//! Protocol: what a beat looks like on the wire, and how its ack is told from everything else. Two
//! functions; one file per protocol.

mod connect_only;
mod escapes;
mod exchange;
mod framed;
pub(crate) mod guarded;
pub(crate) mod http;
pub(crate) mod line;
mod redis;
mod secrets;
pub(crate) mod shown;
mod steps;

pub use connect_only::ConnectOnly;
pub use escapes::unescaped;
pub use exchange::Exchange;
pub use framed::{Framed, Prefix};
pub use http::Http;
pub use line::Line;
pub use redis::Redis;
pub use steps::Steps;

use std::fmt;
use std::time::Duration;

use crate::cause::{Cause, Loss};
use crate::error::Error;

/// The longest frame that is waited for, in bytes. More without an end is no ack of anything; the
/// link goes Down with `wrong-reply`.
pub const FRAME_LIMIT: usize = 64 * 1024;

/// One whole message from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// The answer to a beat; with the number of that beat, if the protocol has numbers.
    Ack(Option<u64>),
    /// A beat of the peer, with its number; a [`Responder`](crate::Responder) acks it, and so does
    /// a [`Link`](crate::Link).
    Beat(Option<u64>),
    /// A valid message that is neither. On a [`Link`](crate::Link) it is the application's.
    Data,
    /// A valid message that is the protocol's own business, the answer to its login for example: a
    /// sign of life, and handed to nobody.
    Own,
    /// Bytes that nobody had asked for and that do no harm. On a watched link they are told once,
    /// as a warning, where no beat waits; where one does and is not answered, they are what came
    /// in place of its ack.
    Unasked,
}

/// The peer said something that this protocol does not allow. The link goes Down with this cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected(pub(crate) Loss);

impl Rejected {
    /// Bytes that are not the ack. Say what was expected and show what came; [`escaped`] helps.
    pub fn wrong_reply(detail: impl Into<String>) -> Rejected {
        Rejected(Loss::new(Cause::WrongReply, detail))
    }

    /// The peer said, in its own protocol, why it ends the connection: for
    /// [`closed`](Protocol::closed).
    pub fn closed_with_reason(reason: impl Into<String>) -> Rejected {
        Rejected(Loss::new(Cause::ClosedWithReason, reason))
    }

    /// The peer has said, of its own accord or in place of an answer, that it ends the conversation
    /// as it may at any time: for protocols whose [`idle_end`](Protocol::idle_end) is a renewal,
    /// and a loss with `renewed` in any other.
    pub fn renewed(detail: impl Into<String>) -> Rejected {
        Rejected(Loss::new(Cause::Renewed, detail))
    }

    /// The right peer answered, and does not serve now: it loads its data, is full, or waits for
    /// another one. Say so in its own words.
    pub fn not_ready(detail: impl Into<String>) -> Rejected {
        Rejected(Loss::new(Cause::NotReady, detail))
    }

    /// The peer took the login, and refuses the beat for want of a right. Say which one.
    pub fn permission_missing(detail: impl Into<String>) -> Rejected {
        Rejected(Loss::new(Cause::PermissionMissing, detail))
    }

    /// The peer refused the credentials. The link tries again, at most every 10 s.
    pub fn login_refused(detail: impl Into<String>) -> Rejected {
        Rejected(Loss::new(Cause::LoginRefused, detail))
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Rejected {}

/// What it means that the peer ends the connection while it owes no answer: while no beat is in
/// flight, or before the first byte of its answer, on a connection that had rested before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdleEnd {
    /// The connection is lost, and that is told at once.
    #[default]
    Loss,
    /// The peer may do so at any time, as servers of HTTP do (RFC 9112, section 9.5). The link
    /// stays as it is, and another connection takes the place: told as a disconnection with
    /// `renewed`.
    Renewal {
        /// A beat that met the end may be sent once more, because it does no harm twice (RFC 9110,
        /// section 9.2.2). Otherwise its round is left out.
        repeat: bool,
    },
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
///
/// On a connection that carries the application's data as well ([`Coordinator::adopt`] and the
/// like) a protocol also says where one frame ends and the next begins: [`parse`](Protocol::parse)
/// answers [`Frame::Data`] for those of the application, [`framing`](Protocol::framing) makes them.
///
/// [`Coordinator::adopt`]: crate::Coordinator::adopt
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

    /// What it means that the peer ends the connection while it owes no answer. Asked at each such
    /// end. Default: a loss.
    fn idle_end(&self) -> IdleEnd {
        IdleEnd::Loss
    }

    /// For how long the peer has said that it leaves an idle connection open, if it has. Asked
    /// after each ack. Beats keep away from that moment. Default: nothing is known.
    fn idle_limit(&self) -> Option<Duration> {
        None
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

    /// Appends the answer to a beat of the peer. A [`Responder`](crate::Responder) asks for it, and
    /// a [`Link`](crate::Link) or [`Follower`](crate::Follower) whose role is to answer; does
    /// nothing unless a protocol can be the other end.
    fn ack(&mut self, seq: Option<u64>, out: &mut Vec<u8>) {
        let _ = (seq, out);
    }

    /// How the application's data becomes frames on a [`Link`](crate::Link), and is found in them.
    /// Asked once. Default: [`AsIs`], the application sends and receives whole frames as they
    /// stand on the wire.
    fn framing(&self) -> Box<dyn Framing> {
        Box::new(AsIs)
    }

    /// The longest frame, in bytes, in either direction. Asked once. Default [`FRAME_LIMIT`],
    /// 64 KiB. [`parse`](Protocol::parse) should refuse a longer one as soon as it is announced;
    /// after so many bytes without the end of a frame the link is lost with `wrong-reply`.
    fn limit(&self) -> usize {
        FRAME_LIMIT
    }

    /// Whether the conversation that [`connected`](Protocol::connected) opened is through, its
    /// login accepted. On a [`Link`](crate::Link) the application's frames wait for it, on a
    /// [watched](crate::Coordinator::watch) link the beat does. Asked after `connected`, and after
    /// each frame until it is. Default: at once.
    fn is_ready(&self) -> bool {
        true
    }

    /// Appends what follows from the frame that was just parsed, the next line of a login for
    /// example. Asked on a [watched](crate::Coordinator::watch) link after each
    /// [`Frame::Own`]. Nothing by default.
    fn reply(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// What may be said on another connection to the same peer, where the live one is silent and
    /// [side connections](crate::Diagnose::side_connections) are allowed: a protocol like this one,
    /// for a conversation of its own of one beat. Asked on the link's thread. None by default, and
    /// for every protocol where a second client would harm the first: one that logs in with an
    /// identity of its own, as MQTT's client id, throws the live one out.
    fn fresh(&self) -> Option<Box<dyn Protocol>> {
        None
    }

    /// Bytes of exactly this length, other than the beat, that do no harm to the peer: where it
    /// acknowledges these and not the beat, a filter has read the beat. They need no answer. A
    /// protocol that has some also says that its beat is no secret: its bytes then stand in
    /// [evidence](crate::Evidence), so in events and logs. None by default: what a service makes of
    /// bytes that it does not know is its own affair.
    fn neutral(&self, len: usize) -> Option<Vec<u8>> {
        let _ = len;
        None
    }

    /// Appends what says good-bye, when a [`Link`](crate::Link) is closed. Nothing by default.
    fn farewell(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// The scheme of targets that are beaten in this way, `redis` for example: where something
    /// else listens, advice names another one. None by default.
    fn scheme(&self) -> Option<&'static str> {
        None
    }

    /// Bytes of the peer, with `***` in the place of what this protocol keeps secret: they are
    /// shown to people, in events and logs. Default: as they are, for a protocol without secrets.
    fn redact(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }
}

/// How the application's data stands in frames. It is used by every thread that sends, so it has no
/// state.
pub trait Framing: Send + Sync {
    /// Appends `data` as a whole frame.
    ///
    /// # Errors
    ///
    /// [`Error::unfit`] for data that cannot be one, with the reason.
    fn wrap(&self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error>;

    /// The data within a frame that [`Protocol::parse`] has found. Default: all of it.
    fn data<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame
    }
}

/// The [`Framing`] of frames that the application makes itself: what it sends goes out as it is.
/// Each call must hold one or more whole frames, or beats would go out inside one.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsIs;

impl Framing for AsIs {
    fn wrap(&self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if data.is_empty() {
            return Err(Error::unfit("no bytes are no frame"));
        }
        out.extend_from_slice(data);
        Ok(())
    }
}

// A method that is not forwarded would silently be the default, whatever the protocol says.
#[deny(clippy::missing_trait_methods)]
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

    fn idle_end(&self) -> IdleEnd {
        (**self).idle_end()
    }

    fn idle_limit(&self) -> Option<Duration> {
        (**self).idle_limit()
    }

    fn closed(&mut self) -> Result<Option<Frame>, Rejected> {
        (**self).closed()
    }

    fn framing(&self) -> Box<dyn Framing> {
        (**self).framing()
    }

    fn limit(&self) -> usize {
        (**self).limit()
    }

    fn is_ready(&self) -> bool {
        (**self).is_ready()
    }

    fn reply(&mut self, out: &mut Vec<u8>) {
        (**self).reply(out)
    }

    fn farewell(&mut self, out: &mut Vec<u8>) {
        (**self).farewell(out)
    }

    fn fresh(&self) -> Option<Box<dyn Protocol>> {
        (**self).fresh()
    }

    fn neutral(&self, len: usize) -> Option<Vec<u8>> {
        (**self).neutral(len)
    }

    fn scheme(&self) -> Option<&'static str> {
        (**self).scheme()
    }

    fn redact(&self, bytes: &[u8]) -> Vec<u8> {
        (**self).redact(bytes)
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
