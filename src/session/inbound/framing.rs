//! Framing: where a body ends (RFC 9112, sections 6 and 7), piece by piece, without room for any of
//! it.

/// How a body is framed, and where in it the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Nothing is left of it, or there was none.
    Over,
    /// So many bytes are left.
    Length { left: u64 },
    /// In chunks.
    Chunked(Chunk),
    /// It ends with its connection.
    UntilClosed,
}

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In the size of a chunk, or before it.
    Size { size: Option<u64> },
    /// In blanks behind the size.
    Blank { size: u64 },
    /// In an extension, of which so much has come.
    Extension { size: u64, len: u32 },
    /// Between CR and LF behind the size.
    SizeEnd { size: u64 },
    /// In its data.
    Data { left: u64 },
    /// Before the line end behind the data: of which so many bytes have come.
    DataEnd { len: u8 },
    /// In the trailer section, of which so much has come.
    Trailer { len: u32, line: Line },
}

/// Where in a line of the trailer section the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Begins,
    /// Behind a CR with which it began: an empty line, if the LF comes.
    Cr,
    Inside,
}

/// What the bytes at the front are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// First so many that frame the body.
    pub(crate) skip: usize,
    /// Then so many of the body itself.
    pub(crate) data: usize,
}

/// An extension may be as long as one likes, in principle (RFC 9112, section 7.1.1).
const LONGEST_EXTENSION: u32 = 1 << 20;

/// As a head.
const LONGEST_TRAILER: u32 = 256 * 1024;

impl Framing {
    pub(crate) const CHUNKED: Framing = Framing::Chunked(Chunk::Size { size: None });

    /// What the bytes at the front are. Nothing of either asks for more of them. The data has to be
    /// [taken](Framing::take) before the next step.
    ///
    /// # Errors
    ///
    /// What is wrong with a chunk.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Result<Step, &'static str> {
        let mut skip = 0;
        while let Framing::Chunked(chunk) = self {
            if let Chunk::Data { .. } = chunk {
                break;
            }
            let Some(byte) = bytes.get(skip) else { break };
            skip += 1;
            *self = match chunk.next(*byte)? {
                Some(chunk) => Framing::Chunked(chunk),
                None => Framing::Over,
            };
        }
        let there = bytes.len() - skip;
        let data = self.certain().map_or(there, |left| there.min(to_usize(left)));
        Ok(Step { skip, data })
    }

    /// So many bytes of the body certainly come next, and nothing else; none if nobody knows.
    pub(crate) fn certain(&self) -> Option<u64> {
        match self {
            Framing::Length { left } | Framing::Chunked(Chunk::Data { left }) => Some(*left),
            Framing::UntilClosed => None,
            Framing::Over | Framing::Chunked(_) => Some(0),
        }
    }

    /// So many bytes of the body were taken.
    pub(crate) fn take(&mut self, len: usize) {
        let len = len as u64;
        *self = match *self {
            Framing::Length { left } if left <= len => Framing::Over,
            Framing::Length { left } => Framing::Length { left: left - len },
            Framing::Chunked(Chunk::Data { left }) if left <= len => {
                Framing::Chunked(Chunk::DataEnd { len: 0 })
            }
            Framing::Chunked(Chunk::Data { left }) => {
                Framing::Chunked(Chunk::Data { left: left - len })
            }
            other => other,
        };
    }

    /// Whether the body is whole if its connection ends here in an orderly way. Of a chunked one
    /// the last chunk is enough (RFC 9112, section 8): what is missing is a trailer.
    pub(crate) fn may_close(&self) -> bool {
        matches!(
            self,
            Framing::Over | Framing::UntilClosed | Framing::Chunked(Chunk::Trailer { .. })
        )
    }

    /// So many bytes are left in all, if that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Framing::Over => Some(0),
            Framing::Length { left } => Some(*left),
            _ => None,
        }
    }
}

fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

