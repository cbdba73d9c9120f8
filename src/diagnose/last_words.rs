//! What a peer said last, before it ended a connection: words about closing, a mere greeting, other
//! text, or no text at all. Pure, and decided by what stands in the bytes.

use std::fmt::Write;
use std::time::Duration;

use memchr::memmem;

use super::confidence::Confidence;
use super::fact::words;

words! {
    /// What the last bytes of a peer are.
    Said {
        /// Words about an end, or an error.
        Closing = "closing",
        /// What a service says to begin with, or to agree.
        Greeting = "greeting",
        /// Other text.
        Text = "text",
        /// No text.
        Binary = "binary",
    }
}

/// Words by which a line is about an end, or the reason for one.
const ABOUT_AN_END: [&str; 40] = [
    "bye",
    "closing",
    "closed",
    "disconnect",
    "shutting down",
    "shutdown",
    "going down",
    "terminat",
    "timeout",
    "timed out",
    "time-out",
    "idle",
    "inactiv",
    "autologout",
    "logged out",
    "expired",
    "too many",
    "limit",
    "exceeded",
    "maximum",
    "denied",
    "refused",
    "not allowed",
    "not welcome",
    "forbidden",
    "unauthorized",
    "banned",
    "blocked",
    "kicked",
    "killed",
    "restart",
    "maintenance",
    "unavailable",
    "try again",
    "overload",
    "busy",
    "violation",
    "slow consumer",
    "mismatch",
    "invalid",
];

/// Beginnings of lines that tell an error or an end, whatever follows.
const ENDS: [&str; 8] = ["* BYE", "-ERR", "ERR", "ERROR", "FATAL", "PANIC", "-DENIED", "-LOADING"];

/// Beginnings of lines with which services greet, or agree.
const GREETS: [&str; 14] = [
    "* OK",
    "* PREAUTH",
    "+OK",
    "+PONG",
    "OK",
    "SSH-",
    "RFB ",
    "INFO ",
    "@RSYNCD",
    "AMQP",
    "HELLO",
    "WELCOME",
    "READY",
    "( success",
];

/// The shortest text among other bytes that is taken for words.
const SHORTEST_RUN: usize = 10;

/// What came so shortly before an end belongs to it.
pub(crate) const LATELY: Duration = Duration::from_secs(1);

/// Words about an end may come so long before it: some servers wait for the client to go first.
const AHEAD: Duration = Duration::from_secs(10);

/// Whoever speaks so often speaks all the time: the last bytes are data like those before.
const STREAM: u32 = 5;

/// How sure it is that these words are the reason for an end that comes so long after them. `times`
/// is how often something was said on the connection. What was said first may be a warning to all
/// who come, and so is no reason for an end much later.
pub(crate) fn weight(said: Said, age: Duration, times: u32, is_first: bool) -> Option<Confidence> {
    let (is_late, is_stream) = (age > LATELY, times >= STREAM);
    match said {
        Said::Closing if is_first && is_late => None,
        Said::Closing if age <= AHEAD && !is_stream => Some(Confidence::Certain),
        Said::Closing if !is_late => Some(Confidence::Likely),
        // The first line alone is how a service begins.
        Said::Text if !is_late && !is_stream && !is_first => Some(Confidence::Likely),
        _ => None,
    }
}

/// The last words in these bytes, and what they are. None in no bytes.
pub(crate) fn of(bytes: &[u8]) -> Option<(Vec<u8>, Said)> {
    if bytes.is_empty() {
        return None;
    }
    if let Some(told) = packet(bytes) {
        return Some((told.into_bytes(), Said::Closing));
    }
    let Some(line) = line(bytes) else {
        return Some(match longest_run(bytes) {
            Some(run) if kind(run) == Said::Closing => (run.to_vec(), Said::Closing),
            _ => (bytes.to_vec(), Said::Binary),
        });
    };
    Some((line.to_vec(), kind(line)))
}

