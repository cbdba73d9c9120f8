//! Body: what a request sends, and whether it can be sent again.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use super::call::{aside, is_unwanted};

/// What a request sends.
///
/// Text and bytes are kept until the request is over, so that it can be replayed; a file is read
/// again from where it stood. A reader is read once, and so its request is never replayed once
/// something was read of it.
///
/// | from | length | replayed |
/// |---|---|---|
/// | `&str`, `String`, `&[u8]`, `Vec<u8>` | known | yes |
/// | [`File`] | what is left of it | yes |
/// | [`Body::reader`] | `Transfer-Encoding: chunked` | no |
/// | [`Body::sized_reader`] | as said | no |
///
/// # Examples
///
/// ```
/// use keepbeat::Body;
///
/// let text: Body = "name=value".into();
/// let stream = Body::reader(std::io::repeat(b'x'));
/// # let _ = (text, stream);
/// ```
#[derive(Debug)]
pub struct Body(Kind);

enum Kind {
    Empty,
    Bytes(Vec<u8>),
    File { file: File, start: u64, len: u64, sent: u64 },
    Reader { reader: Box<dyn Read + Send>, len: Option<u64>, sent: u64, touched: bool },
}

/// What a body of the user's could not do. It is no fault of the connection.
#[derive(Debug)]
pub(crate) struct Unreadable(io::Error);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for Unreadable {}

impl Body {
    /// No body.
    pub fn empty() -> Body {
        Body(Kind::Empty)
    }

    /// What this reader gives, up to its end, sent in chunks as it comes.
    pub fn reader(reader: impl Read + Send + 'static) -> Body {
        Body::from(Box::new(reader) as Box<dyn Read + Send>)
    }

    /// So many bytes of this reader. The request fails if it has fewer; what it has beyond them is
    /// not read.
    pub fn sized_reader(reader: impl Read + Send + 'static, len: u64) -> Body {
        let reader = Box::new(reader);
        Body(Kind::Reader { reader, len: Some(len), sent: 0, touched: false })
    }

    /// How many bytes; none if that shows only at the end.
    pub(crate) fn len(&self) -> Option<u64> {
        match &self.0 {
            Kind::Empty => Some(0),
            Kind::Bytes(bytes) => Some(bytes.len() as u64),
            Kind::File { len, .. } => Some(*len),
            Kind::Reader { len, .. } => *len,
        }
    }

    /// A length was announced for it. False if it has another one.
    pub(crate) fn expect(&mut self, said: u64) -> bool {
        if let Kind::Reader { len: len @ None, .. } = &mut self.0 {
            *len = Some(said);
        }
        self.len() == Some(said)
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.0, Kind::Empty)
    }

    /// The whole of it, if it is there.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Empty => Some(&[]),
            Kind::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether it can be sent again.
    pub(crate) fn is_rewindable(&self) -> bool {
        !matches!(self.0, Kind::Reader { touched: true, .. })
    }

    pub(crate) fn rewind(&mut self) -> io::Result<()> {
        if let Kind::File { file, start, sent, .. } = &mut self.0 {
            file.seek(SeekFrom::Start(*start))?;
            *sent = 0;
        }
        Ok(())
    }
}

impl Read for Body {
    /// For bodies that come piece by piece. The others are sent as a whole.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Empty | Kind::Bytes(_) => Ok(0),
            Kind::File { file, len, sent, .. } => piece(file, Some(*len), sent, buffer),
            Kind::Reader { reader, len, sent, touched } => {
                *touched = true;
                piece(reader, *len, sent, buffer)
            }
        }
    }
}

/// The next piece, never beyond the length that was announced. Where there is less, that is an
/// error: ureq would wait for the rest for ever.
fn piece(
    reader: &mut dyn Read,
    len: Option<u64>,
    sent: &mut u64,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let left = len.map(|len| len - *sent);
    let most = left.map_or(buffer.len(), |left| left.min(buffer.len() as u64) as usize);
    if most == 0 {
        return Ok(0);
    }
    if is_unwanted() {
        // Nobody reads it any more: it comes to its end without being read.
        let n = if len.is_some() { most } else { 0 };
        *sent += n as u64;
        return Ok(n);
    }
    let unreadable = |error: io::Error| io::Error::new(error.kind(), Unreadable(error));
    loop {
        match aside(|| reader.read(&mut buffer[..most])) {
            Ok(0) if left.is_some() => {
                let text = format!("it ends after {sent} of {} bytes", len.unwrap_or_default());
                return Err(unreadable(io::Error::new(ErrorKind::InvalidInput, text)));
            }
            Ok(n) => {
                *sent += n as u64;
                return Ok(n);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
}

impl std::fmt::Debug for Kind {
    /// Never the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Empty => f.write_str("empty"),
            Kind::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Kind::File { len, .. } => write!(f, "file, {len} bytes"),
            Kind::Reader { len: Some(len), .. } => write!(f, "reader, {len} bytes"),
            Kind::Reader { len: None, .. } => f.write_str("reader"),
        }
    }
}

impl From<()> for Body {
    fn from((): ()) -> Body {
        Body::empty()
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Body {
        Body(Kind::Bytes(text.into()))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body(Kind::Bytes(text.into_bytes()))
    }
}

impl From<&String> for Body {
    fn from(text: &String) -> Body {
        text.as_str().into()
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Body {
        Body(Kind::Bytes(bytes.to_vec()))
    }
}

impl<const N: usize> From<&[u8; N]> for Body {
    fn from(bytes: &[u8; N]) -> Body {
        bytes.as_slice().into()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body(Kind::Bytes(bytes))
    }
}

impl From<File> for Body {
    /// From the file's position to its end. A file that is not regular (a pipe) is a reader.
    fn from(mut file: File) -> Body {
        let regular = file.metadata().ok().filter(std::fs::Metadata::is_file);
        match (regular, file.stream_position()) {
            (Some(metadata), Ok(start)) => {
                let len = metadata.len().saturating_sub(start);
                Body(Kind::File { file, start, len, sent: 0 })
            }
            _ => Body::reader(file),
        }
    }
}

impl From<Box<dyn Read + Send>> for Body {
    fn from(reader: Box<dyn Read + Send>) -> Body {
        Body(Kind::Reader { reader, len: None, sent: 0, touched: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_sent_from_where_it_stands_and_again_from_there() {
        let path = std::env::temp_dir().join(format!("keepbeat-body-{}", std::process::id()));
        let mut file = File::options();
        let mut file = file.create(true).read(true).write(true).truncate(true).open(&path).unwrap();
        file.write_all(b"skip: content").unwrap();
        file.seek(SeekFrom::Start(6)).unwrap();
        let mut body = Body::from(file);
        std::fs::remove_file(path).unwrap();
        for _ in 0..2 {
            assert_eq!(body.len(), Some(7));
            let mut text = String::new();
            body.read_to_string(&mut text).unwrap();
            assert_eq!(text, "content");
            assert!(body.is_rewindable());
            body.rewind().unwrap();
        }
    }

    #[test]
    fn a_reader_is_not_sent_again_once_it_was_read() {
        let mut body = Body::sized_reader(&b"abcdef"[..], 3);
        assert!(body.is_rewindable());
        let mut text = String::new();
        body.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        assert!(!body.is_rewindable());
    }
}
