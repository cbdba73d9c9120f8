//! What one request may do and what became of it, carried past ureq in a thread-local: a request
//! runs on its caller's thread from beginning to end.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::cancel::Canceller;
use super::conn::Conn;
use super::inbound::Head;
use super::limits::Limits;
use super::places::{SlotId, Taken, Want};
use super::proxy::Route;
use super::trouble::Trouble;

/// What the connection of a request is to be and to send.
#[derive(Debug)]
pub(crate) struct Order {
    /// What it may be.
    pub(crate) want: Want,
    /// This very connection, and no other.
    pub(crate) pinned: Option<Taken>,
    pub(crate) limits: Limits,
    pub(crate) cancel: Option<Canceller>,
    pub(crate) outbound: Outbound,
    /// How it reaches its server; none if that is still to be found out.
    pub(crate) route: Option<Route>,
}

/// The head of a request as it goes out, in place of ureq's.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    pub(crate) head: Vec<u8>,
    /// A body that is there already follows, and may go out with it.
    pub(crate) body_follows: bool,
    pub(crate) is_head: bool,
    /// It says that it is the last one on its connection.
    pub(crate) closes: bool,
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The connection it went out on.
    pub(crate) used: Option<Used>,
    pub(crate) story: Story,
    pub(crate) trouble: Option<Trouble>,
    /// The answer, and the connection that its body is on.
    pub(crate) arrived: Option<(Head, Conn)>,
}

/// How far the exchange on a connection came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Story {
    /// The kernel took a byte of the request, or may have.
    pub(crate) begun: bool,
    /// A byte of an answer came.
    pub(crate) answered: bool,
}

/// The connection a request went out on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) id: SlotId,
    /// None: it was opened for this request.
    pub(crate) idle: Option<Duration>,
    pub(crate) born: Instant,
}

#[derive(Debug)]
struct Call {
    order: Option<Order>,
    outcome: Outcome,
    /// The server has answered and reads no more of the request.
    unwanted: bool,
}

thread_local! {
    // In a box: it is put aside and put back, and is long.
    static CURRENT: RefCell<Option<Box<Call>>> = const { RefCell::new(None) };
}

/// None once the thread's own destructors run.
fn with_current<T>(f: impl FnOnce(&mut Option<Box<Call>>) -> T) -> Option<T> {
    CURRENT.try_with(|current| f(&mut current.borrow_mut())).ok()
}

fn set_current(call: Option<Box<Call>>) -> Option<Box<Call>> {
    with_current(|current| std::mem::replace(current, call)).flatten()
}

/// Whether a request can run on this thread: not once its thread-locals are gone.
pub(crate) fn is_possible() -> bool {
    CURRENT.try_with(|_| ()).is_ok()
}

/// Puts things back however the run ends. A body may send requests of its own while it is read.
struct Within(Option<Box<Call>>);

impl Drop for Within {
    fn drop(&mut self) {
        set_current(self.0.take());
    }
}

/// Runs a request by this order, and says what became of it.
pub(crate) fn during<T>(order: Order, run: impl FnOnce() -> T) -> (T, Outcome, Option<Order>) {
    let call = Call { order: Some(order), outcome: Outcome::default(), unwanted: false };
    let within = Within(set_current(Some(Box::new(call))));
    let result = run();
    let call = set_current(None);
    drop(within);
    let (order, outcome) = call.map(|call| (call.order, call.outcome)).unwrap_or_default();
    (result, outcome, order)
}

/// The order of this thread's request, for the connection that it asks for: it asks once.
pub(crate) fn take_order() -> Option<Order> {
    with_current(|call| call.as_mut()?.order.take()).flatten()
}

/// The connection that it is given.
pub(crate) fn goes_out_on(used: Used) {
    note(|outcome| outcome.used = Some(used));
}

/// Notes what becomes of this thread's request.
pub(crate) fn note(note: impl FnOnce(&mut Outcome)) {
    with_current(|call| {
        if let Some(call) = call {
            note(&mut call.outcome);
        }
    });
}

/// Runs code of the user in the middle of a request: what it sends itself is none of this one's.
pub(crate) fn aside<T>(user: impl FnOnce() -> T) -> T {
    let _within = Within(set_current(None));
    user()
}

/// Nobody reads what is left of the body that is being sent on this thread.
pub(crate) fn note_unwanted() {
    with_current(|call| {
        if let Some(call) = call {
            call.unwanted = true;
        }
    });
}

pub(crate) fn is_unwanted() -> bool {
    with_current(|call| call.as_ref().is_some_and(|call| call.unwanted)).unwrap_or(false)
}
