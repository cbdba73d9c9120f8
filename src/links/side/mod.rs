//! Side connections: to the address of a link that is silent, to tell where its packets are lost.
//! Each link's run on a thread of its own, beside the link, one at a time; all of them share a
//! budget.
//!
//! Who waits for whom: a link asks and goes on; the answer lies in a slot until the link looks. The
//! lock of the budget is held for some nanoseconds, and while a thread is started. `stop` tells all
//! threads to end, which wakes them wherever they wait, and joins them.

mod budget;
mod exam;
mod spared;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use log::debug;

use crate::base::spawn::{self, Thread};
use crate::diagnose::{Evidence, Kept};
use crate::event::Identity;
use crate::links::handle::Handle;

pub(crate) use budget::Budget;
pub(crate) use exam::Asked;
pub(crate) use spared::Spared;

/// What was found so far, by value: from the thread of the side connections to the link's. One for
/// each trouble.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    found: Mutex<Option<Evidence>>,
    over: AtomicBool,
    /// The link's own connection has ended.
    gone: AtomicBool,
    /// The link's own connection was answered.
    answered: AtomicBool,
    /// When one was begun that has not failed, or was accepted last.
    begun: Mutex<Option<Instant>>,
    /// Whether one was accepted.
    stood: AtomicBool,
    /// Whether the peer has served one.
    served: AtomicBool,
    /// One of them waits for its answer still.
    waits: AtomicBool,
    finished: AtomicBool,
}

impl Slot {
    fn put(&self, found: &Evidence) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
    }

    /// What is new since this was last asked.
    pub(crate) fn take(&self) -> Option<Evidence> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The trouble is over, or the link is: nobody wants to know any more.
    pub(crate) fn close(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The trouble is over, because the link's own connection was answered; whether a side
    /// connection still waits to be: then its thread finds out whether the peer serves two.
    pub(crate) fn close_answered(&self) -> bool {
        self.answered.store(true, Ordering::Release);
        self.close();
        self.waits.load(Ordering::Acquire)
    }

    /// When a side connection was accepted last. One that is on its way may have been: the peer may
    /// turn to it before its thread knows.
    pub(crate) fn met(&self) -> Option<Instant> {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_begun(&self, at: Option<Instant>) {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Whether one was accepted, for certain.
    pub(crate) fn has_stood(&self) -> bool {
        self.stood.load(Ordering::Acquire)
    }

    fn on_stood(&self, now: Instant) {
        self.on_begun(Some(now));
        self.stood.store(true, Ordering::Release);
    }

    /// Whether the peer has served one of them.
    pub(crate) fn was_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Nothing more will be put in.
    fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }

    /// The link's own connection has ended without an answer.
    pub(crate) fn part(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether the link's own connection still waits for its answer.
    fn is_awaited(&self) -> bool {
        !self.is_over() && !self.gone.load(Ordering::Acquire)
    }

    /// Whether all is told that will be: who still holds a connection for the sake of a device that
    /// serves one client asks nothing more.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire) || self.waits.load(Ordering::Acquire)
    }
}

struct Running {
    handle: Arc<Handle>,
    slot: Arc<Slot>,
    thread: Thread,
}

#[derive(Default)]
struct State {
    running: Vec<Running>,
    stopped: bool,
}

/// All side connections of a coordinator.
pub(crate) struct Sides {
    budget: Arc<Budget>,
    /// Peers that are left alone.
    pub(crate) spared: Arc<Spared>,
    at_once: usize,
    state: Mutex<State>,
}

impl Sides {
    pub(crate) fn new(at_once: usize, per_minute: u32, now: Instant) -> Sides {
        let budget = Arc::new(Budget::new(per_minute, now));
        Sides { budget, spared: Arc::default(), at_once, state: Mutex::default() }
    }

    /// Starts to answer; what is found comes into its slot. Else why not.
    pub(crate) fn ask(&self, asked: Asked) -> Result<(), Kept> {
        if self.spared.has(asked.question.address) {
            return Err(Kept::Single);
        }
        let mut state = self.state();
        reap(&mut state.running);
        if state.stopped {
            return Err(Kept::Off);
        }
        let of_this_link = |one: &&Running| one.handle.who.id == asked.link.who.id;
        if let Some(one) = state.running.iter().find(of_this_link) {
            // One at a time for each link; what an earlier trouble asked for will end soon.
            let same = Arc::ptr_eq(&one.slot, &asked.slot);
            return Err(if same { Kept::Pending } else { Kept::Budget });
        }
        if state.running.len() >= self.at_once || !self.budget.has(Instant::now()) {
            return Err(Kept::Budget);
        }
        let who = &asked.link.who;
        let (id, name, target) = (who.id, who.name.clone(), who.target.clone());
        let handle = Arc::new(Handle::new(Identity { id, name, target }));
        let (theirs, budget) = (Arc::clone(&handle), Arc::clone(&self.budget));
        let spared = Arc::clone(&self.spared);
        let (slot, asker) = (Arc::clone(&asked.slot), Arc::clone(&asked.link));
        let answered = Arc::clone(&slot);
        let body = move || {
            theirs.enter();
            exam::run(asked, &theirs, &budget, &spared);
            answered.finish();
            asker.wake(); // it may wait for nothing else any more
        };
        match spawn::spawn(&format!("keepbeat-why-{}", id.0), spawn::STACK, body) {
            Ok(thread) => {
                state.running.push(Running { handle, slot, thread });
                Ok(())
            }
            Err(error) => {
                debug!("no thread for side connections: {error}");
                Err(Kept::Budget)
            }
        }
    }

    /// Tells every thread to end; the threads that nobody waits for yet.
    pub(crate) fn stop(&self) -> Vec<(Arc<Handle>, Thread)> {
        let mut state = self.state();
        state.stopped = true;
        let running = std::mem::take(&mut state.running);
        running
            .into_iter()
            .map(|Running { handle, thread, .. }| {
                handle.stop();
                (handle, thread)
            })
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins those that are over.
fn reap(running: &mut Vec<Running>) {
    let (over, left): (Vec<_>, Vec<_>) =
        running.drain(..).partition(|running| running.thread.is_finished());
    *running = left;
    for running in over {
        let _ = running.thread.join(); // a panic in there is nobody's but its own
    }
}
