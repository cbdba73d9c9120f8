//! Exchange: fixed bytes out, fixed bytes expected. The tutorial's `heartbeat` / `heartbeat_ack`.

use memchr::{memchr, memmem};

use super::shown::{hidden, shown};
use super::{FRAME_LIMIT, Frame, Protocol, Rejected, escaped, secrets};

/// Fixed bytes out, fixed bytes expected.
///
/// The reply may arrive in pieces, several at once, or late. It carries no number, so acks match
/// beats in order.
///
/// # Examples
///
/// ```
/// use keepbeat::Exchange;
///
/// let tutorial = Exchange::new("heartbeat", "heartbeat_ack");
/// let memcached = Exchange::new("version\r\n", "VERSION").with_any_rest();
/// ```
#[derive(Clone, Debug)]
pub struct Exchange {
    send: Vec<u8>,
    expect: Vec<u8>,
    side: Side,
    rest: Rest,
    /// Other bytes than these do no harm.
    other_bytes: bool,
}

/// The bytes of the tutorial, which mean nothing to anybody else.
const TUTORIAL: &[u8] = b"heartbeat";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Asking,
    Answering,
}

/// What may follow the expected bytes.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// Nothing but the next reply.
    None,
    /// Anything; `waiting` beats have no reply yet, `open` says that a reply has begun and not
    /// ended, `len` how long it has become.
    Any { waiting: u32, open: bool, len: usize },
}

impl Exchange {
    /// Sends `send`, expects exactly `expect`.
    pub fn new(send: impl Into<Vec<u8>>, expect: impl Into<Vec<u8>>) -> Exchange {
        let (send, expect) = (send.into(), expect.into());
        let other_bytes = send == TUTORIAL;
        Exchange { send, expect, side: Side::Asking, rest: Rest::None, other_bytes }
    }

    /// The other end, for a [`Responder`](crate::Responder): answers each `expect` with `send`.
    pub fn answering(expect: impl Into<Vec<u8>>, send: impl Into<Vec<u8>>) -> Exchange {
        Exchange { side: Side::Answering, ..Exchange::new(send, expect) }
    }

    /// The reply need only *begin* with the expected bytes; its rest, up to 64 KiB, is ignored.
    /// With nothing expected, any reply will do.
    ///
    /// A rest ends with its line; while no beat waits, whatever comes is rest. Has no effect on the
    /// answering side.
    pub fn with_any_rest(mut self) -> Exchange {
        self.rest = Rest::Any { waiting: 0, open: false, len: 0 };
        self
    }

    /// Where the peer does not answer on a fresh connection either, bytes that are no beat may be
    /// sent to it on further ones, to see whether a filter has read the beat
    /// ([`Diagnose::side_connections`](crate::Diagnose::side_connections)). Only for a peer that
    /// takes them without harm. Allowed without this for the bytes `heartbeat`. The bytes of the
    /// beat are then shown in evidence, events and logs: not for a beat that holds a secret.
    pub fn allow_other_bytes(mut self) -> Exchange {
        self.other_bytes = true;
        self
    }

    fn frame(&self) -> Frame {
        match self.side {
            Side::Asking => Frame::Ack(None),
            Side::Answering => Frame::Beat(None),
        }
    }

    /// The expected bytes at the very front, their beginning, or something else.
    fn at_front(&self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        if self.expect.is_empty() {
            Ok((!bytes.is_empty()).then(|| (self.frame(), bytes.len())))
        } else if bytes.starts_with(&self.expect) {
            Ok(Some((self.frame(), self.expect.len())))
        } else if self.expect.starts_with(bytes) {
            Ok(None)
        } else {
            Err(Rejected::wrong_reply(format!(
                "expected `{}`, got `{}`",
                escaped(&self.expect),
                shown(&self.redact(bytes), &[])
            )))
        }
    }
}

