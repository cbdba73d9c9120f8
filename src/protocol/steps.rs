//! Steps: what is sent and what is expected, in order, from a file: for peers that speak first, ask
//! for a login, or need more than one line for a beat.

mod file;

use std::fmt;
use std::path::Path;

use memchr::{memchr, memmem};

use super::exchange::{rest_of_line, rest_of_reply};
use super::secrets;
use super::shown::{hidden, shown};
use super::{FRAME_LIMIT, Frame, Protocol, Rejected, escaped};
use crate::cause::{Cause, Loss};
use crate::error::Error;

/// A conversation in steps: an opening on each new connection, and the steps of each beat.
///
/// Written down one step a line; blank lines and lines that begin with `#` are passed over:
///
/// | line | |
/// |---|---|
/// | `send BYTES` | sends them; `\r \n \t \0 \\ \xNN` are escapes |
/// | `expect BYTES` | what the peer says next must begin with them |
/// | `until BYTES` | lines of the peer are passed over until one begins with them |
/// | `beat` | the steps below it are those of a beat; those above it are the opening |
///
/// An `expect` takes the rest of its line with it. One that begins with three digits is met when
/// all of the answer has come, be it several lines (`250-first` up to `250 last`, as SMTP and FTP
/// have it); any other as soon as its bytes have. Each step may take as long as the ack of a beat.
/// Without `beat` nothing is sent after the opening, as with [`ConnectOnly`](super::ConnectOnly);
/// what comes then is passed over.
///
/// A line that was not expected is `wrong-reply`; in the opening one about a login is
/// `login-refused`, and one that says `try later` (`421`, `450`) is `not-ready`. What is sent is
/// never printed, and where the peer repeats a part of it that is hidden.
///
/// For links that are [watched](crate::Coordinator::watch).
///
/// # Examples
///
/// ```
/// use keepbeat::Steps;
///
/// let mail = Steps::parse(r"
///     expect 220
///     send EHLO monitor.example\r\n
///     expect 250
///     beat
///     send NOOP\r\n
///     expect 250
/// ")?;
/// let ssh = Steps::greeting("SSH-2.0-"); // reads the greeting, and sends nothing
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Steps {
    opening: Vec<Step>,
    beat: Vec<Step>,
    place: Place,
    /// The line that the last step took is not at its end.
    open: bool,
    /// Passed over since the last step, in bytes.
    passed: usize,
    /// Beats without an answer.
    waiting: u32,
    /// What is to be sent next.
    due: Vec<u8>,
}

/// Where in the conversation it is: the step that is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Place {
    /// Nothing is waited for.
    #[default]
    Resting,
    Opening(usize),
    Beat(usize),
}

#[derive(Clone, Debug, PartialEq)]
struct Step {
    verb: Verb,
    bytes: Vec<u8>,
    /// Where it was written down; 0 if it was not.
    line: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    Send,
    Expect,
    Until,
}

/// What a step makes of the bytes at the front.
enum Met {
    /// It is met, by so many of them.
    By(usize),
    /// So many are passed over.
    Passed(usize),
    /// More are needed.
    Not,
}

impl Steps {
    /// Takes a text apart.
    ///
    /// # Errors
    ///
    /// Says what is wrong, with the number of the line; never repeats what is to be sent.
    pub fn parse(text: &str) -> Result<Steps, Error> {
        file::parse(text)
    }

