//! Redis: PING, as a RESP array or inline, after AUTH where there is a password. What the server
//! says instead of PONG is told as what it is. Also among an application's own commands.

mod in_band;
mod refusal;
mod resp;

use std::io::Write;

use memchr::memmem;

use super::shown::{cut, hidden, shown};
use super::{FRAME_LIMIT, Frame, Protocol, Rejected};
use crate::cause::{Cause, Loss};
use in_band::{InBand, OutOfStep};
use resp::Value;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const PING_INLINE: &[u8] = b"PING\r\n";

/// So much of what a server says is shown: its errors explain themselves at some length.
const SHOWN: usize = 160;

/// The longest reply to the application.
const LONGEST_REPLY: usize = 16 * 1024 * 1024;

/// So much of a long reply is looked at to show its beginning.
const TELLING: usize = 256;

/// Beats for a Redis server, or anything that speaks its protocol: `PING` out, `+PONG` back.
///
/// An error line is told as what it is: `-NOAUTH`, `-WRONGPASS` and a refused AUTH are
/// `login-refused`; `-NOPERM` is `permission-missing`; `-LOADING`, `-BUSY`, `-MASTERDOWN`, too many
/// clients, protected mode and their like are `not-ready`; everything else (`-ERR unknown command`)
/// is `wrong-reply`; each with the line. Pushes and attributes pass by. The password is never
/// printed, nor is the user's name where it stands as a word of three letters or more.
///
/// # Examples
///
/// ```
/// use keepbeat::Redis;
///
/// let open = Redis::new();
/// let locked = Redis::new().user("monitor").password("secret");
/// assert!(!format!("{locked:?}").contains("secret"));
/// ```
#[derive(Clone, Default)]
pub struct Redis {
    user: Option<String>,
    password: Option<String>,
    inline: bool,
    logging_in: bool,
    limit: Option<usize>,
    in_band: Option<InBand>,
    /// The reply that is being read, where beats have the connection for themselves.
    value: Value,
}

impl Redis {
    /// Without a login, with RESP arrays.
    pub fn new() -> Redis {
        Redis::default()
    }

    /// The user for AUTH (Redis 6 and later); the default user if none is given.
    pub fn user(mut self, user: impl Into<String>) -> Redis {
        self.user = Some(user.into());
        self
    }

    /// The password for AUTH, sent once on each new connection.
    pub fn password(mut self, password: impl Into<String>) -> Redis {
        self.password = Some(password.into());
        self
    }

    /// `PING\r\n` in place of a RESP array, for proxies and stand-ins that read lines only.
    pub fn inline(mut self) -> Redis {
        self.inline = true;
        self
    }

    /// The connection carries the application's commands as well, pipelines and subscriptions
    /// included: for [`Coordinator::adopt`](crate::Coordinator::adopt) and the like.
    ///
    /// Beats are `PING` with an argument that is unique to this value and the beat, so that the
    /// answer is known wherever it comes: in the middle of a pipeline, to a client that has
    /// subscribed, with RESP2 and with RESP3. Every other whole reply or push is the application's,
    /// as it stands on the wire, error replies included; it is 16 MiB long at most, or
    /// [`limit`](Redis::limit). What the application sends goes out as it is, whole commands with
    /// each call. [`parse`](Protocol::parse) finds answers here, and never the beats of a peer.
    ///
    /// What to mind:
    ///
    /// * The login belongs here, not to the application: beats go out from the start, and would be
    ///   refused. AUTH goes first, and the application's commands wait for its `+OK`. A refused
    ///   AUTH is `login-refused`, and so is `-NOAUTH` at any time; a user who may not PING is
    ///   `permission-missing`; a server that is full or in protected mode is `not-ready`.
    /// * Send MULTI to EXEC in one call: a PING in between would be queued into the transaction.
    /// * A command that blocks, BLPOP say, keeps Redis from answering. The timeout of the acks must
    ///   be longer than the block.
    /// * `CLIENT REPLY OFF` and `MONITOR` do not go with it.
    /// * Redis may answer any command with an error, PING too: `-LOADING`, `-BUSY`, `-MISCONF`. It
    ///   looks like the application's. When the next beat is answered it shows that one is missing,
    ///   and the link is lost with `not-ready`, or `wrong-reply` for any other error: replies no
    ///   longer belong to their commands.
    ///
    /// # Examples
    ///
    /// ```
    /// use keepbeat::Redis;
    /// use keepbeat::protocol::{Frame, Protocol};
    ///
    /// let mut redis = Redis::new().in_band();
    /// let mut ping = Vec::new();
    /// redis.beat(1, &mut ping);
    /// let answer = ping.strip_prefix(b"*2\r\n$4\r\nPING\r\n").expect("PING with an argument");
    /// assert_eq!(redis.parse(b"+OK\r\n"), Ok(Some((Frame::Data, 5))));
    /// assert_eq!(redis.parse(answer), Ok(Some((Frame::Ack(Some(1)), answer.len()))));
    /// ```
    pub fn in_band(mut self) -> Redis {
        self.in_band = Some(InBand::new());
        self
    }

