//! From link threads to the coordinator's thread: one bounded queue that keeps order, and a knock.
//!
//! Waking a sleeping thread for each beat would cost a link a fourth system call. So beats only lie
//! in the queue, and the coordinator's thread looks every 100 to 250 ms; whatever changes something
//! knocks as well. A link never waits here: where the queue is full the event is dropped and
//! counted.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::event::{Event, LinkId};

/// A quarter of a second of 16,000 beats a second; half a megabyte.
const CAPACITY: usize = 4096;

/// Wakes the coordinator's thread. Many knocks before it looks are one.
///
/// In the place of a channel, whose receiver yields the processor several times before it sleeps:
/// at a thousand beats a second that was a tenth of all context switches.
#[derive(Debug, Default)]
pub(crate) struct Knock {
    is_new: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Knock {
    /// Never blocks.
    pub(crate) fn knock(&self) {
        if !self.is_new.swap(true, Ordering::SeqCst) {
            // Before the thread has come to run, it looks at the flag first.
            self.thread.get().into_iter().for_each(Thread::unpark);
        }
    }

    /// For the coordinator's thread alone: waits for a knock, so long at most.
    pub(crate) fn wait(&self, most: Option<Duration>) {
        self.thread.get_or_init(thread::current);
        let until = most.map(|most| Instant::now() + most);
        while !self.is_new.swap(false, Ordering::SeqCst) {
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return,
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Feed {
    events: Sender<Event>,
    pub(crate) knock: Arc<Knock>,
    lost: AtomicU64,
    /// Links whose threads have come to their end and can be joined.
    ended: Mutex<Vec<LinkId>>,
    /// Links whose threads run: while there are none, nobody need look.
    pub(crate) links: AtomicUsize,
}

impl Feed {
    pub(crate) fn new() -> (Feed, Receiver<Event>) {
        let (events, reports) = bounded(CAPACITY);
        let (lost, ended, links) = (AtomicU64::new(0), Mutex::default(), AtomicUsize::new(0));
        (Feed { events, knock: Arc::default(), lost, ended, links }, reports)
    }

    pub(crate) fn push(&self, event: Event, urgent: bool) {
        match self.events.try_send(event) {
            Ok(()) if !urgent && self.events.len() < CAPACITY / 2 => return,
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.knock.knock();
    }

    /// The last deed of a link's thread.
    pub(crate) fn leave(&self, link: LinkId) {
        self.links.fetch_sub(1, Ordering::SeqCst);
        self.is_over(link);
    }

    /// A link may be over: its thread ended, or the application let go of it.
    pub(crate) fn is_over(&self, link: LinkId) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        self.knock.knock();
    }

    /// Links that have left since this was last asked.
    pub(crate) fn take_ended(&self) -> Vec<LinkId> {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many events were lost since this was last asked.
    pub(crate) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knock_is_kept_for_whoever_waits_later_and_many_are_one() {
        let knock = Knock::default();
        knock.knock();
        knock.knock();
        knock.wait(None); // would wait for ever
        let (start, short) = (Instant::now(), Duration::from_millis(5));
        knock.wait(Some(short));
        assert!(start.elapsed() >= short, "the second knock was the same");
    }

    #[test]
    fn a_knock_wakes_who_waits() {
        let knock = Arc::new(Knock::default());
        let waits = Arc::clone(&knock);
        let waiting = thread::spawn(move || waits.wait(None));
        while knock.thread.get().is_none() {
            thread::yield_now();
        }
        knock.knock();
        waiting.join().unwrap();
    }
}
