//! What one request may do and what happened to it, carried past ureq in a thread-local: a request
//! runs on its caller's thread from beginning to end.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use super::places::{SlotId, Taken, Want};

/// One run of the agent.
#[derive(Debug)]
pub(crate) struct Call {
    /// What the first connection may be.
    pub(crate) want: Want,
    /// What those behind a redirect may be.
    pub(crate) want_behind: Want,
    /// This very connection, and no other.
    pub(crate) pinned: Option<Taken>,
    /// Connections asked for.
    pub(crate) hops: u32,
    /// The last of them.
    pub(crate) connection: Option<Used>,
    /// The exchange on it.
    pub(crate) begun: bool,
    pub(crate) answered: bool,
    pub(crate) ended: bool,
    /// The server has answered and reads no more of the request.
    pub(crate) unwanted: bool,
    /// No connection could be had: so it says of which kind the failure is.
    pub(crate) failed: Option<Failed>,
}

/// The connection a request went out on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) id: SlotId,
    /// None: it was opened for this request.
    pub(crate) idle: Option<Duration>,
    pub(crate) born: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It could not be opened.
    Connect,
    /// All were in use for too long.
    Full,
}

thread_local! {
    static CURRENT: RefCell<Option<Call>> = const { RefCell::new(None) };
    static DRAIN_UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// None once the thread's own destructors run: a response may be dropped by one of those.
fn with_current<T>(f: impl FnOnce(&mut Option<Call>) -> T) -> Option<T> {
    CURRENT.try_with(|current| f(&mut current.borrow_mut())).ok()
}

fn set_current(call: Option<Call>) -> Option<Call> {
    with_current(|current| std::mem::replace(current, call)).flatten()
}

/// Puts things back however the run ends. A body may send requests of its own while it is read.
struct Within(Option<Call>);

impl Drop for Within {
    fn drop(&mut self) {
        set_current(self.0.take());
    }
}

/// Runs a request under these rules, and says what happened.
pub(crate) fn during<T>(call: Call, run: impl FnOnce() -> T) -> (T, Call) {
    let (want, behind) = (call.want, call.want_behind);
    let within = Within(set_current(Some(call)));
    let result = run();
    // In the destructor of a thread-local there is nothing to note anything in.
    let call = set_current(None).unwrap_or_else(|| Call::new(want, behind));
    drop(within);
    (result, call)
}

impl Call {
    pub(crate) fn new(want: Want, want_behind: Want) -> Call {
        Call {
            want,
            want_behind,
            pinned: None,
            hops: 0,
            connection: None,
            begun: false,
            answered: false,
            ended: false,
            unwanted: false,
            failed: None,
        }
    }

    /// How long the connection it went out on had been idle; none if it was opened for this.
    pub(crate) fn idle(&self) -> Option<Duration> {
        self.connection.and_then(|used| used.idle)
    }

    /// How long ago that connection was opened.
    pub(crate) fn age(&self) -> Duration {
        self.connection.map(|used| used.born.elapsed()).unwrap_or_default()
    }

    /// A connection is asked for. What the request may be given; the pinned one, if there is one.
    pub(crate) fn begin_hop() -> Option<(Want, Option<Taken>)> {
        with_current(|call| {
            let call = call.as_mut()?;
            let want = if call.hops == 0 { call.want } else { call.want_behind };
            call.hops += 1;
            (call.begun, call.answered, call.ended, call.connection) = (false, false, false, None);
            call.unwanted = false;
            Some((want, call.pinned.take()))
        })
        .flatten()
    }

    /// The connection it is given.
    pub(crate) fn goes_out_on(used: Used) {
        with_current(|call| {
            if let Some(call) = call {
                call.connection = Some(used);
            }
        });
    }

    pub(crate) fn could_not_connect(failed: Failed) {
        with_current(|call| {
            if let Some(call) = call {
                call.failed = Some(failed);
            }
        });
    }

    /// Notes what happened on a connection, if it is the one of this thread's request.
    pub(crate) fn note(id: SlotId, note: impl FnOnce(&mut Call)) {
        with_current(|call| {
            if let Some(call) = call {
                if call.connection.is_some_and(|used| used.id == id) {
                    note(call);
                }
            }
        });
    }
}

/// Runs code of the user in the middle of a request: what it sends itself is none of this one's.
pub(crate) fn aside<T>(user: impl FnOnce() -> T) -> T {
    let _within = Within(set_current(None));
    user()
}

/// Whether nobody reads what is left of the body that is being sent on this thread.
pub(crate) fn is_unwanted() -> bool {
    with_current(|call| call.as_ref().is_some_and(|call| call.unwanted)).unwrap_or(false)
}

/// Reads what is left of a body, for so long at most.
pub(crate) fn draining<T>(until: Instant, read: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            DRAIN_UNTIL.set(None);
        }
    }
    DRAIN_UNTIL.set(Some(until));
    let _reset = Reset;
    read()
}

/// No read on this thread may wait for longer.
pub(crate) fn drain_until() -> Option<Instant> {
    DRAIN_UNTIL.get()
}
