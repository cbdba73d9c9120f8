//! From the coordinator's thread to the user: bounded queues. A slow reader loses the newest events
//! of its own queue, is told how many, and holds up nobody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::event::{Event, EventKind};
use crate::sys::Bell;

#[derive(Debug)]
struct Queue {
    /// With one place more than its capacity, kept for the count of what was lost at the end.
    events: Sender<Event>,
    capacity: usize,
    lost: u64,
    /// Rung after each batch of events, and after the end.
    bell: Option<Arc<Bell>>,
}

impl Queue {
    /// False when nobody will read any more.
    fn offer(&mut self, event: Event) -> bool {
        if !self.tell_lost() || !self.has_room() {
            self.lost += 1;
            return true;
        }
        // Nobody else sends, so there is room still.
        self.events.try_send(event).is_ok()
    }

    /// All of them, and then the bell: whoever waits is woken once. False when nobody will read any
    /// more.
    fn offer_all(&mut self, events: impl Iterator<Item = Event>, lost_after: u64) -> bool {
        let mut is_read = true;
        let mut is_empty = true;
        for event in events {
            is_empty = false;
            is_read = is_read && self.offer(event);
        }
        self.lost += lost_after;
        if !is_empty {
            self.ring();
        }
        is_read
    }

    fn ring(&self) {
        self.bell.iter().for_each(|bell| bell.ring());
    }

    fn has_room(&self) -> bool {
        self.events.len() < self.capacity
    }

    /// Puts the count of lost events where they are missing. False while there is no room for it.
    fn tell_lost(&mut self) -> bool {
        let told = self.lost == 0 || self.has_room();
        if told {
            self.tell_lost_at_last();
        }
        told
    }

    /// The same, in the place that is kept for it.
    fn tell_lost_at_last(&mut self) {
        if self.lost > 0 {
            let kind = EventKind::Overflowed { count: self.lost };
            let event =
                Event { time: SystemTime::now(), link: None, peer: None, certificate: None, kind };
            // Full is impossible; a reader that has gone need not know.
            let _ = self.events.try_send(event);
            self.ring();
            self.lost = 0;
        }
    }
}

#[derive(Debug, Default)]
struct List {
    queues: Vec<Queue>,
    closed: bool,
}

/// All queues. The lock is held by the coordinator's thread while it hands events out, which never
/// blocks, and by `subscribe`.
#[derive(Debug, Default)]
pub(crate) struct Queues(Mutex<List>);

impl Queues {
    fn list(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more reader. After the end it reads nothing but the end.
    pub(crate) fn add(&self, capacity: usize) -> Receiver<Event> {
        self.add_with(capacity, None)
    }

    /// The same with a bell.
    pub(crate) fn add_with(&self, capacity: usize, bell: Option<Arc<Bell>>) -> Receiver<Event> {
        let capacity = capacity.max(1);
        let (events, receiver) = bounded(capacity + 1);
        let mut list = self.list();
        if !list.closed {
            list.queues.push(Queue { events, capacity, lost: 0, bell });
        } else {
            drop(events);
            bell.iter().for_each(|bell| bell.ring());
        }
        receiver
    }

    /// A copy to each, and the events themselves to the last. `lost_after` more are missing behind
    /// them.
    ///
    /// A queue gets its batch in one go, because a reader that is woken by its first event is to
    /// find the others: one that were faster than they come would be woken for each.
    pub(crate) fn deliver(&self, batch: &mut Vec<Event>, lost_after: u64) {
        let mut list = self.list();
        let mut left = list.queues.len();
        list.queues.retain_mut(|queue| {
            left -= 1;
            match left {
                0 => queue.offer_all(batch.drain(..), lost_after),
                _ => queue.offer_all(batch.iter().cloned(), lost_after),
            }
        });
        batch.clear();
    }

    /// Tells what was lost to whoever has room by now. True while somebody has not.
    pub(crate) fn tell_lost(&self) -> bool {
        // All are asked, also after the first that has no room.
        let mut owed = false;
        for queue in &mut self.list().queues {
            owed |= !queue.tell_lost();
        }
        owed
    }

    /// Readers read what is left, then the end.
    pub(crate) fn close(&self) {
        let mut list = self.list();
        list.closed = true;
        for mut queue in list.queues.drain(..) {
            queue.tell_lost_at_last();
            let bell = queue.bell.take();
            drop(queue);
            bell.iter().for_each(|bell| bell.ring());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: usize) -> Vec<Event> {
        let (time, kind) = (SystemTime::now(), EventKind::Ended);
        vec![Event { time, link: None, peer: None, certificate: None, kind }; count]
    }

    #[test]
    fn a_bell_is_rung_once_for_a_batch_and_not_for_none() {
        let (queues, bell) = (Queues::default(), Arc::new(Bell::new().unwrap()));
        let queue = queues.add_with(100, Some(Arc::clone(&bell)));
        let _other = queues.add(100);
        for batch in [50, 0, 3] {
            queues.deliver(&mut events(batch), 0);
            assert_eq!(bell.clear(), u64::from(batch > 0), "a batch of {batch}");
        }
        assert_eq!(queue.len(), 53);
    }

    #[test]
    fn what_is_lost_is_counted_where_it_is_missing() {
        let queues = Queues::default();
        let (slow, fast) = (queues.add(2), queues.add(100));
        queues.deliver(&mut events(10), 0);
        assert_eq!(fast.len(), 10);
        assert!(queues.tell_lost(), "the slow one has no room to be told");
        let read: Vec<_> = slow.try_iter().collect();
        assert_eq!(read.len(), 2);
        assert!(!queues.tell_lost());
        assert_eq!(slow.recv().unwrap().kind(), &EventKind::Overflowed { count: 8 });
        queues.deliver(&mut events(1), 5);
        queues.tell_lost();
        assert_eq!(slow.recv().unwrap().kind(), &EventKind::Ended);
        assert_eq!(slow.recv().unwrap().kind(), &EventKind::Overflowed { count: 5 });
    }

    #[test]
    fn what_is_lost_is_told_at_the_end_though_the_queue_is_full() {
        let queues = Queues::default();
        let slow = queues.add(2);
        queues.deliver(&mut events(25), 0);
        assert_eq!(slow.len(), 2);
        queues.close();
        let kinds: Vec<_> = slow.iter().map(|event| event.kind().clone()).collect();
        assert_eq!(
            kinds,
            [EventKind::Ended, EventKind::Ended, EventKind::Overflowed { count: 23 }]
        );
    }

    #[test]
    fn a_reader_that_is_gone_is_forgotten_and_after_the_end_there_is_only_the_end() {
        let queues = Queues::default();
        drop(queues.add(1));
        let kept = queues.add(1);
        queues.deliver(&mut events(1), 0);
        assert_eq!(queues.list().queues.len(), 1);
        queues.close();
        assert!(kept.recv().is_ok() && kept.recv().is_err());
        assert!(queues.add(1).recv().is_err());
    }
}
