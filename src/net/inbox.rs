//! Bytes in, whole frames out, bounded. Grows only by what has come, never by what was announced,
//! and gives the room of a large frame back.

use std::ops::Range;

use crate::cause::{Cause, Loss};
use crate::protocol::guarded::Guarded;
use crate::protocol::{FRAME_LIMIT, Frame};

/// What most acks fit in many times over. Two hundred links should not cost megabytes.
const FIRST: usize = 512;

/// More room than this is given back once what is left fits in `SMALL`.
const LARGE: usize = 64 * 1024;
const SMALL: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where the last frame stands.
    frame: Range<usize>,
    /// The longest frame.
    limit: usize,
    /// Bytes came since the parser last asked for more.
    fresh: bool,
    /// All the room there was has been filled at once: more may wait.
    filled_up: bool,
}

/// What the bytes so far amount to.
pub(crate) enum Next {
    Frame(Frame),
    /// Bytes of a frame that is not whole.
    Partial,
    /// Nothing new.
    Nothing,
}

impl Inbox {
    /// For acks, and frames of 64 KiB at most.
    pub(crate) fn new() -> Inbox {
        Inbox::with_limit(FRAME_LIMIT)
    }

    /// For frames of so many bytes at most, see [`Guarded::limit`].
    pub(crate) fn with_limit(limit: usize) -> Inbox {
        Inbox {
            buffer: vec![0; FIRST],
            start: 0,
            end: 0,
            frame: 0..0,
            limit,
            fresh: false,
            filled_up: false,
        }
    }

    /// Bytes that were read by somebody else.
    pub(crate) fn preload(&mut self, bytes: &[u8]) {
        // Whatever their number: the limit is one of a frame.
        self.buffer.resize(self.buffer.len().max(bytes.len() + 1), 0);
        self.buffer[..bytes.len()].copy_from_slice(bytes);
        (self.end, self.fresh) = (bytes.len(), !bytes.is_empty());
    }

