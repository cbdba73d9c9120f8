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

/// What an ack answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Acked {
    Beat(Beat),
    /// A beat so old that it is no longer kept.
    GivenUp,
    /// None: the peer said more than it was asked.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Beats {
    last: u64,
    /// Beats that were never acked and are no longer kept.
    given_up: u64,
    most: usize,
    outstanding: VecDeque<Beat>,
}

impl Beats {
    /// Room for so many at once is made here, so that no beat allocates.
    pub(super) fn new(most: usize) -> Beats {
        Beats { last: 0, given_up: 0, most, outstanding: VecDeque::with_capacity(most) }
    }

    /// At least so many may wait from here on.
    pub(super) fn make_room(&mut self, most: usize) {
        self.most = self.most.max(most);
        self.outstanding.reserve(self.most - self.outstanding.len());
    }

    /// The next beat, counted from 1 over the whole life of the link.
    pub(super) fn send(&mut self, now: Instant) -> u64 {
        // Numbered acks leave beats behind that were overtaken, and on a connection that stays
        // beats go on after the fall. The oldest is given up then.
        if self.outstanding.len() == self.most {
            self.outstanding.pop_front();
            self.given_up += 1;
        }
        self.last += 1;
        self.outstanding.push_back(Beat { seq: self.last, sent: now });
        self.last
    }

    /// The last beat goes out once more: what it went out on has ended before it was answered.
    pub(super) fn again(&mut self, now: Instant) -> u64 {
        self.outstanding.push_back(Beat { seq: self.last, sent: now });
        self.last
    }

    /// The beat went out only now.
    pub(super) fn sent(&mut self, seq: u64, now: Instant) {
        if let Some(beat) = self.outstanding.back_mut().filter(|beat| beat.seq == seq) {
            beat.sent = now;
        }
    }

    /// The beat never went out: nothing will answer it.
    pub(super) fn skipped(&mut self, seq: u64) {
        self.outstanding.retain(|beat| beat.seq != seq);
    }

    /// When the latest beat was sent, while its ack may still come.
    pub(super) fn latest(&self) -> Option<Instant> {
        self.outstanding.back().map(|beat| beat.sent)
    }

    /// The beat that this ack answers. A numbered ack may overtake: a peer may answer from several
    /// threads.
    pub(super) fn ack(&mut self, seq: Option<u64>) -> Acked {
        let at = match seq {
            // In order, so those that were given up come first.
            None if self.given_up > 0 => None,
            None => Some(0),
            Some(seq) => self.outstanding.iter().position(|beat| beat.seq == seq),
        };
        if let Some(beat) = at.and_then(|at| self.outstanding.remove(at)) {
            return Acked::Beat(beat);
        }
        let old = |seq| self.outstanding.front().is_none_or(|first| seq < first.seq);
        if self.given_up > 0 && seq.is_none_or(|seq| seq <= self.last && old(seq)) {
            self.given_up -= 1;
            return Acked::GivenUp;
        }
        Acked::Unknown
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// The connection is gone, and with it every ack.
    pub(super) fn clear(&mut self) {
        self.given_up = 0;
        self.outstanding.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(acked: Acked) -> Option<u64> {
        match acked {
            Acked::Beat(beat) => Some(beat.seq),
            Acked::GivenUp => Some(0),
            Acked::Unknown => None,
        }
    }

    #[test]
    fn beats_that_were_given_up_take_their_acks_with_them() {
        let now = Instant::now();
        let mut beats = Beats::new(2);
        for _ in 0..5 {
            beats.send(now);
        }
        let acked: Vec<_> = (0..6).map(|_| seq(beats.ack(None))).collect();
        assert_eq!(acked, [Some(0), Some(0), Some(0), Some(4), Some(5), None]);
        for _ in 0..3 {
            beats.send(now);
        }
        assert_eq!(seq(beats.ack(Some(6))), Some(0), "numbered, and old");
        assert_eq!(seq(beats.ack(Some(6))), None);
        assert_eq!(seq(beats.ack(Some(9))), None, "never sent");
        beats.send(now);
        beats.clear();
        assert_eq!(seq(beats.ack(None)), None, "with the connection went every ack");
    }

    #[test]
    fn acks_without_a_number_match_in_order() {
        let now = Instant::now();
        let mut beats = Beats::new(4);
        assert_eq!((beats.send(now), beats.send(now)), (1, 2));
        assert_eq!(seq(beats.ack(None)), Some(1));
        assert_eq!(seq(beats.ack(None)), Some(2));
        assert_eq!(seq(beats.ack(None)), None);
    }

    #[test]
    fn a_numbered_ack_names_its_beat_and_may_overtake() {
        let now = Instant::now();
        let mut beats = Beats::new(4);
        for _ in 0..3 {
            beats.send(now);
        }
        assert_eq!(seq(beats.ack(Some(2))), Some(2));
        assert_eq!(seq(beats.ack(Some(2))), None, "twice");
        assert_eq!(seq(beats.ack(Some(1))), Some(1), "overtaken, and late");
        assert_eq!(seq(beats.ack(Some(4))), None, "never sent");
        assert_eq!(beats.outstanding(), 1);
        for _ in 0..10 {
            beats.send(now);
        }
        assert_eq!(beats.outstanding(), 4, "what was never acked is given up in the end");
    }
}
