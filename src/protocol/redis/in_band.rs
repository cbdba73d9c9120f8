//! Beats among an application's own commands: a PING with an argument that nobody else sends, and
//! its answer, found among all others without counting them.

use std::collections::VecDeque;
use std::io::Write;

use super::resp::Value;
use crate::protocol::line::number;

/// Beats that are remembered until they are answered. Older ones are given up.
const MOST_UNANSWERED: usize = 64;

/// Longer is no answer to a beat.
const LONGEST_ANSWER: usize = 128;

#[derive(Clone, Debug)]
pub(super) struct InBand {
    /// Begins the argument of each beat, and of nothing else.
    mark: String,
    pub(super) value: Value,
    /// Beats that were asked for on this connection, and not answered yet.
    unanswered: VecDeque<u64>,
    /// Since the last answer the application got something that a PING may be answered with: its
    /// beginning.
    suspicious: Option<Vec<u8>>,
    /// Nothing has come on this connection yet.
    is_first: bool,
}

/// An answer to a beat has overtaken that of an earlier beat.
#[derive(Debug, PartialEq)]
pub(super) struct OutOfStep {
    pub(super) answered: u64,
    pub(super) due: u64,
    /// What came in the place of the other answer: its beginning.
    pub(super) instead: Vec<u8>,
}

impl InBand {
    pub(super) fn new() -> InBand {
        InBand::with(fastrand::u64(..))
    }

    fn with(nonce: u64) -> InBand {
        let mark = format!("keepbeat:{nonce:016x}:");
        let unanswered = VecDeque::with_capacity(MOST_UNANSWERED);
        let value = Value::default();
        InBand { mark, value, unanswered, suspicious: None, is_first: true }
    }

    pub(super) fn connected(&mut self) {
        (self.value, self.suspicious, self.is_first) = (Value::default(), None, true);
        self.unanswered.clear();
    }

    pub(super) fn beat(&mut self, seq: u64, inline: bool, out: &mut Vec<u8>) {
        if self.unanswered.len() == MOST_UNANSWERED {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back(seq);
        let mark = &self.mark;
        let len = mark.len() + seq.checked_ilog10().unwrap_or(0) as usize + 1;
        let result = if inline {
            write!(out, "PING {mark}{seq}\r\n")
        } else {
            write!(out, "*2\r\n$4\r\nPING\r\n${len}\r\n{mark}{seq}\r\n")
        };
        result.expect("a Vec takes any bytes");
    }

    /// Whether nothing has come on this connection yet.
    pub(super) fn has_heard_nothing(&self) -> bool {
        self.is_first
    }

    /// The number of the beat that this whole value answers, if it is an answer to one.
    pub(super) fn acked(&mut self, value: &[u8]) -> Result<Option<u64>, OutOfStep> {
        self.is_first = false;
        let Some(seq) = self.answered(value) else {
            if value.starts_with(b"-") || value.starts_with(b"+QUEUED\r\n") {
                let begins = &value[..value.len().min(LONGEST_ANSWER)];
                self.suspicious.get_or_insert_with(|| begins.to_vec());
            }
            return Ok(None);
        };
        self.in_order(seq).map(|()| Some(seq))
    }

    fn answered(&self, value: &[u8]) -> Option<u64> {
        if value.len() > LONGEST_ANSWER {
            return None;
        }
        let argument = match pair(value) {
            Some(both) => pong(both)?,
            None => value,
        };
        let (text, rest) = string(argument)?;
        number(text.strip_prefix(self.mark.as_bytes()).filter(|_| rest.is_empty())?)
    }

    /// Redis answers in order. So where an answer overtakes another beat's, an error that came
    /// before it was that: it is in the hands of the application, whose replies no longer belong to
    /// its commands. Without an error, the other beat was never written.
    fn in_order(&mut self, seq: u64) -> Result<(), OutOfStep> {
        let suspicious = self.suspicious.take();
        let Some(at) = self.unanswered.iter().position(|asked| *asked == seq) else {
            return Ok(()); // the pulse knows what to make of it
        };
        let before = self.unanswered.drain(..=at).next();
        match before.filter(|due| *due != seq).zip(suspicious) {
            Some((due, instead)) => Err(OutOfStep { answered: seq, due, instead }),
            None => Ok(()),
        }
    }
}

/// Whether this is how Redis answers a PING without an argument to who has subscribed.
pub(super) fn is_pong(value: &[u8]) -> bool {
    pair(value).and_then(pong).and_then(string).is_some_and(|(text, _)| text.is_empty())
}

/// What is in an array, or a push, of two.
fn pair(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"*").or(value.strip_prefix(b">"))?.strip_prefix(b"2\r\n")
}