/// Whether words speak of a connection that was idle.
pub(super) fn are_about_idling(text: &str) -> bool {
    let text = text.to_lowercase();
    let about = ["idle", "inactiv", "autologout", "timeout", "timed out", "time-out"];
    about.iter().any(|word| text.contains(word))
}

fn kind(line: &[u8]) -> Said {
    let text = String::from_utf8_lossy(line);
    let begins = |starts: &[&str]| {
        starts.iter().any(|start| {
            let begun = text.get(..start.len()).is_some_and(|t| t.eq_ignore_ascii_case(start));
            // A whole word, where the start is one.
            let next = text.as_bytes().get(start.len());
            let ends_in_word = start.ends_with(|c: char| c.is_ascii_alphanumeric());
            begun && !(ends_in_word && next.is_some_and(u8::is_ascii_alphanumeric))
        })
    };
    // Redis and its like: a code in capitals behind a `-`.
    if matches!(line, [b'-', b'A'..=b'Z', b'A'..=b'Z', ..]) {
        return Said::Closing;
    }
    match code(line) {
        Some(b'1'..=b'3') => return Said::Greeting,
        Some(b'4' | b'5') => return Said::Closing,
        _ => {}
    }
    if begins(&ENDS) || text.starts_with("HTTP/1.") {
        return if is_fine(&text) { Said::Greeting } else { Said::Closing };
    }
    if begins(&GREETS) {
        return Said::Greeting;
    }
    let lower = text.to_lowercase();
    let is_about_an_end = ABOUT_AN_END.iter().any(|word| lower.contains(word));
    if is_about_an_end { Said::Closing } else { Said::Text }
}

/// A status line of HTTP that tells no error.
fn is_fine(text: &str) -> bool {
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..3));
    status.is_some_and(|digit| matches!(digit, "1" | "2" | "3"))
}

/// The first digit of a reply code: three digits by themselves.
fn code(line: &[u8]) -> Option<u8> {
    let (digits, rest) = line.split_at_checked(3)?;
    let alone = matches!(rest.first(), None | Some(b' ' | b'-'));
    (alone && digits.iter().all(u8::is_ascii_digit)).then_some(digits[0])
}

/// Of text the last line about an end, or else the last one; of an answer of HTTP its status.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let is_text = |b: &u8| b.is_ascii_graphic() || b.is_ascii_whitespace();
    let plain = bytes.iter().filter(|b| is_text(b)).count();
    // Other languages have letters of two bytes.
    let is_utf8 = std::str::from_utf8(bytes)
        .is_ok_and(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()));
    if plain < bytes.len() && !is_utf8 {
        return None;
    }
    let lines = || bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty());
    if let Some(status) = lines().find(|line| line.starts_with(b"HTTP/1.")) {
        return Some(status);
    }
    lines().rfind(|line| kind(line) == Said::Closing).or_else(|| lines().next_back())
}

/// The longest text among bytes that are none.
fn longest_run(bytes: &[u8]) -> Option<&[u8]> {
    let runs = bytes.split(|b| !(b.is_ascii_graphic() || *b == b' '));
    runs.map(<[u8]>::trim_ascii).filter(|run| run.len() >= SHORTEST_RUN).max_by_key(|run| run.len())
}

/// What a packet of a known protocol tells, if it tells of an error or an end.
fn packet(bytes: &[u8]) -> Option<String> {
    let told = [postgres, mysql, ssh, tls, websocket].iter().find_map(|of| of(bytes))?;
    Some(told.trim().to_owned())
}

/// `E`, a length, and fields that end with 0 each: the severity and the message are two of them.
fn postgres(bytes: &[u8]) -> Option<String> {
    let at = memmem::find(bytes, b"\0M")?;
    let start = bytes[..at].iter().rposition(|b| *b == b'E')?;
    let fields = bytes.get(start + 5..)?;
    let severity = field(fields, b'S')?;
    matches!(severity.as_str(), "FATAL" | "ERROR" | "PANIC").then_some(())?;
    Some(format!("{severity}: {}", field(fields, b'M')?))
}

