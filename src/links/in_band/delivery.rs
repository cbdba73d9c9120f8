//! From a link's thread to the application: frames, in order, bounded. A slow reader makes
//! backpressure: what it has no room for waits here, and nothing more is read from the socket.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::cause::Loss;
use crate::event::LinkId;
use crate::links::out::readers::{Readers, Slow};
use crate::links::out::received::Received;
use crate::sys::Bell;

use super::outlet::Remains;
use crate::links::out::frame_queue::To;

/// How soon a reader that had no room is looked at again: less and less often, while it takes
/// nothing. After the last the coordinator's thread looks for all links at once.
const SOON: Duration = Duration::from_micros(500);
const LATE: Duration = Duration::from_millis(20);

pub(crate) struct Delivery {
    link: LinkId,
    to: Option<To>,
    bell: Arc<OnceLock<Bell>>,
    /// A frame for which there was no room, and what happened to the connection after it.
    backlog: VecDeque<Received>,
    pause: Duration,
    readers: Arc<Readers>,
    /// The coordinator's thread looks after the reader, and rings when it has room.
    looked_after: bool,
}

impl Delivery {
    pub(crate) fn new(link: LinkId, to: To, readers: Arc<Readers>) -> Delivery {
        let bell = match &to {
            To::Own { bell, .. } => Arc::clone(bell),
            To::Shared(_) => Arc::default(),
        };
        let (backlog, to) = (VecDeque::new(), Some(to));
        Delivery { link, to, bell, backlog, pause: SOON, readers, looked_after: false }
    }

    /// Whether something waits for the reader to make room.
    pub(super) fn is_blocked(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// In order, now or when there is room.
    pub(super) fn push(&mut self, item: Received) {
        let merged = match (self.backlog.back_mut(), &item) {
            // Connections that came and went unseen are one change.
            (Some(Received::Connected { connection }), Received::Connected { connection: new }) => {
                *connection = *new;
                true
            }
            _ => false,
        };
        if !merged {
            self.backlog.push_back(item);
        }
        self.pump();
    }

    /// A connection was lost. Where nobody has seen it yet, it is one loss with the one before, and
    /// what had come on it is lost with it: else a reader that has stopped would let them pile up.
    pub(super) fn push_lost(&mut self, loss: Loss, remains: Remains) {
        if let Some(item) = self.merge_lost(loss, remains) {
            self.push(item);
        }
    }

    fn merge_lost(&mut self, loss: Loss, remains: Remains) -> Option<Received> {
        let Remains { in_doubt, unsent } = remains;
        let is_lost = |item: &Received| matches!(item, Received::Lost { .. });
        if let Some(before) = self.backlog.iter().position(is_lost) {
            self.backlog.truncate(before + 1);
        }
        if let Some(Received::Lost { loss: last, in_doubt: before, unsent: waiting }) =
            self.backlog.back_mut()
        {
            *last = loss;
            // Numbers go on from where they were.
            *before = before.start..in_doubt.end;
            *waiting = unsent;
            return None;
        }
        Some(Received::Lost { loss, in_doubt, unsent })
    }

    /// Hands on what there is room for.
    pub(super) fn pump(&mut self) {
        let Some(to) = &self.to else { return };
        while to.has_room() {
            let Some(item) = self.backlog.pop_front() else { break };
            match to.offer(self.link, item) {
                Ok(()) => self.pause = SOON,
                Err(item) => {
                    self.backlog.push_front(item);
                    break;
                }
            }
        }
        if self.backlog.is_empty() {
            self.look_after_itself();
        }
    }

    fn look_after_itself(&mut self) {
        if std::mem::take(&mut self.looked_after) {
            self.readers.forget(self.link);
        }
    }

    /// How long to leave the reader alone, until it is looked at again; none if `bell` rings then.
    pub(super) fn pause(&mut self, bell: &Arc<Bell>) -> Option<Duration> {
        let pause = self.pause;
        if pause < LATE {
            self.pause = pause * 2;
            return Some(pause);
        }
        let to = self.to.as_ref()?;
        // Also if it was: what rang may have been something else, or the room was taken by others.
        self.looked_after = true;
        let slow = Slow { link: self.link, to: to.clone(), bell: Arc::clone(bell) };
        self.readers.look_after(slow);
        None
    }

    /// What waits and was never seen: for whoever takes the connection back.
    pub(super) fn take_frames(&mut self) -> Vec<Vec<u8>> {
        self.backlog.drain(..).filter_map(Received::into_frame).collect()
    }

    /// The last word of the link. In its own queue there is a place for it; where others fill the
    /// queue, too, it is handed on as soon as there is room.
    pub(super) fn close(&mut self, loss: Loss, remains: Remains) {
        let merged = self.merge_lost(loss, remains);
        self.backlog.extend(merged);
        self.pump();
        self.look_after_itself();
        let (Some(to), last) = (self.to.take(), self.backlog.pop_back()) else { return };
        self.backlog.clear();
        if let Some(Err(last)) = last.map(|last| to.offer(self.link, last)) {
            self.readers.part(self.link, to, last);
            return;
        }
        drop(to); // the queue ends here: whoever waits for it is told
        self.bell.get().into_iter().for_each(Bell::ring);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.look_after_itself();
        drop(self.to.take());
        self.bell.get().into_iter().for_each(Bell::ring);
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, bounded};

    use super::*;
    use crate::cause::Cause;

    fn frame(n: u8) -> Received {
        Received::Frame(vec![n])
    }

    fn own(capacity: usize) -> (Delivery, Receiver<Received>) {
        let (to, reader) = To::own(capacity, Arc::default());
        (Delivery::new(LinkId(1), to, Arc::default()), reader)
    }

    #[test]
    fn a_slow_reader_gets_everything_in_order_and_connections_it_never_saw_are_one_change() {
        let (mut delivery, reader) = own(1);
        delivery.push(frame(1));
        assert!(!delivery.is_blocked());
        delivery.push(frame(2));
        assert!(delivery.is_blocked());
        for n in 1..1000 {
            let remains = Remains { in_doubt: n..n + 1, unsent: n + 1..n + 3 };
            delivery.push_lost(Cause::Reset.into(), remains);
            delivery.push(Received::Connected { connection: n + 1 });
        }
        assert_eq!(delivery.backlog.len(), 3, "it does not grow");
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(reader.recv().unwrap());
            delivery.pump();
        }
        let lost =
            Received::Lost { loss: Cause::Reset.into(), in_doubt: 1..1000, unsent: 1000..1002 };
        assert_eq!(seen, [frame(1), frame(2), lost, Received::Connected { connection: 1000 }]);
    }

