//! Bytes that go out before any other frame: the rest of a frame that was begun, beats, answers to
//! the beats of the peer, and frames that had waited for the connection. Whoever writes next writes
//! them first.

use std::collections::VecDeque;

/// What waits to be written, while a part of it may be on its way out.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    /// So many bytes in front of `bytes` are in the hands of a writer.
    out: usize,
    /// The beat among them, and how many bytes there are up to its end.
    beat: Option<(u64, usize)>,
    /// Frames of which no byte has left yet, each with how many bytes there are before it.
    unbegun: VecDeque<(usize, Vec<u8>)>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.out == 0
    }

    /// How many bytes wait in all.
    pub(super) fn len(&self) -> usize {
        self.out + self.bytes.len()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// This frame of the application, of which the bytes on the wire are these.
    pub(super) fn append_frame(&mut self, frame: Vec<u8>, bytes: &[u8]) {
        self.unbegun.push_back((self.len(), frame));
        self.append(bytes);
    }

    /// The same where the frame is what goes on the wire.
    pub(super) fn append_plain(&mut self, frame: Vec<u8>) {
        let before = self.len();
        self.append(&frame);
        self.unbegun.push_back((before, frame));
    }

    /// A frame that must go out next, and of which nothing did yet.
    pub(super) fn push_frame_front(&mut self, frame: Vec<u8>, bytes: &[u8]) {
        self.push_front(bytes);
        self.unbegun.push_front((0, frame));
    }

    /// The rest of a frame that was begun.
    pub(super) fn push_front(&mut self, bytes: &[u8]) {
        debug_assert!(self.out == 0, "whoever writes has given back what it took");
        self.bytes.splice(0..0, bytes.iter().copied());
        if let Some((_, left)) = &mut self.beat {
            *left += bytes.len();
        }
        self.unbegun.iter_mut().for_each(|(before, _)| *before += bytes.len());
    }

    /// Whether a beat is among them.
    pub(super) fn has_beat(&self) -> bool {
        self.beat.is_some()
    }

    /// What was appended last is this beat.
    pub(super) fn mark_beat(&mut self, seq: u64) {
        self.beat = Some((seq, self.len()));
    }

    /// Everything, into the hands of a writer, who says [`wrote`](Pending::wrote) afterwards.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.out = self.bytes.len();
        std::mem::take(&mut self.bytes)
    }

    /// `n` bytes of `taken` went out; the rest waits again, in front of what came meanwhile. The
    /// beat that is out by it, if one is.
    pub(super) fn wrote(&mut self, mut taken: Vec<u8>, n: usize) -> Option<u64> {
        taken.drain(..n);
        if !taken.is_empty() {
            taken.append(&mut self.bytes);
            self.bytes = taken;
        }
        self.out = 0;
        while self.unbegun.front().is_some_and(|(before, _)| *before < n) {
            self.unbegun.pop_front();
        }
        self.unbegun.iter_mut().for_each(|(before, _)| *before -= n);
        match &mut self.beat {
            Some((seq, left)) if *left <= n => {
                let seq = *seq;
                self.beat = None;
                Some(seq)
            }
            Some((_, left)) => {
                *left -= n;
                None
            }
            None => None,
        }
    }

    /// The connection is gone, and with it all of this. Frames of which no byte had left are still
    /// to be sent.
    pub(super) fn clear(&mut self) -> impl DoubleEndedIterator<Item = Vec<u8>> + ExactSizeIterator {
        std::mem::take(self).unbegun.into_iter().map(|(_, frame)| frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_goes_on_before_what_came_meanwhile_and_the_beat_is_known_when_it_is_out() {
        let mut pending = Pending::default();
        pending.append(b"rest ");
        pending.append(b"beat1");
        pending.mark_beat(1);
        let taken = pending.take();
        assert_eq!((taken.as_slice(), pending.len()), (b"rest beat1".as_slice(), 10));
        pending.append(b" answer");
        assert_eq!(pending.wrote(taken, 7), None, "half a beat is none");
        assert_eq!(pending.len(), 10);
        let taken = pending.take();
        assert_eq!(taken, b"at1 answer");
        assert!(pending.has_beat() && !pending.is_empty());
        assert_eq!(pending.wrote(taken, 3), Some(1));
        assert!(!pending.has_beat());
        let taken = pending.take();
        assert_eq!(taken, b" answer");
        assert_eq!(pending.wrote(taken, 7), None);
        assert!(pending.is_empty());
    }

    #[test]
    fn a_frame_is_unbegun_until_its_first_byte_has_left() {
        let mut pending = Pending::default();
        pending.append(b"beat");
        for frame in [b"one", b"two", b"six"] {
            pending.append_frame(frame.to_vec(), frame);
        }
        pending.push_frame_front(b"now".to_vec(), b"SEALED");
        let left = |pending: &Pending| pending.unbegun.len();
        let taken = pending.take();
        pending.append_frame(b"new".to_vec(), b"new");
        assert_eq!((pending.wrote(taken, 0), left(&pending)), (None, 5));
        let taken = pending.take();
        assert_eq!(taken, b"SEALEDbeatonetwosixnew");
        assert_eq!((pending.wrote(taken, 10), left(&pending)), (None, 4), "up to the very edge");
        let taken = pending.take();
        assert_eq!((pending.wrote(taken, 4), left(&pending)), (None, 2));
        assert_eq!(pending.clear().collect::<Vec<_>>(), [b"six", b"new"]);
        assert!(pending.is_empty() && pending.clear().next().is_none());
    }

    #[test]
    fn a_beat_that_comes_while_a_part_is_out_counts_from_the_front_of_that_part() {
        let mut pending = Pending::default();
        pending.append(b"12345");
        let taken = pending.take();
        pending.append(b"beat2");
        pending.mark_beat(2);
        assert_eq!(pending.wrote(taken, 5), None);
        let taken = pending.take();
        assert_eq!(pending.wrote(taken, 5), Some(2));
    }
}