impl Chunk {
    /// None: that was the last byte of the body.
    fn next(self, byte: u8) -> Result<Option<Chunk>, &'static str> {
        Ok(Some(match (self, byte) {
            (Chunk::Size { size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                let size = size.unwrap_or(0).checked_mul(16).ok_or("a chunk of absurd size")?;
                Chunk::Size { size: Some(size + digit) }
            }
            (Chunk::Size { size: Some(size) } | Chunk::Blank { size }, b' ' | b'\t') => {
                Chunk::Blank { size }
            }
            (Chunk::Size { size: Some(size) } | Chunk::Blank { size }, b';') => {
                Chunk::Extension { size, len: 0 }
            }
            (
                Chunk::Size { size: Some(size) }
                | Chunk::Blank { size }
                | Chunk::Extension { size, .. },
                b'\r',
            ) => Chunk::SizeEnd { size },
            (Chunk::Size { .. } | Chunk::Blank { .. }, _) => {
                return Err("the size of a chunk is no hexadecimal number");
            }
            // Some readers end the line here, and others do not.
            (Chunk::Extension { .. }, b'\n' | 0) => return Err("a broken chunk extension"),
            (Chunk::Extension { len: LONGEST_EXTENSION, .. }, _) => {
                return Err("a chunk extension of more than 1 MiB");
            }
            (Chunk::Extension { size, len }, _) => Chunk::Extension { size, len: len + 1 },
            (Chunk::SizeEnd { size: 0 }, b'\n') => Chunk::Trailer { len: 0, line: Line::Begins },
            (Chunk::SizeEnd { size }, b'\n') => Chunk::Data { left: size },
            (Chunk::SizeEnd { .. }, _) => return Err("a broken line end behind a chunk's size"),
            (Chunk::DataEnd { len: 0 }, b'\r') => Chunk::DataEnd { len: 1 },
            (Chunk::DataEnd { len: 1 }, b'\n') => Chunk::Size { size: None },
            (Chunk::DataEnd { .. }, _) => return Err("a chunk is longer than it said"),
            (Chunk::Trailer { len: LONGEST_TRAILER, .. }, _) => {
                return Err("a trailer of more than 256 KiB");
            }
            (Chunk::Trailer { line: Line::Begins | Line::Cr, .. }, b'\n') => return Ok(None),
            (Chunk::Trailer { len, line }, _) => {
                let line = match (line, byte) {
                    (_, b'\n') => Line::Begins,
                    (Line::Begins, b'\r') => Line::Cr,
                    _ => Line::Inside,
                };
                Chunk::Trailer { len: len + 1, line }
            }
            (Chunk::Data { .. }, _) => return Ok(Some(self)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The body and what is left behind it, read in pieces of this length; or where it stands, or
    /// what is wrong.
    fn read(
        mut framing: Framing,
        bytes: &[u8],
        piece: usize,
    ) -> Result<(Vec<u8>, Vec<u8>), String> {
        let (mut body, mut at, mut seen) = (Vec::new(), 0, 0);
        loop {
            let step = framing.step(&bytes[at..seen])?;
            at += step.skip;
            body.extend_from_slice(&bytes[at..at + step.data]);
            framing.take(step.data);
            at += step.data;
            if framing == Framing::Over {
                return Ok((body, bytes[at..].to_vec()));
            }
            if step == Step::default() {
                if seen == bytes.len() {
                    return Err(format!("{framing:?}"));
                }
                seen = (seen + piece).min(bytes.len());
            }
        }
    }

    fn chunked(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
        let whole = read(Framing::CHUNKED, bytes, usize::MAX / 2);
        for piece in [1, 2, 3, 7] {
            assert_eq!(read(Framing::CHUNKED, bytes, piece), whole, "in pieces of {piece}");
        }
        whole
    }

    fn is(bytes: &str, body: &str, rest: &str) {
        let expected = (body.as_bytes().to_vec(), rest.as_bytes().to_vec());
        assert_eq!(chunked(bytes.as_bytes()), Ok(expected), "{bytes:?}");
    }

    #[test]
    fn chunks_are_read_as_rfc_9112_7_1_says() {
        is("5\r\nhello\r\n0\r\n\r\nmore", "hello", "more");
        is("0\r\n\r\n", "", "");
        is("000\r\n\r\nHTTP", "", "HTTP");
        is("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", "");
        is("000000000000000000000000000000000005\r\nhello\r\n0\r\n\r\n", "hello", "");
        is("5;name=\"a;b\"\r\nhello\r\n0;x\r\n\r\n", "hello", "");
        is("5 \t; name\r\nhello\r\n0\r\n\r\n", "hello", "");
        is("5  \r\nhello\r\n0 \r\n\r\n", "hello", "");
        is("5\r\nhello\r\n0\r\nX-Sum: 1\r\nX: 2\r\n\r\n.", "hello", ".");
        is("5\r\nhello\r\n0\r\nX-Sum: 1\nX: 2\n\n.", "hello", ".");
        let long = "x".repeat(100_000);
        is(&format!("5;{long}\r\nhello\r\n0;{long}\r\n\r\n"), "hello", "");
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for size in [
            "",
            "+5",
            "-5",
            " 5",
            "\t5",
            "0x5",
            "5x",
            "x",
            "5\u{a0}",
            "5,5",
            "5 5",
            "5\n",
            "5\r",
            "5;a\n",
            "5;\0",
            "5;a\r;",
            "FFFFFFFFFFFFFFFFF",
            "10000000000000005",
            "\r\n5",
        ] {
            let bytes = format!("{size}\r\nhello\r\n0\r\n\r\n");
            let error = chunked(bytes.as_bytes()).unwrap_err();
            assert!(error.contains("chunk"), "{size:?}: {error}");
        }
        for end in ["", "x", "\n", "\r", "\rx", "x\r\n"] {
            let bytes = format!("5\r\nhello{end}0\r\n\r\n");
            let error = chunked(bytes.as_bytes()).unwrap_err();
            assert!(error.contains("longer than it said"), "{end:?}: {error}");
        }
        let long = format!("5;{}", "x".repeat(2 << 20));
        assert!(read(Framing::CHUNKED, long.as_bytes(), 1 << 16).unwrap_err().contains("1 MiB"));
        let long = format!("0\r\n{}", "x: y\r\n".repeat(1 << 17));
        assert!(read(Framing::CHUNKED, long.as_bytes(), 1 << 16).unwrap_err().contains("trailer"));
    }

    #[test]
    fn a_body_is_whole_at_an_orderly_end_only_where_nothing_is_missing() {
        let at = |bytes: &[u8]| {
            let mut framing = Framing::CHUNKED;
            let step = framing.step(bytes).unwrap();
            framing.take(step.data);
            framing.may_close()
        };
        assert!(!at(b"") && !at(b"5") && !at(b"5\r\n") && !at(b"5\r\nhel") && !at(b"0"));
        assert!(!at(b"5\r\nhello") && !at(b"0\r"));
        assert!(at(b"0\r\n") && at(b"0\r\nX: ") && at(b"0\r\n\r\n"));
        assert!(Framing::UntilClosed.may_close() && !Framing::Length { left: 1 }.may_close());
    }

    #[test]
    fn a_length_is_kept_to_the_byte() {
        for piece in [1, 2, 5, 100] {
            let read = read(Framing::Length { left: 5 }, b"hello, and more", piece).unwrap();
            assert_eq!(read.0, b"hello");
        }
        let huge = Framing::Length { left: u64::MAX };
        assert!(read(huge, b"hello", 3).unwrap_err().contains("left: 18446744073709551610"));
    }

    proptest! {
        #[test]
        fn no_bytes_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = chunked(&bytes);
        }

        #[test]
        fn what_is_cut_into_chunks_comes_back(
            body in prop::collection::vec(any::<u8>(), 0..300),
            cuts in prop::collection::vec(1..50_usize, 1..20),
        ) {
            let (mut wire, mut rest, mut cuts) = (Vec::new(), body.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let len = rest.len().min(*cuts.next().unwrap());
                wire.extend(format!("{len:X}\r\n").into_bytes());
                wire.extend_from_slice(&rest[..len]);
                wire.extend_from_slice(b"\r\n");
                rest = &rest[len..];
            }
            wire.extend_from_slice(b"0\r\n\r\nrest");
            prop_assert_eq!(chunked(&wire), Ok((body, b"rest".to_vec())));
        }
    }
}
