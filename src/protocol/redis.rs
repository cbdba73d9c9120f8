//! Redis: PING, as a RESP array or inline, after AUTH where there is a password. What the server
//! says instead of PONG is told as what it is. Also among an application's own commands.

mod in_band;
mod resp;

use std::io::Write;

use memchr::memmem;

use super::shown::shown;
use super::{FRAME_LIMIT, Frame, Protocol, Rejected};
use in_band::InBand;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const PING_INLINE: &[u8] = b"PING\r\n";

/// The longest status or error line that is waited for.
const LONGEST_LINE: usize = 4096;

/// The longest reply to the application.
const LONGEST_REPLY: usize = 16 * 1024 * 1024;

/// So much of a long reply is looked at to show its beginning.
const TELLING: usize = 256;

/// Beats for a Redis server, or anything that speaks its protocol: `PING` out, `+PONG` back.
///
/// An error line is told as what it is: `-NOAUTH`, `-WRONGPASS` and a refused AUTH are
/// `login-refused`, everything else (`-LOADING`, `-ERR`, `-DENIED`) is `wrong-reply` with the line.
/// Neither user nor password is ever printed.
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
    ///   AUTH is `login-refused`, and so is `-NOAUTH` at any time and a user who may not PING.
    /// * Send MULTI to EXEC in one call: a PING in between would be queued into the transaction.
    /// * A command that blocks, BLPOP say, keeps Redis from answering. The timeout of the acks must
    ///   be longer than the block.
    /// * `CLIENT REPLY OFF` and `MONITOR` do not go with it.
    /// * Redis may answer any command with an error, PING too: `-LOADING`, `-BUSY`, `-MISCONF`. It
    ///   looks like the application's. When the next beat is answered it shows that one is missing,
    ///   and the link is lost with `wrong-reply`: replies no longer belong to their commands.
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

    fn shown(&self, bytes: &[u8]) -> String {
        let secrets = [&self.user, &self.password].map(|s| s.as_deref().unwrap_or("").as_bytes());
        shown(bytes, &secrets)
    }

    fn wrong(&self, bytes: &[u8]) -> Rejected {
        Rejected::wrong_reply(format!("expected `+PONG`, got `{}`", self.shown(bytes)))
    }

    /// Other errors, `-LOADING` say, may come in place of the answer to a login, too.
    fn is_about_the_login(&self, line: &[u8]) -> bool {
        let starts = |word: &[u8]| line.starts_with(word);
        let text = line.to_ascii_lowercase();
        let names = |word: &str| memmem::find(&text, word.as_bytes()).is_some();
        starts(b"-NOAUTH")
            || starts(b"-WRONGPASS")
            || starts(b"-NOPERM")
            || (self.logging_in && (names("auth") || names("password") || names("user")))
    }

    fn on_error(&self, line: &[u8]) -> Rejected {
        let says = self.shown(line);
        if self.is_about_the_login(line) {
            let hint = if self.password.is_none() { "; give it a password" } else { "" };
            Rejected::login_refused(format!("the server says `{says}`{hint}"))
        } else {
            Rejected::wrong_reply(format!("the server says `{says}`"))
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
            let line = value.strip_suffix(b"\r\n").unwrap_or(value);
            return Err(self.on_error(&line[..line.len().min(TELLING)]));
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
            Some(in_band) => in_band.acked(value).map_err(Rejected::wrong_reply)?,
            None => None,
        };
        Ok(Some((acked.map_or(Frame::Data, |seq| Frame::Ack(Some(seq))), end)))
    }

    fn beginning(&self, bytes: &[u8]) -> String {
        self.shown(&bytes[..bytes.len().min(TELLING)])
    }

    /// An error that beats meet as well; all others are the application's.
    fn is_fatal(&self, value: &[u8]) -> bool {
        let about_ping = || memmem::find(value, b"'ping'").is_some();
        value.starts_with(b"-")
            && (self.logging_in
                || value.starts_with(b"-NOAUTH")
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
        self.logging_in = self.password.is_some();
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
        Some(Box::new(Redis { in_band: None, logging_in: false, ..self.clone() }))
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
        if !matches!(bytes[0], b'+' | b'-') {
            return Err(self.wrong(bytes));
        }
        let window = &bytes[..bytes.len().min(LONGEST_LINE)];
        let Some(end) = memmem::find(window, b"\r\n") else {
            return if bytes.len() < LONGEST_LINE { Ok(None) } else { Err(self.wrong(bytes)) };
        };
        match &bytes[..end] {
            b"+PONG" => Ok(Some((Frame::Ack(None), end + 2))),
            b"+OK" if self.logging_in => {
                self.logging_in = false;
                Ok(Some((Frame::Data, end + 2)))
            }
            line @ [b'-', ..] => Err(self.on_error(line)),
            line => Err(self.wrong(line)),
        }
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
        for line in ["-LOADING Redis is loading the dataset in memory", "-ERR unknown command"] {
            let loss = said(&mut open, format!("{line}\r\n").as_bytes());
            assert_eq!(loss.cause, Cause::WrongReply);
            assert!(loss.detail.contains(line), "{}", loss.detail);
        }
        let mut locked = Redis::new().password("x");
        locked.connected(&mut Vec::new());
        let loss = said(&mut locked, b"-ERR AUTH <password> called without any password\r\n");
        assert_eq!(loss.cause, Cause::LoginRefused);
        let full = said(&mut locked, b"-ERR max number of clients reached\r\n");
        assert_eq!(full.cause, Cause::WrongReply, "another password would not help");
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
            ("-LOADING Redis is loading\r\n", Cause::WrongReply),
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
        for line in ["-NOAUTH Authentication required.", "-NOPERM may not run the 'ping' command"] {
            let loss = said(&mut redis, format!("{line}\r\n").as_bytes());
            assert_eq!(loss.cause, Cause::LoginRefused, "{}", loss.detail);
        }
    }

    #[test]
    fn in_band_an_answer_that_is_missing_ends_the_link() {
        let mut redis = Redis::new().in_band();
        answer(&mut redis, 1);
        let second = answer(&mut redis, 2);
        assert_eq!(redis.parse(b"-LOADING loading\r\n"), Ok(Some((Frame::Data, 18))));
        let loss = said(&mut redis, &second);
        assert_eq!(loss.cause, Cause::WrongReply);
        assert!(loss.detail.contains("out of step"), "{}", loss.detail);
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
