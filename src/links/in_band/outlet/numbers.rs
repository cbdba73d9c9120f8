//! Frames are numbered in the order in which they go out, from 1: which of them the peer has read,
//! and what is known of the rest when a connection ends.

use std::collections::VecDeque;
use std::ops::Range;

/// Beats whose acks may still prove something.
const MOST_BEATS: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Taken from the application: written, or in the queue.
    pub(super) accepted: u64,
    /// Handed to the kernel, or begun, or about to be.
    pub(super) written: u64,
    /// The last frame that the peer is known to have read.
    read: u64,
    /// What became of frames up to here was told with the end of their connection.
    told: u64,
    /// The beats on their way, each with the number of the last frame before it.
    beats: VecDeque<(u64, u64)>,
}

impl Numbers {
    /// A beat goes behind all that was written. A frame that somebody is writing now goes before
    /// it, and is counted once it is out.
    pub(super) fn on_beat(&mut self, seq: u64) {
        if self.beats.len() == MOST_BEATS {
            self.beats.pop_front();
        }
        self.beats.push_back((seq, self.written));
    }

    /// The last beat goes out behind every frame that was written so far.
    pub(super) fn move_beat_behind_written(&mut self) {
        if let Some((_, before)) = self.beats.back_mut() {
            *before = self.written;
        }
    }

    /// The peer acked this beat, and so has read every frame before it.
    pub(super) fn on_ack(&mut self, seq: u64) {
        while let Some((beat, written)) = self.beats.front().copied().filter(|b| b.0 <= seq) {
            self.beats.pop_front();
            if beat == seq {
                self.read = self.read.max(written);
            }
        }
    }

    /// The application knows that the peer has read so far. What was not written nobody can have.
    pub(super) fn on_answer(&mut self, number: u64) {
        self.read = self.read.max(number.min(self.written));
    }

    /// The last frame that the peer is known to have read.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// Whether frames are on their way of which it is not known that the peer has read them.
    pub(super) fn are_unproven(&self) -> bool {
        self.written > self.read.max(self.told)
    }

    /// The connection ended, and the last `unsent` frames that were to go out on it did not.
    pub(super) fn on_end(&mut self, unsent: u64) -> Remains {
        self.written -= unsent;
        let remains = Remains {
            in_doubt: self.read.max(self.told) + 1..self.written + 1,
            unsent: self.written + 1..self.accepted + 1,
        };
        self.told = self.written;
        self.beats.clear();
        remains
    }
}

/// What is known of the frames when a connection ends.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Remains {
    /// Written, and not known to have been read.
    pub(crate) in_doubt: Range<u64>,
    /// Never written.
    pub(crate) unsent: Range<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_proves_what_went_before_its_beat_and_an_answer_what_it_answers() {
        let mut numbers = Numbers { accepted: 5, written: 5, ..Numbers::default() };
        numbers.on_beat(1);
        (numbers.accepted, numbers.written) = (9, 9);
        numbers.on_ack(1);
        assert_eq!((numbers.read(), numbers.are_unproven()), (5, true));
        numbers.on_answer(7);
        numbers.on_answer(3); // older news
        numbers.on_answer(4000); // never sent
        assert_eq!((numbers.read(), numbers.are_unproven()), (9, false));
    }

    #[test]
    fn what_was_told_in_doubt_is_not_told_again_and_not_called_read() {
        let mut numbers = Numbers { accepted: 12, written: 10, ..Numbers::default() };
        numbers.on_answer(4);
        let remains = numbers.on_end(3); // three of the ten had not begun
        assert_eq!(remains, Remains { in_doubt: 5..8, unsent: 8..13 });
        assert_eq!((numbers.read(), numbers.are_unproven()), (4, false));
        numbers.written = 12;
        assert_eq!(numbers.on_end(0), Remains { in_doubt: 8..13, unsent: 13..13 });
    }
}