impl Protocol for Exchange {
    fn beat(&mut self, _seq: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.send);
        if let Rest::Any { waiting, .. } = &mut self.rest {
            *waiting = waiting.saturating_add(1);
        }
    }

    fn scheme(&self) -> Option<&'static str> {
        Some("tcp")
    }

    fn ack(&mut self, _seq: Option<u64>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.send);
    }

    fn fresh(&self) -> Option<Box<dyn Protocol>> {
        let mut fresh = self.clone();
        fresh.connected(&mut Vec::new());
        (self.side == Side::Asking).then(|| Box::new(fresh) as Box<dyn Protocol>)
    }

    fn neutral(&self, len: usize) -> Option<Vec<u8>> {
        (self.side == Side::Asking && self.other_bytes).then(|| vec![b'x'; len])
    }

    /// What is sent may hold a token, unless other bytes may be sent as well.
    fn redact(&self, bytes: &[u8]) -> Vec<u8> {
        let secrets = if self.other_bytes { Vec::new() } else { secrets::within(&self.send, true) };
        hidden(bytes, &[], &secrets)
    }

    fn connected(&mut self, _out: &mut Vec<u8>) {
        if let Rest::Any { waiting, open, len } = &mut self.rest {
            (*waiting, *open, *len) = (0, false, 0);
        }
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        let (Rest::Any { waiting, open, len }, Side::Asking) = (self.rest, self.side) else {
            return self.at_front(bytes);
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if waiting == 0 && line == self.expect && !line.is_empty() {
            return Ok(Some((Frame::Unasked, bytes.len())));
        }
        let skipped = match waiting {
            0 => bytes.len(),
            _ if open => rest_of_reply(bytes, &self.expect),
            _ => 0,
        };
        if skipped > 0 {
            if len + skipped > FRAME_LIMIT {
                return Err(Rejected::wrong_reply("a reply of more than 64 KiB"));
            }
            let open = open && bytes[skipped - 1] != b'\n';
            self.rest = Rest::Any { waiting, open, len: len + skipped };
            // Behind the next beat it may as well be what comes in place of its ack.
            let frame = if waiting == 0 { Frame::Data } else { Frame::Unasked };
            return Ok(Some((frame, skipped)));
        }
        if open && !bytes.starts_with(&self.expect) {
            return Ok(None);
        }
        let Some((frame, taken)) = self.at_front(bytes)? else { return Ok(None) };
        let is_whole = bytes[..taken].ends_with(b"\n");
        let taken = taken + rest_of_line(&bytes[taken..], is_whole, Some(&self.expect));
        let open = !bytes[..taken].ends_with(b"\n");
        self.rest = Rest::Any { waiting: waiting - 1, open, len: 0 };
        Ok(Some((frame, taken)))
    }
}

/// How many bytes of those that came with an ack belong to it: the rest of its line, unless the
/// `next` reply begins before. Else a server that says `VERSION 1.6.18` where `VERSION` is expected
/// would have last words.
pub(super) fn rest_of_line(behind: &[u8], is_whole: bool, next: Option<&[u8]>) -> usize {
    match next {
        _ if is_whole => 0,
        Some(next) => rest_of_reply(behind, next),
        None => memchr(b'\n', behind).map_or(behind.len(), |end| end + 1),
    }
}

