//! Response: status, headers, and a body that gives its connection back.

use std::fmt;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use ureq::http::response::Parts;
use ureq::http::{HeaderMap, StatusCode, Uri, Version, header};
use ureq::{BodyReader, ResponseExt};

use super::call::draining;
use super::failure::{self, Asked};
use crate::error::{Error, Kind};

/// What `text` and `bytes` read at most, unless told otherwise.
const LIMIT: u64 = 64 * 1024 * 1024;

/// What is read of a body that nobody wants, so that its connection can be kept. Reading more costs
/// more than a new connection.
const DRAINED: u64 = 64 * 1024;

/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_millis(50);

/// The response to a request.
///
/// Statuses are values: a 404 is a response like any other, unless
/// [`error_for_status`](Response::error_for_status) is asked. Its connection goes back to the
/// session when the body has been read to its end, or when the response is dropped and what is left
/// of the body is short (64 KiB) and there at once (50 ms).
pub struct Response {
    parts: Parts,
    uri: Uri,
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
}

impl Response {
    pub(crate) fn new(
        response: ureq::http::Response<ureq::Body>,
        request: Asked,
        exchange: Exchange,
    ) -> Response {
        let uri = response.get_uri().clone();
        let (parts, body) = response.into_parts();
        // Of a body that is unpacked, the length is another one, and ureq takes the header away.
        let announced = parts.headers.contains_key(header::CONTENT_LENGTH);
        let left = body.content_length().filter(|_| announced);
        let kept = is_kept(&parts);
        let body = Reader { body: body.into_reader(), left, ended: false, kept, request };
        Response { parts, uri, body, limit: LIMIT, exchange }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.parts.status
    }

    /// The version of HTTP that the server speaks.
    pub fn version(&self) -> Version {
        self.parts.version
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// A header as text; none if there is none, or not as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// Where it came from in the end, behind all redirects.
    pub fn uri(&self) -> &Uri {
        &self.uri
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

    /// Whether the request had to be sent twice.
    pub fn replayed(&self) -> bool {
        self.exchange.replayed
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
            return Err(Error::request(Kind::Status(status.as_u16()), text, None));
        }
        Ok(self)
    }

    /// How much [`text`](Response::text) and [`bytes`](Response::bytes) read at most: 64 MiB
    /// unless set. A server that sends for ever must not fill the memory.
    pub fn limit(&mut self, bytes: u64) -> &mut Response {
        self.limit = bytes;
        self
    }

    /// The whole body as text; what is no UTF-8 becomes `U+FFFD`.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Response::bytes).
    pub fn text(&mut self) -> Result<String, Error> {
        let bytes = self.bytes()?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// If the connection ends or falls silent in the middle of it, or if it is longer than the
    /// [`limit`](Response::limit).
    pub fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let limit = self.limit;
        let known = self.body.left.unwrap_or(0).min(limit).min(1024 * 1024);
        let mut bytes = Vec::with_capacity(known as usize);
        let read = (&mut self.body).take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| failure::of_body(error, &self.body.request))?;
        if bytes.len() as u64 > limit {
            let text = format!(
                "{}: its response is longer than {limit} bytes: raise the `limit`, or read it \
                 piece by piece with `reader`",
                self.body.request
            );
            return Err(Error::request(Kind::Http, text, None));
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
            Error::request(Kind::Http, text, Some(Box::new(error)))
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

/// Whether the server keeps the connection, as far as its head tells.
fn is_kept(parts: &Parts) -> bool {
    let said = parts.headers.get_all(header::CONNECTION);
    let says = |word: &str| {
        let mut words = said.iter().filter_map(|value| value.to_str().ok());
        words.any(|value| value.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
    };
    if parts.version == Version::HTTP_10 { says("keep-alive") } else { !says("close") }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.parts.status)
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}

/// The body of a response, as it comes. Gives the connection back at its end, or when it is dropped
/// and little is left.
pub struct Reader {
    body: BodyReader<'static>,
    /// What is left of an announced length.
    left: Option<u64>,
    ended: bool,
    /// Its connection may serve another request.
    kept: bool,
    request: Asked,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let n = self.body.read(buffer)?;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(n as u64);
        }
        self.ended = n == 0;
        if self.left == Some(0) && !self.ended {
            // ureq lets the connection go only when it is asked beyond the end. This waits for
            // nothing; if it did fail, the body is whole all the same.
            self.ended = matches!(self.body.read(&mut [0]), Ok(0) | Err(_));
        }
        Ok(n)
    }
}

impl Reader {
    fn drain(&mut self) {
        let mut scrap = [0; 4096];
        let mut most = DRAINED;
        while !self.ended && most > 0 && self.left.is_none_or(|left| left <= most) {
            match self.read(&mut scrap) {
                Ok(n) => most = most.saturating_sub(n as u64),
                Err(_) => return,
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // In a panic nothing is worth waiting for.
        if self.kept && !self.ended && !std::thread::panicking() {
            draining(Instant::now() + DRAIN_TIME, || self.drain());
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("left", &self.left).finish_non_exhaustive()
    }
}
