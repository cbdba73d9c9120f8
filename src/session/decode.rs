//! What a body is once it is unpacked.

use std::io::{self, Read};

use super::conn::Conn;
use super::inbound::{Coding, Framing};
#[cfg(feature = "gzip")]
use super::trouble::Trouble;

/// The bytes of a body as they come over the connection, unframed.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) conn: Conn,
    /// The first byte, which shows that there is a body.
    first: Option<u8>,
}

impl Payload {
    pub(crate) fn new(conn: Conn) -> Payload {
        Payload { conn, first: None }
    }
}

impl Read for Payload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let Some(first) = self.first.take() {
            buffer[0] = first;
            return Ok(1);
        }
        self.conn.body(buffer).map_err(|trouble| io::Error::new(trouble.kind(), trouble))
    }
}

/// A body as its reader sees it.
#[derive(Debug)]
pub(crate) enum Source {
    Plain(Payload),
    /// Packed; nothing of it was read yet. It may be empty after all.
    #[cfg(feature = "gzip")]
    Packed(Option<Payload>),
    #[cfg(feature = "gzip")]
    Gzip(Box<flate2::read::MultiGzDecoder<Payload>>),
}

impl Source {
    pub(crate) fn new(conn: Conn, coding: Coding) -> Source {
        let payload = Payload::new(conn);
        match coding {
            // What is empty is not packed either.
            _ if payload.conn.framing == Framing::Over => Source::Plain(payload),
            #[cfg(feature = "gzip")]
            Coding::Gzip => Source::Packed(Some(payload)),
            _ => Source::Plain(payload),
        }
    }

    pub(crate) fn payload(&mut self) -> Option<&mut Payload> {
        match self {
            Source::Plain(payload) => Some(payload),
            #[cfg(feature = "gzip")]
            Source::Packed(payload) => payload.as_mut(),
            #[cfg(feature = "gzip")]
            Source::Gzip(decoder) => Some(decoder.get_mut()),
        }
    }

    pub(crate) fn conn(&self) -> Option<&Conn> {
        match self {
            Source::Plain(payload) => Some(&payload.conn),
            #[cfg(feature = "gzip")]
            Source::Packed(payload) => payload.as_ref().map(|payload| &payload.conn),
            #[cfg(feature = "gzip")]
            Source::Gzip(decoder) => Some(&decoder.get_ref().conn),
        }
    }

    /// Whether the length on the wire is that of what is read.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Source::Plain(_))
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Plain(payload) => payload.read(buffer),
            #[cfg(feature = "gzip")]
            Source::Packed(packed) => {
                let Some(mut payload) = packed.take() else { return Ok(0) };
                let mut first = [0];
                match payload.read(&mut first) {
                    Ok(0) => {
                        *self = Source::Plain(payload);
                        Ok(0)
                    }
                    Ok(_) => {
                        payload.first = Some(first[0]);
                        *self = Source::Gzip(Box::new(flate2::read::MultiGzDecoder::new(payload)));
                        self.read(buffer)
                    }
                    Err(error) => {
                        *packed = Some(payload);
                        Err(error)
                    }
                }
            }
            #[cfg(feature = "gzip")]
            Source::Gzip(decoder) => {
                let n = decoder.read(buffer).map_err(unpacking)?;
                if n == 0 {
                    // The last chunk may still stand on the connection.
                    io::copy(decoder.get_mut(), &mut io::sink())?;
                }
                Ok(n)
            }
        }
    }
}

/// What is wrong with what is packed, unless it is the connection.
#[cfg(feature = "gzip")]
fn unpacking(error: io::Error) -> io::Error {
    if error.get_ref().is_some_and(|inner| inner.is::<Trouble>()) {
        return error;
    }
    io::Error::new(error.kind(), format!("it cannot be unpacked (gzip): {error}"))
}
