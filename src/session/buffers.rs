//! The bytes between ureq and a connection: made when a request begins, kept while it lasts, and
//! handed to the next one; an idle connection holds none.

use std::io;
use std::time::Duration;

use super::pipe::{Pipe, Unwritten};

/// What most responses and request heads fit in. Allocators keep blocks of this size at hand.
const FIRST: usize = 64 * 1024;

/// A head may be this long; the doorkeeper refuses longer ones sooner.
const MOST: usize = 1024 * 1024;

/// Room to read a piece of a request's body into.
const PIECE: usize = 16 * 1024;

/// Pairs that wait for their next request. Each is 128 KiB once used.
const SPARE: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Buffers {
    input: Vec<u8>,
    start: usize,
    end: usize,
    output: Vec<u8>,
}

impl Buffers {
    /// Bytes that came and were not used.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// Where the next bytes go. Never empty, but for a head beyond all limits.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.grow(1);
        &mut self.input[self.end..]
    }

    fn grow(&mut self, wanted: usize) {
        if self.input.len() - self.end < wanted {
            let len = (self.input.len() * 2).clamp(FIRST, MOST);
            self.input.resize(len.max(self.end + wanted.saturating_sub(1)), 0);
        }
    }

    pub(crate) fn filled(&mut self, n: usize) {
        self.end += n;
    }

    pub(crate) fn used(&mut self, n: usize) {
        self.start += n;
    }

    pub(crate) fn output(&mut self) -> &mut [u8] {
        if self.output.is_empty() {
            self.output.resize(FIRST, 0);
        }
        &mut self.output
    }

    /// Room for a piece of a body, and for what becomes of it on the wire.
    pub(crate) fn piece_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.space();
        self.grow(PIECE);
        self.output();
        (&mut self.input[self.end..], &mut self.output)
    }
}

/// A pipe with buffers.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) pipe: Box<dyn Pipe>,
    pub(crate) buffers: Buffers,
}

impl Line {
    #[cfg(feature = "tls")]
    pub(crate) fn new(pipe: Box<dyn Pipe>) -> Line {
        Line { pipe, buffers: Buffers::default() }
    }

    /// Writes so much of the output.
    pub(crate) fn write(&mut self, amount: usize, most: Option<Duration>) -> Result<(), Unwritten> {
        self.pipe.write_all(&self.buffers.output()[..amount], most)
    }

    /// Reads into the input; 0 at the end.
    pub(crate) fn read(&mut self, most: Option<Duration>) -> io::Result<usize> {
        let n = self.pipe.read(self.buffers.space(), most)?;
        self.buffers.filled(n);
        Ok(n)
    }
}

/// Buffers between two requests.
#[derive(Debug, Default)]
pub(crate) struct Spare(Vec<Buffers>);

impl Spare {
    pub(crate) fn take(&mut self) -> Buffers {
        self.0.pop().unwrap_or_default()
    }

    pub(crate) fn put(&mut self, mut buffers: Buffers) {
        if self.0.len() < SPARE && buffers.input.len() <= FIRST {
            (buffers.start, buffers.end) = (0, 0);
            self.0.push(buffers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_stays_in_front_of_what_comes() {
        let mut buffers = Buffers::default();
        let mut expected = Vec::new();
        let mut next = 0_u8;
        for round in 0..2_000_usize {
            let space = buffers.space();
            let n = space.len().min(100 + round * 7 % 900);
            for byte in &mut space[..n] {
                *byte = next;
                expected.push(next);
                next = next.wrapping_add(1);
            }
            buffers.filled(n);
            assert_eq!(buffers.input(), expected);
            let used = n * 7 / 8;
            buffers.used(used);
            expected.drain(..used);
        }
        assert!(buffers.input.len() > FIRST, "it had to grow");
    }

    #[test]
    fn a_spare_pair_is_empty_and_a_grown_one_is_let_go() {
        let mut spare = Spare::default();
        let mut buffers = Buffers::default();
        buffers.space()[..3].copy_from_slice(b"abc");
        buffers.filled(3);
        spare.put(buffers);
        let mut buffers = spare.take();
        assert!(buffers.input().is_empty());
        while buffers.input.len() <= FIRST {
            let n = buffers.space().len();
            buffers.filled(n);
        }
        spare.put(buffers);
        assert!(spare.take().input.is_empty());
    }
}
