//! The frames of HTTP/1: where the answer to a request ends, however its body is framed, piece by
//! piece, so that no body has to fit anywhere.

use std::ops::RangeInclusive;

use httparse::{Header, Response, Status};

use super::fields::{self, Length, USUAL_FIELDS, is_identity};
use super::hint::Hint;
use crate::protocol::FRAME_LIMIT;

/// More do not fit into the longest head that is waited for.
const MOST_FIELDS: usize = FRAME_LIMIT / 4;

/// Where in the answers of a connection the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Place {
    /// Before or in a status line and the fields below it.
    #[default]
    Head,
    /// In a body of known length.
    Body { left: u64 },
    /// Before or in the line that says how long the next chunk is.
    ChunkSize,
    /// In a chunk.
    Chunk { left: u64 },
    /// Before the end of line behind a chunk.
    ChunkEnd,
    /// After the last chunk.
    Trailer,
    /// In a body that ends with the connection.
    UntilClosed,
}

/// What the bytes at the front are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece {
    /// How many bytes.
    pub(super) len: usize,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum What {
    /// An interim answer, the head of one that has a body, or what frames a body.
    Frame,
    /// A part of the body.
    Body,
    /// The rest of the body, or a head without one, or what ends a body.
    End { has_body: bool },
}

/// A status line that was not expected.
pub(super) struct Refused {
    pub(super) code: u16,
    pub(super) reason: String,
}

/// Why an answer is none.
pub(super) enum Fault {
    Status(Refused),
    /// What is wrong with the bytes at the front.
    Wrong(String),
}

fn wrong<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Wrong(what.into()))
}

/// Reads the answers of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Replies {
    place: Place,
    /// The answer that is being read is the last one on this connection.
    last: bool,
    /// What the last head has said of the connection.
    hint: Hint,
    /// The coding of the body, if it has one that nobody wanted.
    coding: Option<String>,
}

impl Replies {
    /// The peer has announced that it ends the connection after the answer that was read.
    pub(super) fn are_over(&self) -> bool {
        self.last && self.place == Place::Head
    }

    /// Nothing of the next answer was taken yet.
    pub(super) fn are_at_front(&self) -> bool {
        self.place == Place::Head
    }

    /// What the last head has said of keeping the connection.
    pub(super) fn hint(&self) -> Hint {
        self.hint
    }

    /// How the last body was coded, beyond its framing.
    pub(super) fn coding(&self) -> Option<&str> {
        self.coding.as_deref()
    }

    /// The connection has ended. True if that ends an answer.
    pub(super) fn close(&mut self) -> bool {
        let ends = self.place == Place::UntilClosed;
        if ends {
            self.place = Place::Head;
        }
        ends
    }

    /// Takes the piece at the front of `bytes`; none asks for more of them.
    pub(super) fn next(
        &mut self,
        bytes: &[u8],
        is_head: bool,
        expected: &RangeInclusive<u16>,
    ) -> Result<Option<Piece>, Fault> {
        let piece = match self.place {
            Place::Head => return self.head(bytes, is_head, expected),
            Place::Body { left } => self.body(bytes, left),
            Place::ChunkSize => self.chunk_size(bytes)?,
            Place::Chunk { left } => self.chunk(bytes, left),
            Place::ChunkEnd => self.chunk_end(bytes)?,
            Place::Trailer => self.trailer(bytes)?,
            Place::UntilClosed => Some(Piece { len: bytes.len(), what: What::Body }),
        };
        Ok(piece)
    }

    fn head(
        &mut self,
        bytes: &[u8],
        is_head: bool,
        expected: &RangeInclusive<u16>,
    ) -> Result<Option<Piece>, Fault> {
        let mut usual = [httparse::EMPTY_HEADER; USUAL_FIELDS];
        let mut head = Response::new(&mut usual);
        let mut parsed = fields::parser(true).parse_response(&mut head, bytes);
        let mut many;
        if parsed == Err(httparse::Error::TooManyHeaders) {
            many = vec![httparse::EMPTY_HEADER; MOST_FIELDS];
            head = Response::new(&mut many);
            parsed = fields::parser(true).parse_response(&mut head, bytes);
        }
        match parsed {
            Ok(Status::Complete(len)) => self.read_head(&head, len, is_head, expected),
            Ok(Status::Partial) => Ok(None),
            Err(error) => wrong(format!("no answer of HTTP/1 ({error})")),
        }
    }

    fn read_head(
        &mut self,
        head: &Response,
        len: usize,
        is_head: bool,
        expected: &RangeInclusive<u16>,
    ) -> Result<Option<Piece>, Fault> {
        let code = head.code.unwrap_or_default();
        // 101 would be the end of HTTP on this connection: it has to be expected.
        if (100..200).contains(&code) && code != 101 {
            return Ok(Some(Piece { len, what: What::Frame }));
        }
        if !expected.contains(&code) {
            let reason = head.reason.unwrap_or_default().to_owned();
            return Err(Fault::Status(Refused { code, reason }));
        }
        let fields = Fields(head.headers);
        let keeps = fields.has("connection", "keep-alive") || head.version == Some(1);
        self.hint = Hint::read(fields.named("keep-alive"));
        self.last = !keeps || fields.has("connection", "close") || self.hint.max == Some(0);
        self.coding = fields.coding();
        let without = is_head || (100..200).contains(&code) || code == 204 || code == 304;
        self.place = if without { Place::Head } else { self.framing(&fields)? };
        let what = match self.place {
            Place::Head => What::End { has_body: false },
            _ => What::Frame,
        };
        Ok(Some(Piece { len, what }))
    }

