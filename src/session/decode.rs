//! What a body is once it is unpacked.

use std::io::{self, Read};

use super::conn::Conn;
use super::inbound::{Coding, Framing};
#[cfg(any(feature = "gzip", feature = "brotli"))]
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
pub(crate) enum Source {
    Plain(Payload),
    /// Packed; nothing of it was read yet. It may be empty after all. Empty only for a moment.
    #[cfg(any(feature = "gzip", feature = "brotli"))]
    Packed(Option<Payload>, Unpacks),
    #[cfg(any(feature = "gzip", feature = "brotli"))]
    Unpacked(Box<dyn Unpacker>, Unpacks),
}

impl Source {
    pub(crate) fn new(conn: Conn, coding: Coding) -> Source {
        let payload = Payload::new(conn);
        match coding {
            // What is empty is not packed either.
            _ if payload.conn.framing == Framing::Over => Source::Plain(payload),
            #[cfg(feature = "gzip")]
            Coding::Gzip => Source::Packed(Some(payload), Unpacks::Gzip),
            #[cfg(feature = "brotli")]
            Coding::Brotli => Source::Packed(Some(payload), Unpacks::Brotli),
            _ => Source::Plain(payload),
        }
    }

    pub(crate) fn payload(&mut self) -> Option<&mut Payload> {
        match self {
            Source::Plain(payload) => Some(payload),
            #[cfg(any(feature = "gzip", feature = "brotli"))]
            Source::Packed(payload, _) => payload.as_mut(),
            #[cfg(any(feature = "gzip", feature = "brotli"))]
            Source::Unpacked(unpacker, _) => Some(unpacker.payload()),
        }
    }

    pub(crate) fn conn(&self) -> Option<&Conn> {
        match self {
            Source::Plain(payload) => Some(&payload.conn),
            #[cfg(any(feature = "gzip", feature = "brotli"))]
            Source::Packed(payload, _) => payload.as_ref().map(|payload| &payload.conn),
            #[cfg(any(feature = "gzip", feature = "brotli"))]
            Source::Unpacked(unpacker, _) => Some(unpacker.conn()),
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
            #[cfg(any(feature = "gzip", feature = "brotli"))]
            Source::Packed(packed, unpacks) => {
                let (Some(mut payload), unpacks) = (packed.take(), *unpacks) else { return Ok(0) };
                let mut first = [0];
                match payload.read(&mut first) {
                    Ok(0) => {
                        *self = Source::Plain(payload);
                        Ok(0)
                    }
                    Ok(_) => {
                        payload.first = Some(first[0]);
                        *self = Source::Unpacked(unpacks.unpacker(payload), unpacks);
                        self.read(buffer)
                    }
                    Err(error) => {
                        *packed = Some(payload);
                        Err(error)
                    }
                }
            }
            #[cfg(any(feature = "gzip", feature = "brotli"))]
            Source::Unpacked(unpacker, unpacks) => {
                let n = unpacker.read(buffer).map_err(|error| unpacks.failed(error))?;
                if n == 0 {
                    // The last chunk may still stand on the connection.
                    io::copy(unpacker.payload(), &mut io::sink())?;
                }
                Ok(n)
            }
        }
    }
}

/// A body that is unpacked as it is read.
#[cfg(any(feature = "gzip", feature = "brotli"))]
pub(crate) trait Unpacker: Read + Send + Sync {
    fn payload(&mut self) -> &mut Payload;
    fn conn(&self) -> &Conn;
}

#[cfg(feature = "gzip")]
impl Unpacker for flate2::read::MultiGzDecoder<Payload> {
    fn payload(&mut self) -> &mut Payload {
        self.get_mut()
    }

    fn conn(&self) -> &Conn {
        &self.get_ref().conn
    }
}

#[cfg(feature = "brotli")]
impl Unpacker for brotli_decompressor::Decompressor<Payload> {
    fn payload(&mut self) -> &mut Payload {
        self.get_mut()
    }

    fn conn(&self) -> &Conn {
        &self.get_ref().conn
    }
}

/// How it is packed.
#[cfg(any(feature = "gzip", feature = "brotli"))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unpacks {
    #[cfg(feature = "gzip")]
    Gzip,
    #[cfg(feature = "brotli")]
    Brotli,
}

#[cfg(any(feature = "gzip", feature = "brotli"))]
impl Unpacks {
    fn unpacker(self, payload: Payload) -> Box<dyn Unpacker> {
        match self {
            #[cfg(feature = "gzip")]
            Unpacks::Gzip => Box::new(flate2::read::MultiGzDecoder::new(payload)),
            #[cfg(feature = "brotli")]
            Unpacks::Brotli => Box::new(brotli_decompressor::Decompressor::new(payload, 4096)),
        }
    }

    /// What is wrong with what is packed, unless it is the connection.
    fn failed(self, error: io::Error) -> io::Error {
        if error.get_ref().is_some_and(|inner| inner.is::<Trouble>()) {
            return error;
        }
        let how = match self {
            #[cfg(feature = "gzip")]
            Unpacks::Gzip => "gzip",
            #[cfg(feature = "brotli")]
            Unpacks::Brotli => "brotli",
        };
        io::Error::new(error.kind(), format!("it cannot be unpacked ({how}): {error}"))
    }
}
