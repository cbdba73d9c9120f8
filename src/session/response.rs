//! Response: status, headers, and a body that gives its connection back.

use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, StatusCode, Uri, Version, header};

use super::charset;
use super::conn::Conn;
use super::decode::Source;
use super::facts::Facts;
use super::failure;
use super::inbound::{Coding, Head};
use super::trouble::Trouble;
use super::url::Asked;
use crate::error::{Error, Kind};

/// What `text` and `bytes` read at most, unless told otherwise.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Room for a body of known length is made at once up to this.
const MADE_AT_ONCE: u64 = 1024 * 1024;

/// The response to a request.
///
/// Statuses are values: a 404 is a response like any other, unless
/// [`error_for_status`](Response::error_for_status) is asked. Its connection goes back to the
/// session when the body has been read to its end, or when the response is dropped and what is left
/// of the body is short (64 KiB) and there at once (50 ms).
///
/// A body is whole, or reading it is an error: one without a length ends with the connection, in an
/// orderly way, and under TLS with a farewell (close_notify).
pub struct Response {
    head: Head,
    headers: OnceLock<HeaderMap>,
    /// The body is unpacked here.
    unpacked: bool,
    uri: Uri,
    query: Option<String>,
    body: Reader,
    limit: u64,
    pub(crate) exchange: Exchange,
}

/// How the request got its response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) idle: Option<Duration>,
    pub(crate) age: Duration,
    pub(crate) replayed: bool,
    pub(crate) retries: u32,
    pub(crate) facts: Facts,
}

impl Response {
    pub(crate) fn new(head: Head, mut conn: Conn, request: Asked, exchange: Exchange) -> Response {
        conn.settle();
        // What the server sends a part of is packed as a whole.
        let part = head.status == StatusCode::PARTIAL_CONTENT;
        let coding = if part { Coding::None } else { head.coding };
        let (uri, query) = without_query(&request.uri);
        let source = Source::new(conn, coding);
        let (headers, unpacked) = (OnceLock::new(), !source.is_plain());
        let body = Reader { source, ended: false, fault: None, request };
        Response { head, headers, unpacked, uri, query, body, limit: LIMIT, exchange }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The version of HTTP that the server speaks.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// The headers. Of a body that is unpacked here, the packed length and the packing are not
    /// among them.
    pub fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| {
            let mut headers = self.head.headers();
            if self.unpacked {
                headers.remove(header::CONTENT_ENCODING);
                headers.remove(header::CONTENT_LENGTH);
            }
            headers
        })
    }

    /// A header as text; none if there is none, or not as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// Where it came from in the end, behind all redirects: without user and password, and without
    /// the query, which may hold secrets, too. That is in [`query`](Response::query).
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What stood behind the `?` of the URL that it came from. Not for a log.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Whether the request went out on a kept connection.
    pub fn reused(&self) -> bool {
        self.exchange.idle.is_some()
    }

    /// How long the connection had been idle; none if it was opened for this request.
    pub fn idle_before(&self) -> Option<Duration> {
        self.exchange.idle
    }

    /// How long ago the connection had been opened when the response came.
    pub fn connection_age(&self) -> Duration {
        self.exchange.age
    }

    /// Whether the request, or one that it was redirected to, had to be sent twice.
    pub fn replayed(&self) -> bool {
        self.exchange.replayed
    }

    /// How often the request was tried again ([`Retry`](super::Retry)).
    pub fn retries(&self) -> u32 {
        self.exchange.retries
    }

    /// Makes an error of a status from 400 on.
    ///
    /// # Errors
    ///
    /// [`Error::status`] tells which.
    pub fn error_for_status(self) -> Result<Response, Error> {
        let status = self.status();
        if status.is_client_error() || status.is_server_error() {
            let text = format!("{}: the server answered {status}", self.body.request);
            return Err(Error::request(Kind::Status(status.as_u16()), text).having_run(true));
        }
        Ok(self)
    }

    /// How much [`text`](Response::text) and [`bytes`](Response::bytes) read at most: 64 MiB
    /// unless set. A server that sends for ever must not fill the memory.
    pub fn limit(&mut self, bytes: u64) -> &mut Response {
        self.limit = bytes;
        self
    }

    /// The whole body as text, from the charset that its `Content-Type` says: UTF-8 unless it says
    /// one, ISO-8859-1 and -15, Windows-1252, UTF-16. What is no character in it becomes `U+FFFD`.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Response::bytes); and if the charset is another one, which the error names. Then
    /// nothing of the body has been read.
    pub fn text(&mut self) -> Result<String, Error> {
        let charset = self.header("content-type").and_then(charset::of_content_type);
        let charset = charset::known(charset.as_deref()).map_err(|other| {
            let text = format!(
                "{}: its text is in the charset `{other}`, which is not known here: take its \
                 `bytes`, and decode them",
                self.body.request
            );
            Error::request(Kind::Http, text).having_run(true)
        })?;
        Ok(charset.decode(self.bytes()?))
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// If the connection ends or falls silent in the middle of it, or if it is longer than the
    /// [`limit`](Response::limit).
    pub fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let limit = self.limit;
        let bytes = self.body.all_but(limit);
        let bytes = bytes.map_err(|error| failure::of_body(error, &self.body.request))?;
        if bytes.len() as u64 > limit {
            let text = format!(
                "{}: its response is longer than {limit} bytes: raise the `limit`, or read it \
                 piece by piece with `reader`",
                self.body.request
            );
            return Err(Error::request(Kind::Http, text).having_run(true));
        }
        Ok(bytes)
    }

    /// The body as a value of this type, from JSON.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Response::bytes); and if it is not such a value.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Error> {
        let bytes = self.bytes()?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let text = format!("{}: its response is not the JSON expected", self.body.request);
            Error::request(Kind::Http, text).because(error).having_run(true)
        })
    }

    /// The body, piece by piece, without a limit.
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.body
    }

    /// The body alone, to be read elsewhere.
    pub fn into_reader(self) -> Reader {
        self.body
    }
}

