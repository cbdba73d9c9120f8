//! What a peer said beside its acks, kept in case the connection ends: the beginning of the
//! connection, and the last bytes since the last ack. A peer that only acks costs nothing.

use std::time::{Duration, Instant};

use crate::diagnose::{Heard, Said, Service, last_words, service};
use crate::protocol::shown::cut;

/// So much is kept of each.
const KEPT: usize = 256;

/// So much of what no parser took tells what listens: a page of HTTP says so at its end.
const TELLING: usize = 4096;

/// So much of the last words is shown.
const SHOWN: usize = 160;

/// Bytes that come within such a time of each other were said together.
const TOGETHER: Duration = Duration::from_millis(100);

/// How an answer of HTTP begins.
const HTTP: &[u8] = b"HTTP/1.";

#[derive(Debug, Default)]
pub(crate) struct Overheard {
    /// How the connection began, as long as there was no ack on it.
    first: Vec<u8>,
    /// The end of what was said together last.
    last: Vec<u8>,
    /// Something before it is not kept.
    is_cut: bool,
    /// It is an answer of HTTP: its body is no word about the connection.
    is_http: bool,
    /// How often something was said on this connection.
    bursts: u32,
    at: Option<Instant>,
    /// An ack came on this connection.
    acked: bool,
    /// One came on some connection: what listens is known.
    answered: bool,
    /// Something that its protocol does not ask for was said since the last beat went out.
    since_beat: bool,
}

impl Overheard {
    pub(crate) fn on_connected(&mut self) {
        self.clear();
        (self.acked, self.bursts) = (false, 0);
        self.first.clear();
    }

    pub(crate) fn on_beat(&mut self) {
        self.since_beat = false;
    }

    /// An ack came: those bytes.
    pub(crate) fn on_ack(&mut self, bytes: &[u8]) {
        self.clear();
        (self.acked, self.answered) = (true, true);
        self.is_http = bytes.starts_with(HTTP);
    }

    fn clear(&mut self) {
        (self.since_beat, self.is_cut, self.is_http, self.at) = (false, false, false, None);
        self.last.clear();
    }

