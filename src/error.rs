//! Error: what a call could not do. Opaque, with predicates, context and a source.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::cause::{Cause, Loss};

/// What a call of this crate could not do, with the numbers and the remedy in its text.
///
/// What happens to a *link* is no error but an [`Event`](crate::Event).
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    text: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// Whatever went wrong then, the request had already run in part.
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
    Forked,
    UnknownLink,
    LeftBehind,
    Lost(Cause),
    Busy,
    Unsent,
    Io,
    Connect,
    Timeout,
    Stale { may_have_run: bool },
    Status(u16),
    Http,
}

impl Error {
    fn new(kind: Kind, text: impl Into<String>) -> Error {
        Error { kind, text: text.into(), source: None, ran: false }
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

    pub(crate) fn unknown(link: crate::LinkId) -> Error {
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
        let text = context.into();
        Error { kind: Kind::Io, text, source: Some(Box::new(source)), ran: false }
    }

    /// A request of a session that failed.
    pub(crate) fn request(
        kind: Kind,
        text: impl Into<String>,
        source: Option<Box<dyn StdError + Send + Sync>>,
    ) -> Error {
        Error { kind, text: text.into(), source, ran: false }
    }

    /// What was sent before, behind a redirect or in a first try, may have run.
    pub(crate) fn may_have_run_before(self) -> Error {
        Error { ran: true, ..self }
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self.kind {
            Kind::Invalid => ErrorKind::Invalid,
            Kind::Limit => ErrorKind::Limit,
            Kind::Stopped => ErrorKind::Stopped,
            Kind::Forked => ErrorKind::Forked,
            Kind::UnknownLink => ErrorKind::UnknownLink,
            Kind::LeftBehind => ErrorKind::LeftBehind,
            Kind::Lost(_) => ErrorKind::Down,
            Kind::Busy => ErrorKind::Busy,
            Kind::Unsent | Kind::Timeout => ErrorKind::Timeout,
            Kind::Io => ErrorKind::Io,
            Kind::Connect => ErrorKind::Connect,
            Kind::Stale { .. } => ErrorKind::Stale,
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

    /// The coordinator had been stopped before, or the agent of the session shut down; or this is a
    /// forked child, which has none of the threads.
    pub fn is_stopped(&self) -> bool {
        matches!(self.kind, Kind::Stopped | Kind::Forked)
    }

    /// This is a forked child, and what was called belongs to its parent. Nothing was done.
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

    /// Why there is no connection, for a link that is down.
    pub fn cause(&self) -> Option<Cause> {
        match self.kind {
            Kind::Lost(cause) => Some(cause),
            _ => None,
        }
    }

    /// A request: the server closed the kept connection as it went out, and it may not be sent
    /// twice. The text says how long the connection had been idle, and its age.
    pub fn is_stale(&self) -> bool {
        matches!(self.kind, Kind::Stale { .. })
    }

    /// A request: whether the server may have run it although no response came. False means that
    /// it certainly did not; then it can be sent again, whatever it does.
    pub fn may_have_run(&self) -> bool {
        match self.kind {
            Kind::Stale { may_have_run } => may_have_run || self.ran,
            Kind::Timeout | Kind::Http | Kind::Io | Kind::Status(_) => true,
            _ => self.ran,
        }
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
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Error {
        match never {}
    }
}