    /// The longest reply to the application, in bytes, with all that it holds: 16 MiB if it is not
    /// set, 256 at least. A longer one is refused as soon as a length in it says so, and the link
    /// is lost with `wrong-reply`. Without [`in_band`](Redis::in_band) it changes nothing.
    pub fn limit(mut self, bytes: usize) -> Redis {
        self.limit = Some(bytes);
        self
    }

    fn wrong(&self, bytes: &[u8]) -> Rejected {
        Rejected::wrong_reply(format!("expected `+PONG`, got `{}`", self.beginning(bytes)))
    }

    /// An error line, with its end.
    fn on_error(&self, line: &[u8]) -> Rejected {
        let cause = refusal::cause(line, self.logging_in);
        let gives_none = cause == Cause::LoginRefused && self.password.is_none();
        let hint = if gives_none { "; give it a password" } else { "" };
        Rejected(Loss::new(cause, format!("{}{hint}", self.says(line))))
    }

    /// A line of the server, as a sentence. With its end, no secret is taken for one cut off.
    fn says(&self, line: &[u8]) -> String {
        let clean = self.redact(line);
        format!("the server says `{}`", cut(clean.strip_suffix(b"\r\n").unwrap_or(&clean), SHOWN))
    }

    /// A whole reply, where beats have the connection for themselves.
    fn answer(&mut self, value: &[u8]) -> Result<Frame, Rejected> {
        match value {
            b"+PONG\r\n" | b"$4\r\nPONG\r\n" => Ok(Frame::Ack(None)),
            b"+OK\r\n" if self.logging_in => {
                self.logging_in = false;
                Ok(Frame::Data)
            }
            // To who has subscribed, Redis answers in this way.
            [b'*' | b'>', ..] if in_band::is_pong(value) => Ok(Frame::Ack(None)),
            [b'>', ..] => Ok(Frame::Own),
            [b'-', ..] => Err(self.on_error(value)),
            [b'!', ..] => {
                let text = memmem::find(value, b"\r\n").map_or(value, |end| &value[end + 2..]);
                Err(self.on_error(&[b"-", text].concat()))
            }
            other => Err(self.wrong(other)),
        }
    }
}

impl Redis {
    /// A reply of any kind: to the login, to a beat, or to the application.
    fn parse_in_band(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        let limit = Protocol::limit(self);
        let Some(in_band) = &mut self.in_band else { return Ok(None) };
        let found = in_band.value.end(bytes, limit).map_err(|why| {
            Rejected::wrong_reply(format!("{why}; it begins with `{}`", self.beginning(bytes)))
        })?;
        let Some(found) = found else { return Ok(None) };
        let (value, end) = (&bytes[found.clone()], found.end);
        if self.is_fatal(value) {
            return Err(self.on_error(value));
        }
        if self.logging_in {
            if value != b"+OK\r\n" {
                let begun = self.beginning(value);
                return Err(Rejected::wrong_reply(format!("AUTH was answered with `{begun}`")));
            }
            self.logging_in = false;
            return Ok(Some((Frame::Own, end)));
        }
        let acked = match &mut self.in_band {
            Some(in_band) => in_band.acked(value),
            None => Ok(None),
        };
        let acked = acked.map_err(|found| self.out_of_step(&found))?;
        Ok(Some((acked.map_or(Frame::Data, |seq| Frame::Ack(Some(seq))), end)))
    }