    /// Whether bytes came that were not looked at.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh && self.start < self.end
    }

    /// What has come and is no whole frame yet, or was not asked for.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Where the next bytes go. Never empty: a full inbox has been refused by
    /// [`next`](Inbox::next).
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.frame = 0..0;
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let len = self.buffer.len();
        if self.end == len || (self.filled_up && len < SMALL) {
            let most = self.limit.saturating_add(1).max(FIRST).max(len);
            self.buffer.resize((len * 2).min(most), 0);
        }
        &mut self.buffer[self.end..]
    }

    /// So many bytes were put into the space.
    pub(crate) fn filled(&mut self, n: usize) {
        self.end += n;
        self.fresh = true;
        self.filled_up = self.end == self.buffer.len();
    }

    /// The next whole frame; its bytes are [`frame_bytes`](Inbox::frame_bytes).
    pub(crate) fn next(&mut self, protocol: &mut Guarded) -> Result<Next, Loss> {
        self.frame = 0..0;
        if self.start < self.end && self.fresh {
            if let Some((frame, len)) = protocol.parse(&self.buffer[self.start..self.end])? {
                self.frame = self.start..self.start + len;
                self.start += len;
                return Ok(Next::Frame(frame));
            }
            self.fresh = false;
            if self.end - self.start > self.limit {
                let detail = format!("more than {} bytes without the end of a frame", self.limit);
                return Err(Loss::new(Cause::WrongReply, detail));
            }
            self.give_back();
            return Ok(Next::Partial);
        }
        self.give_back();
        Ok(Next::Nothing)
    }

    /// The bytes of the frame that [`next`](Inbox::next) has just given. Empty after any other call
    /// that changes something.
    pub(crate) fn frame_bytes(&self) -> &[u8] {
        &self.buffer[self.frame.clone()]
    }

    /// A large frame is out, and its room is not needed for what is left.
    fn give_back(&mut self) {
        let left = self.end - self.start;
        if self.buffer.len() > LARGE && left < SMALL {
            let mut small = vec![0; SMALL];
            small[..left].copy_from_slice(&self.buffer[self.start..self.end]);
            (self.buffer, self.start, self.end) = (small, 0, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Protocol, Rejected};

    /// Frames end with `;`.
    struct Semicolons;

    impl Protocol for Semicolons {
        fn beat(&mut self, _seq: u64, _out: &mut Vec<u8>) {}

        fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
            Ok(memchr::memchr(b';', bytes).map(|at| (Frame::Data, at + 1)))
        }
    }

    /// Puts as much into the space as fits.
    fn put(inbox: &mut Inbox, bytes: &[u8]) -> usize {
        let space = inbox.space();
        let n = space.len().min(bytes.len());
        space[..n].copy_from_slice(&bytes[..n]);
        inbox.filled(n);
        n
    }

    #[test]
    fn frames_of_any_length_up_to_the_limit_come_out_whole() {
        let mut protocol = Guarded::new(Box::new(Semicolons));
        let mut inbox = Inbox::new();
        for len in [1, 2, FIRST, FIRST + 1, 10_000, FRAME_LIMIT] {
            let frame = [vec![b'x'; len - 1], vec![b';']].concat();
            let mut rest = frame.as_slice();
            while !rest.is_empty() {
                assert!(!matches!(inbox.next(&mut protocol), Ok(Next::Frame(_)) | Err(_)));
                rest = &rest[put(&mut inbox, rest)..];
            }
            assert!(matches!(inbox.next(&mut protocol), Ok(Next::Frame(Frame::Data))), "{len}");
            assert_eq!(inbox.frame_bytes(), frame);
            assert!(matches!(inbox.next(&mut protocol), Ok(Next::Nothing)));
            assert!(inbox.frame_bytes().is_empty());
        }
    }

    #[test]
    fn room_grows_by_what_comes_and_is_given_back_behind_a_large_frame() {
        let limit = 4 * LARGE;
        let mut protocol = Guarded::new(Box::new(Semicolons));
        let mut inbox = Inbox::with_limit(limit);
        let bytes = [vec![b'x'; limit - 1], b";rest".to_vec()].concat();
        let mut come = 0;
        while come < limit {
            assert!(!matches!(inbox.next(&mut protocol), Ok(Next::Frame(_)) | Err(_)));
            come += put(&mut inbox, &bytes[come..]);
            assert!(inbox.buffer.len() <= (2 * come).max(2 * FIRST), "{come}");
        }
        assert!(matches!(inbox.next(&mut protocol), Ok(Next::Frame(Frame::Data))));
        assert_eq!(inbox.frame_bytes(), &bytes[..limit]);
        put(&mut inbox, &bytes[come..]);
        assert!(matches!(inbox.next(&mut protocol), Ok(Next::Partial)));
        assert_eq!((inbox.buffer.len(), inbox.buffer.capacity()), (SMALL, SMALL));
        put(&mut inbox, b";");
        assert!(matches!(inbox.next(&mut protocol), Ok(Next::Frame(Frame::Data))));
        assert_eq!(inbox.frame_bytes(), b"rest;");
    }

    #[test]
    fn many_small_frames_are_read_in_few_large_pieces() {
        let mut protocol = Guarded::new(Box::new(Semicolons));
        let mut inbox = Inbox::new();
        let (bytes, mut come) = (b"data;".repeat(4 * SMALL), 0);
        for _ in 0..10 {
            come += put(&mut inbox, &bytes[come..]);
            while !matches!(inbox.next(&mut protocol), Ok(Next::Nothing | Next::Partial)) {}
        }
        assert!(come > 4 * SMALL, "{come}");
        assert!(inbox.buffer.len() <= SMALL);
    }

    #[test]
    fn a_frame_without_end_is_refused() {
        let mut protocol = Guarded::new(Box::new(Semicolons));
        let mut inbox = Inbox::new();
        let loss = (0..100).find_map(|_| {
            let space = inbox.space();
            space.fill(b'x');
            let n = space.len();
            inbox.filled(n);
            inbox.next(&mut protocol).err()
        });
        assert_eq!(loss.map(|loss| loss.cause), Some(Cause::WrongReply));
        assert!(inbox.buffer.len() <= FRAME_LIMIT + 1);
    }

    #[test]
    fn a_parser_that_takes_nothing_is_caught() {
        struct Stuck;
        impl Protocol for Stuck {
            fn beat(&mut self, _seq: u64, _out: &mut Vec<u8>) {}
            fn parse(&mut self, _bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
                Ok(Some((Frame::Data, 0)))
            }
        }
        let mut inbox = Inbox::new();
        inbox.space()[0] = b'x';
        inbox.filled(1);
        let loss = inbox.next(&mut Guarded::new(Box::new(Stuck))).err();
        assert_eq!(loss.map(|loss| loss.cause), Some(Cause::ProtocolPanicked));
    }
}