impl Response {
    /// This end of the connection; none over a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.exchange.facts.local
    }

    /// The other end of the connection: the server's, or that of the proxy before it; none over a
    /// Unix socket.
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = server.local_addr()?;
    /// # std::thread::spawn(move || {
    /// #     let mut stream = server.accept().unwrap().0;
    /// #     stream.read(&mut [0; 1024]).unwrap();
    /// #     stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    /// # });
    /// let session = keepbeat::Session::new()?;
    /// let response = session.get(format!("http://{address}/")).send()?;
    /// assert_eq!(response.peer_addr(), Some(address));
    /// assert_eq!((response.tls_version(), response.reused()), (None, false));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.exchange.facts.peer
    }

    /// `TLS 1.3` or `TLS 1.2`; none without TLS.
    pub fn tls_version(&self) -> Option<&'static str> {
        self.exchange.facts.tls
    }

    /// When the certificate of the other end expires; none without TLS.
    pub fn certificate_expires(&self) -> Option<SystemTime> {
        self.exchange.facts.expires
    }
}

/// A URL that may stand in a log, and the rest of it.
fn without_query(uri: &Uri) -> (Uri, Option<String>) {
    let Some(query) = uri.query() else { return (uri.clone(), None) };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = uri.path().parse().ok();
    (Uri::from_parts(parts).unwrap_or_default(), Some(query.to_owned()))
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.head.status)
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}

/// The body of a response, as it comes. Gives the connection back at its end, or when it is dropped
/// and little is left.
pub struct Reader {
    source: Source,
    ended: bool,
    /// What went wrong, and goes wrong again whenever somebody reads on: no end, but an error.
    fault: Option<Fault>,
    request: Asked,
}

/// An error that can be told again.
enum Fault {
    Cancelled,
    Shut,
    Other(io::ErrorKind, String),
}

impl Fault {
    fn of(error: &io::Error) -> Fault {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Trouble>()) {
            Some(Trouble::Cancelled) => Fault::Cancelled,
            Some(Trouble::Shut) => Fault::Shut,
            _ => Fault::Other(error.kind(), error.to_string()),
        }
    }

    fn again(&self) -> io::Error {
        match self {
            Fault::Cancelled => io::Error::other(Trouble::Cancelled),
            Fault::Shut => io::Error::other(Trouble::Shut),
            Fault::Other(kind, text) => io::Error::new(*kind, text.clone()),
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        if self.source.conn().is_some_and(Conn::is_forked) {
            return Err(io::Error::other(Trouble::Forked));
        }
        if let Some(fault) = &self.fault {
            return Err(fault.again());
        }
        let n =
            self.source.read(buffer).inspect_err(|error| self.fault = Some(Fault::of(error)))?;
        self.ended = n == 0;
        Ok(n)
    }
}

impl Reader {
    /// What is left of it, where that is known.
    fn left(&self) -> Option<u64> {
        if !self.source.is_plain() {
            return None;
        }
        self.source.conn()?.framing.left()
    }

    /// All of it, or a little more than the limit.
    fn all_but(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        let most = limit.saturating_add(1);
        let known = self.left().filter(|left| *left <= MADE_AT_ONCE.min(limit));
        let mut bytes = vec![0; known.unwrap_or(0) as usize];
        let mut at = 0;
        while at < bytes.len() {
            match self.read(&mut bytes[at..]) {
                Ok(0) => break,
                Ok(n) => at += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(at);
        // Where the length was known, this is where its end is seen.
        if !self.ended {
            self.take(most - at as u64).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // In a panic nothing is worth waiting for.
        if std::thread::panicking() {
            return;
        }
        if let Some(payload) = self.source.payload() {
            payload.conn.drain();
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("left", &self.left()).finish_non_exhaustive()
    }
}