    #[test]
    fn frames_of_connections_that_nobody_saw_do_not_pile_up_and_no_doubt_is_forgotten() {
        let (mut delivery, reader) = own(1);
        delivery.push(frame(1));
        delivery.push(frame(2));
        for n in 1..1000 {
            delivery.push_lost(Cause::Reset.into(), Remains { in_doubt: n..n + 1, unsent: 0..0 });
            delivery.push(Received::Connected { connection: n + 1 });
            delivery.push(frame(3)); // a greeting, which comes with the login
            assert!(delivery.backlog.len() <= 4, "it grows: {}", delivery.backlog.len());
        }
        let last = Remains { in_doubt: 1000..1001, unsent: 1001..1001 };
        delivery.close(Cause::Stopped.into(), last);
        drop(delivery);
        let told = reader.iter().last();
        assert!(
            matches!(&told, Some(Received::Lost { in_doubt, .. }) if *in_doubt == (1..1001)),
            "{told:?}"
        );
    }

    #[test]
    fn the_last_word_has_a_place_though_nobody_reads() {
        let (mut delivery, reader) = own(2);
        for n in 0..3 {
            delivery.push(frame(n));
        }
        delivery.close(Cause::ClosedByPeer.into(), Remains::default());
        drop(delivery);
        let all: Vec<_> = reader.iter().collect();
        assert_eq!(all.len(), 3);
        assert!(
            matches!(&all[2], Received::Lost { loss, .. } if loss.cause == Cause::ClosedByPeer)
        );
    }

    #[test]
    fn in_a_queue_of_many_links_the_last_word_comes_when_there_is_room() {
        let readers = Arc::<Readers>::default();
        let (frames, reader) = bounded(1);
        let mut all = [1, 2]
            .map(|n| Delivery::new(LinkId(n), To::Shared(frames.clone()), Arc::clone(&readers)));
        drop(frames);
        all[0].push(frame(1));
        all[1].push(frame(2)); // no room any more
        assert!(all[1].is_blocked());
        for delivery in &mut all {
            delivery.close(Cause::ClosedByPeer.into(), Remains::default());
        }
        drop(all);
        let mut seen = vec![reader.recv().unwrap()];
        while readers.look() {
            seen.extend(reader.try_iter());
        }
        seen.extend(reader.try_iter());
        let lost = |item: &(LinkId, Received)| matches!(item.1, Received::Lost { .. });
        assert_eq!((seen.len(), seen[0].clone()), (3, (LinkId(1), frame(1))));
        assert!(lost(&seen[1]) && lost(&seen[2]) && seen[1].0 != seen[2].0, "{seen:?}");
        assert!(reader.recv().is_err(), "nobody holds the queue any more");
    }

    #[test]
    fn a_reader_that_takes_nothing_is_soon_left_alone_and_looked_after_by_another() {
        let readers = Arc::<Readers>::default();
        let (to, reader) = To::own(1, Arc::default());
        let mut delivery = Delivery::new(LinkId(7), to, Arc::clone(&readers));
        let bell = Arc::new(Bell::new().unwrap());
        delivery.push(frame(1));
        delivery.push(frame(2));
        let pauses = std::iter::from_fn(|| delivery.pause(&bell)).count();
        assert!((3..20).contains(&pauses), "{pauses}");
        let rings = || crate::sys::wait_readable(&*bell, Some(Duration::ZERO)).unwrap();
        assert!(readers.look() && rings() == crate::sys::Ready::TimedOut);
        reader.recv().unwrap();
        assert!(!readers.look() && rings() == crate::sys::Ready::Yes);
        delivery.pump();
        assert_eq!(reader.recv(), Ok(frame(2)));
        drop(delivery);
        assert!(reader.recv().is_err());
    }
}
