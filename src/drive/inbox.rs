//! Bytes in, whole frames out, bounded. Grows only while a frame is not whole.

use crate::cause::{Cause, Loss};
use crate::drive::guarded::Guarded;
use crate::protocol::{FRAME_LIMIT, Frame};

/// What most acks fit in many times over. Two hundred links should not cost megabytes.
const FIRST: usize = 512;

/// Room for the application's frames: one read of a busy connection.
const FIRST_OF_DATA: usize = 16 * 1024;

/// What is kept of a buffer that had to grow, once it is empty again.
const KEPT: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
    /// How long the frame was that was given last; it stands before `start`.
    last: usize,
    /// Bytes came since the parser last asked for more.
    fresh: bool,
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
    pub(crate) fn new() -> Inbox {
        Inbox::with_room(FIRST, FRAME_LIMIT)
    }

    /// For a connection that carries data, in frames of at most so many bytes.
    pub(crate) fn with_limit(limit: usize) -> Inbox {
        Inbox::with_room(FIRST_OF_DATA, limit)
    }

    fn with_room(room: usize, limit: usize) -> Inbox {
        Inbox { buffer: vec![0; room], start: 0, end: 0, limit, last: 0, fresh: false }
    }

    /// Bytes that were read by somebody else.
    pub(crate) fn preload(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.buffer.resize(self.buffer.len().max(bytes.len()), 0);
            self.buffer[..bytes.len()].copy_from_slice(bytes);
            self.filled(bytes.len());
        }
    }

    /// Whether bytes came that were not looked at.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh && self.start < self.end
    }

    /// Where the next bytes go. Never empty: a full inbox has been refused by
    /// [`next`](Inbox::next).
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.last = 0;
        if self.start == self.end && self.buffer.len() > KEPT {
            self.buffer.truncate(FIRST_OF_DATA);
            self.buffer.shrink_to_fit();
            (self.start, self.end) = (0, 0);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize((self.buffer.len() * 2).min(self.limit + 1), 0);
        }
        &mut self.buffer[self.end..]
    }

    /// So many bytes were put into the space.
    pub(crate) fn filled(&mut self, n: usize) {
        self.end += n;
        self.fresh = true;
    }

    /// The bytes of the frame that was given last, until more are read.
    pub(crate) fn frame(&self) -> &[u8] {
        &self.buffer[self.start - self.last..self.start]
    }

    /// What has come and is no whole frame yet, or was not asked for.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The next whole frame.
    pub(crate) fn next(&mut self, protocol: &mut Guarded) -> Result<Next, Loss> {
        if self.start == self.end || !self.fresh {
            return Ok(Next::Nothing);
        }
        if let Some((frame, len)) = protocol.parse(&self.buffer[self.start..self.end])? {
            self.start += len;
            self.last = len;
            return Ok(Next::Frame(frame));
        }
        self.fresh = false;
        if self.end - self.start > self.limit {
            let limit = self.limit;
            let detail = format!("more than {limit} bytes without the end of a frame");
            return Err(Loss::new(Cause::WrongReply, detail));
        }
        Ok(Next::Partial)
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

    #[test]
    fn frames_of_any_length_up_to_the_limit_come_out_whole() {
        let mut protocol = Guarded::new(Box::new(Semicolons));
        let mut inbox = Inbox::new();
        for len in [1, 2, FIRST, FIRST + 1, 10_000, FRAME_LIMIT] {
            let frame = [vec![b'x'; len - 1], vec![b';']].concat();
            let mut rest = frame.as_slice();
            while !rest.is_empty() {
                assert!(!matches!(inbox.next(&mut protocol), Ok(Next::Frame(_)) | Err(_)));
                let space = inbox.space();
                let n = space.len().min(rest.len());
                space[..n].copy_from_slice(&rest[..n]);
                inbox.filled(n);
                rest = &rest[n..];
            }
            assert!(matches!(inbox.next(&mut protocol), Ok(Next::Frame(Frame::Data))), "{len}");
            assert!(matches!(inbox.next(&mut protocol), Ok(Next::Nothing)));
        }
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
