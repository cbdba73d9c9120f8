//! From what went wrong to what a person reads: which request, what happened, and the remedy.

use std::fmt;
use std::io::ErrorKind;

use ureq::Timeout;
use ureq::http::{Method, Uri};

use super::authority::Address;
use super::body::Unreadable;
use super::call::{Call, Failed};
use super::replay::Attempt;
use crate::error::{Error, Kind};

/// The request for people: no user, password or query, which may hold secrets.
pub(crate) fn shown(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let scheme = uri.scheme_str().unwrap_or("?");
    let place = match Address::read(authority) {
        Ok(address) => address.place,
        // A `/` in a password ends the authority in the middle of it.
        Err(_) if authority.contains('@') || uri.path().contains('@') => {
            return format!("{scheme}://...");
        }
        Err(_) => authority,
    };
    let query = if uri.query().is_some() { "?..." } else { "" };
    format!("{scheme}://{place}{}{query}", uri.path())
}

/// A request, to be named if something goes wrong.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, shown(&self.uri))
    }
}

pub(crate) fn of(error: ureq::Error, request: &Asked, call: &Call, attempt: &Attempt) -> Error {
    let error = of_hop(error, request, call, attempt);
    if attempt.hops > 1 { error.may_have_run_before() } else { error }
}

fn of_hop(error: ureq::Error, request: &Asked, call: &Call, attempt: &Attempt) -> Error {
    if call.failed == Some(Failed::Full) {
        let text = format!(
            "{request}: all connections stayed in use for the whole connect timeout: drop \
             responses sooner, or raise `max_per_host` or `max_total`"
        );
        return Error::request(Kind::Limit, text, None);
    }
    if attempt.is_stale() {
        return stale(error, request, call, attempt);
    }
    let (kind, what) = match &error {
        ureq::Error::Io(io) if io.get_ref().is_some_and(|inner| inner.is::<Unreadable>()) => {
            (Kind::Io, "its body could not be read".to_owned())
        }
        ureq::Error::Timeout(_) | ureq::Error::Io(_) if call.failed == Some(Failed::Connect) => {
            (Kind::Connect, "no connection".to_owned())
        }
        ureq::Error::Timeout(which) => (Kind::Timeout, time_was_up(*which).to_owned()),
        ureq::Error::HostNotFound => (Kind::Connect, "the name has no address".to_owned()),
        _ if call.failed == Some(Failed::Connect) => (Kind::Connect, "no connection".to_owned()),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            (Kind::Invalid, "this is no request that can be sent".to_owned())
        }
        ureq::Error::Io(io) if io.kind() == ErrorKind::UnexpectedEof => {
            let when = if attempt.answered { "in the middle of" } else { "without" };
            (Kind::Http, format!("the server closed the connection {when} its response"))
        }
        ureq::Error::Io(io)
            if io.kind() == ErrorKind::NotConnected && call.connection.is_none() =>
        {
            (Kind::Stopped, "it was not sent".to_owned())
        }
        ureq::Error::Io(_) => (Kind::Http, "the connection failed".to_owned()),
        _ => (Kind::Http, "no valid response".to_owned()),
    };
    Error::request(kind, format!("{request}: {what}"), Some(Box::new(error)))
}

fn stale(error: ureq::Error, request: &Asked, call: &Call, attempt: &Attempt) -> Error {
    let (idle, age) = (call.idle().unwrap_or_default(), call.age());
    let may_have_run = attempt.may_have_run();
    let end = if may_have_run {
        "it may have run, and so is not sent twice; `replay` allows that for servers that \
         recognise a repeated request"
    } else {
        "it has not run, and can be sent again"
    };
    let text = format!(
        "{request}: the server closed the kept connection ({idle:.1?} idle, {age:.1?} old) as the \
         request was sent: {end}"
    );
    Error::request(Kind::Stale { may_have_run }, text, Some(Box::new(error)))
}

fn time_was_up(which: Timeout) -> &'static str {
    match which {
        Timeout::Global | Timeout::PerCall => "not done within the `timeout`",
        Timeout::Connect | Timeout::Resolve => "no connection within the `connect_timeout`",
        Timeout::PerWrite | Timeout::SendRequest | Timeout::SendBody => {
            "the server takes no more of the request"
        }
        _ => "the server is silent",
    }
}

/// A body that could not be read to its end.
pub(crate) fn of_body(error: std::io::Error, request: &Asked) -> Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    let (kind, what) = match inner {
        Some(ureq::Error::Timeout(_)) => (Kind::Timeout, "its response did not come in time"),
        _ if error.kind() == ErrorKind::UnexpectedEof => {
            (Kind::Http, "the server closed the connection in the middle of its response")
        }
        _ => (Kind::Http, "its response could not be read"),
    };
    Error::request(kind, format!("{request}: {what}"), Some(Box::new(error)))
}
