//! Between ureq's times and errors and ours.

use std::io::{self, ErrorKind};
use std::time::Duration;

use ureq::Error;
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::time::Duration as Lapse;

use super::super::call;
use super::super::limits::FOR_EVER;
use super::super::pipe::closed;
use super::super::trouble::Trouble;

/// The wait that ureq allows.
pub(super) fn allowed(timeout: &NextTimeout) -> Option<Duration> {
    match timeout.after {
        Lapse::Exact(after) => Some(after.min(FOR_EVER)),
        Lapse::NotHappening => None,
    }
}

/// An error of ours as ureq's: a wait that ended by time is ureq's own timeout.
pub(super) fn failed(error: io::Error, timeout: &NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}

/// Reports trouble: to the session past ureq, or as ureq's error to users of the agent.
pub(super) fn reported(
    trouble: Trouble,
    ours: bool,
    timeout: &NextTimeout,
    in_body: bool,
) -> Error {
    if ours {
        call::note(|outcome| outcome.trouble = Some(trouble));
        return Error::ConnectionFailed;
    }
    as_ureq(trouble, timeout, in_body)
}

/// Trouble as ureq's own error, for users of the agent.
pub(super) fn as_ureq(trouble: Trouble, timeout: &NextTimeout, in_body: bool) -> Error {
    match trouble {
        Trouble::Late | Trouble::Silent(_) => Error::Timeout(timeout.reason),
        Trouble::Shut => Error::Io(closed()),
        Trouble::Full => Error::Timeout(timeout.reason),
        Trouble::Unconnected(error) => failed(error, timeout),
        Trouble::Ended(error) if !in_body => Error::Io(error),
        // Some kinds are an orderly end of a body to ureq, and these are none.
        other => Error::Io(io::Error::other(other)),
    }
}