    fn beginning(&self, bytes: &[u8]) -> String {
        shown(&self.redact(&bytes[..bytes.len().min(TELLING)]), &[])
    }

    /// The application has the reply to a beat, and each of its own one late.
    fn out_of_step(&self, OutOfStep { answered, due, instead }: &OutOfStep) -> Rejected {
        let is_ours = refusal::cause(instead, false) == Cause::NotReady;
        let (cause, what) = match is_ours {
            true => (Cause::NotReady, self.says(instead)),
            false => (Cause::WrongReply, "an error or QUEUED came instead".to_owned()),
        };
        let detail = format!(
            "PING of beat {answered} was answered, that of beat {due} not: {what}, and went to the \
             application, whose replies are out of step now"
        );
        Rejected(Loss::new(cause, detail))
    }

    /// An error that beats meet as well; all others are the application's.
    fn is_fatal(&self, value: &[u8]) -> bool {
        let about_ping = || memmem::find(value, b"'ping'").is_some();
        let is_first = self.in_band.as_ref().is_some_and(InBand::has_heard_nothing);
        value.starts_with(b"-")
            && (self.logging_in
                || value.starts_with(b"-NOAUTH")
                || (is_first && refusal::is_at_the_door(value))
                || (value.starts_with(b"-NOPERM") && about_ping()))
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("inline", &self.inline).finish_non_exhaustive()
    }
}

impl Protocol for Redis {
    fn connected(&mut self, out: &mut Vec<u8>) {
        if let Some(in_band) = &mut self.in_band {
            in_band.connected();
        }
        (self.logging_in, self.value) = (self.password.is_some(), Value::default());
        let Some(password) = &self.password else { return };
        match &self.user {
            Some(user) => command(out, &["AUTH", user, password]),
            None => command(out, &["AUTH", password]),
        }
    }

    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        if let Some(in_band) = &mut self.in_band {
            in_band.beat(seq, self.inline, out);
        } else if self.inline {
            out.extend_from_slice(PING_INLINE);
        } else {
            out.extend_from_slice(PING);
        }
    }

    fn ack(&mut self, _seq: Option<u64>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"+PONG\r\n");
    }

    /// A client of its own, which logs in as this one does and says PING.
    fn fresh(&self) -> Option<Box<dyn Protocol>> {
        let value = Value::default();
        Some(Box::new(Redis { in_band: None, logging_in: false, value, ..self.clone() }))
    }

    /// A command of that length, for Redis takes spaces at the end of one: TIME, which changes
    /// nothing; or an empty line, which it passes over.
    fn neutral(&self, len: usize) -> Option<Vec<u8>> {
        match len {
            2 => Some(b"\r\n".to_vec()),
            6.. => Some(format!("{:<width$}\r\n", "TIME", width = len - 2).into_bytes()),
            _ => None,
        }
    }

    fn limit(&self) -> usize {
        match &self.in_band {
            Some(_) => self.limit.unwrap_or(LONGEST_REPLY).max(TELLING),
            None => FRAME_LIMIT,
        }
    }

    fn is_ready(&self) -> bool {
        self.in_band.is_none() || !self.logging_in
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        if self.in_band.is_some() {
            return self.parse_in_band(bytes);
        }
        for beat in [PING, PING_INLINE] {
            if bytes.starts_with(beat) {
                return Ok(Some((Frame::Beat(None), beat.len())));
            }
            if beat.starts_with(bytes) {
                return Ok(None);
            }
        }
        if !matches!(bytes[0], b'+' | b'-' | b'*' | b'$' | b'!' | b'>' | b'|') {
            return Err(self.wrong(bytes));
        }
        match self.value.end(bytes, FRAME_LIMIT) {
            Ok(None) => Ok(None),
            Ok(Some(found)) => {
                let end = found.end;
                self.answer(&bytes[found]).map(|frame| Some((frame, end)))
            }
            Err(_) => Err(self.wrong(bytes)),
        }
    }

    fn scheme(&self) -> Option<&'static str> {
        Some("redis")
    }

    fn redact(&self, bytes: &[u8]) -> Vec<u8> {
        let [name, secret] =
            [&self.user, &self.password].map(|text| text.as_deref().unwrap_or("").as_bytes());
        hidden(bytes, &[name], &[secret])
    }
}

