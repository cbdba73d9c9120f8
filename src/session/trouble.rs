//! Trouble: what went wrong with one request, as its connection saw it.

use std::fmt;
use std::io::{self, ErrorKind};

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The connections of the session were shut down before anything was sent.
    Shut,
    /// Its canceller ended it.
    Cancelled,
    /// In a forked child the connections are the parent's.
    Forked,
    /// All connections stayed in use.
    Full,
    /// No connection came to be.
    Unconnected(io::Error),
    /// The time for the whole request is over.
    Late,
    /// The server gave or took nothing for too long.
    Silent(Way),
    /// The connection ended, or failed, before an answer was whole.
    Ended(io::Error),
    /// What came is no answer.
    Wrong(String),
    /// The body broke off.
    Cut(Cut),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Read,
    Write,
}

/// A body that broke off.
#[derive(Debug)]
pub(crate) struct Cut {
    /// So much of it had come.
    pub(crate) came: u64,
    /// So much it was to have, if that was said.
    pub(crate) of: Option<u64>,
    pub(crate) how: How,
}

#[derive(Debug)]
pub(crate) enum How {
    /// An orderly end of the connection, in the middle.
    Closed,
    /// The end of TCP without the farewell of TLS: anybody on the way can make that.
    NoFarewell,
    /// An error.
    Failed(io::Error),
}

impl Trouble {
    /// Whether the connection ended: the server's doing, and not a wait that was too long.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Trouble::Ended(error) if is_end(error))
    }

    /// The kind that readers of a body know.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Trouble::Late | Trouble::Silent(_) => ErrorKind::TimedOut,
            Trouble::Ended(error) => error.kind(),
            Trouble::Cut(Cut { how: How::Failed(error), .. }) => error.kind(),
            Trouble::Cut(_) => ErrorKind::UnexpectedEof,
            Trouble::Wrong(_) => ErrorKind::InvalidData,
            _ => ErrorKind::Other,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Shut => f.write_str("the agent was shut down"),
            Trouble::Cancelled => f.write_str("it was cancelled"),
            Trouble::Forked => f.write_str("a forked child has none of the connections"),
            Trouble::Full => f.write_str("all connections stayed in use"),
            Trouble::Unconnected(error) | Trouble::Ended(error) => error.fmt(f),
            Trouble::Late => f.write_str("not done within the `timeout`"),
            Trouble::Silent(Way::Read) => f.write_str("the server is silent"),
            Trouble::Silent(Way::Write) => f.write_str("the server takes no more of the request"),
            Trouble::Wrong(what) => f.write_str(what),
            Trouble::Cut(cut) => cut.fmt(f),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.how, self.of) {
            (How::NoFarewell, _) => write!(
                f,
                "the connection ended without the farewell of TLS (close_notify) after {} bytes \
                 of it: somebody on the way may have cut it short; `allow_missing_close_notify` \
                 takes it all the same",
                self.came
            ),
            (how, of) => {
                write!(
                    f,
                    "the server closed the connection in the middle of it, after {} ",
                    self.came
                )?;
                of.map_or(Ok(()), |of| write!(f, "of {of} "))?;
                f.write_str("bytes")?;
                match how {
                    How::Failed(error) => write!(f, ": {error}"),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for Trouble {}

/// Whether the server, or its kernel, ended the connection.
pub(crate) fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::UnexpectedEof
    )
}
