//! The numbers of frames, and what an ack proves of them.

use std::collections::VecDeque;

/// Frames are numbered in the order in which they go out, from 1.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Taken from the application: written, or in the queue.
    pub(super) accepted: u64,
    /// Handed to the kernel, or begun.
    pub(super) written: u64,
    /// An ack showed that the peer has read them.
    pub(super) proven: u64,
    /// The beats on their way, each with the number of the last frame before it.
    pub(super) beats: VecDeque<(u64, u64)>,
}

impl Numbers {
    /// The last beat goes out behind every frame that was written so far.
    pub(super) fn move_beat_behind_written(&mut self) {
        if let Some((_, before)) = self.beats.back_mut() {
            *before = self.written;
        }
    }

    pub(super) fn prove(&mut self, seq: u64) {
        while let Some((beat, written)) = self.beats.front().copied().filter(|b| b.0 <= seq) {
            self.beats.pop_front();
            if beat == seq {
                self.proven = self.proven.max(written);
            }
        }
    }
}
