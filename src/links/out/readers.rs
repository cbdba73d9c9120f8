//! Readers that take nothing: looked after by the coordinator's thread for all links at once, so
//! that none of the links wakes for it. Also the last words of links for which there was no room.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::LinkId;
use crate::links::out::feed::Knock;
use crate::links::out::frame_queue::To;
use crate::links::out::received::Received;
use crate::sys::Bell;

/// A link whose reader has no room.
pub(crate) struct Slow {
    pub(crate) link: LinkId,
    pub(crate) to: To,
    /// Wakes the link.
    pub(crate) bell: Arc<Bell>,
}

/// Held for some nanoseconds a link, by links and by the coordinator's thread; nothing is waited
/// for under it.
#[derive(Default)]
pub(crate) struct Readers {
    lists: Mutex<Lists>,
    /// Something is on the lists.
    wanted: AtomicBool,
    /// Wakes the thread that looks.
    knock: Arc<Knock>,
}

#[derive(Default)]
struct Lists {
    slow: Vec<Slow>,
    parted: Vec<(LinkId, To, Received)>,
}

impl Readers {
    pub(crate) fn new(knock: Arc<Knock>) -> Readers {
        Readers { knock, ..Readers::default() }
    }

    /// From here on they are looked at.
    fn want(&self) {
        if !self.wanted.swap(true, Ordering::SeqCst) {
            self.knock.knock();
        }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings for the link as soon as its reader has room.
    pub(crate) fn look_after(&self, slow: Slow) {
        let mut lists = self.lists();
        lists.slow.retain(|other| other.link != slow.link);
        lists.slow.push(slow);
        self.want();
    }

    /// The link looks after its reader itself, or is over.
    pub(crate) fn forget(&self, link: LinkId) {
        self.lists().slow.retain(|slow| slow.link != link);
    }

    /// The link is over, and this is still to be told.
    pub(crate) fn part(&self, link: LinkId, to: To, last: Received) {
        let mut lists = self.lists();
        lists.parted.push((link, to, last));
        self.want();
    }

    /// Rings where there is room by now. True while somebody is left to be looked after.
    pub(crate) fn look(&self) -> bool {
        if !self.wanted.load(Ordering::SeqCst) {
            return false;
        }
        let mut lists = self.lists();
        lists.slow.retain(|slow| {
            let room = slow.to.has_room();
            if room {
                slow.bell.ring();
            }
            !room
        });
        let parted = std::mem::take(&mut lists.parted);
        lists.parted = parted
            .into_iter()
            .filter_map(|(link, to, last)| {
                let left = to.offer(link, last).err()?;
                Some((link, to, left))
            })
            .collect();
        let left = !lists.slow.is_empty() || !lists.parted.is_empty();
        self.wanted.store(left, Ordering::SeqCst); // under the lock, as it is set
        left
    }
}
