//! Line: numbered lines, so that beats and acks are paired by number.

use std::io::Write;

use memchr::memchr;

use super::{Frame, Protocol, Rejected, escaped};

/// The longest line: a word, a space and a number of 20 digits, with room to spare.
const LONGEST: usize = 64;

/// Numbered lines: `beat 12` out, `ack 12` back, each ended by `\n` (a `\r` before it is accepted).
///
/// Because each ack names its beat, a reply that the peer left out is one miss and no more; with
/// [`Exchange`](super::Exchange) all later acks would count for the beat before theirs. The same
/// value serves both ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line;

impl Protocol for Line {
    fn fresh(&self) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Line))
    }

    fn scheme(&self) -> Option<&'static str> {
        Some("line")
    }

    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        line(out, "beat", seq);
    }

    fn ack(&mut self, seq: Option<u64>, out: &mut Vec<u8>) {
        line(out, "ack", seq.unwrap_or(0));
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        let Some(end) = memchr(b'\n', &bytes[..bytes.len().min(LONGEST)]) else {
            return if bytes.len() < LONGEST { Ok(None) } else { Err(wrong(bytes)) };
        };
        let text = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
        let numbered = |word| text.strip_prefix(word).and_then(number);
        let frame = if let Some(seq) = numbered(b"ack ".as_slice()) {
            Frame::Ack(Some(seq))
        } else if let Some(seq) = numbered(b"beat ".as_slice()) {
            Frame::Beat(Some(seq))
        } else {
            return Err(wrong(bytes));
        };
        Ok(Some((frame, end + 1)))
    }
}

fn wrong(bytes: &[u8]) -> Rejected {
    Rejected::wrong_reply(format!("expected `ack NUMBER`, got `{}`", escaped(bytes)))
}

/// Digits and nothing else.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    // parse() would take a sign
    let plain = digits.first().is_some_and(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// `write!` into a Vec fails never, and allocates only what the Vec itself needs.
fn line(out: &mut Vec<u8>, word: &str, seq: u64) {
    writeln!(out, "{word} {seq}").expect("a Vec takes any bytes");
}

#[cfg(test)]
mod tests {
    use super::super::tests::frames;
    use super::*;

    #[test]
    fn numbers_survive_any_split() {
        for seq in [0, 7, 10, 99, 1234567890, u64::MAX] {
            let (mut beat, mut ack) = (Vec::new(), Vec::new());
            Line.beat(seq, &mut beat);
            Line.ack(Some(seq), &mut ack);
            assert_eq!(beat, format!("beat {seq}\n").into_bytes());
            for cut in 0..ack.len() {
                let pieces = [&ack[..cut], &ack[cut..]];
                assert_eq!(frames(&mut Line, &pieces), [Frame::Ack(Some(seq))]);
            }
            assert_eq!(frames(&mut Line, &[&beat]), [Frame::Beat(Some(seq))]);
        }
        assert_eq!(frames(&mut Line, &[b"ack 3\r\nack 4\n"]).len(), 2);
    }

    #[test]
    fn anything_else_is_rejected() {
        let long = [b'x'; LONGEST];
        for bad in [b"ack\n".as_slice(), b"ack +1\n", b"ack 1x\n", b"ack \n", b"hello\n", &long] {
            assert!(Line.parse(bad).is_err(), "{}", escaped(bad));
        }
        assert_eq!(Line.parse(b"ack 1"), Ok(None));
    }
}
