//! From a link's thread to the application: frames, in order, bounded. A slow reader makes
//! backpressure: what it has no room for waits here, and nothing more is read from the socket.

use std::collections::VecDeque;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::cause::Loss;
use crate::link::Received;

use super::outlet::Remains;

/// How soon a reader that had no room is looked at again: less and less often, while it takes
/// nothing.
const SOON: Duration = Duration::from_micros(500);
const LATE: Duration = Duration::from_millis(20);

pub(crate) struct Delivery {
    /// With one place more than the capacity, kept for the last word.
    frames: Sender<Received>,
    capacity: usize,
    /// A frame for which there was no room, and what happened to the connection after it.
    backlog: VecDeque<Received>,
    pause: Duration,
}

impl Delivery {
    pub(crate) fn new(capacity: usize) -> (Delivery, Receiver<Received>) {
        let capacity = capacity.max(1);
        let (frames, receiver) = bounded(capacity + 1);
        (Delivery { frames, capacity, backlog: VecDeque::new(), pause: SOON }, receiver)
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
            return;
        }
        self.push(Received::Lost { loss, in_doubt, unsent });
    }

    /// Hands on what there is room for.
    pub(super) fn pump(&mut self) {
        while self.frames.len() < self.capacity {
            let Some(item) = self.backlog.pop_front() else { return };
            self.pause = SOON;
            // Nobody else sends, so there is room; and a reader that has gone needs none.
            let _ = self.frames.try_send(item);
        }
    }

    /// How long to leave the reader alone, until it is looked at again.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LATE);
        pause
    }

    /// What waits and was never seen: for whoever takes the connection back.
    pub(super) fn take_frames(&mut self) -> Vec<Vec<u8>> {
        self.backlog.drain(..).filter_map(Received::into_frame).collect()
    }

    /// The last word of the link; there is a place for it.
    pub(super) fn close(&mut self, loss: Loss, remains: Remains) {
        self.push_lost(loss, remains);
        let last = self.backlog.pop_back();
        self.backlog.clear();
        if let Some(last) = last {
            let _ = self.frames.try_send(last); // a reader that has gone needs none
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Cause;

    fn frame(n: u8) -> Received {
        Received::Frame(vec![n])
    }

    #[test]
    fn a_slow_reader_gets_everything_in_order_and_connections_it_never_saw_are_one_change() {
        let (mut delivery, reader) = Delivery::new(1);
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
        let (mut delivery, reader) = Delivery::new(1);
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
        let (mut delivery, reader) = Delivery::new(2);
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
}
