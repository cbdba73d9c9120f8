//! Http: a request as a beat, its whole answer as the ack, on one kept connection. What the request
//! says is checked where it is set; the framing of answers is in `reply`.

pub(crate) mod fields;
pub(crate) mod hint;
mod part;
mod reply;

use std::fmt;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::time::Duration;

use super::shown::{hidden, shown};
use super::{FRAME_LIMIT, Frame, IdleEnd, Protocol, Rejected};
use crate::cause::{Cause, Loss};
use crate::error::Error;
use crate::login;
use crate::target::Target;

use part::Part;
use reply::{Fault, Refused, Replies, What};

/// Beats for an HTTP/1.1 server: a request out, its whole answer back, all on one kept connection.
///
/// The request is `HEAD /` unless told otherwise, the expected status 200 to 399. Another status is
/// `bad-status` (401: `login-refused`), what is no answer of HTTP/1 is `wrong-reply`; both take the
/// link Down at once. A body of any length is read and passed by. Where the server does not know
/// HEAD (405, 501) and no method was chosen, beats are GET from then on. What clients of the web
/// read is read here: folded lines, blanks before a colon, lines that are no fields, several
/// hundred fields, bare line feeds.
///
/// **Ends.** A server may end the connection whenever it owes no answer (RFC 9112, section 9.5),
/// with an announcement, a `408` or nothing before it. The link stays as it is, and the old
/// connection is told as disconnected with `renewed`. Where the end was to be expected (it was
/// announced, `Keep-Alive: timeout=` has said so, the last one came after the same pause) the next
/// beat opens another; where it was not, one is opened at once, to see whether the server still
/// accepts. A beat that met such an end on its way is sent once more, if its method does no harm
/// twice (RFC 9110, section 9.2.2); only that answer is a verdict. The same goes for bytes that
/// nobody has asked for, the body of an answer to HEAD for example.
///
/// No compression is wanted, redirects are not followed, cookies are not kept.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
/// use keepbeat::{Coordinator, Heartbeat, Http, Target};
///
/// let coordinator = Coordinator::new()?;
/// let target: Target = "http://10.0.0.5:8080/health".parse()?;
/// let http = Http::for_target(&target)?.expect_body("ok")?;
/// coordinator.watch(target, Heartbeat::every(Duration::from_secs(10)), http)?;
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[derive(Clone)]
pub struct Http {
    host: String,
    /// None until chosen: HEAD, or GET where a body is expected.
    method: Option<String>,
    path: String,
    fields: Vec<(String, String)>,
    login: Option<Login>,
    status: RangeInclusive<u16>,
    part: Option<Part>,
    replies: Replies,
    /// Requests without an answer.
    waiting: u32,
    /// Answers on this connection.
    answered: u64,
    /// The server does not know HEAD, which nobody has chosen.
    without_head: bool,
}

#[derive(Clone)]
struct Login {
    user: String,
    password: String,
    /// Both together, as they are sent.
    token: String,
}