    /// Reads them from a file.
    ///
    /// # Errors
    ///
    /// As [`parse`](Steps::parse); or the file cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Steps, Error> {
        file::read(path.as_ref())
    }

    /// The peer greets with these bytes; nothing is sent, and the connection is held.
    pub fn greeting(expect: impl Into<Vec<u8>>) -> Steps {
        let step = Step { verb: Verb::Expect, bytes: expect.into(), line: 0 };
        Steps { opening: vec![step], ..Steps::default() }
    }

    /// The steps of the part that is under way, and which of them is waited for.
    fn waited_for(&self) -> Option<(&[Step], usize)> {
        match self.place {
            Place::Resting => None,
            Place::Opening(at) => Some((&self.opening, at)),
            Place::Beat(at) => Some((&self.beat, at)),
        }
    }

    /// A part of the conversation begins at this step, or goes on there: sends what comes first.
    fn go_on(&mut self, is_beat: bool, mut at: usize) {
        let steps = if is_beat { &self.beat } else { &self.opening };
        while let Some(step) = steps.get(at).filter(|step| step.verb == Verb::Send) {
            self.due.extend_from_slice(&step.bytes);
            at += 1;
        }
        self.place = match at < steps.len() {
            true if is_beat => Place::Beat(at),
            true => Place::Opening(at),
            false => Place::Resting,
        };
    }

    /// Whether a beat is more than a question and an answer: then the next waits for its end.
    fn is_long(&self) -> bool {
        self.beat.iter().filter(|step| step.verb != Verb::Send).count() > 1
    }

    /// The step is met: what is that?
    fn on_met(&mut self) -> Frame {
        let place = std::mem::take(&mut self.place);
        self.passed = 0;
        match place {
            Place::Resting => Frame::Own,
            Place::Opening(at) => {
                self.go_on(false, at + 1);
                Frame::Own
            }
            Place::Beat(at) => {
                self.go_on(true, at + 1);
                if self.place != Place::Resting {
                    return Frame::Own;
                }
                self.waiting = self.waiting.saturating_sub(1);
                if self.waiting > 0 {
                    // Its first bytes are sent already.
                    let first = self.beat.iter().position(|step| step.verb != Verb::Send);
                    self.place = Place::Beat(first.unwrap_or_default());
                }
                Frame::Ack(None)
            }
        }
    }

    fn refused(&self, step: &Step, bytes: &[u8]) -> Rejected {
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let cause = match self.place {
            Place::Opening(_) => meaning(line, &step.bytes),
            _ => Cause::WrongReply,
        };
        let place = match step.line {
            0 => String::new(),
            line => format!("the step of line {line} "),
        };
        let (expected, got) = (escaped(&step.bytes), shown(&self.redact(bytes), &[]));
        Rejected(Loss::new(cause, format!("{place}expected `{expected}`, got `{got}`")))
    }
}

/// What a line in the place of the expected one means, while the conversation is opened.
fn meaning(line: &[u8], expected: &[u8]) -> Cause {
    let is_code = |bytes: &[u8]| bytes.len() >= 3 && bytes[..3].iter().all(u8::is_ascii_digit);
    let text = line.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| memmem::find(&text, w.as_bytes()).is_some());
    match line {
        // RFC 4954 and RFC 959.
        [b'5', b'3', b'0' | b'4' | b'5', ..] => Cause::LoginRefused,
        [b'4', ..] if is_code(line) && is_code(expected) => Cause::NotReady,
        _ if says(&["authentication failed", "authenticationfailed", "login incorrect"]) => {
            Cause::LoginRefused
        }
        _ if says(&["invalid login", "login failed", "access denied", "[auth]"]) => {
            Cause::LoginRefused
        }
        _ if says(&["too many", "try again", "try later", "unavailable", "[sys/temp]"]) => {
            Cause::NotReady
        }
        _ => Cause::WrongReply,
    }
}

/// Whether the peer says what is expected next.
fn expect(bytes: &[u8], expected: &[u8]) -> Option<Met> {
    if !bytes.starts_with(expected) {
        return expected.starts_with(bytes).then_some(Met::Not);
    }
    let is_code = expected.len() >= 3
        && expected[..3].iter().all(u8::is_ascii_digit)
        && matches!(expected.get(3), None | Some(b' ' | b'-'));
    Some(if is_code { whole_answer(bytes) } else { Met::By(expected.len()) })
}

