//! From the coordinator's thread to the user: bounded queues. A slow reader loses the newest events
//! of its own queue, is told how many, and holds up nobody.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::event::{Event, EventKind};

#[derive(Debug)]
struct Queue {
    events: Sender<Event>,
    lost: u64,
}

impl Queue {
    /// False when nobody will read any more.
    fn offer(&mut self, event: Event) -> bool {
        if !self.tell_lost() {
            self.lost += 1;
            return true;
        }
        match self.events.try_send(event) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.lost += 1;
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    /// Puts the count of lost events where they are missing. False while there is no room for it.
    fn tell_lost(&mut self) -> bool {
        if self.lost > 0 {
            let kind = EventKind::Lost { count: self.lost };
            let event = Event { time: SystemTime::now(), link: None, peer: None, kind };
            if matches!(self.events.try_send(event), Err(TrySendError::Full(_))) {
                return false;
            }
            self.lost = 0;
        }
        true
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
        let (events, receiver) = bounded(capacity.max(1));
        let mut list = self.list();
        if !list.closed {
            list.queues.push(Queue { events, lost: 0 });
        }
        receiver
    }

    /// A copy to each.
    pub(crate) fn deliver(&self, events: impl Iterator<Item = Event>, lost_before: u64) {
        let mut list = self.list();
        for queue in &mut list.queues {
            queue.lost += lost_before;
        }
        for event in events {
            list.queues.retain_mut(|queue| queue.offer(event.clone()));
        }
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
        list.queues.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let kind = EventKind::Ended;
        Event { time: SystemTime::now(), link: None, peer: None, kind }
    }

    #[test]
    fn what_is_lost_is_counted_where_it_is_missing() {
        let queues = Queues::default();
        let (slow, fast) = (queues.add(2), queues.add(100));
        queues.deliver((0..10).map(|_| event()), 0);
        assert_eq!(fast.len(), 10);
        assert!(queues.tell_lost(), "the slow one has no room to be told");
        let read: Vec<_> = slow.try_iter().collect();
        assert_eq!(read.len(), 2);
        assert!(!queues.tell_lost());
        assert_eq!(slow.recv().unwrap().kind(), &EventKind::Lost { count: 8 });
        queues.deliver(std::iter::once(event()), 5);
        assert_eq!(slow.recv().unwrap().kind(), &EventKind::Lost { count: 5 });
        assert_eq!(slow.recv().unwrap().kind(), &EventKind::Ended);
    }

    #[test]
    fn a_reader_that_is_gone_is_forgotten_and_after_the_end_there_is_only_the_end() {
        let queues = Queues::default();
        drop(queues.add(1));
        let kept = queues.add(1);
        queues.deliver(std::iter::once(event()), 0);
        assert_eq!(queues.list().queues.len(), 1);
        queues.close();
        assert!(kept.recv().is_ok() && kept.recv().is_err());
        assert!(queues.add(1).recv().is_err());
    }
}
