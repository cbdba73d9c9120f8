//! From what went wrong to what a person reads: which request, what happened, and the remedy.

use std::io::{self, ErrorKind};

use super::body::Unreadable;
use super::call::Outcome;
use super::dial::{Unanswered, is_exhausted};
use super::trouble::{Trouble, is_end};
use super::url::Asked;
use crate::cause::Loss;
use crate::error::{Error, Kind};

/// What one run of ureq has come to, if not to an answer.
pub(crate) fn of(error: Option<ureq::Error>, outcome: &mut Outcome, request: &Asked) -> Error {
    let begun = outcome.story.begun;
    let error = match outcome.trouble.take() {
        Some(trouble) => of_trouble(trouble, outcome, request),
        None => of_ureq(error, request),
    };
    error.having_run(begun)
}

fn of_trouble(trouble: Trouble, outcome: &Outcome, request: &Asked) -> Error {
    let error = |kind, what: &str| Error::request(kind, format!("{request}: {what}"));
    match trouble {
        Trouble::Shut => error(Kind::Stopped, "the agent was shut down"),
        Trouble::Cancelled => error(Kind::Cancelled, "it was cancelled"),
        Trouble::Forked => Error::forked_session(),
        Trouble::Full => error(
            Kind::Limit,
            "all connections stayed in use for the whole `connect_timeout`, or the `timeout`: drop \
             responses sooner, or raise `max_per_host` or `max_total`",
        ),
        Trouble::Unconnected(why) => unconnected(why, request),
        Trouble::Late | Trouble::Silent(_) => error(Kind::Timeout, &trouble.to_string()),
        Trouble::Ended(why) => {
            if outcome.used.is_some_and(|used| used.idle.is_some())
                && is_end(&why)
                && !outcome.story.answered
            {
                return stale(why, outcome, request);
            }
            let when = if outcome.story.answered { "in the middle of" } else { "without" };
            match why.kind() {
                ErrorKind::UnexpectedEof => error(
                    Kind::Http,
                    &format!("the server closed the connection {when} its response"),
                ),
                _ => error(Kind::Http, "the connection failed").because(why),
            }
        }
        Trouble::Wrong(what) => error(Kind::Http, &format!("no valid response: {what}")),
        Trouble::Cut(cut) => error(Kind::Http, &cut.to_string()),
    }
}

fn unconnected(why: io::Error, request: &Asked) -> Error {
    let inner = why.get_ref();
    let unanswered = inner.and_then(|inner| inner.downcast_ref::<Unanswered>());
    let cause = inner.and_then(|inner| inner.downcast_ref::<Loss>()).map(|loss| loss.cause);
    if is_exhausted(&why) || unanswered.is_some_and(|unanswered| unanswered.exhausted) {
        let text = format!(
            "{request}: no connection, because this machine's limits leave no room: raise \
             `ulimit -n`, or close what is not needed"
        );
        return Error::request(Kind::Limit, text).because(why);
    }
    if why.kind() == ErrorKind::InvalidInput {
        return Error::request(Kind::Invalid, format!("{request}: it cannot be sent")).because(why);
    }
    if why.kind() == ErrorKind::WouldBlock {
        let text =
            format!("{request}: no connection within the `connect_timeout`, or the `timeout`");
        return Error::request(Kind::Connect, text).being_late(true);
    }
    let late = why.kind() == ErrorKind::TimedOut;
    let error = Error::request(Kind::Connect, format!("{request}: no connection"));
    error.because(why).caused_by(cause).being_late(late)
}

fn stale(why: io::Error, outcome: &Outcome, request: &Asked) -> Error {
    let used = outcome.used;
    let idle = used.and_then(|used| used.idle).unwrap_or_default();
    let age = used.map(|used| used.born.elapsed()).unwrap_or_default();
    let end = if outcome.story.begun {
        "it may have run, and so is not sent twice; `replay` allows that for servers that \
         recognise a repeated request"
    } else {
        "it has not run, and can be sent again"
    };
    let text = format!(
        "{request}: the server closed the kept connection ({idle:.1?} idle, {age:.1?} old) as the \
         request was sent: {end}"
    );
    Error::request(Kind::Stale, text).because(why)
}

/// What ureq found itself, before or beside any connection.
fn of_ureq(error: Option<ureq::Error>, request: &Asked) -> Error {
    let Some(error) = error else {
        return Error::request(Kind::Http, format!("{request}: no valid response"));
    };
    let error_of = |kind, what: &str| Error::request(kind, format!("{request}: {what}"));
    match error {
        ureq::Error::Io(io) if io.get_ref().is_some_and(|inner| inner.is::<Unreadable>()) => {
            error_of(Kind::Io, "its body could not be read").because(io)
        }
        ureq::Error::Io(io) => error_of(Kind::Http, "the connection failed").because(io),
        other => error_of(Kind::Invalid, "this is no request that can be sent").because(other),
    }
}

/// A body that could not be read to its end.
pub(crate) fn of_body(error: io::Error, request: &Asked) -> Error {
    let trouble = error.get_ref().and_then(|inner| inner.downcast_ref::<Trouble>());
    let (kind, what) = match trouble {
        Some(Trouble::Forked) => return Error::forked_session(),
        Some(Trouble::Cancelled) => (Kind::Cancelled, "its response could not be read"),
        Some(Trouble::Shut) => (Kind::Stopped, "its response could not be read"),
        // Once told, it is told again without the rest.
        Some(Trouble::Late | Trouble::Silent(_)) | None if error.kind() == ErrorKind::TimedOut => {
            (Kind::Timeout, "its response did not come in time")
        }
        _ => (Kind::Http, "its response could not be read"),
    };
    Error::request(kind, format!("{request}: {what}")).because(error).having_run(true)
}
