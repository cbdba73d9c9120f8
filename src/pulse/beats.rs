//! The beats that still wait for an ack. Acks without a number match them in order, because TCP
//! keeps order; so a late ack never counts for the next beat.

use std::collections::VecDeque;
use std::time::Instant;

/// A beat on its way, or missed and still to be acked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Beat {
    pub(super) seq: u64,
    pub(super) sent: Instant,
}

#[derive(Debug)]
pub(super) struct Beats {
    last: u64,
    most: usize,
    outstanding: VecDeque<Beat>,
}

impl Beats {
    /// Room for so many at once is made here, so that no beat allocates.
    pub(super) fn new(most: usize) -> Beats {
        Beats { last: 0, most, outstanding: VecDeque::with_capacity(most) }
    }

    /// The next beat, counted from 1 over the whole life of the link.
    pub(super) fn send(&mut self, now: Instant) -> u64 {
        // Only numbered acks leave beats behind that were overtaken; the oldest is given up then.
        if self.outstanding.len() == self.most {
            self.outstanding.pop_front();
        }
        self.last += 1;
        self.outstanding.push_back(Beat { seq: self.last, sent: now });
        self.last
    }

    /// The beat went out only now.
    pub(super) fn sent(&mut self, seq: u64, now: Instant) {
        if let Some(beat) = self.outstanding.back_mut().filter(|beat| beat.seq == seq) {
            beat.sent = now;
        }
    }

    /// The beat that this ack answers, or none: then the peer said more than it was asked. A
    /// numbered ack may overtake: a peer may answer from several threads.
    pub(super) fn ack(&mut self, seq: Option<u64>) -> Option<Beat> {
        let Some(seq) = seq else { return self.outstanding.pop_front() };
        let at = self.outstanding.iter().position(|beat| beat.seq == seq)?;
        self.outstanding.remove(at)
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// The connection is gone, and with it every ack.
    pub(super) fn clear(&mut self) {
        self.outstanding.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_without_a_number_match_in_order() {
        let now = Instant::now();
        let mut beats = Beats::new(4);
        assert_eq!((beats.send(now), beats.send(now)), (1, 2));
        assert_eq!(beats.ack(None).map(|b| b.seq), Some(1));
        assert_eq!(beats.ack(None).map(|b| b.seq), Some(2));
        assert_eq!(beats.ack(None), None);
    }

    #[test]
    fn a_numbered_ack_names_its_beat_and_may_overtake() {
        let now = Instant::now();
        let mut beats = Beats::new(4);
        for _ in 0..3 {
            beats.send(now);
        }
        assert_eq!(beats.ack(Some(2)).map(|b| b.seq), Some(2));
        assert_eq!(beats.ack(Some(2)), None, "twice");
        assert_eq!(beats.ack(Some(1)).map(|b| b.seq), Some(1), "overtaken, and late");
        assert_eq!(beats.ack(Some(4)), None, "never sent");
        assert_eq!(beats.outstanding(), 1);
        for _ in 0..10 {
            beats.send(now);
        }
        assert_eq!(beats.outstanding(), 4, "what was never acked is given up in the end");
    }
}