impl Http {
    /// `HEAD /` with this `Host` header: the name, and the port where it is not that of the scheme.
    ///
    /// # Errors
    ///
    /// If it is empty, or has white space or control characters.
    ///
    /// # Examples
    ///
    /// ```
    /// use keepbeat::Http;
    ///
    /// let http = Http::new("api.example:8080")?
    ///     .path("/health?deep=1")?
    ///     .header("X-Reason", "heartbeat")?
    ///     .expect_status(200..300)?;
    /// assert!(Http::new("api.example\r\nX: y").unwrap_err().is_invalid());
    /// # Ok::<(), keepbeat::Error>(())
    /// ```
    pub fn new(host: impl Into<String>) -> Result<Http, Error> {
        let host = host.into();
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::invalid(format!(
                "`{}` is no Host header: write a name, and :port if need be",
                host.escape_debug()
            )));
        }
        Ok(Http {
            host,
            method: None,
            path: "/".to_owned(),
            fields: Vec::new(),
            login: None,
            status: 200..=399,
            part: None,
            replies: Replies::default(),
            waiting: 0,
            answered: 0,
            without_head: false,
        })
    }

    /// The request that `target` describes: host, path and query; user and password as Basic
    /// authentication.
    ///
    /// # Errors
    ///
    /// A user with a `:` in it, which Basic authentication cannot carry.
    pub fn for_target(target: &Target) -> Result<Http, Error> {
        let http = Http::new(target.host_header())?.path(target.path())?;
        match (target.user(), target.password()) {
            (None, None) => Ok(http),
            (user, password) => http.login(user.unwrap_or(""), password.unwrap_or("")),
        }
    }

    /// The method. Default HEAD, or GET where a body is expected or the server does not know HEAD.
    ///
    /// # Errors
    ///
    /// If it is no token of HTTP. CONNECT is refused: its answer is no frame.
    pub fn method(mut self, method: impl Into<String>) -> Result<Http, Error> {
        let method = method.into();
        if !is_token(&method) || method.eq_ignore_ascii_case("CONNECT") {
            let shown = method.escape_debug();
            return Err(Error::invalid(format!(
                "`{shown}` is no method for a beat: use HEAD, GET"
            )));
        }
        self.method = Some(method);
        Ok(self)
    }

    /// The path, with a query if need be. Default `/`.
    ///
    /// # Errors
    ///
    /// If it does not begin with `/` (`*` is for OPTIONS), or has white space, control characters
    /// or others that must be percent-encoded.
    pub fn path(mut self, path: impl Into<String>) -> Result<Http, Error> {
        let path = path.into();
        let whole = path.starts_with('/') || path == "*";
        if !whole || !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err(Error::invalid(
                "the path is none: begin it with `/` and percent-encode what is not plain ASCII",
            ));
        }
        self.path = path;
        Ok(self)
    }

    /// One more header field; of the same name as an earlier one, another of it. `User-Agent`,
    /// `Accept` and `Authorization` replace keepbeat's own. Its value is never printed.
    ///
    /// # Errors
    ///
    /// A name that is no token of HTTP, a value with control characters (a line end would begin
    /// another field), or a field that says where a message ends: keepbeat writes those itself.
    pub fn header(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Http, Error> {
        let (name, value) = (name.into(), value.into());
        if !is_token(&name) {
            let shown = name.escape_debug();
            return Err(Error::invalid(format!("`{shown}` is no name of a header field")));
        }
        let own = ["host", "connection", "content-length", "transfer-encoding", "expect"];
        if own.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            let text = format!("`{name}` is written by keepbeat itself: leave it out");
            return Err(Error::invalid(text));
        }
        if value.chars().any(|c| c.is_control() && c != '\t') {
            let text = format!("the value of `{name}` has a line end or a control character");
            return Err(Error::invalid(text));
        }
        self.fields.push((name, value));
        Ok(self)
    }

    /// User and password, as Basic authentication. Never printed; over a connection without TLS
    /// they can be read by whoever is on the path.
    ///
    /// # Errors
    ///
    /// A user with a `:` in it.
    pub fn login(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Http, Error> {
        let (user, password) = (user.into(), password.into());
        let token = login::basic(&user, &password).map_err(Error::invalid)?;
        self.login = Some(Login { user, password, token });
        Ok(self)
    }

    /// The statuses that are an ack. Default 200 to 399.
    ///
    /// # Errors
    ///
    /// A range without a status from 100 to 999 in it.
    pub fn expect_status(mut self, range: impl RangeBounds<u16>) -> Result<Http, Error> {
        let first = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 100,
        };
        let last = match range.end_bound() {
            Bound::Included(last) => *last,
            Bound::Excluded(after) => after.saturating_sub(1),
            Bound::Unbounded => 999,
        };
        if first > last || first > 999 || last < 100 {
            return Err(Error::invalid(format!(
                "no status is in {first} to {last}: they go from 100 to 999"
            )));
        }
        self.status = first..=last;
        Ok(self)
    }

    /// The body must have this part, anywhere; without it the answer is a `wrong-reply`. The
    /// request is a GET unless a method was chosen. The body may be of any length, and must be
    /// there within the timeout of the heartbeat.
    ///
    /// # Errors
    ///
    /// A part of no bytes, or of more than 64 KiB.
    pub fn expect_body(mut self, part: impl Into<Vec<u8>>) -> Result<Http, Error> {
        let wanted = part.into();
        if wanted.is_empty() || wanted.len() > FRAME_LIMIT {
            return Err(Error::invalid(format!(
                "{} bytes cannot be a part of a body to expect: use 1 to {FRAME_LIMIT}",
                wanted.len()
            )));
        }
        self.part = Some(Part::new(wanted));
        Ok(self)
    }

    /// The method in force.
    fn verb(&self) -> &str {
        match (&self.method, &self.part) {
            (Some(method), _) => method,
            (None, Some(_)) => "GET",
            (None, None) if self.without_head => "GET",
            (None, None) => "HEAD",
        }
    }

    /// Whether asking twice does no harm (RFC 9110, section 9.2.2).
    fn is_idempotent(&self) -> bool {
        matches!(self.verb(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }

    /// HEAD was not chosen, and the server does not know it: from now on it is GET.
    fn gives_up_head(&mut self, code: u16) -> bool {
        let given_up = matches!(code, 405 | 501) && self.verb() == "HEAD" && self.method.is_none();
        self.without_head |= given_up;
        given_up
    }

    fn sets(&self, name: &str) -> bool {
        self.fields.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
    }

    /// Bytes of the server for people.
    fn shown(&self, bytes: &[u8]) -> String {
        shown(&self.redact(bytes), &[])
    }

    fn refused(&mut self, Refused { code, reason }: &Refused) -> Rejected {
        let said = format!("{code} {}", self.shown(reason.as_bytes()));
        let said = said.trim_end();
        if self.gives_up_head(*code) {
            let detail = format!("HEAD is answered with `{said}`: from now on beats are GET");
            return Rejected::renewed(detail);
        }
        // It had waited for a request, and ours crossed this on its way (RFC 9110, 15.5.9).
        if *code == 408 && self.answered > 0 {
            return Rejected::renewed(format!("the server says `{said}` to a kept connection"));
        }
        if *code == 401 {
            let hint = if self.login.is_none() { "; give it user and password" } else { "" };
            return Rejected::login_refused(format!("the server says `{said}`{hint}"));
        }
        let (first, last) = (self.status.start(), self.status.end());
        let expected = if first == last { first.to_string() } else { format!("{first} to {last}") };
        Rejected(Loss::new(Cause::BadStatus, format!("{said}, expected {expected}")))
    }

    /// Bytes while no request waits. The connection is of no more use with them, but for an empty
    /// line, which some servers send behind a body.
    fn unasked(&self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        match blank {
            1 | 2 => Ok(Some((Frame::Own, blank))),
            _ => {
                let shown = self.shown(bytes);
                Err(Rejected::renewed(format!("bytes that nobody has asked for: `{shown}`")))
            }
        }
    }

    /// The whole answer is here.
    fn end(&mut self) -> Result<Frame, Rejected> {
        self.waiting = self.waiting.saturating_sub(1);
        self.answered += 1;
        let Some(part) = &mut self.part else { return Ok(Frame::Ack(None)) };
        if part.take_found() {
            return Ok(Frame::Ack(None));
        }
        let (wanted, beginning) = (super::escaped(part.wanted()), part.take_beginning());
        let body = match beginning.as_slice() {
            [] if self.verb() == "HEAD" => "an answer to HEAD has no body".to_owned(),
            [] => "there is none".to_owned(),
            beginning => format!("it begins with `{}`", self.shown(beginning)),
        };
        let body = match self.replies.coding() {
            Some(coding) => format!("{body}; it is compressed ({coding}), though that was refused"),
            None => body,
        };
        Err(Rejected::wrong_reply(format!("no `{wanted}` in the body: {body}")))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        f.debug_struct("Http")
            .field("host", &self.host)
            .field("method", &self.verb())
            .field("path", &path)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl Protocol for Http {
    fn connected(&mut self, _out: &mut Vec<u8>) {
        self.replies = Replies::default();
        (self.waiting, self.answered) = (0, 0);
        if let Some(part) = &mut self.part {
            part.forget();
        }
    }

    fn beat(&mut self, _seq: u64, out: &mut Vec<u8>) {
        self.waiting = self.waiting.saturating_add(1);
        let mut line = |parts: &[&str]| {
            parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
            out.extend_from_slice(b"\r\n");
        };
        line(&[self.verb(), " ", &self.path, " HTTP/1.1"]);
        line(&["Host: ", &self.host]);
        if !self.sets("user-agent") {
            line(&[concat!("User-Agent: keepbeat/", env!("CARGO_PKG_VERSION"))]);
        }
        if !self.sets("accept") {
            line(&["Accept: */*"]);
        }
        if !self.sets("accept-encoding") {
            line(&["Accept-Encoding: identity"]);
        }
        line(&["Connection: keep-alive"]);
        if let Some(login) = self.login.as_ref().filter(|_| !self.sets("authorization")) {
            line(&["Authorization: Basic ", &login.token]);
        }
        // Servers wait for the body of these unless told that there is none.
        if matches!(self.verb(), "POST" | "PUT" | "PATCH") {
            line(&["Content-Length: 0"]);
        }
        for (name, value) in &self.fields {
            line(&[name, ": ", value]);
        }
        line(&[]);
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        let is_head = self.verb() == "HEAD";
        if bytes.is_empty() {
            return Ok(None);
        }
        if self.waiting == 0 {
            return self.unasked(bytes);
        }
        let piece = match self.replies.next(bytes, is_head, &self.status) {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(None),
            Err(Fault::Status(refused)) => return Err(self.refused(&refused)),
            Err(Fault::Wrong(what)) => {
                let what = format!("{what}: `{}`", self.shown(bytes));
                // What is left over of the answer before it. On a fresh connection there is none.
                let left_over = self.answered > 0 && self.replies.are_at_front();
                let rejected = if left_over { Rejected::renewed } else { Rejected::wrong_reply };
                return Err(rejected(what));
            }
        };
        let is_body = matches!(piece.what, What::Body | What::End { has_body: true });
        if let Some(part) = self.part.as_mut().filter(|_| is_body) {
            part.search(&bytes[..piece.len]);
        }
        let frame = match piece.what {
            What::End { .. } => self.end()?,
            What::Frame | What::Body => Frame::Data,
        };
        Ok(Some((frame, piece.len)))
    }

    fn is_over(&self) -> bool {
        self.replies.are_over()
    }

    fn idle_end(&self) -> IdleEnd {
        IdleEnd::Renewal { repeat: self.is_idempotent() }
    }

    fn idle_limit(&self) -> Option<Duration> {
        self.replies.hint().timeout
    }

    /// The same request, where asking twice does no harm (RFC 9110, section 9.2.1).
    fn fresh(&self) -> Option<Box<dyn Protocol>> {
        if !matches!(self.verb(), "HEAD" | "GET" | "OPTIONS") {
            return None;
        }
        let mut fresh = self.clone();
        fresh.connected(&mut Vec::new());
        Some(Box::new(fresh))
    }

    fn closed(&mut self) -> Result<Option<Frame>, Rejected> {
        if self.replies.close() { self.end().map(Some) } else { Ok(None) }
    }

    fn scheme(&self) -> Option<&'static str> {
        Some("http")
    }

    /// The server may repeat what it was sent: the query, the login, the values of fields.
    fn redact(&self, bytes: &[u8]) -> Vec<u8> {
        let mut secrets: Vec<&[u8]> =
            self.fields.iter().map(|(_, value)| value.as_bytes()).collect();
        let mut names: Vec<&[u8]> = Vec::new();
        if let Some(Login { user, password, token }) = &self.login {
            names.push(user.as_bytes());
            secrets.extend([password.as_bytes(), token.as_bytes()]);
        }
        secrets.extend(self.path.split_once('?').map(|(_, query)| query.as_bytes()));
        hidden(bytes, &names, &secrets)
    }
}

/// What may stand as a method or as the name of a field (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let is = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is)
}

#[cfg(test)]
mod tests {
    use super::super::tests::frames;
    use super::*;

    const ACK: Frame = Frame::Ack(None);

    fn get() -> Http {
        Http::new("h").unwrap().method("GET").unwrap()
    }

    fn asking(mut http: Http) -> Http {
        http.connected(&mut Vec::new());
        (1..=3).for_each(|seq| http.beat(seq, &mut Vec::new()));
        http
    }

    fn request(mut http: Http) -> String {
        let mut out = Vec::new();
        http.connected(&mut out);
        http.beat(1, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The acks among the frames, however the bytes are cut in two.
    fn acks(http: &Http, bytes: &[u8]) -> usize {
        let count = |pieces: &[&[u8]]| {
            let all = frames(&mut asking(http.clone()), pieces);
            all.into_iter().filter(|frame| *frame == ACK).count()
        };
        let uncut = count(&[bytes]);
        for cut in 1..bytes.len() {
            assert_eq!(count(&[&bytes[..cut], &bytes[cut..]]), uncut, "cut at {cut}");
        }
        uncut
    }

    /// What is said of these bytes.
    fn refusal(http: &Http, bytes: &[u8]) -> Loss {
        let (mut http, mut rest) = (asking(http.clone()), bytes);
        loop {
            match http.parse(rest) {
                Ok(Some((_, len))) => rest = &rest[len..],
                Ok(None) => panic!("it asks for more after `{}`", bytes.escape_ascii()),
                Err(rejected) => return rejected.0,
            }
        }
    }

    #[test]
    fn the_request_says_what_a_server_wants_to_know() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            request(Http::new("h:8080").unwrap()),
            format!(
                "HEAD / HTTP/1.1\r\nHost: h:8080\r\nUser-Agent: keepbeat/{version}\r\n\
                 Accept: */*\r\nAccept-Encoding: identity\r\nConnection: keep-alive\r\n\r\n"
            )
        );
        let target: Target = "http://al%40ice:p%3Aw@h/x?y=1".parse().unwrap();
        let http = Http::for_target(&target).unwrap().expect_body("ok").unwrap();
        let text = request(http.header("accept", "a/b").unwrap());
        assert!(text.starts_with("GET /x?y=1 HTTP/1.1\r\nHost: h\r\n"), "{text}");
        assert!(text.contains("\r\nAuthorization: Basic YWxAaWNlOnA6dw==\r\n"), "{text}");
        assert!(text.contains("accept: a/b") && !text.contains("*/*"), "{text}");
        let post = request(Http::new("h").unwrap().method("POST").unwrap());
        assert!(post.contains("\r\nContent-Length: 0\r\n"), "{post}");
    }

    #[test]
    fn what_would_break_a_request_is_refused() {
        let http = || Http::new("h").unwrap();
        for result in [
            Http::new(""),
            Http::new("h\r\nX: y"),
            http().method("GET /"),
            http().method("connect"),
            http().path("x"),
            http().path("/a b"),
            http().path("/\r\n"),
            http().header("X:", "y"),
            http().header("X", "y\r\nZ: w"),
            http().header("Content-Length", "5"),
            http().login("a:b", "c"),
            http().expect_status(400..400),
            http().expect_status(..100),
            http().expect_body(""),
        ] {
            assert!(result.unwrap_err().is_invalid());
        }
    }

    #[test]
    fn each_way_to_frame_a_body_ends_where_it_should() {
        let next = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        for body in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n5;a=b\r\nhello\r\n\
             10\r\n0123456789abcdef\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\
             Content-Length: 1\r\n\r\nx",
            "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx",
        ] {
            let all = [body, next].concat();
            assert_eq!(acks(&get(), all.as_bytes()), 2, "{body}");
            let mut http = asking(get());
            frames(&mut http, &[body.as_bytes()]);
            assert!(!http.is_over(), "{body}");
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".repeat(2);
        assert_eq!(acks(&Http::new("h").unwrap(), head.as_bytes()), 2, "HEAD has no body");
    }

    #[test]
    fn the_end_of_the_connection_is_believed_when_it_is_announced() {
        for (head, over) in [
            ("1.1 200 OK\r\nConnection: close", true),
            ("1.1 200 OK\r\nConnection: x, Close", true),
            ("1.1 200 OK\r\nConnection: x\r\nconnection: CLOSE", true),
            ("1.1 200 OK\r\nX-Connection: close", false),
            ("1.0 200 OK", true),
            ("1.0 200 OK\r\nConnection: keep-alive", false),
            ("1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3", false),
        ] {
            let mut http = asking(Http::new("h").unwrap());
            let bytes = format!("HTTP/{head}\r\n\r\n");
            assert_eq!(frames(&mut http, &[bytes.as_bytes()]), [ACK]);
            assert_eq!(http.is_over(), over, "{head}");
        }
        // Both at once, with a body: not to be trusted any further.
        let mut both = asking(get());
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n";
        frames(&mut both, &[head.as_bytes(), b"0\r\n\r\n"]);
        assert!(both.is_over());
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let head = b"HTTP/1.1 200 OK\r\n\r\n";
        let mut http = asking(get());
        assert!(!frames(&mut http, &[head, b"what", b"ever"]).contains(&ACK));
        assert_eq!(http.closed(), Ok(Some(ACK)));
        assert!(http.is_over());
        let mut half = asking(get());
        frames(&mut half, &[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]);
        assert_eq!(half.closed(), Ok(None), "the end came too early");
        let mut part = asking(get().expect_body("x").unwrap());
        frames(&mut part, &[head, b"what"]);
        assert_eq!(part.closed().unwrap_err().0.cause, Cause::WrongReply);
    }

    #[test]
    fn a_part_of_the_body_is_found_wherever_it_is_cut() {
        let http = get().expect_body("needle").unwrap();
        let found = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                     4\r\n nee\r\n5\r\ndle..\r\n0\r\n\r\n";
        assert_eq!(acks(&http, found.repeat(2).as_bytes()), 2);
        let big = [vec![b'x'; 300_000], b"needle".to_vec(), vec![b'x'; 100_000]].concat();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", big.len());
        let whole = [head.as_bytes(), &big].concat();
        let pieces: Vec<&[u8]> = whole.chunks(1000).collect();
        assert!(frames(&mut asking(http.clone()), &pieces).contains(&ACK));

        let without = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nneed led";
        let loss = refusal(&http, without.as_bytes());
        assert_eq!(loss.cause, Cause::WrongReply);
        assert_eq!(loss.detail, "no `needle` in the body: it begins with `need led`");
        let second = [found, without].concat();
        assert_eq!(refusal(&http, second.as_bytes()), loss, "that of an earlier body is forgotten");
        let head = Http::new("h").unwrap().expect_body("x").unwrap().method("HEAD").unwrap();
        let loss = refusal(&head, b"HTTP/1.1 200 OK\r\n\r\n");
        assert!(loss.detail.contains("HEAD has no body"), "{}", loss.detail);
    }

    #[test]
    fn while_a_body_is_coming_a_part_of_a_frame_waits() {
        let mut http = asking(get());
        let mut rest = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".as_slice();
        while let Some((_, len)) = http.parse(rest).unwrap() {
            rest = &rest[len..];
        }
        assert_eq!(rest, b"f", "so it is told as a reply that came in part");
    }

    #[test]
    fn a_status_out_of_range_is_told_with_its_reason() {
        let loss = refusal(&get(), b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert_eq!(loss.cause, Cause::BadStatus);
        assert_eq!(loss.detail, "503 Service Unavailable, expected 200 to 399");
        let only = get().expect_status(204..=204).unwrap();
        let loss = refusal(&only, b"HTTP/1.1 200\r\n\r\n");
        assert_eq!(loss.detail, "200, expected 204");
        assert_eq!(refusal(&get(), b"HTTP/1.1 101 x\r\n\r\n").cause, Cause::BadStatus);
        let loss = refusal(&get(), b"HTTP/1.1 401 Unauthorized\r\n\r\n");
        assert_eq!(loss.cause, Cause::LoginRefused);
        assert!(loss.detail.contains("give it user and password"), "{}", loss.detail);
        let gone = get().expect_status(400..500).unwrap();
        assert_eq!(acks(&gone, b"HTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nx"), 1);
    }

    #[test]
    fn garbage_is_a_wrong_reply() {
        for bytes in [
            "SSH-2.0-OpenSSH_9.2p1\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20x OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        ] {
            let loss = refusal(&get(), bytes.as_bytes());
            assert_eq!(loss.cause, Cause::WrongReply, "{bytes}: {loss}");
        }
    }

    #[test]
    fn what_clients_of_the_web_read_is_read() {
        let fields = |n: usize| (0..n).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
        let length = "Content-Length: 2\r\n\r\nok";
        for head in [
            "Access-Control-Allow-Credentials : true\r\n".to_owned(),
            "X-Long: begun\r\n and folded\r\n\tand again\r\n".to_owned(),
            "PHP Warning:  Undefined variable $x in /srv/a.php on line 3\r\n".to_owned(),
            "a line of a script without any colon\r\n".to_owned(),
            "Server:\r\nX-Empty: \r\n".to_owned(),
            " Leading: blank\r\n".to_owned(),
            "Transfer-Encoding: identity\r\n".to_owned(),
            fields(300),
            fields(3000),
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\n{head}{length}");
            let mut http = asking(get());
            let found = frames(&mut http, &[answer.as_bytes()]);
            assert_eq!(found.last(), Some(&ACK), "{:.80}", head.escape_debug());
            assert!(!http.is_over(), "{:.80}", head.escape_debug());
        }
        for length in
            ["Content-Length : 2\r\n", "Content-Length:\r\n 2\r\n", " Content-Length: 2\r\n"]
        {
            let answer = format!("HTTP/1.1 200 OK\r\n{length}\r\nok");
            let mut http = asking(get());
            assert_eq!(frames(&mut http, &[answer.as_bytes()]).last(), Some(&ACK), "{length}");
            assert!(!http.is_over(), "the length is known: {length}");
        }
        for answer in [
            "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
            "HTTP/1.1  200  OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX: y\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ] {
            assert_eq!(acks(&get(), answer.as_bytes()), 1, "{}", answer.escape_debug());
        }
        let latin = b"HTTP/1.1 200 sch\xf6n\r\nX-Name: M\xfcller\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(acks(&get(), latin), 1);
    }

    /// What is said of the connection once an answer was read whole and more bytes lie behind it.
    fn renewal(http: &mut Http, bytes: &[u8]) -> Option<String> {
        match http.parse(bytes) {
            Err(Rejected(loss)) if loss.cause == Cause::Renewed => Some(loss.detail),
            Err(rejected) => panic!("{rejected:?}"),
            Ok(_) => None,
        }
    }

    #[test]
    fn what_is_left_over_of_an_answer_ends_its_connection_and_convicts_nobody() {
        for (head, left) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "and a body"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "2\r\nok\r\n0\r\n\r\n"),
            ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\n\r\n"),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n", "what"),
        ] {
            let mut http = Http::new("h").unwrap();
            http.connected(&mut Vec::new());
            http.beat(1, &mut Vec::new());
            assert_eq!(http.parse(head.as_bytes()), Ok(Some((ACK, head.len()))));
            // At once, or when the next request is out already.
            for waiting in [0, 1] {
                http.waiting = waiting;
                assert!(renewal(&mut http, left.as_bytes()).is_some(), "{head} {waiting}");
            }
            http.connected(&mut Vec::new());
            http.beat(2, &mut Vec::new());
            let loss = http.parse(left.as_bytes()).unwrap_err().0;
            assert_eq!(loss.cause, Cause::WrongReply, "on a fresh connection it is the answer");
        }
        let mut half = asking(get());
        frames(&mut half, &[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]);
        frames(&mut half, &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]);
        let loss = half.parse(b"what\r\n").unwrap_err().0;
        assert_eq!(loss.cause, Cause::WrongReply, "in the middle of an answer it is that answer's");
        let mut idle = get();
        idle.connected(&mut Vec::new());
        assert_eq!(idle.parse(b"\r\n"), Ok(Some((Frame::Own, 2))), "an empty line is nothing");
        let late = renewal(&mut idle, b"HTTP/1.1 408 Request Timeout\r\n\r\n");
        assert!(late.unwrap().contains("asked for: `HTTP/1.1 408"));
    }

    #[test]
    fn a_408_in_place_of_an_answer_counts_on_a_fresh_connection_alone() {
        let late = b"HTTP/1.0 408 Request Time-out\r\nConnection: close\r\n\r\n";
        let mut http = asking(get());
        assert_eq!(refusal(&http, late).cause, Cause::BadStatus);
        frames(&mut http, &[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]);
        assert!(renewal(&mut http, late).unwrap().contains("408 Request Time-out"));
        assert_eq!(http.idle_end(), IdleEnd::Renewal { repeat: true });
        let post = get().method("POST").unwrap();
        assert_eq!(post.idle_end(), IdleEnd::Renewal { repeat: false }, "it may have run");
    }

    #[test]
    fn a_server_without_head_is_asked_with_get_unless_head_was_chosen() {
        for status in ["405 Method Not Allowed", "501 Not Implemented"] {
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            let mut http = asking(Http::new("h").unwrap());
            let said = renewal(&mut http, answer.as_bytes()).unwrap();
            assert_eq!(
                said,
                format!("HEAD is answered with `{status}`: from now on beats are GET")
            );
            assert!(request(http.clone()).starts_with("GET / "));
            let again = asking(http).parse(answer.as_bytes()).unwrap_err().0;
            assert_eq!(again.cause, Cause::BadStatus, "GET is not known, either");
            let chosen = Http::new("h").unwrap().method("HEAD").unwrap();
            assert_eq!(refusal(&chosen, answer.as_bytes()).cause, Cause::BadStatus);
            let wanted = Http::new("h").unwrap().expect_status(400..600).unwrap();
            assert_eq!(acks(&wanted, answer.as_bytes()), 1);
        }
    }

    #[test]
    fn what_a_server_says_of_its_limits_is_read() {
        let limit = |head: &str| {
            let mut http = asking(get());
            frames(&mut http, &[head.as_bytes(), b"Content-Length: 0\r\n\r\n"]);
            (http.idle_limit(), http.is_over())
        };
        let secs = |n| Some(Duration::from_secs(n));
        let ok = "HTTP/1.1 200 OK\r\n";
        assert_eq!(limit(ok), (None, false));
        assert_eq!(limit(&format!("{ok}Keep-Alive: timeout=5, max=99\r\n")), (secs(5), false));
        assert_eq!(limit(&format!("{ok}Keep-Alive: max=0\r\n")), (None, true));
        let interim = format!("HTTP/1.1 103 Hints\r\nKeep-Alive: timeout=1\r\n\r\n{ok}");
        assert_eq!(limit(&interim), (None, false), "only the answer itself counts");
    }

    #[test]
    fn a_part_that_is_missing_in_a_compressed_body_is_told_so() {
        let http = get().expect_body("needle").unwrap();
        let answer =
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08";
        let loss = refusal(&http, answer);
        assert!(
            loss.detail.ends_with("it is compressed (gzip), though that was refused"),
            "{loss}"
        );
    }

    #[test]
    fn what_was_sent_in_confidence_is_not_shown_when_it_comes_back() {
        let target: Target = "http://bobuser:hunter2@h/x?key=s3cret".parse().unwrap();
        let http = Http::for_target(&target).unwrap().header("X-Token", "t0ken").unwrap();
        for bytes in [
            "HTTP/1.1 500 no bobuser hunter2 key=s3cret t0ken\r\n\r\n",
            "HTTP/1.1 401 no bobuser hunter2 key=s3cret t0ken\r\n\r\n",
            "HTTX GET /x?key=s3cret bobuser:hunter2 t0ken Ym9idXNlcjpodW50ZXIy",
        ] {
            let detail = refusal(&http, bytes.as_bytes()).detail;
            for secret in ["bobuser", "hunter2", "s3cret", "t0ken", "Ym9idXN"] {
                assert!(!detail.contains(secret), "{detail}");
            }
        }
        assert!(!format!("{http:?}").contains("s3cret") && !format!("{http:?}").contains("hunter"));
    }
}
