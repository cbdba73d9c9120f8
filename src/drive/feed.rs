//! From link threads to the coordinator's thread: one bounded queue that keeps order, and a bell.
//!
//! Waking a sleeping thread for each beat would cost a link a fourth system call. So beats only lie
//! in the queue, and the coordinator's thread looks every 20 to 250 ms; whatever changes something
//! rings the bell as well. A link never waits here: where the queue is full the event is dropped
//! and counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::event::{Event, LinkId};

/// A quarter of a second of 16,000 beats a second; half a megabyte.
const CAPACITY: usize = 4096;

#[derive(Debug)]
pub(crate) struct Feed {
    events: Sender<Event>,
    bell: Sender<()>,
    lost: AtomicU64,
    /// Links whose threads have come to their end and can be joined.
    ended: Mutex<Vec<LinkId>>,
    /// Links whose threads run: while there are none, nobody need look.
    pub(crate) links: AtomicUsize,
}

impl Feed {
    pub(crate) fn new() -> (Feed, Receiver<Event>, Receiver<()>) {
        let (events, reports) = bounded(CAPACITY);
        let (bell, rung) = bounded(1);
        let (lost, ended, links) = (AtomicU64::new(0), Mutex::default(), AtomicUsize::new(0));
        (Feed { events, bell, lost, ended, links }, reports, rung)
    }

    pub(crate) fn push(&self, event: Event, urgent: bool) {
        match self.events.try_send(event) {
            Ok(()) if !urgent && self.events.len() < CAPACITY / 2 => return,
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.ring();
    }

    /// How to wake the coordinator's thread, for whoever has no feed.
    pub(crate) fn bell(&self) -> Sender<()> {
        self.bell.clone()
    }

    /// Wakes the coordinator's thread. A bell that has been rung already is enough.
    pub(crate) fn ring(&self) {
        let _ = self.bell.try_send(());
    }

    /// The last deed of a link's thread.
    pub(crate) fn leave(&self, link: LinkId) {
        self.links.fetch_sub(1, Ordering::SeqCst);
        self.is_over(link);
    }

    /// A link may be over: its thread ended, or the application let go of it.
    pub(crate) fn is_over(&self, link: LinkId) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        self.ring();
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