/// The argument behind `pong`.
fn pong(both: &[u8]) -> Option<&[u8]> {
    let (word, argument) = string(both)?;
    word.eq_ignore_ascii_case(b"pong").then_some(argument)
}

/// The text of the string at the front of whole values, and what follows.
fn string(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, rest) = line(value)?;
    match line.split_first()? {
        (b'+', text) => Some((text, rest)),
        (b'$', _) => self::line(rest),
        _ => None,
    }
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memmem::find(bytes, b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_known_in_every_form_and_others_are_not() {
        let mut mine = InBand::with(0xab);
        let mut out = Vec::new();
        mine.beat(12, true, &mut out);
        assert_eq!(out, b"PING keepbeat:00000000000000ab:12\r\n");
        out.clear();
        mine.beat(12, false, &mut out);
        let bulk = "$28\r\nkeepbeat:00000000000000ab:12\r\n";
        assert_eq!(out, format!("*2\r\n$4\r\nPING\r\n{bulk}").into_bytes());
        for answer in [
            bulk.to_owned(),
            "+keepbeat:00000000000000ab:12\r\n".to_owned(),
            format!("*2\r\n$4\r\npong\r\n{bulk}"),
            format!(">2\r\n+PONG\r\n{bulk}"),
        ] {
            assert_eq!(mine.answered(answer.as_bytes()), Some(12), "{answer}");
        }
        for other in [
            "$28\r\nkeepbeat:00000000000000ac:12\r\n",
            "$28\r\nkeepbeat:+0000000000000ab:12\r\n",
            "$27\r\nkeepbeat:00000000000000ab:1\r\n+\r\n",
            "$30\r\nkeepbeat:00000000000000ab:1\r\nx\r\n",
            "*2\r\n$4\r\nping\r\n$28\r\nkeepbeat:00000000000000ab:12\r\n",
            "*1\r\n$28\r\nkeepbeat:00000000000000ab:12\r\n",
            "-keepbeat:00000000000000ab:12\r\n",
            "+keepbeat:00000000000000ab:\r\n",
            "+PONG\r\n",
            "*-1\r\n",
            "$-1\r\n",
        ] {
            assert_eq!(mine.answered(other.as_bytes()), None, "{other}");
        }
    }

    /// Whether these replies are in step with beats 5 to 9, asked for but for beat 7.
    fn told(replies: &[&str]) -> Result<(), OutOfStep> {
        let mut mine = InBand::with(0xab);
        for seq in [5, 6, 8, 9] {
            mine.beat(seq, false, &mut Vec::new());
        }
        replies.iter().try_for_each(|reply| {
            let answer = format!("+keepbeat:00000000000000ab:{reply}\r\n");
            let is_beat = reply.parse::<u64>().is_ok();
            let reply = if is_beat { answer } else { format!("{reply}\r\n") };
            mine.acked(reply.as_bytes()).map(|acked| assert_eq!(acked.is_some(), is_beat))
        })
    }

    #[test]
    fn an_answer_that_overtakes_after_an_error_shows_that_the_replies_are_out_of_step() {
        for error in ["-LOADING what", "+QUEUED"] {
            let instead = format!("{error}\r\n").into_bytes();
            let why = told(&["5", error, "+OK", "8"]).expect_err("6 got the error");
            assert_eq!(why, OutOfStep { answered: 8, due: 6, instead });
        }
        assert_eq!(told(&["5", "-ERR x", "6", "-ERR x", "8", "-ERR x", "9"]), Ok(()), "in step");
        assert_eq!(told(&["-ERR x", "5", "+OK", "9"]), Ok(()), "6 and 8 were never written");
        assert_eq!(told(&["6", "-ERR x", "6", "5", "7"]), Ok(()), "the pulse knows better");
    }

    #[test]
    fn beats_of_an_old_connection_and_very_old_ones_are_forgotten() {
        let mut mine = InBand::with(0xab);
        for seq in 1..=1000 {
            mine.beat(seq, false, &mut Vec::new());
        }
        assert_eq!(mine.unanswered.len(), MOST_UNANSWERED);
        mine.connected();
        mine.beat(1001, false, &mut Vec::new());
        mine.suspicious = Some(b"-ERR x".to_vec());
        assert_eq!(mine.in_order(1001), Ok(()));
    }
}