    /// How the body is framed (RFC 9112, section 6.3).
    fn framing(&mut self, fields: &Fields) -> Result<Place, Fault> {
        let length = fields.length()?;
        if fields.has_transfer_coding() {
            // Both together smell of a smuggled answer; whoever reads on must not trust the rest.
            self.last |= length.is_some();
            if fields.last_coding_is_chunked() {
                return Ok(Place::ChunkSize);
            }
            self.last = true;
            return Ok(Place::UntilClosed);
        }
        Ok(match length {
            Some(0) => Place::Head,
            Some(left) => Place::Body { left },
            None => {
                self.last = true;
                Place::UntilClosed
            }
        })
    }

    fn body(&mut self, bytes: &[u8], left: u64) -> Option<Piece> {
        let (len, done) = taken(bytes, left)?;
        if done {
            self.place = Place::Head;
            return Some(Piece { len, what: What::End { has_body: true } });
        }
        self.place = Place::Body { left: left - len as u64 };
        Some(Piece { len, what: What::Body })
    }

    fn chunk_size(&mut self, bytes: &[u8]) -> Result<Option<Piece>, Fault> {
        match httparse::parse_chunk_size(bytes) {
            Ok(Status::Complete((len, size))) => {
                self.place = if size == 0 { Place::Trailer } else { Place::Chunk { left: size } };
                Ok(Some(Piece { len, what: What::Frame }))
            }
            Ok(Status::Partial) => Ok(None),
            Err(_) => wrong("the length of a chunk is no number"),
        }
    }

    fn chunk(&mut self, bytes: &[u8], left: u64) -> Option<Piece> {
        let (len, done) = taken(bytes, left)?;
        self.place = if done { Place::ChunkEnd } else { Place::Chunk { left: left - len as u64 } };
        Some(Piece { len, what: What::Body })
    }

    fn chunk_end(&mut self, bytes: &[u8]) -> Result<Option<Piece>, Fault> {
        if bytes.starts_with(b"\r\n") {
            self.place = Place::ChunkSize;
            return Ok(Some(Piece { len: 2, what: What::Frame }));
        }
        if b"\r\n".starts_with(bytes) {
            return Ok(None);
        }
        wrong("a chunk is longer than it said")
    }

    fn trailer(&mut self, bytes: &[u8]) -> Result<Option<Piece>, Fault> {
        let mut usual = [httparse::EMPTY_HEADER; USUAL_FIELDS];
        let mut parsed = trailer_len(bytes, &mut usual);
        if parsed == Err(httparse::Error::TooManyHeaders) {
            let mut many = vec![httparse::EMPTY_HEADER; MOST_FIELDS];
            parsed = trailer_len(bytes, &mut many);
        }
        match parsed {
            Ok(Status::Complete(len)) => {
                self.place = Place::Head;
                Ok(Some(Piece { len, what: What::End { has_body: false } }))
            }
            Ok(Status::Partial) => Ok(None),
            Err(error) => wrong(format!("no trailer of HTTP/1 ({error})")),
        }
    }
}

/// How many bytes of a body of which so many are left, and whether they end it. While some are
/// still to come, the last byte is left to lie: so it is seen that a part of an answer is here.
fn taken(bytes: &[u8], left: u64) -> Option<(usize, bool)> {
    match usize::try_from(left) {
        Ok(left) if bytes.len() >= left => Some((left, true)),
        _ => Some(bytes.len().saturating_sub(1)).filter(|len| *len > 0).map(|len| (len, false)),
    }
}

fn trailer_len<'a>(bytes: &'a [u8], room: &mut [Header<'a>]) -> httparse::Result<usize> {
    Ok(match httparse::parse_headers(bytes, room)? {
        Status::Complete((len, _)) => Status::Complete(len),
        Status::Partial => Status::Partial,
    })
}

struct Fields<'a>(&'a [Header<'a>]);

impl Fields<'_> {
    /// The values of all fields of this name, as they stand.
    fn named(&self, name: &str) -> impl DoubleEndedIterator<Item = &[u8]> {
        let named = self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value)
    }

    /// The same, taken apart at their commas.
    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.named(name).flat_map(fields::values)
    }

    /// One that changes something: `identity` is a word of RFC 2616 for none.
    fn has_transfer_coding(&self) -> bool {
        self.values("transfer-encoding").any(|coding| !is_identity(coding))
    }

    /// How the body is compressed, as far as it is.
    fn coding(&self) -> Option<String> {
        let coding = self.values("content-encoding").find(|coding| !is_identity(coding))?;
        Some(coding.escape_ascii().to_string())
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.values(name).any(|found| found.eq_ignore_ascii_case(value.as_bytes()))
    }

    fn last_coding_is_chunked(&self) -> bool {
        let mut codings = self.values("transfer-encoding").filter(|coding| !is_identity(coding));
        codings.next_back().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
    }

    /// The length of the body, if one is told.
    fn length(&self) -> Result<Option<u64>, Fault> {
        let mut length = Length::default();
        self.named("content-length").try_for_each(|v| length.read(v)).map_err(Fault::Wrong)?;
        Ok(length.0)
    }
}