fn field(fields: &[u8], name: u8) -> Option<String> {
    let found = fields.split(|b| *b == 0).find(|field| field.first() == Some(&name))?;
    Some(String::from_utf8_lossy(&found[1..]).into_owned())
}

/// Three bytes of length, a number, 255, an error number of two bytes, perhaps a state of five
/// letters behind `#`, the message.
fn mysql(bytes: &[u8]) -> Option<String> {
    let [a, b, c, _seq, 0xff, low, high, message @ ..] = bytes else { return None };
    let len = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
    let message = message.get(..len.checked_sub(3)?)?;
    let message = match message {
        [b'#', rest @ ..] => rest.get(5..)?,
        other => other,
    };
    let text = std::str::from_utf8(message).ok().filter(|text| !text.is_empty())?;
    Some(format!("ERROR {}: {text}", u16::from_le_bytes([*low, *high])))
}

/// SSH_MSG_DISCONNECT (RFC 4253, section 11.1), as long as nothing is encrypted.
fn ssh(bytes: &[u8]) -> Option<String> {
    // Length, padding, 1, a reason code, the length of a description, the description.
    for at in 0..bytes.len().saturating_sub(14) {
        let [_, _, _, _, _, 1, 0, 0, 0, code @ 1..=15, 0, 0, high, low, text @ ..] = &bytes[at..]
        else {
            continue;
        };
        let text = text.get(..usize::from(*high) << 8 | usize::from(*low))?;
        let text = std::str::from_utf8(text).ok().filter(|text| !text.is_empty())?;
        return Some(format!("disconnect, reason {code}: {text}"));
    }
    None
}

/// An alert of TLS (RFC 8446, section 6).
fn tls(bytes: &[u8]) -> Option<String> {
    let [.., 0x15, 3, 0..=4, 0, 2, 1 | 2, alert] = bytes else { return None };
    let meaning = match alert {
        0 => "close notify",
        10 => "unexpected message",
        40 => "handshake failure",
        70 => "protocol version",
        80 => "internal error",
        112 => "unrecognized name",
        116 => "certificate required",
        _ => return Some(format!("TLS alert {alert}")),
    };
    Some(format!("TLS alert {alert}, {meaning}"))
}