/// An answer of one line, or of several: the code and `-` at the front of each but the last one.
fn whole_answer(bytes: &[u8]) -> Met {
    let mut at = 0;
    while let Some(end) = memchr(b'\n', &bytes[at..]) {
        let line = &bytes[at..at + end];
        at += end + 1;
        if line.starts_with(&bytes[..3]) && line.get(3) != Some(&b'-') {
            return Met::By(at);
        }
    }
    Met::Not
}

/// Whether a line at the front is the one that is waited for.
fn until(bytes: &[u8], expected: &[u8]) -> Met {
    if bytes.starts_with(expected) {
        return memchr(b'\n', bytes).map_or(Met::Not, |end| Met::By(end + 1));
    }
    match memchr(b'\n', bytes) {
        Some(end) => Met::Passed(end + 1),
        None => Met::Not,
    }
}

impl Protocol for Steps {
    fn connected(&mut self, out: &mut Vec<u8>) {
        (self.open, self.passed, self.waiting) = (false, 0, 0);
        self.due.clear();
        self.go_on(false, 0);
        out.append(&mut self.due);
    }

    fn beat(&mut self, _seq: u64, out: &mut Vec<u8>) {
        if self.beat.is_empty() || !self.is_ready() {
            return;
        }
        let place = self.place;
        self.go_on(true, 0);
        out.append(&mut self.due);
        self.waiting = self.waiting.saturating_add(1);
        if place != Place::Resting {
            self.place = place; // an earlier one is answered first
        }
    }

    fn is_ready(&self) -> bool {
        match self.place {
            Place::Resting => true,
            Place::Opening(_) => false,
            Place::Beat(_) => !self.is_long(),
        }
    }