/// How many bytes at the front are the rest of a reply: up to the end of its line, or to where the
/// next reply begins, or may begin at the very end of what has come.
pub(super) fn rest_of_reply(bytes: &[u8], expect: &[u8]) -> usize {
    let most = bytes.len().min(expect.len().saturating_sub(1));
    let begun = (0..=most).rev().find(|&n| bytes.ends_with(&expect[..n])).unwrap_or(0);
    let next = memmem::find(bytes, expect).unwrap_or(bytes.len() - begun);
    memchr(b'\n', &bytes[..next]).map_or(next, |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::frames;
    use super::*;

    const ACK: Frame = Frame::Ack(None);

    #[test]
    fn the_reply_may_come_in_pieces_or_several_at_once() {
        let mut tutorial = Exchange::new("heartbeat", "heartbeat_ack");
        let twice = b"heartbeat_ackheartbeat_ack";
        for cut in 0..twice.len() {
            assert_eq!(frames(&mut tutorial, &[&twice[..cut], &twice[cut..]]), [ACK, ACK]);
        }
        let error = tutorial.parse(b"heartbeat_nak").expect_err("not the ack");
        assert_eq!(error.0.cause, crate::Cause::WrongReply);
        assert!(error.0.detail.contains("expected `heartbeat_ack`, got `heartbeat_nak`"));
    }

    #[test]
    fn the_other_end_reads_beats_and_writes_acks() {
        let mut end = Exchange::answering("heartbeat", "heartbeat_ack");
        assert_eq!(frames(&mut end, &[b"heart", b"beatheartbeat"]), [Frame::Beat(None); 2]);
        let mut out = Vec::new();
        end.ack(None, &mut out);
        assert_eq!(out, b"heartbeat_ack");
    }

    fn acks(pieces: &[&[u8]], beats: u32) -> usize {
        let mut any = Exchange::new("version\r\n", "VERSION").with_any_rest();
        for seq in 1..=beats {
            any.beat(seq.into(), &mut Vec::new());
        }
        frames(&mut any, pieces).iter().filter(|frame| **frame == ACK).count()
    }

    #[test]
    fn with_any_rest_the_reply_need_only_begin_right() {
        let reply = b"VERSION 1.6.18\r\n";
        for cut in 0..reply.len() {
            assert_eq!(acks(&[&reply[..cut], &reply[cut..]], 1), 1, "cut at {cut}");
        }
        let both = [reply.as_slice(), reply].concat();
        for cut in 0..both.len() {
            assert_eq!(acks(&[&both[..cut], &both[cut..]], 2), 2, "cut at {cut}");
        }
        assert_eq!(acks(&[&both], 1), 1, "the second is rest: no beat waits for it");
        let mut twice = Exchange::new("x", "VERSION").with_any_rest();
        twice.beat(1, &mut Vec::new());
        let unasked = [ACK, Frame::Data, Frame::Unasked];
        assert_eq!(frames(&mut twice, &[b"VERSION", b"\r\n", b"VERSION\r\n"]), unasked);
        let mut any = Exchange::new("version\r\n", "VERSION").with_any_rest();
        any.beat(1, &mut Vec::new());
        assert!(any.parse(b"ERROR\r\n").is_err());
    }

    #[test]
    fn a_rest_that_comes_after_the_next_beat_is_still_rest_and_a_wrong_line_is_not() {
        let mut any = Exchange::new("version\r\n", "VERSION").with_any_rest();
        any.beat(1, &mut Vec::new());
        assert_eq!(frames(&mut any, &[b"VERSION"]), [ACK]);
        any.beat(2, &mut Vec::new());
        assert_eq!(frames(&mut any, &[b" 1.6.18\r\n"]), [Frame::Unasked]);
        // What came with the ack is a part of it up to the end of its line, and then no more.
        let line = b"VERSION 1.6.18\r\n".as_slice();
        assert_eq!(any.parse(&[line, b"BYE\r\n"].concat()), Ok(Some((ACK, line.len()))));
        assert_eq!(frames(&mut any, &[b"BYE\r\n"]), [Frame::Data]);
        any.beat(3, &mut Vec::new());
        assert!(any.parse(b"ERROR\r\n").is_err());
    }

    #[test]
    fn with_nothing_expected_any_reply_will_do() {
        let mut any = Exchange::new("x", "");
        assert_eq!(frames(&mut any, &[b"what", b"ever"]), [ACK, ACK]);
        let mut any = any.with_any_rest();
        any.beat(1, &mut Vec::new());
        assert_eq!(frames(&mut any, &[b"what", b"ever"]), [ACK, Frame::Data]);
        let mut end = Exchange::answering("ping", "pong").with_any_rest();
        assert_eq!(frames(&mut end, &[b"pingping"]), [Frame::Beat(None); 2]);
    }

    #[test]
    fn a_token_that_is_sent_is_not_shown_when_it_comes_back() {
        let mut beat = Exchange::new("check t0ken-of-ours\r\n", "ok");
        let error = beat.parse(b"no such token: T0KEN-of-ours, check it").unwrap_err();
        assert_eq!(error.0.detail, "expected `ok`, got `no such token: ***, check it`");
    }

    #[test]
    fn a_rest_without_end_is_rejected() {
        let mut any = Exchange::new("a", "b").with_any_rest();
        let flood = [b'x'; 4096];
        any.beat(1, &mut Vec::new());
        assert_eq!(any.parse(b"b"), Ok(Some((ACK, 1))));
        let taken = (0..100).take_while(|_| any.parse(&flood).is_ok()).count();
        assert_eq!(taken, FRAME_LIMIT / flood.len());
    }
}
