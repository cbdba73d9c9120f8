//! Error: what a call could not do. Opaque, with predicates, a text and a source.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::cause::{Cause, Loss};
use crate::link_id::LinkId;

/// What a call of this crate could not do. The text has the numbers and the remedy.
///
/// What happens to a *link* is not an error but an [`Event`](crate::Event).
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    text: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// Why there is no connection.
    cause: Option<Cause>,
    /// The request may have run, in full or in part.
    ran: bool,
    /// Its time was up, whatever else it is.
    late: bool,
}

/// The kinds of [`Error`], for a `match` or a table. Later versions may add kinds.
///
/// ```
/// use keepbeat::{Coordinator, ErrorKind, Heartbeat, Line};
///
/// let coordinator = Coordinator::new()?;
/// let error = coordinator.watch("not a target", Heartbeat::default(), Line).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, target or frame that cannot work: [`Error::is_invalid`].
    Invalid,
    /// No room, on this machine or in a session: [`Error::is_limit`].
    Limit,
    /// The coordinator or session has stopped: [`Error::is_stopped`].
    Stopped,
    /// A request was cancelled: [`Error::is_cancelled`].
    Cancelled,
    /// This process is a forked child, and the handle belongs to its parent: [`Error::is_forked`].
    Forked,
    /// An unknown or removed link: [`Error::is_unknown_link`].
    UnknownLink,
    /// A thread could not be joined in time: [`Error::is_left_behind`].
    LeftBehind,
    /// The link is down or over: [`Error::cause`] says why.
    Down,
    /// The call would have to wait: [`Error::is_busy`].
    Busy,
    /// The time limit passed: [`Error::is_timeout`].
    Timeout,
    /// The operating system reported an error, which is the
    /// [`source`](std::error::Error::source).
    Io,
    /// A request could not open a connection: [`Error::is_connect`].
    Connect,
    /// The server closed the kept connection as the request went out: [`Error::is_stale`].
    Stale,
    /// A status that the program made an error: [`Error::status`].
    Status,
    /// The request could not be made, or what came is not a valid answer.
    Http,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Invalid,
    Limit,
    Stopped,
    Cancelled,
    Forked,
    UnknownLink,
    LeftBehind,
    Lost,
    Busy,
    Unsent,
    Io,
    Connect,
    Timeout,
    Stale,
    Status(u16),
    Http,
}

