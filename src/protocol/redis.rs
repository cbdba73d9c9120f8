//! Redis: PING, as a RESP array or inline, after AUTH where there is a password. What the server
//! says instead of PONG is told as what it is.

use std::io::Write;

use memchr::memmem;

use super::shown::shown;
use super::{Frame, Protocol, Rejected};

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const PING_INLINE: &[u8] = b"PING\r\n";

/// The longest status or error line that is waited for.
const LONGEST_LINE: usize = 4096;

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

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("inline", &self.inline).finish_non_exhaustive()
    }
}

impl Protocol for Redis {
    fn connected(&mut self, out: &mut Vec<u8>) {
        self.logging_in = self.password.is_some();
        let Some(password) = &self.password else { return };
        match &self.user {
            Some(user) => command(out, &["AUTH", user, password]),
            None => command(out, &["AUTH", password]),
        }
    }

    fn beat(&mut self, _seq: u64, out: &mut Vec<u8>) {
        if self.inline {
            out.extend_from_slice(PING_INLINE);
        } else {
            out.extend_from_slice(PING);
        }
    }

    fn ack(&mut self, _seq: Option<u64>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"+PONG\r\n");
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
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
}