/// A close frame of WebSocket (RFC 6455, section 5.5.1), with its code.
fn websocket(bytes: &[u8]) -> Option<String> {
    let [0x88, len @ 2..=125, code @ ..] = bytes else { return None };
    let (code, reason) = code.split_at_checked(2)?;
    let number = u16::from_be_bytes([code[0], code[1]]);
    let reason = std::str::from_utf8(reason.get(..usize::from(*len) - 2)?).ok()?;
    let mut told = format!("close frame, code {number}");
    if (1000..5000).contains(&number) && !reason.is_empty() {
        write!(told, ": {reason}").expect("a String takes any text");
    }
    (1000..5000).contains(&number).then_some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_about_an_end_are_told_from_greetings_data_and_noise() {
        use Said::{Binary, Closing, Greeting, Text};
        for (bytes, words, said) in [
            ("* BYE Autologout; idle for too long\r\n", "", Closing),
            ("421 4.4.2 timeout exceeded\r\n", "", Closing),
            ("554 5.7.1 no access from here\r\n", "", Closing),
            ("-ERR max number of clients reached\r\n", "", Closing),
            ("-ERR Disconnected for inactivity.\r\n", "", Closing),
            ("ERROR :Closing Link: (Ping timeout)\r\n", "", Closing),
            ("Exceeded MaxStartups\r\n", "", Closing),
            ("Not allowed at this time\r\n", "", Closing),
            ("You are not welcome to use telnetd from here.\n", "", Closing),
            ("server is shutting down\n", "", Closing),
            (
                "HTTP/1.0 408 Request Time-out\r\nA: b\r\n\r\n<p>late</p>",
                "HTTP/1.0 408 Request Time-out",
                Closing,
            ),
            ("421 busy\r\nsee you\r\n", "421 busy", Closing),
            ("220 mail ready, closing after 300 s idle\r\n", "", Greeting),
            ("220-disconnected after 15 minutes of inactivity\r\n", "", Greeting),
            ("* OK [CAPABILITY IMAP4 IDLE] ready\r\n", "", Greeting),
            ("SSH-2.0-OpenSSH_9.2\r\n", "", Greeting),
            ("HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK", Greeting),
            ("+OK\r\n", "", Greeting),
            ("price 42.3\n", "", Text),
            ("oklahoma\n", "", Text),
            ("\x01\x02\x7f\x03", "\x01\x02\x7f\x03", Binary),
        ] {
            let expected = if words.is_empty() { bytes.trim() } else { words };
            let (told, kind) = of(bytes.as_bytes()).expect("some bytes");
            assert_eq!(
                (String::from_utf8_lossy(&told).as_ref(), kind),
                (expected, said),
                "{bytes}"
            );
        }
        assert_eq!(of(b""), None);
    }

    fn told(bytes: &[u8]) -> String {
        let (told, said) = of(bytes).expect("some bytes");
        assert_eq!(said, Said::Closing, "{}", bytes.escape_ascii());
        String::from_utf8(told).expect("text")
    }

    #[test]
    fn packets_of_known_protocols_are_read() {
        let message = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0Fx.c\0\0";
        let postgres = [b"E\0\0\0\x40".as_slice(), message].concat();
        assert_eq!(told(&postgres), "FATAL: terminating connection");
        let mysql = b"\x1d\0\0\0\xff\x10\x04#08004Too many connections";
        assert_eq!(told(mysql), "ERROR 1040: Too many connections");
        let old = b"\x0f\0\0\x01\xff\x6a\x04Host blocked";
        assert_eq!(told(old), "ERROR 1130: Host blocked");
        let ssh = b"\0\0\0\x1c\x06\x01\0\0\0\x02\0\0\0\x0bidle time-o\0\0\0\0xxxxxx";
        assert_eq!(told(ssh), "disconnect, reason 2: idle time-o");
        assert_eq!(told(b"\x15\x03\x03\0\x02\x02\x28"), "TLS alert 40, handshake failure");
        assert_eq!(told(b"\x88\x0b\x03\xe9going off"), "close frame, code 1001: going off");
        let amqp = b"\x01\0\0\0\0\0\x2a\0\x0a\0\x32\x01\x40\x1eCONNECTION_FORCED - shutdown\xce";
        assert!(told(amqp).contains("CONNECTION_FORCED - shutdown"));
    }

    #[test]
    fn words_count_as_a_reason_by_when_they_came_and_how_often_the_peer_speaks() {
        use Confidence::{Certain, Likely};
        let ms = Duration::from_millis;
        for (said, age, times, is_first, right) in [
            (Said::Closing, 10, 1, true, Some(Certain)),
            (Said::Closing, 5_000, 2, false, Some(Certain)),
            (Said::Closing, 60_000, 2, false, None),
            (Said::Closing, 5_000, 1, true, None),
            (Said::Closing, 10, 50, false, Some(Likely)),
            (Said::Closing, 5_000, 50, false, None),
            (Said::Text, 10, 2, false, Some(Likely)),
            (Said::Text, 10, 1, true, None),
            (Said::Text, 10, 50, false, None),
            (Said::Greeting, 10, 2, false, None),
            (Said::Binary, 10, 2, false, None),
        ] {
            assert_eq!(weight(said, ms(age), times, is_first), right, "{said:?} {age} {times}");
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        let mut rng = fastrand::Rng::with_seed(7);
        let starts: [&[u8]; 6] = [b"E\0", b"\x05\0\0\0\xff", b"\x88\x02", b"\x15\x03", b"", b"\0M"];
        for round in 0..20_000 {
            let mut bytes = starts[round % starts.len()].to_vec();
            bytes.extend((0..rng.usize(..40)).map(|_| rng.u8(..)));
            if rng.bool() {
                bytes.truncate(rng.usize(..=bytes.len()));
            }
            assert_eq!(of(&bytes).is_some(), !bytes.is_empty());
        }
    }
}
