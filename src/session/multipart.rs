//! Multipart: several parts in one body, each with a name, streamed as they come (RFC 7578).

use std::fmt::Write;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use super::{Body, RequestBuilder};
use crate::error::Error;

/// A form with files: parts that are sent one behind the other, none of them held in memory that
/// was not there before. See [`multipart`](RequestBuilder::multipart).
#[derive(Debug, Default)]
pub struct Multipart {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    /// Its header fields.
    head: String,
    body: Body,
}

impl Multipart {
    /// One without parts.
    pub fn new() -> Multipart {
        Multipart::default()
    }

    /// A field with a text.
    pub fn text(self, name: &str, value: impl Into<String>) -> Multipart {
        self.push(name, None, None, value.into().into())
    }

    /// A file, with its name and as bytes of no special type.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn file(self, name: &str, path: impl AsRef<Path>) -> Result<Multipart, Error> {
        let path = path.as_ref();
        let file = File::open(path)
            .map_err(|error| Error::io(format!("the file {}", path.display()), error))?;
        let own = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(self.part(name, &own, "application/octet-stream", file))
    }

    /// A file of this name and type (`image/png`), from anything that can be a body.
    pub fn part(self, name: &str, file: &str, kind: &str, body: impl Into<Body>) -> Multipart {
        self.push(name, Some(file), Some(kind), body.into())
    }

    fn push(mut self, name: &str, file: Option<&str>, kind: Option<&str>, body: Body) -> Multipart {
        let mut head = format!("Content-Disposition: form-data; name=\"{}\"", quoted(name));
        // Writing to a String does not fail.
        if let Some(file) = file {
            let _ = write!(head, "; filename=\"{}\"", quoted(file));
        }
        if let Some(kind) = kind {
            // A line end in it would begin another field.
            let kind: String = kind.chars().filter(|c| !c.is_control()).collect();
            let _ = write!(head, "\r\nContent-Type: {kind}");
        }
        self.parts.push(Part { head, body });
        self
    }

    /// As one body, between these marks.
    fn into_body(self, boundary: &str) -> Body {
        let mut pieces = Vec::new();
        for Part { head, body } in self.parts {
            pieces.push(format!("--{boundary}\r\n{head}\r\n\r\n").into());
            pieces.push(body);
            pieces.push("\r\n".into());
        }
        pieces.push(format!("--{boundary}--\r\n").into());
        if let Some(all) = pieces.iter().map(Body::bytes).collect::<Option<Vec<_>>>() {
            return all.concat().into(); // can be sent again
        }
        let len = pieces.iter().try_fold(0_u64, |sum, piece| sum.checked_add(piece.len()?));
        let nothing: Box<dyn Read + Send> = Box::new(std::io::empty());
        let all = pieces.into_iter().fold(nothing, |all, piece| {
            let piece: Box<dyn Read + Send> = match Body::bytes(&piece) {
                Some(bytes) => Box::new(Cursor::new(bytes.to_vec())),
                None => Box::new(piece),
            };
            Box::new(all.chain(piece))
        });
        match len {
            Some(len) => Body::sized_reader(all, len),
            None => Body::from(all),
        }
    }
}

impl RequestBuilder {
    /// Sends these parts with it (`multipart/form-data`, RFC 7578), in chunks if the length of one
    /// is not known. If all parts are texts and bytes, the request can be replayed.
    ///
    /// ```no_run
    /// use keepbeat::session::Multipart;
    ///
    /// let session = keepbeat::Session::new()?;
    /// let form = Multipart::new().text("title", "Nightly").file("log", "nightly.log")?;
    /// session.post("http://api.local/reports").multipart(form).send()?.error_for_status()?;
    /// # Ok::<(), keepbeat::Error>(())
    /// ```
    pub fn multipart(mut self, form: Multipart) -> RequestBuilder {
        // 128 bits of chance: no part has them in it.
        let boundary = format!("keepbeat-{:032x}", fastrand::u128(..));
        self.body = form.into_body(&boundary);
        self.of_type(&format!("multipart/form-data; boundary={boundary}"))
    }
}

/// As names stand between quotes there (the HTML standard, "multipart/form-data encoding").
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}
