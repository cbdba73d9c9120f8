//! What one request may do and what became of it, carried past ureq in a thread-local: a request
//! runs on its caller's thread from beginning to end.

use std::cell::RefCell;

use super::cancel::Canceller;
use super::conn::Conn;
use super::core::Taken;
use super::exchange::{Outbound, Story, Used};
use super::inbound::Head;
use super::limits::Limits;
use super::pool::places::{Key, Want};
use super::proxy::Route;
use super::trouble::Trouble;

/// What the connection of a request is to be and to send.
#[derive(Debug)]
pub(crate) struct Order {
    /// Which host it leads to.
    pub(crate) key: Key,
    /// Which kept connection it may be.
    pub(crate) want: Want,
    /// This very connection, and no other.
    pub(crate) pinned: Option<Taken>,
    pub(crate) limits: Limits,
    pub(crate) cancel: Option<Canceller>,
    pub(crate) outbound: Outbound,
    pub(crate) route: Route,
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

/// Returns none while the thread's destructors run.
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

/// Restores the outer call however the run ends: a body may send requests while it is read.
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

/// Runs code of the user in the middle of a request. Requests that it sends are separate calls.
pub(crate) fn aside<T>(user: impl FnOnce() -> T) -> T {
    let _within = Within(set_current(None));
    user()
}

/// The server does not read the rest of the body that this thread is sending.
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