/// Appends a command as a RESP array of bulk strings.
fn command(out: &mut Vec<u8>, words: &[&str]) {
    let mut part = |text: std::fmt::Arguments| out.write_fmt(text).expect("a Vec takes any bytes");
    part(format_args!("*{}\r\n", words.len()));
    for word in words {
        part(format_args!("${}\r\n{word}\r\n", word.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::frames;
    use super::*;
    use crate::cause::{Cause, Loss};

    fn said(redis: &mut Redis, bytes: &[u8]) -> Loss {
        redis.parse(bytes).expect_err("an error line").0
    }

    #[test]
    fn pings_as_array_and_inline_and_reads_pong_in_pieces() {
        let mut out = Vec::new();
        Redis::new().beat(1, &mut out);
        assert_eq!(out, b"*1\r\n$4\r\nPING\r\n");
        out.clear();
        Redis::new().inline().beat(1, &mut out);
        assert_eq!(out, b"PING\r\n");
        let pong = b"+PONG\r\n";
        for cut in 0..pong.len() {
            let mut redis = Redis::new();
            assert_eq!(frames(&mut redis, &[&pong[..cut], &pong[cut..]]), [Frame::Ack(None)]);
        }
    }

    #[test]
    fn every_way_to_say_pong_is_an_ack_and_pushes_pass_by() {
        let (ack, data) = (Frame::Ack(None), Frame::Own);
        for (bytes, found) in [
            ("$4\r\nPONG\r\n", vec![ack]),
            ("*2\r\n$4\r\npong\r\n$0\r\n\r\n", vec![ack]),
            (">2\r\n+PONG\r\n+\r\n", vec![ack]),
            (">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nx\r\n+PONG\r\n", vec![data, ack]),
            ("|1\r\n+ttl\r\n:1\r\n+PONG\r\n", vec![ack]),
        ] {
            for cut in 0..bytes.len() {
                let pieces = [&bytes.as_bytes()[..cut], &bytes.as_bytes()[cut..]];
                assert_eq!(frames(&mut Redis::new(), &pieces), found, "{bytes} cut at {cut}");
            }
        }
        for other in ["*2\r\n$4\r\nping\r\n$0\r\n\r\n", "*1\r\n+PONG\r\n", ":1\r\n", "* OK hi\r\n"]
        {
            assert_eq!(said(&mut Redis::new(), other.as_bytes()).cause, Cause::WrongReply);
        }
    }

    #[test]
    fn logs_in_once_and_takes_ok_only_then() {
        let mut redis = Redis::new().user("bob").password("s3cret");
        let mut out = Vec::new();
        redis.connected(&mut out);
        assert_eq!(out, b"*3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$6\r\ns3cret\r\n");
        assert_eq!(frames(&mut redis, &[b"+OK\r\n+PONG\r\n"]), [Frame::Data, Frame::Ack(None)]);
        assert_eq!(said(&mut redis, b"+OK\r\n").cause, Cause::WrongReply);
    }

    #[test]
    fn errors_are_told_as_what_they_are() {
        let mut open = Redis::new();
        let refused = said(&mut open, b"-NOAUTH Authentication required.\r\n");
        assert_eq!(refused.cause, Cause::LoginRefused);
        assert!(refused.detail.contains("give it a password"), "{}", refused.detail);
        for (line, cause) in [
            ("-LOADING Redis is loading the dataset in memory", Cause::NotReady),
            ("-NOPERM this user has no permissions to run the 'ping' command", {
                Cause::PermissionMissing
            }),
            ("-ERR unknown command", Cause::WrongReply),
        ] {
            let loss = said(&mut open, format!("{line}\r\n").as_bytes());
            assert_eq!(loss.cause, cause);
            assert!(loss.detail.contains(line), "{}", loss.detail);
        }
        let blob = said(&mut open, b"!21\r\nBUSY a script is busy\r\n");
        assert_eq!(blob.cause, Cause::NotReady, "{blob}");
        assert!(blob.detail.contains("`-BUSY a script is busy`"), "{blob}");
        let mut locked = Redis::new().password("x");
        locked.connected(&mut Vec::new());
        let loss = said(&mut locked, b"-ERR AUTH <password> called without any password\r\n");
        assert_eq!(loss.cause, Cause::LoginRefused);
        let full = said(&mut locked, b"-ERR max number of clients reached\r\n");
        assert_eq!(full.cause, Cause::NotReady, "another password would not help");
        let http = said(&mut Redis::new(), b"HTTP/1.1 400 Bad Request\r\n");
        assert!(http.detail.contains("HTTP/1.1 400"), "{}", http.detail);
    }

    #[test]
    fn a_server_that_echoes_the_password_does_not_make_us_print_it() {
        let mut redis = Redis::new().user("bob").password("s3cret");
        redis.connected(&mut Vec::new());
        for echo in [b"-ERR bad AUTH bob s3cret\r\n".as_slice(), b"$6\r\ns3cret\r\n", b"+s3cr\r\n"]
        {
            let detail = said(&mut redis, echo).detail;
            assert!(!detail.contains("s3c") && !detail.contains("bob"), "{detail}");
        }
        assert!(!format!("{redis:?}").contains("s3cret"));
    }

    /// The answer to beat `seq` in this mode.
    fn answer(redis: &mut Redis, seq: u64) -> Vec<u8> {
        let mut ping = Vec::new();
        redis.beat(seq, &mut ping);
        ping.strip_prefix(b"*2\r\n$4\r\nPING\r\n").expect("a PING with an argument").to_vec()
    }

    #[test]
    fn in_band_answers_are_found_among_the_replies_to_the_application() {
        let mut redis = Redis::new().in_band();
        let first = answer(&mut redis, 1);
        let second = [b"*2\r\n$4\r\npong\r\n".to_vec(), answer(&mut redis, 2)].concat();
        let third = [b"|1\r\n+ttl\r\n:1\r\n".to_vec(), answer(&mut redis, 3)].concat();
        let bytes = [b"+OK\r\n", first.as_slice(), b"-ERR no\r\n", &second, &third].concat();
        let (data, ack) = (Frame::Data, |seq| Frame::Ack(Some(seq)));
        assert_eq!(frames(&mut redis, &[&bytes]), [data, ack(1), data, ack(2), ack(3)]);
        let inside = answer(&mut redis, 4);
        let nested = [b"*1\r\n", inside.as_slice()].concat();
        assert_eq!(frames(&mut redis, &[&nested, b"*1\r\n$4\r\nPING\r\n"]), [data; 2]);
        let mut other = Redis::new().in_band();
        assert_eq!(frames(&mut other, &[&inside]), [data], "of another value");
        assert_eq!(frames(&mut Redis::new().inline().in_band(), &[&inside]), [data]);
    }

    #[test]
    fn in_band_the_application_waits_for_the_login() {
        let mut redis = Redis::new().password("s3cret").in_band();
        assert!(redis.is_ready(), "nothing was asked yet");
        redis.connected(&mut Vec::new());
        assert!(!redis.is_ready());
        let first = answer(&mut redis, 1);
        assert_eq!(redis.parse(b"+OK\r\n"), Ok(Some((Frame::Own, 5))));
        assert!(redis.is_ready());
        assert_eq!(frames(&mut redis, &[&first, b"+OK\r\n"])[1], Frame::Data);
        for (said, cause) in [
            ("-WRONGPASS s3cret is wrong\r\n", Cause::LoginRefused),
            ("-ERR Client sent AUTH, but no password is set\r\n", Cause::LoginRefused),
            ("-LOADING Redis is loading\r\n", Cause::NotReady),
            ("-ERR max number of clients reached\r\n", Cause::NotReady),
            ("$6\r\ns3cret\r\n", Cause::WrongReply),
            ("HTTP/1.1 400 s3cret", Cause::WrongReply),
        ] {
            redis.connected(&mut Vec::new());
            let loss = self::said(&mut redis, said.as_bytes());
            assert_eq!(loss.cause, cause, "{said}");
            assert!(!loss.detail.contains("s3c"), "{}", loss.detail);
        }
    }

    #[test]
    fn in_band_errors_that_beats_meet_too_end_the_link_and_others_are_data() {
        let mut redis = Redis::new().in_band();
        for line in ["-ERR unknown command", "-NOPERM no permission to run the 'get' command"] {
            let line = format!("{line}\r\n");
            assert_eq!(redis.parse(line.as_bytes()), Ok(Some((Frame::Data, line.len()))));
        }
        for (line, cause) in [
            ("-NOAUTH Authentication required.", Cause::LoginRefused),
            ("-NOPERM may not run the 'ping' command", Cause::PermissionMissing),
        ] {
            let loss = said(&mut redis, format!("{line}\r\n").as_bytes());
            assert_eq!(loss.cause, cause, "{}", loss.detail);
        }
    }

    #[test]
    fn in_band_a_server_that_turns_us_away_at_the_door_is_told_and_a_later_error_is_data() {
        for line in ["-ERR max number of clients reached\r\n", "-DENIED Redis is running in\r\n"] {
            let mut redis = Redis::new().in_band();
            redis.connected(&mut Vec::new());
            assert_eq!(said(&mut redis, line.as_bytes()).cause, Cause::NotReady);
            redis.connected(&mut Vec::new());
            let found = frames(&mut redis, &[b"+OK\r\n", line.as_bytes()]);
            assert_eq!(found, [Frame::Data; 2], "of a script of the application, perhaps");
        }
    }

    #[test]
    fn in_band_an_answer_that_is_missing_ends_the_link() {
        let mut redis = Redis::new().in_band();
        answer(&mut redis, 1);
        let second = answer(&mut redis, 2);
        assert_eq!(redis.parse(b"-LOADING loading\r\n"), Ok(Some((Frame::Data, 18))));
        let loss = said(&mut redis, &second);
        assert_eq!(loss.cause, Cause::NotReady);
        let says = "beat 1 not: the server says `-LOADING loading`";
        assert!(loss.detail.contains("out of step") && loss.detail.contains(says), "{loss}");
        answer(&mut redis, 3);
        let fourth = answer(&mut redis, 4);
        assert_eq!(redis.parse(b"-ERR secret\r\n"), Ok(Some((Frame::Data, 13))));
        let loss = said(&mut redis, &fourth);
        assert!(loss.cause == Cause::WrongReply && !loss.detail.contains("secret"), "{loss}");
    }

    #[test]
    fn in_band_a_long_reply_is_refused_by_its_length_alone() {
        let mut redis = Redis::new().in_band().limit(1000);
        assert_eq!(Protocol::limit(&redis), 1000);
        assert_eq!(redis.parse(b"$990\r\n"), Ok(None));
        redis.connected(&mut Vec::new());
        let loss = said(&mut redis, b"*2\r\n$1\r\na\r\n$990\r\n");
        assert!(loss.detail.contains("over the limit of 1000"), "{}", loss.detail);
        assert_eq!(Protocol::limit(&Redis::new().in_band()), 16 * 1024 * 1024);
        assert_eq!(Protocol::limit(&Redis::new().limit(9)), FRAME_LIMIT);
    }
}