impl Error {
    fn new(kind: Kind, text: impl Into<String>) -> Error {
        Error { kind, text: text.into(), source: None, cause: None, ran: false, late: false }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, text)
    }

    /// An error for data that cannot be a frame, for your own
    /// [`Framing`](crate::protocol::Framing). The text should say why, and what to do instead.
    pub fn unfit(text: impl Into<String>) -> Error {
        Error::invalid(text)
    }

    pub(crate) fn limit(text: impl Into<String>) -> Error {
        Error::new(Kind::Limit, text)
    }

    /// A descriptor that the system did not give.
    pub(crate) fn no_descriptor(source: io::Error) -> Error {
        let text = "no descriptor is left: raise the limit with `ulimit -n`, or LimitNOFILE= of \
                    the service";
        Error::limit(text).because(source)
    }

    pub(crate) fn stopped() -> Error {
        Error::new(Kind::Stopped, "the coordinator has stopped: make a new one")
    }

    pub(crate) fn forked() -> Error {
        Error::new(
            Kind::Forked,
            "this belongs to the parent of this forked process, and so do its threads and its \
             connections: make a new one, or fork before",
        )
    }

    pub(crate) fn forked_session() -> Error {
        let text = "a forked child must leave its parent's connections alone: make a new session";
        Error::new(Kind::Forked, text)
    }

    pub(crate) fn unknown(link: LinkId) -> Error {
        Error::new(Kind::UnknownLink, format!("{link} is not known here, or was removed"))
    }

    pub(crate) fn left_behind(text: impl Into<String>) -> Error {
        Error::new(Kind::LeftBehind, text)
    }

    /// The link has no connection, now or for good.
    pub(crate) fn lost(loss: &Loss) -> Error {
        Error::new(Kind::Lost, format!("the link is down: {loss}")).caused_by(Some(loss.cause))
    }

    pub(crate) fn busy(text: impl Into<String>) -> Error {
        Error::new(Kind::Busy, text)
    }

    pub(crate) fn unsent(text: impl Into<String>) -> Error {
        Error::new(Kind::Unsent, text)
    }

    pub(crate) fn io(context: impl Into<String>, source: io::Error) -> Error {
        Error::new(Kind::Io, context).because(source)
    }

    /// A request of a session failed.
    pub(crate) fn request(kind: Kind, text: impl Into<String>) -> Error {
        Error::new(kind, text)
    }

    /// Adds the source. Its text follows ours.
    pub(crate) fn because(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        Error { source: Some(source.into()), ..self }
    }

    pub(crate) fn caused_by(self, cause: Option<Cause>) -> Error {
        Error { cause, ..self }
    }

    /// Records whether something was sent, now or before, that may have run.
    pub(crate) fn having_run(self, ran: bool) -> Error {
        Error { ran: self.ran | ran, ..self }
    }

    /// The same error, marked as one for want of time.
    pub(crate) fn being_late(self, late: bool) -> Error {
        Error { late: self.late | late, ..self }
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self.kind {
            Kind::Invalid => ErrorKind::Invalid,
            Kind::Limit => ErrorKind::Limit,
            Kind::Stopped => ErrorKind::Stopped,
            Kind::Cancelled => ErrorKind::Cancelled,
            Kind::Forked => ErrorKind::Forked,
            Kind::UnknownLink => ErrorKind::UnknownLink,
            Kind::LeftBehind => ErrorKind::LeftBehind,
            Kind::Lost => ErrorKind::Down,
            Kind::Busy => ErrorKind::Busy,
            Kind::Unsent | Kind::Timeout => ErrorKind::Timeout,
            Kind::Io => ErrorKind::Io,
            Kind::Connect => ErrorKind::Connect,
            Kind::Stale => ErrorKind::Stale,
            Kind::Status(_) => ErrorKind::Status,
            Kind::Http => ErrorKind::Http,
        }
    }

    /// Whether a setting, a target or a frame cannot work. Trying again does not help.
    pub fn is_invalid(&self) -> bool {
        self.kind == Kind::Invalid
    }

    /// Whether a limit was reached: the machine has no descriptor, thread or mapping left, or all
    /// connections of a session were in use for too long.
    pub fn is_limit(&self) -> bool {
        self.kind == Kind::Limit
    }

    /// Whether the coordinator had been stopped or the session shut down, or the handle belongs to
    /// the process that this one was forked from.
    pub fn is_stopped(&self) -> bool {
        matches!(self.kind, Kind::Stopped | Kind::Forked)
    }

    /// Whether the [`Canceller`](crate::session::Canceller) of a request ended it.
    pub fn is_cancelled(&self) -> bool {
        self.kind == Kind::Cancelled
    }

    /// Whether this process is a forked child, and the handle belongs to its parent. The call did
    /// nothing. Make a new handle in the child.
    pub fn is_forked(&self) -> bool {
        self.kind == Kind::Forked
    }

    /// Whether the link is unknown or was removed.
    pub fn is_unknown_link(&self) -> bool {
        self.kind == Kind::UnknownLink
    }

    /// Whether a thread could not be joined in time. It was told to end and does so by itself.
    pub fn is_left_behind(&self) -> bool {
        self.kind == Kind::LeftBehind
    }

    /// Whether a request could not open a connection.
    pub fn is_connect(&self) -> bool {
        self.kind == Kind::Connect
    }

    /// Whether a time limit passed: of a request; of [`Link::send`](crate::Link::send) and
    /// [`send_deadline`](crate::Link::send_deadline), where nothing of the frame was sent; or of
    /// [`Link::close_within`](crate::Link::close_within) and
    /// [`into_stream_within`](crate::Link::into_stream_within). A request that found no connection
    /// in time is also [`is_connect`](Error::is_connect), or [`is_limit`](Error::is_limit).
    pub fn is_timeout(&self) -> bool {
        self.late || matches!(self.kind, Kind::Timeout | Kind::Unsent)
    }

    /// Whether [`Link::try_send`](crate::Link::try_send) would have had to wait. Nothing was sent.
    pub fn is_busy(&self) -> bool {
        self.kind == Kind::Busy
    }

    /// Why there is no connection: for a link that is down, and for a request where a word is known
    /// ([`ProxyFailed`](Cause::ProxyFailed), [`TlsFailed`](Cause::TlsFailed)).
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Whether the server closed the kept connection as a request went out that may not be sent
    /// twice. The text says how long the connection had been idle, and its age.
    pub fn is_stale(&self) -> bool {
        self.kind == Kind::Stale
    }

    /// Whether the server may have run the request, or the one that it was redirected from. False
    /// means that the server certainly did not, because no byte of the request had left. Then it is
    /// safe to send again, whatever it does.
    pub fn may_have_run(&self) -> bool {
        self.ran
    }

    /// The status that [`error_for_status`](crate::Response::error_for_status) made an error.
    pub fn status(&self) -> Option<u16> {
        match self.kind {
            Kind::Status(status) => Some(status),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    /// The source behind the first one, because `Display` already prints the first.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().and_then(StdError::source)
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Error {
        match never {}
    }
}

impl StdError for Loss {}