    fn reply(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.due);
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let Some((steps, at)) = self.waited_for() else {
            self.open &= !bytes.contains(&b'\n');
            return Ok(Some((Frame::Data, bytes.len())));
        };
        let step = &steps[at];
        let rest = if self.open { rest_of_reply(bytes, &step.bytes) } else { 0 };
        if rest > 0 {
            self.open = bytes[rest - 1] != b'\n';
            return Ok(Some((Frame::Data, rest)));
        }
        let met = match step.verb {
            Verb::Until => until(bytes, &step.bytes),
            _ => expect(bytes, &step.bytes).ok_or_else(|| self.refused(step, bytes))?,
        };
        match met {
            Met::Not => Ok(None),
            Met::By(len) => {
                let frame = self.on_met();
                let is_whole = bytes[..len].ends_with(b"\n");
                let next = self.waited_for().map(|(steps, at)| steps[at].bytes.as_slice());
                let len = len + rest_of_line(&bytes[len..], is_whole, next);
                self.open = !bytes[..len].ends_with(b"\n");
                Ok(Some((frame, len)))
            }
            Met::Passed(len) => {
                self.passed += len;
                if self.passed > FRAME_LIMIT {
                    let line = self.waited_for().map_or(0, |(steps, at)| steps[at].line);
                    return Err(Rejected::wrong_reply(format!(
                        "more than 64 KiB passed the step of line {line}, and none of it was the \
                         line that it waits for"
                    )));
                }
                Ok(Some((Frame::Data, len)))
            }
        }
    }

    fn scheme(&self) -> Option<&'static str> {
        Some("tcp")
    }

    /// What is sent may hold a login.
    fn redact(&self, bytes: &[u8]) -> Vec<u8> {
        let opening = self.opening.iter().map(|step| (step, false));
        let steps = opening.chain(self.beat.iter().map(|step| (step, true)));
        let sent = steps.filter(|(step, _)| step.verb == Verb::Send);
        let secrets: Vec<&[u8]> =
            sent.flat_map(|(step, is_beat)| secrets::within(&step.bytes, is_beat)).collect();
        hidden(bytes, &[], &secrets)
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (opening, beat) = (self.opening.len(), self.beat.len());
        f.debug_struct("Steps").field("opening", &opening).field("beat", &beat).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::frames;
    use super::*;

    const MAIL: &str = r"
        # a mail server
        expect 220
        send EHLO monitor.example\r\n
        expect 250
        send AUTH PLAIN AGJvYgBzM2NyZXQ=\r\n
        expect 235
        beat
        send NOOP\r\n
        expect 250
    ";

    fn steps(text: &str) -> Steps {
        Steps::parse(text).unwrap()
    }

    fn said(protocol: &mut Steps, pieces: &[&str]) -> Vec<Frame> {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        frames(protocol, &pieces).into_iter().filter(|frame| *frame != Frame::Data).collect()
    }

    fn reply(steps: &mut Steps) -> String {
        let mut out = Vec::new();
        steps.reply(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn refused(steps: &mut Steps, bytes: &str) -> Loss {
        steps.parse(bytes.as_bytes()).expect_err(bytes).0
    }

    #[test]
    fn an_opening_goes_on_step_by_step_and_beats_come_after_it() {
        let mut mail = steps(MAIL);
        let mut out = Vec::new();
        mail.connected(&mut out);
        mail.beat(1, &mut out);
        assert!(out.is_empty() && !mail.is_ready(), "the peer goes first");
        assert_eq!(said(&mut mail, &["220-mx ESMTP\r\n"]), [], "more of it is to come");
        assert_eq!(reply(&mut mail), "");
        assert_eq!(said(&mut mail, &["220-mx ESMTP\r\n220 ready\r\n"]), [Frame::Own]);
        assert_eq!(reply(&mut mail), "EHLO monitor.example\r\n");
        assert_eq!(said(&mut mail, &["250-mx\r\n250-SIZE\r\n25", "0 HELP\r\n"]), [Frame::Own]);
        assert_eq!(reply(&mut mail), "AUTH PLAIN AGJvYgBzM2NyZXQ=\r\n");
        assert_eq!(said(&mut mail, &["235 fine\r\n"]), [Frame::Own]);
        assert!(mail.is_ready());
        for seq in 2..4 {
            mail.beat(seq, &mut out);
        }
        assert_eq!(out, b"NOOP\r\nNOOP\r\n", "the second goes out while the first is silent");
        let acks = said(&mut mail, &["250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"]);
        assert_eq!(acks, [Frame::Ack(None); 2]);
        mail.connected(&mut out);
        assert!(!mail.is_ready(), "each connection begins with the opening");
    }

    #[test]
    fn a_beat_of_several_steps_is_acked_by_the_last_and_has_the_connection_for_itself() {
        let mut long = steps("beat\nsend A\\n\nexpect B\nsend C\\n\nuntil D\n");
        let mut out = Vec::new();
        long.connected(&mut out);
        assert!(long.is_ready());
        long.beat(1, &mut out);
        assert!(!long.is_ready());
        long.beat(2, &mut out);
        assert_eq!(out, b"A\n");
        assert_eq!(said(&mut long, &["B", "etter\n"]), [Frame::Own]);
        assert_eq!(reply(&mut long), "C\n");
        assert_eq!(said(&mut long, &["* 3 EXISTS\nD", "one\n"]), [Frame::Ack(None)]);
        assert!(long.is_ready());
        long.beat(3, &mut out);
        assert_eq!(out, b"A\nA\n");
    }

    #[test]
    fn bytes_without_lines_are_met_at_once_and_prompts_too() {
        let mut plc = steps(
            r"beat
            send \x03\x00\x00\x04
            expect \x03\x00",
        );
        for _ in 0..3 {
            plc.beat(1, &mut Vec::new());
        }
        let answers = ["\x03\0\0\x07ab", "c\x03\0\0\x04\x03", "\0\0\x04"];
        assert_eq!(said(&mut plc, &answers), [Frame::Ack(None); 3]);
        let mut telnet = steps("expect login:\nsend bob\\r\\n\nexpect Password:\nsend x\\r\\n");
        telnet.connected(&mut Vec::new());
        assert_eq!(said(&mut telnet, &["login: ", "bob\r\nPassword: "]), [Frame::Own; 2]);
        assert!(telnet.is_ready());
    }

    #[test]
    fn a_greeting_alone_is_read_and_nothing_is_sent() {
        let mut ssh = Steps::greeting("SSH-2.0-");
        let mut out = Vec::new();
        ssh.connected(&mut out);
        assert!(!ssh.is_ready());
        assert_eq!(said(&mut ssh, &["SSH-2", ".0-OpenSSH_9.2\r\n"]), [Frame::Own]);
        ssh.beat(1, &mut out);
        assert!(out.is_empty() && ssh.is_ready());
        assert_eq!(said(&mut ssh, &["whatever"]), []);
        ssh.connected(&mut out);
        let loss = refused(&mut ssh, "220 mail ready\r\n");
        assert_eq!(loss.detail, r"expected `SSH-2.0-`, got `220 mail ready\r\n`");
        assert_eq!(loss.cause, Cause::WrongReply);
    }

    #[test]
    fn what_is_said_in_place_of_a_step_is_told_with_its_line_and_what_it_means() {
        for (said, cause) in [
            ("421 4.7.0 too many connections\r\n", Cause::NotReady),
            ("535 5.7.8 authentication failed\r\n", Cause::LoginRefused),
            ("554 no\r\n", Cause::WrongReply),
            ("-ERR [AUTH] no\r\n", Cause::LoginRefused),
            ("a1 NO [AUTHENTICATIONFAILED] no\r\n", Cause::LoginRefused),
            ("-ERR [SYS/TEMP] later\r\n", Cause::NotReady),
        ] {
            let mut mail = steps(MAIL);
            mail.connected(&mut Vec::new());
            let loss = refused(&mut mail, said);
            assert_eq!(loss.cause, cause, "{said}");
            assert!(loss.detail.starts_with("the step of line 3 expected `220`, got `"), "{loss}");
        }
        let mut beat = steps("beat\nsend NOOP\nexpect 250");
        beat.beat(1, &mut Vec::new());
        assert_eq!(refused(&mut beat, "450 busy\r\n").cause, Cause::WrongReply);
        let mut deaf = steps("until a1 OK");
        deaf.connected(&mut Vec::new());
        let flood = [b"line\n".repeat(800)].concat();
        let mut passed = 0;
        let loss = loop {
            match deaf.parse(&flood[passed % flood.len()..]) {
                Ok(Some((_, len))) => passed += len,
                Ok(None) => panic!("whole lines"),
                Err(loss) => break loss.0,
            }
        };
        assert!((FRAME_LIMIT - 5..=FRAME_LIMIT).contains(&passed), "{passed}");
        assert!(loss.detail.contains("the step of line 1"), "{loss}");
    }

    #[test]
    fn what_is_sent_is_never_shown() {
        let mut mail = steps(MAIL);
        mail.connected(&mut Vec::new());
        let echo = "500 what is AGJvYgBzM2NyZXQ=, monitor.example? NOOP!";
        let detail = refused(&mut mail, echo).detail;
        assert!(!detail.contains("AGJv") && !detail.contains("monitor"), "{detail}");
        assert!(detail.contains("NOOP!"), "the command of a beat is none: {detail}");
        let login = steps("expect x\nsend LOGIN bob \"s3cret word\"\\r\\n\nexpect y\nsend hunter2");
        let shown = login.redact(b"LOGIN: s3cret word, hunter2");
        assert_eq!(String::from_utf8_lossy(&shown), "LOGIN: *** ***, ***");
        let token = steps("beat\nsend t0ken\\n\nexpect x");
        assert_eq!(String::from_utf8_lossy(&token.redact(b"t0ken NOOP")), "*** NOOP");
        assert_eq!(format!("{mail:?}"), "Steps { opening: 5, beat: 2 }");
    }
}
