//! Replay: when a request that met a closed connection may be sent again. Pure.

use ureq::http::Method;

/// Which requests may be sent a second time, on a fresh connection, when the first went out on a
/// kept connection that the server closed in the same moment.
///
/// Nobody can know whether the server had read a request when it closed. So only what may run twice
/// is sent twice (RFC 9110, section 9.2.2), once, and never after a byte of a response or after a
/// timeout. A request of which no byte was sent is sent in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replay {
    /// None. The error says what happened.
    Never,
    /// GET, HEAD, OPTIONS, TRACE, PUT and DELETE. The default.
    #[default]
    Idempotent,
    /// Any method. A POST may then run twice: for servers that recognise a repeated request.
    All,
}

impl Replay {
    /// Whether a request with this method may run twice.
    pub(crate) fn allows(self, method: &Method) -> bool {
        match self {
            Replay::Never => false,
            Replay::Idempotent => method.is_idempotent() || is_safe(method),
            Replay::All => true,
        }
    }
}

/// What is known of a request that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// It went out on a kept connection.
    pub(crate) reused: bool,
    /// The connection ended: not a timeout, nor anything else.
    pub(crate) ended: bool,
    /// A byte of a response came.
    pub(crate) answered: bool,
    /// A byte of the request was handed to the kernel.
    pub(crate) begun: bool,
    /// The body can be read again.
    pub(crate) rewindable: bool,
}

impl Attempt {
    /// Whether the connection was stale: the server had closed it, and did so before it answered.
    pub(crate) fn is_stale(&self) -> bool {
        self.reused && self.ended && !self.answered
    }

    pub(crate) fn may_be_replayed(&self, replay: Replay, method: &Method) -> bool {
        let harmless = replay != Replay::Never && (replay.allows(method) || !self.begun);
        self.is_stale() && self.rewindable && harmless
    }
}

/// Whether a request with this method changes nothing (RFC 9110, section 9.2.1, and the registry
/// that it founds).
pub(crate) fn is_safe(method: &Method) -> bool {
    method.is_safe() || matches!(method.as_str(), "PROPFIND" | "REPORT" | "SEARCH" | "QUERY")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Attempt =
        Attempt { reused: true, ended: true, answered: false, begun: true, rewindable: true };

    #[test]
    fn what_may_run_twice_is_replayed_and_a_post_is_not() {
        let may = |method: Method| STALE.may_be_replayed(Replay::Idempotent, &method);
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
            assert!(may(method.clone()), "{method}");
        }
        assert!(!may(Method::POST) && !may(Method::PATCH) && !may(Method::CONNECT));
        assert!(STALE.may_be_replayed(Replay::All, &Method::POST));
        assert!(!STALE.may_be_replayed(Replay::Never, &Method::GET));
    }

    #[test]
    fn each_doubt_forbids_it() {
        for doubt in [
            Attempt { reused: false, ..STALE },
            Attempt { ended: false, ..STALE },
            Attempt { answered: true, ..STALE },
            Attempt { rewindable: false, ..STALE },
        ] {
            assert!(!doubt.may_be_replayed(Replay::All, &Method::GET), "{doubt:?}");
        }
    }

    #[test]
    fn what_was_never_sent_is_sent_and_what_ran_in_part_is_not() {
        let unsent = Attempt { begun: false, ..STALE };
        assert!(unsent.may_be_replayed(Replay::Idempotent, &Method::POST));
        assert!(!unsent.may_be_replayed(Replay::Never, &Method::POST));
    }

    #[test]
    fn methods_that_nobody_knows_are_not_sent_twice() {
        let may = |method: &str| {
            STALE.may_be_replayed(Replay::Idempotent, &method.parse::<Method>().unwrap())
        };
        assert!(may("PROPFIND") && may("QUERY"));
        assert!(!may("LOCK") && !may("PURGE") && !may("get") && !may("X"));
    }
}
