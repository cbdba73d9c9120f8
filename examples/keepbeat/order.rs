//! Events in the order of their times. Each is stamped on the thread of its link, and links that do
//! something at the same time hand it on in any order: so each is held for a moment.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant, SystemTime};

/// Longer than a thread is put aside between stamping an event and handing it on, as a rule.
const HOLD: Duration = Duration::from_millis(50);

/// An event, and when it came here: the clock on the wall may be set meanwhile.
struct Held<T> {
    time: SystemTime,
    came: Instant,
    item: T,
}

pub struct Order<K, T> {
    held: Vec<Held<T>>,
    /// The time of the last event of each link: those of one link stay as they came.
    last: HashMap<K, SystemTime>,
}

impl<K: Eq + Hash, T> Order<K, T> {
    pub fn new() -> Order<K, T> {
        Order { held: Vec::new(), last: HashMap::new() }
    }

    pub fn push(&mut self, link: K, time: SystemTime, item: T, now: Instant) {
        let last = self.last.entry(link).or_insert(time);
        // A clock that was set back for long is followed; for a moment it is not.
        let stays = last.duration_since(time).is_ok_and(|back| back < Duration::from_secs(1));
        *last = if stays { *last } else { time };
        self.held.push(Held { time: *last, came: now, item });
    }

    /// When the next one has been held for long enough.
    pub fn due(&self) -> Option<Instant> {
        self.held.iter().map(|held| held.came).min().map(|came| came + HOLD)
    }

    /// Those that have been held for long enough and all before them, in their order.
    pub fn take(&mut self, now: Instant, all: bool) -> Vec<T> {
        self.held.sort_by_key(|held| held.time);
        let ripe = |held: &Held<T>| all || now.saturating_duration_since(held.came) >= HOLD;
        let n = self.held.iter().rposition(ripe).map_or(0, |last| last + 1);
        self.held.drain(..n).map(|held| held.item).collect()
    }
}