    /// Whether an ack ever came.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered
    }

    /// Whether an ack came on this connection.
    pub(crate) fn was_answered(&self) -> bool {
        self.acked
    }

    /// Bytes of the peer that are no ack, and that its protocol allows.
    pub(crate) fn push(&mut self, bytes: &[u8], now: Instant) {
        let since_beat = self.since_beat;
        self.touch(now);
        self.since_beat = since_beat;
        if !self.acked {
            let room = KEPT - self.first.len().min(KEPT);
            self.first.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        self.is_http |= bytes.starts_with(HTTP);
        let surplus = (self.last.len() + bytes.len()).saturating_sub(KEPT);
        self.is_cut |= surplus > 0;
        self.last.drain(..surplus.min(self.last.len()));
        self.last.extend_from_slice(&bytes[bytes.len().saturating_sub(KEPT)..]);
    }

    /// The same, and its protocol does not ask for them.
    pub(crate) fn push_unasked(&mut self, bytes: &[u8], now: Instant) {
        self.push(bytes, now);
        self.since_beat = true;
    }

    /// Bytes came that no parser takes: they are told as the rest.
    pub(crate) fn touch(&mut self, now: Instant) {
        let before = self.at.replace(now);
        if before.is_none_or(|before| now.saturating_duration_since(before) > TOGETHER) {
            self.bursts += 1;
            self.is_cut = false;
            self.last.clear();
        }
        self.since_beat = true;
    }

    /// What was said since the last ack, with the `rest` that no parser has taken. The bytes of the
    /// `beat` that come back make an echo; what is secret is hidden by `redact`.
    pub(crate) fn tell(
        &self,
        rest: &[u8],
        beat: &[u8],
        now: Instant,
        redact: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Option<Heard> {
        let at = self.at?;
        let mut last = [self.last.as_slice(), rest].concat();
        let surplus = last.len().saturating_sub(KEPT);
        last.drain(..surplus);
        if self.is_cut || surplus > 0 {
            // It may begin in the middle of a secret.
            let line = memchr::memchr(b'\n', &last).map(|end| end + 1);
            last.drain(..line.filter(|end| *end < last.len()).unwrap_or(last.len().min(KEPT / 4)));
        }
        let begins = [self.first.as_slice(), &rest[..rest.len().min(TELLING)]].concat();
        let is_echo = !beat.is_empty() && [self.last.as_slice(), rest].concat().starts_with(beat);
        let service = if is_echo {
            Some(Service::Echo)
        } else {
            service::of(&begins).filter(|_| !self.answered)
        };
        let (words, mut said) = last_words::of(&redact(&last))?;
        if self.is_http && !words.starts_with(HTTP) {
            said = Said::Greeting;
        }
        Some(Heard {
            words: cut(&words, SHOWN),
            said,
            len: u32::try_from(last.len()).unwrap_or(u32::MAX),
            age: now.saturating_duration_since(at),
            bursts: self.bursts,
            is_first: !self.acked && self.bursts == 1,
            since_beat: self.since_beat,
            service,
        })
    }
}

/// What a peer said before an end, behind what is told of the end itself.
pub(crate) fn with_words(end: &str, is_orderly: bool, heard: &Heard) -> String {
    let Heard { words, said, age, len, service, .. } = heard;
    let lately = *age <= last_words::LATELY;
    if heard.weight().is_some() {
        return match is_orderly {
            true => format!("{end}: `{words}`"),
            false => format!("{end}; its last words: `{words}`"),
        };
    }
    match said {
        _ if heard.is_first && *said != Said::Binary => {
            format!("{end}; it had begun with `{words}`")
        }
        _ if heard.is_first && service.is_some() => {
            let name = service.map_or("", Service::name);
            format!("{end}; it had begun as {name} does")
        }
        Said::Binary if lately => {
            format!("{end}, right after {len} bytes that are no text: `{words}`")
        }
        _ if lately => format!("{end}; its last bytes were `{words}`"),
        _ => end.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn tell(overheard: &Overheard, now: Instant) -> Heard {
        overheard.tell(b"", b"", now, <[u8]>::to_vec).expect("something was said")
    }

    #[test]
    fn what_was_said_last_is_told_and_an_ack_ends_it() {
        let start = Instant::now();
        let mut overheard = Overheard::default();
        overheard.on_connected();
        assert_eq!(overheard.tell(b"", b"", start, <[u8]>::to_vec), None);
        overheard.push(b"* OK rea", start);
        overheard.push(b"dy\r\n", start + MS);
        let first = tell(&overheard, start + 5 * MS);
        assert_eq!((first.words.as_str(), first.said), ("* OK ready", Said::Greeting));
        assert!(first.is_first && first.bursts == 1 && first.age == 4 * MS, "{first:?}");
        assert_eq!(first.service, Some(Service::Imap));
        overheard.push(b"* BYE idle\r\n", start + 1500 * MS);
        let last = tell(&overheard, start + 1510 * MS);
        assert_eq!((last.words.as_str(), last.said), ("* BYE idle", Said::Closing));
        assert!(!last.is_first && last.bursts == 2, "{last:?}");
        overheard.on_ack(b"ack\n");
        assert_eq!(overheard.tell(b"", b"", start, <[u8]>::to_vec), None);
        overheard.push(b"SSH-2.0-x\r\n", start);
        assert_eq!(tell(&overheard, start).service, None, "it has answered a beat");
    }

    #[test]
    fn only_so_much_is_kept_and_nothing_that_begins_in_the_middle() {
        let start = Instant::now();
        let mut overheard = Overheard::default();
        overheard.on_connected();
        for _ in 0..100 {
            overheard.push(b"0123456789s3cret ", start);
        }
        assert!(overheard.last.len() == KEPT && overheard.first.len() == KEPT);
        let told = overheard.tell(b"", b"", start, |bytes| {
            assert_eq!(bytes.len(), KEPT - KEPT / 4);
            bytes.to_vec()
        });
        assert!(told.is_some());
        overheard.push(&[b'x'; 3 * KEPT], start);
        overheard.push(b"\nerror: over\n", start);
        assert_eq!(tell(&overheard, start).words, "error: over");
    }

    #[test]
    fn a_body_of_http_is_no_word_about_its_connection_and_a_status_is() {
        let start = Instant::now();
        let mut overheard = Overheard::default();
        overheard.push(b"HTTP/1.1 200 OK\r\n\r\n", start);
        overheard.push(b"<p>closed until Monday</p>", start + 200 * MS);
        assert_eq!(tell(&overheard, start + 200 * MS).said, Said::Greeting);
        overheard.on_ack(b"ack\n");
        overheard.push(b"closing\n", start + 500 * MS);
        assert_eq!(tell(&overheard, start + 500 * MS).said, Said::Closing);
        overheard.on_ack(b"ack\n");
        overheard.push(b"HTTP/1.0 408 Request Time-out\r\n\r\n<p>late</p>", start + 700 * MS);
        assert_eq!(tell(&overheard, start + 700 * MS).said, Said::Closing);
    }

    #[test]
    fn the_rest_of_an_answer_of_http_is_no_last_word() {
        let start = Instant::now();
        let mut overheard = Overheard::default();
        overheard.on_ack(b"HTTP/1.1 200 OK\r\n");
        overheard.push(b"Server: x\r\n\r\nclosed until Monday", start);
        assert_eq!(tell(&overheard, start).weight(), None);
    }

    #[test]
    fn bytes_that_come_back_are_an_echo_also_when_no_parser_took_them() {
        let mut overheard = Overheard::default();
        overheard.on_connected();
        overheard.on_beat();
        overheard.touch(Instant::now());
        let told = overheard.tell(b"heartbeat", b"heartbeat", Instant::now(), <[u8]>::to_vec);
        let told = told.expect("the rest");
        assert!(told.since_beat && told.service == Some(Service::Echo), "{told:?}");
        overheard.on_beat();
        let told = overheard.tell(b"heart", b"heartbeat", Instant::now(), <[u8]>::to_vec);
        assert!(told.is_some_and(|told| !told.since_beat && told.service.is_none()));
    }
}
