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

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Invalid,
    Limit,
    Stopped,
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
        Error::new(Kind::Stopped, "a forked child has none of the threads: make a new coordinator")
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

    /// A setting or a target that cannot work. Trying again does not help.
    pub fn is_invalid(&self) -> bool {
        self.kind == Kind::Invalid
    }

    /// The machine's limits leave no room: descriptors, threads or mappings. Or a session's own
    /// limits did for too long: all its connections were in use.
    pub fn is_limit(&self) -> bool {
        self.kind == Kind::Limit
    }

    /// The coordinator had been stopped before, or the agent of the session shut down.
    pub fn is_stopped(&self) -> bool {
        self.kind == Kind::Stopped
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
    /// [`send_deadline`](crate::Link::send_deadline); then nothing of the frame was sent.
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
