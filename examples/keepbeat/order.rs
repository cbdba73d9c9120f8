//! Puts events in the order of their times. Links that do something at the same time hand their
//! events over in any order, so each event is held for a moment.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant, SystemTime};

/// Usually longer than a thread waits for the processor between stamping an event and sending it.
const HOLD: Duration = Duration::from_millis(50);

/// An event, and when it came here. The wall clock may be set meanwhile.
struct Held<T> {
    time: SystemTime,
    came: Instant,
    item: T,
}

pub struct Order<K, T> {
    held: Vec<Held<T>>,
    /// The time of the last event of each link: events of one link keep their order.
    last: HashMap<K, SystemTime>,
}

impl<K: Eq + Hash, T> Order<K, T> {
    pub fn new() -> Order<K, T> {
        Order { held: Vec::new(), last: HashMap::new() }
    }

    pub fn push(&mut self, link: K, time: SystemTime, item: T, now: Instant) {
        let last = self.last.entry(link).or_insert(time);
        // A clock that was set back by a second or more is followed; by less it is not.
        let stays = last.duration_since(time).is_ok_and(|back| back < Duration::from_secs(1));
        *last = if stays { *last } else { time };
        self.held.push(Held { time: *last, came: now, item });
    }

    /// When the next event has been held long enough.
    pub fn due(&self) -> Option<Instant> {
        self.held.iter().map(|held| held.came).min().map(|came| came + HOLD)
    }

    /// The events that were held long enough, and all before them, in order.
    pub fn take(&mut self, now: Instant, all: bool) -> Vec<T> {
        self.held.sort_by_key(|held| held.time);
        let ripe = |held: &Held<T>| all || now.saturating_duration_since(held.came) >= HOLD;
        let n = self.held.iter().rposition(ripe).map_or(0, |last| last + 1);
        self.held.drain(..n).map(|held| held.item).collect()
    }
}
