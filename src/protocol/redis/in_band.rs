//! Beats among an application's own commands: a PING with an argument that nobody else sends, and
//! its answer, found among all others without counting them.

use std::io::Write;

use super::resp::Value;
use crate::protocol::line::number;

/// Longer is no answer to a beat.
const LONGEST_ANSWER: usize = 128;

#[derive(Clone, Debug)]
pub(super) struct InBand {
    /// Begins the argument of each beat, and of nothing else.
    mark: String,
    pub(super) value: Value,
    /// The beat that is answered next on this connection, if one was sent.
    due: Option<u64>,
}

impl InBand {
    pub(super) fn new() -> InBand {
        InBand::with(fastrand::u64(..))
    }

    fn with(nonce: u64) -> InBand {
        let mark = format!("keepbeat:{nonce:016x}:");
        InBand { mark, value: Value::default(), due: None }
    }

    pub(super) fn connected(&mut self) {
        (self.value, self.due) = (Value::default(), None);
    }

    pub(super) fn beat(&mut self, seq: u64, inline: bool, out: &mut Vec<u8>) {
        self.due.get_or_insert(seq);
        let mark = &self.mark;
        let len = mark.len() + seq.checked_ilog10().unwrap_or(0) as usize + 1;
        let result = if inline {
            write!(out, "PING {mark}{seq}\r\n")
        } else {
            write!(out, "*2\r\n$4\r\nPING\r\n${len}\r\n{mark}{seq}\r\n")
        };
        result.expect("a Vec takes any bytes");
    }

    /// The number of the beat that this whole value answers, if it is an answer to one.
    pub(super) fn acked(&mut self, value: &[u8]) -> Result<Option<u64>, String> {
        let seq = self.answered(value);
        seq.map_or(Ok(()), |seq| self.in_order(seq)).map(|()| seq)
    }

    fn answered(&self, value: &[u8]) -> Option<u64> {
        if value.len() > LONGEST_ANSWER {
            return None;
        }
        // To who has subscribed, Redis answers with `pong` and the argument.
        let of_two = value.strip_prefix(b"*").or(value.strip_prefix(b">"));
        let argument = match of_two.and_then(|value| value.strip_prefix(b"2\r\n")) {
            Some(both) => {
                let (word, argument) = string(both)?;
                word.eq_ignore_ascii_case(b"pong").then_some(argument)?
            }
            None => value,
        };
        let (text, rest) = string(argument)?;
        number(text.strip_prefix(self.mark.as_bytes()).filter(|_| rest.is_empty())?)
    }

    /// Redis answers in order. So an answer that overtakes another beat's proves that to have been
    /// an error or the like, and to be in the hands of the application, whose replies no longer
    /// belong to its commands.
    fn in_order(&mut self, seq: u64) -> Result<(), String> {
        match self.due {
            Some(due) if seq > due => Err(format!(
                "PING of beat {seq} was answered, that of beat {due} not: an error or QUEUED came \
                 instead and went to the application, whose replies are out of step now"
            )),
            Some(due) if seq == due => {
                self.due = due.checked_add(1);
                Ok(())
            }
            _ => Ok(()),
        }
    }
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

    #[test]
    fn an_answer_that_overtakes_shows_that_the_replies_are_out_of_step() {
        let mut mine = InBand::new();
        for seq in 5..10 {
            mine.beat(seq, false, &mut Vec::new());
        }
        assert_eq!((mine.in_order(5), mine.in_order(6)), (Ok(()), Ok(())));
        assert_eq!(mine.in_order(6), Ok(()), "the pulse knows that it was acked before");
        let told = mine.in_order(8).expect_err("7 was left out");
        assert!(told.contains("beat 8 was answered, that of beat 7 not"), "{told}");
        mine.connected();
        mine.beat(11, false, &mut Vec::new());
        assert_eq!(mine.in_order(11), Ok(()), "old beats are forgotten with their connection");
    }
}
