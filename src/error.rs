//! Error: what a call could not do. Opaque, with predicates, context and a source.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::cause::{Cause, Loss};
use crate::identity::LinkId;

/// What a call of this crate could not do, with the numbers and the remedy in its text.
///
/// What happens to a *link* is no error but an [`Event`](crate::Event).
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    text: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// Of a connection that never stood.
    cause: Option<Cause>,
    /// The request may have run, all of it or a part.
    ran: bool,
}

/// The kinds of [`Error`], for a `match` or a table, where the predicates would be many. More may
/// be added.
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
    /// The coordinator was stopped before: [`Error::is_stopped`].
    Stopped,
    /// A request: it was ended on request: [`Error::is_cancelled`].
    Cancelled,
    /// This is a forked child, and the handle is its parent's: [`Error::is_forked`].
    Forked,
    /// No such link: [`Error::is_unknown_link`].
    UnknownLink,
    /// A thread could not be joined in time: [`Error::is_left_behind`].
    LeftBehind,
    /// The link is down or over: [`Error::cause`] says why.
    Down,
    /// It would have to wait: [`Error::is_busy`].
    Busy,
    /// The time was up: [`Error::is_timeout`].
    Timeout,
    /// The operating system said no; [`source`](std::error::Error::source) is what it said.
    Io,
    /// A request: no connection came to be.
    Connect,
    /// A request: the kept connection ended as it went out.
    Stale,
    /// A request: a status that was made an error.
    Status,
    /// A request: what came is no answer, or it could not be made.
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
    Lost(Cause),
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
        Error { kind, text: text.into(), source: None, cause: None, ran: false }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, text)
    }

    /// Data that cannot be a frame: for a [`Framing`](crate::protocol::Framing) of one's own. Say
    /// why, and what to do instead.
    pub fn unfit(text: impl Into<String>) -> Error {
        Error::invalid(text)
    }

    pub(crate) fn limit(text: impl Into<String>) -> Error {
        Error::new(Kind::Limit, text)
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

    /// No connection stands, or never will again.
    pub(crate) fn lost(loss: &Loss) -> Error {
        Error::new(Kind::Lost(loss.cause), format!("the link is down: {loss}"))
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

    /// A request of a session that failed.
    pub(crate) fn request(kind: Kind, text: impl Into<String>) -> Error {
        Error::new(kind, text)
    }

    /// With what it came from. Its words follow ours.
    pub(crate) fn because(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        Error { source: Some(source.into()), ..self }
    }

    pub(crate) fn caused_by(self, cause: Option<Cause>) -> Error {
        Error { cause, ..self }
    }

    /// Whether something was sent, now or before, that may have run.
    pub(crate) fn having_run(self, ran: bool) -> Error {
        Error { ran: self.ran | ran, ..self }
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self.kind {
            Kind::Invalid => ErrorKind::Invalid,
            Kind::Limit => ErrorKind::Limit,
            Kind::Stopped => ErrorKind::Stopped,
            Kind::Cancelled => ErrorKind::Cancelled,
            Kind::Forked => ErrorKind::Forked,
            Kind::UnknownLink => ErrorKind::UnknownLink,
            Kind::LeftBehind => ErrorKind::LeftBehind,
            Kind::Lost(_) => ErrorKind::Down,
            Kind::Busy => ErrorKind::Busy,
            Kind::Unsent | Kind::Timeout => ErrorKind::Timeout,
            Kind::Io => ErrorKind::Io,
            Kind::Connect => ErrorKind::Connect,
            Kind::Stale => ErrorKind::Stale,
            Kind::Status(_) => ErrorKind::Status,
            Kind::Http => ErrorKind::Http,
        }
    }

    /// A setting or a target that cannot work. Trying again does not help.
    pub fn is_invalid(&self) -> bool {
        self.kind == Kind::Invalid
    }

    /// The machine's limits leave no room: descriptors, threads or mappings. Or a session's own
    /// limits did for too long: all its connections were in use.
    pub fn is_limit(&self) -> bool {
        self.kind == Kind::Limit
    }

    /// The coordinator had been stopped before, or the session shut down; or both belong to the
    /// process that this one was forked from.
    pub fn is_stopped(&self) -> bool {
        matches!(self.kind, Kind::Stopped | Kind::Forked)
    }

    /// A request: its [`Canceller`](crate::session::Canceller) ended it.
    pub fn is_cancelled(&self) -> bool {
        self.kind == Kind::Cancelled
    }

    /// This process is a forked child: what it has inherited belongs to its parent, and is left
    /// alone. Nothing was done. Make a new one here.
    pub fn is_forked(&self) -> bool {
        self.kind == Kind::Forked
    }

    /// No such link, or no more.
    pub fn is_unknown_link(&self) -> bool {
        self.kind == Kind::UnknownLink
    }

    /// A thread could not be joined in time. It has been told to end and does so by itself.
    pub fn is_left_behind(&self) -> bool {
        self.kind == Kind::LeftBehind
    }

    /// A request: no connection came to be.
    pub fn is_connect(&self) -> bool {
        self.kind == Kind::Connect
    }

    /// The time was up: of a request, or of [`Link::send`](crate::Link::send) and
    /// [`send_deadline`](crate::Link::send_deadline); then nothing of the frame was sent. Or that of
    /// [`Link::close_within`](crate::Link::close_within) and
    /// [`into_stream_within`](crate::Link::into_stream_within).
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, Kind::Timeout | Kind::Unsent)
    }

    /// [`Link::try_send`](crate::Link::try_send): it would have to wait. Nothing was sent.
    pub fn is_busy(&self) -> bool {
        self.kind == Kind::Busy
    }

    /// Why there is no connection: of a link that is down, or of a request, where that is known
    /// in a word ([`ProxyFailed`](Cause::ProxyFailed), [`TlsFailed`](Cause::TlsFailed)).
    pub fn cause(&self) -> Option<Cause> {
        match self.kind {
            Kind::Lost(cause) => Some(cause),
            _ => self.cause,
        }
    }

    /// A request: the server closed the kept connection as it went out, and it may not be sent
    /// twice. The text says how long the connection had been idle, and its age.
    pub fn is_stale(&self) -> bool {
        self.kind == Kind::Stale
    }

    /// A request: whether the server may have run it, or what it was redirected from. False means
    /// that it certainly did not: no byte of it had left. Then it can be sent again, whatever it
    /// does.
    pub fn may_have_run(&self) -> bool {
        self.ran
    }

    /// A request: the status that
    /// [`error_for_status`](crate::Response::error_for_status) made an error.
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
    /// What is behind the words that `Display` prints: it prints the first source itself.
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
