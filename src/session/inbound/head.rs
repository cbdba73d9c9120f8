//! Heads: interim ones and the final one, each taken when it is whole.

use std::io::Write;
use std::mem::MaybeUninit;

use httparse::{Header, Response, Status};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

use super::Framing;
use crate::protocol::http::fields::{self, Length, USUAL_FIELDS, is_identity};
use crate::protocol::http::hint::Hint;

/// All heads of one exchange together. curl takes 300 KB, Go 1 MB.
const LONGEST: usize = 256 * 1024;

/// No more, however short they are.
const MOST_FIELDS: usize = 2000;

/// Interim answers to one request. Servers that work for long send 102 every ten seconds or so.
const MOST_INTERIM: u32 = 500;

/// Blank lines before an answer: curl and httparse pass over some.
const MOST_BLANK: usize = 16;

/// The head of a final answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) framing: Framing,
    /// Another request may follow on the connection, once the body is over.
    pub(crate) keeps: bool,
    pub(crate) hint: Hint,
    pub(crate) coding: Coding,
    /// As it came.
    bytes: Box<[u8]>,
    tolerated: bool,
}

/// How the body is packed, beyond its framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Coding {
    #[default]
    None,
    Gzip,
    Brotli,
    /// Another one, or several.
    Other,
}

/// What the bytes at the front are.
#[derive(Debug)]
pub(crate) enum Look {
    /// The beginning of a head.
    More,
    /// So many bytes of an interim answer with this status.
    Interim(usize, u16),
    /// So many bytes of the final one.
    Final(usize, Head),
}

/// Why the bytes are not a valid answer.
#[derive(Debug)]
pub(crate) struct Wrong(pub(crate) String);

fn wrong<T>(what: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong(what.into()))
}

/// Reads the heads of one exchange.
#[derive(Debug, Default)]
pub(crate) struct Door {
    /// In so many bytes at the front is no end of a head.
    scanned: usize,
    interim: u32,
    /// Of the interim ones.
    bytes: usize,
    /// What was asked with HEAD is answered without a body.
    pub(crate) is_head: bool,
    /// What was asked with CONNECT, and succeeded, has none either (RFC 9112, section 6.3).
    pub(crate) is_connect: bool,
}

impl Door {
    /// What the bytes at the front are.
    ///
    /// # Errors
    ///
    /// They are no answer of HTTP/1.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> Result<Look, Wrong> {
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        begins_as_an_answer(&bytes[blank..])?;
        if blank > MOST_BLANK {
            return wrong("blank lines, and no answer");
        }
        let Some(end) = end(bytes, self.scanned.max(blank)) else {
            if self.bytes + bytes.len() > LONGEST {
                return wrong(format!("its head is longer than {} KiB", LONGEST / 1024));
            }
            self.scanned = bytes.len().saturating_sub(2);
            return Ok(Look::More);
        };
        self.scanned = 0;
        self.bytes += end;
        if self.bytes > LONGEST {
            return wrong(format!("its head is longer than {} KiB", LONGEST / 1024));
        }
        let (code, head) = self.read(&bytes[blank..end])?;
        let Some(head) = head else {
            self.interim += 1;
            if self.interim > MOST_INTERIM {
                return wrong(format!("more than {MOST_INTERIM} interim answers"));
            }
            return Ok(Look::Interim(end, code));
        };
        Ok(Look::Final(end, head))
    }

    /// One whole head; none if it is an interim one.
    fn read(&self, bytes: &[u8]) -> Result<(u16, Option<Head>), Wrong> {
        match parsed(bytes, false, |answer| self.read_fields(answer, bytes, false)) {
            Ok(read) => read,
            // What curl would let pass, too.
            Err(_) => parsed(bytes, true, |answer| self.read_fields(answer, bytes, true))
                .map_err(|error| Wrong(format!("no answer of HTTP/1 ({error})")))?,
        }
    }

    fn read_fields(
        &self,
        answer: &Response,
        bytes: &[u8],
        tolerated: bool,
    ) -> Result<(u16, Option<Head>), Wrong> {
        let code = answer.code.unwrap_or_default();
        // 101 is the end of HTTP on this connection, and no interim answer.
        if (100..200).contains(&code) && code != 101 {
            return Ok((code, None));
        }
        let Ok(status) = StatusCode::from_u16(code) else {
            return wrong(format!("{code:03} is no status"));
        };
        let version = if answer.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
        let mut said = Said::default();
        for field in answer.headers.iter() {
            said.read(field);
        }
        let tunnel = self.is_connect && status.is_success();
        let bodiless = self.is_head || tunnel || matches!(code, 101 | 204 | 304);
        let mut keeps = if version == Version::HTTP_10 { said.keep_alive } else { true };
        keeps &= !said.close && !tolerated && !tunnel && code != 101;
        let framing = match bodiless {
            true => Framing::Over,
            false => said.framing(version, &mut keeps)?,
        };
        let head = Head {
            status,
            version,
            framing,
            keeps,
            hint: Hint::read(said.hints.into_iter().flatten()),
            coding: said.coding,
            bytes: bytes.into(),
            tolerated,
        };
        Ok((code, Some(head)))
    }
}

/// What the fields of a head say about its body and its connection.
#[derive(Default)]
struct Said<'a> {
    close: bool,
    keep_alive: bool,
    /// `Keep-Alive` comes once; more than so many times it is nonsense.
    hints: [Option<&'a [u8]>; 4],
    length: Length,
    chunked: u32,
    coding: Coding,
    /// What is wrong with any of it.
    fault: Option<String>,
}

impl<'a> Said<'a> {
    fn read(&mut self, field: &Header<'a>) {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            10 if is("connection") => {
                self.close |= values(field.value).any(|v| v.eq_ignore_ascii_case(b"close"));
                self.keep_alive |=
                    values(field.value).any(|v| v.eq_ignore_ascii_case(b"keep-alive"));
            }
            10 if is("keep-alive") => {
                if let Some(room) = self.hints.iter_mut().find(|hint| hint.is_none()) {
                    *room = Some(field.value);
                }
            }
            14 if is("content-length") => {
                if let Err(fault) = self.length.read(field.value) {
                    self.fault.get_or_insert(fault);
                }
            }
            16 if is("content-encoding") => values(field.value).for_each(|v| self.read_coding(v)),
            17 if is("transfer-encoding") => {
                for coding in values(field.value).filter(|coding| !is_identity(coding)) {
                    if coding.eq_ignore_ascii_case(b"chunked") {
                        self.chunked += 1;
                    } else {
                        let name = coding[..coding.len().min(32)].escape_ascii();
                        let text = format!("a transfer coding that nobody asked for, `{name}`");
                        self.fault.get_or_insert(text);
                    }
                }
            }
            _ => {}
        }
    }

    fn read_coding(&mut self, coding: &[u8]) {
        let is = |name: &str| coding.eq_ignore_ascii_case(name.as_bytes());
        self.coding = match self.coding {
            other if is_identity(coding) => other,
            Coding::None if is("gzip") || is("x-gzip") => Coding::Gzip,
            Coding::None if is("br") => Coding::Brotli,
            _ => Coding::Other,
        };
    }

    /// How the body is framed (RFC 9112, section 6.3), and what that costs.
    fn framing(&self, version: Version, keeps: &mut bool) -> Result<Framing, Wrong> {
        if let Some(fault) = &self.fault {
            return wrong(fault.as_str());
        }
        if self.chunked > 1 {
            return wrong("its body is chunked twice");
        }
        if self.chunked == 1 {
            // Both together suggest a smuggled answer, and HTTP/1.0 has no chunks: a proxy on the
            // way may have seen another end of the body.
            *keeps &= self.length.0.is_none() && version == Version::HTTP_11;
            return Ok(Framing::CHUNKED);
        }
        Ok(match self.length.0 {
            Some(0) => Framing::Over,
            Some(left) => Framing::Length { left },
            None => {
                *keeps = false;
                Framing::UntilClosed
            }
        })
    }
}

/// What stands between commas, if anything does.
fn values(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    fields::values(value).filter(|value| !value.is_empty())
}

/// Whether this is the beginning of an answer, as far as it goes.
fn begins_as_an_answer(bytes: &[u8]) -> Result<(), Wrong> {
    const BEGINNING: &[u8] = b"HTTP/1.";
    if bytes.len() >= BEGINNING.len() && bytes.starts_with(BEGINNING)
        || BEGINNING.starts_with(bytes)
    {
        return Ok(());
    }
    wrong(match bytes {
        [0x15 | 0x16, 3, ..] => "it speaks TLS: write `https://`",
        _ if bytes.starts_with(b"HTTP/") => "it speaks another version of HTTP",
        _ if bytes.starts_with(b"SSH-") => "it is an SSH server",
        _ => "what it says is not HTTP",
    })
}

/// Where the first head ends, looked for from here on.
fn end(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &bytes[from..]).map(|at| from + at + 1).find_map(|next| match &bytes
        [next..]
    {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

/// Shows the parts of a whole head.
fn parsed<T>(
    bytes: &[u8],
    tolerant: bool,
    show: impl FnOnce(&Response) -> T,
) -> Result<T, httparse::Error> {
    let config = fields::parser(tolerant);
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
    let mut answer = Response::new(&mut []);
    let mut status = config.parse_response_with_uninit_headers(&mut answer, bytes, &mut usual);
    let mut many;
    if status == Err(httparse::Error::TooManyHeaders) {
        many = vec![MaybeUninit::uninit(); MOST_FIELDS];
        answer = Response::new(&mut []);
        status = config.parse_response_with_uninit_headers(&mut answer, bytes, &mut many);
    }
    match status? {
        Status::Complete(_) => Ok(show(&answer)),
        Status::Partial => Err(httparse::Error::NewLine),
    }
}

impl Head {
    fn show<T: Default>(&self, show: impl FnOnce(&Response) -> T) -> T {
        // It was read in the same way before.
        parsed(&self.bytes, self.tolerated, show).unwrap_or_default()
    }

    /// The fields as the types of `http` have them.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.show(|answer| {
            let mut map = HeaderMap::with_capacity(answer.headers.len());
            for field in answer.headers.iter() {
                let name = HeaderName::from_bytes(field.name.as_bytes());
                let value = HeaderValue::from_bytes(&unfolded(field.value));
                if let (Ok(name), Ok(value)) = (name, value) {
                    map.append(name, value);
                }
            }
            map
        })
    }

    /// The values of all fields of this name, as they stand there.
    pub(crate) fn all(&self, name: &str) -> Vec<Vec<u8>> {
        self.show(|answer| {
            let named = answer.headers.iter().filter(|f| f.name.eq_ignore_ascii_case(name));
            named.map(|field| unfolded(field.value).into_owned()).collect()
        })
    }

    /// The server's own words beside its status.
    pub(crate) fn reason(&self) -> String {
        self.show(|answer| answer.reason.unwrap_or_default().trim().to_owned())
    }

    /// The same head for a reader who is told where the body ends: by a length, where there is one,
    /// else by its end.
    pub(crate) fn rewritten(&self) -> Vec<u8> {
        let minor = if self.version == Version::HTTP_10 { 0 } else { 1 };
        let framed = |name: &str| {
            name.eq_ignore_ascii_case("content-length")
                || name.eq_ignore_ascii_case("transfer-encoding")
        };
        let open = matches!(self.framing, Framing::Chunked(_) | Framing::UntilClosed);
        self.show(|answer| {
            let mut out = Vec::with_capacity(self.bytes.len() + 32);
            let reason = answer.reason.unwrap_or_default().trim();
            // Writing to a Vec does not fail.
            let _ = write!(out, "HTTP/1.{minor} {} {reason}\r\n", self.status.as_u16());
            for field in answer.headers.iter() {
                if open && framed(field.name)
                    || field.name.eq_ignore_ascii_case("transfer-encoding")
                {
                    continue;
                }
                out.extend_from_slice(field.name.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(&unfolded(field.value));
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"\r\n");
            out
        })
    }
}

/// In one line: each fold becomes a blank (RFC 9112, section 5.2).
fn unfolded(value: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if !value.contains(&b'\n') {
        return value.into();
    }
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(&b' ').into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn look(door: &mut Door, text: &str) -> Result<Head, String> {
        let mut bytes = text.as_bytes();
        loop {
            match door.look(bytes).map_err(|wrong| wrong.0)? {
                Look::Interim(len, _) => bytes = &bytes[len..],
                Look::Final(len, head) => {
                    assert_eq!(&bytes[len..], b"", "{text:?}");
                    return Ok(head);
                }
                Look::More => return Err("more".to_owned()),
            }
        }
    }

    /// The head of an answer to GET, with these lines.
    fn head(lines: &str) -> Result<Head, String> {
        look(&mut Door::default(), &format!("{lines}\r\n\r\n"))
    }

    fn ok(lines: &str) -> (Framing, bool) {
        let head = head(&format!("HTTP/1.1 200 OK\r\n{lines}"));
        let head = head.unwrap_or_else(|error| panic!("{lines:?}: {error}"));
        (head.framing, head.keeps)
    }

    const CHUNKED: Framing = Framing::CHUNKED;
    const FIVE: Framing = Framing::Length { left: 5 };

    #[test]
    fn the_framing_is_that_of_rfc_9112_6_3() {
        assert_eq!(ok("Content-Length: 5"), (FIVE, true));
        assert_eq!(ok("Content-Length: 0"), (Framing::Over, true));
        assert_eq!(ok("Content-Length: 5, 05\r\ncontent-length:5"), (FIVE, true));
        assert_eq!(ok("Transfer-Encoding: Chunked"), (CHUNKED, true));
        assert_eq!(ok("Transfer-Encoding: identity, chunked, "), (CHUNKED, true));
        assert_eq!(ok("Transfer-Encoding: identity\r\nContent-Length: 5"), (FIVE, true));
        assert_eq!(ok("X: y"), (Framing::UntilClosed, false));
        // Both: the coding counts, and nobody trusts what follows.
        assert_eq!(ok("Content-Length: 5\r\nTransfer-Encoding: chunked"), (CHUNKED, false));
        for code in [101, 204, 304] {
            let lines = format!("HTTP/1.1 {code} X\r\nContent-Length: 5\r\nTransfer-Encoding: x");
            assert_eq!(head(&lines).unwrap().framing, Framing::Over);
        }
        let mut door = Door { is_head: true, ..Door::default() };
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: y\r\n\r\n";
        let head = look(&mut door, answer).unwrap();
        assert_eq!((head.framing, head.keeps), (Framing::Over, true));
        let mut door = Door { is_connect: true, ..Door::default() };
        let head = look(&mut door, &answer.replace("200", "299")).unwrap();
        assert_eq!((head.framing, head.keeps), (Framing::Over, false));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for lines in [
            "Content-Length: -5",
            "Content-Length: +5",
            "Content-Length: 5 5",
            "Content-Length: 0x5",
            "Content-Length: 5, 6",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length:",
            "Content-Length: 5,",
            "Content-Length: 99999999999999999999",
            "Content-Length: 5.0",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunkedx",
            "Transfer-Encoding: x",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: x",
            "X: a\0b",
            "X\0: a",
            "X: a\rb: c",
        ] {
            let error = head(&format!("HTTP/1.1 200 OK\r\n{lines}")).unwrap_err();
            assert_ne!(error, "more", "{lines:?}");
        }
    }

    #[test]
    fn what_curl_lets_pass_passes_and_costs_the_connection() {
        assert_eq!(ok("Content-Length : 5"), (FIVE, false));
        assert_eq!(ok("X: a\r\n b\r\n\tc\r\nContent-Length: 5"), (FIVE, false));
        assert_eq!(ok("no colon\r\nContent-Length: 5"), (FIVE, false));
        assert_eq!(ok("X@Y: z\r\nContent-Length: 5"), (FIVE, false));
        assert_eq!(ok(" first: z\r\nContent-Length: 5"), (FIVE, false));
        let folded = head("HTTP/1.1  200  OK\r\nX: a\r\n b\r\n\tc").unwrap();
        assert_eq!(folded.headers()["x"], "a b c");
        // These are no trouble.
        let plain = head("HTTP/1.1 200\r\nContent-Length:5\r\nEmpty:").unwrap();
        assert!(plain.keeps && plain.headers()["empty"].is_empty());
        let mut door = Door::default();
        let bare =
            look(&mut door, "\r\n\nHTTP/1.1 200 OK\nKeep-Alive: timeout=5\nContent-Length: 5\n\n");
        let bare = bare.unwrap();
        assert_eq!((bare.framing, bare.keeps), (FIVE, true));
        assert_eq!(bare.hint.timeout.map(|timeout| timeout.as_secs()), Some(5));
    }

    #[test]
    fn the_connection_is_kept_as_rfc_9112_9_3_says() {
        let keeps = |lines: &str| head(&format!("{lines}\r\nContent-Length: 5")).unwrap().keeps;
        assert!(keeps("HTTP/1.1 200 OK") && keeps("HTTP/1.0 200 OK\r\nConnection: Keep-Alive"));
        assert!(!keeps("HTTP/1.0 200 OK") && !keeps("HTTP/1.1 200 OK\r\nConnection: x, Close"));
        assert!(!keeps("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nConnection: close"));
        assert!(!keeps("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked"));
        assert!(!keeps("HTTP/1.1 101 Switching Protocols"));
    }

    #[test]
    fn interim_answers_are_taken_apart_and_only_so_many() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nKeep-Alive: timeout=1\r\n\r\n";
        let last = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let plain = "HTTP/1.1 100 Continue\r\n\r\n";
        let with = "HTTP/1.1 100 Continue\r\nX: y\r\n\r\n";
        let head = look(&mut Door::default(), &[early, plain, with, last].concat()).unwrap();
        assert_eq!((head.status.as_u16(), head.framing), (200, FIVE));
        assert_eq!(head.hint, Hint::default(), "of the final one alone");
        let many = plain.repeat(MOST_INTERIM as usize);
        assert!(look(&mut Door::default(), &(many.clone() + last)).is_ok());
        let error = look(&mut Door::default(), &(many + plain + last)).unwrap_err();
        assert!(error.contains("interim"), "{error}");
        let long = format!("HTTP/1.1 103 X\r\nX: {}\r\n\r\n", "x".repeat(60_000)).repeat(5);
        assert!(look(&mut Door::default(), &long).unwrap_err().contains("KiB"));
    }

    #[test]
    fn a_head_has_room_for_many_fields_and_not_for_any_number() {
        let fields = |n: usize| "X: y\r\n".repeat(n) + "Content-Length: 5";
        for n in [1, 63, 64, 128, 1999] {
            assert_eq!(ok(&fields(n)), (FIVE, true), "{n}");
        }
        assert!(head(&format!("HTTP/1.1 200 OK\r\n{}", fields(2000))).is_err());
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(LONGEST));
        let error = Door::default().look(long.as_bytes()).unwrap_err();
        assert!(error.0.contains("KiB"));
    }

    #[test]
    fn what_is_no_answer_is_known_by_its_first_bytes() {
        for (bytes, word) in [
            (&b"SSH-2.0-OpenSSH"[..], "SSH"),
            (b"\x15\x03\x01", "https"),
            (b"HTTP/2.0 200", "version"),
            (b"HTTP/0.9", "version"),
            (b"hello", "not HTTP"),
            (b"\0", "not HTTP"),
            (b"HTTP/1.1x", "no answer"),
            (b"HTTP/1.1 2000 OK\r\n\r\n", "no answer"),
            (b"HTTP/1.1 099 OK\r\n\r\n", "099"),
        ] {
            let text = [bytes, b"\r\n\r\n"].concat();
            let error = Door::default().look(&text).unwrap_err().0;
            assert!(error.contains(word), "{bytes:?}: {error}");
        }
        for bytes in [&b""[..], b"\r\n", b"H", b"HTTP/1", b"HTTP/1.1 200 OK\r\nX: y\r\n\r"] {
            assert!(matches!(Door::default().look(bytes), Ok(Look::More)), "{bytes:?}");
        }
    }

    #[test]
    fn codings_are_known_in_any_case() {
        let coding = |lines: &str| head(&format!("HTTP/1.1 200 OK\r\n{lines}")).unwrap().coding;
        assert_eq!(coding("Content-Encoding: GZip"), Coding::Gzip);
        assert_eq!(coding("Content-Encoding: identity, x-gzip"), Coding::Gzip);
        assert_eq!(coding("Content-Encoding: br"), Coding::Brotli);
        assert_eq!(coding("Content-Encoding: gzip, gzip"), Coding::Other);
        assert_eq!(coding("Content-Encoding: zstd"), Coding::Other);
        assert_eq!(coding("X: gzip"), Coding::None);
    }

    #[test]
    fn a_rewritten_head_has_one_framing_at_most() {
        let rewritten = |lines: &str| {
            String::from_utf8(head(&format!("HTTP/1.1 200 Fine\r\n{lines}")).unwrap().rewritten())
                .unwrap()
        };
        assert_eq!(
            rewritten("X: a\r\n b\r\nContent-Length: 5\r\nX@: y"),
            "HTTP/1.1 200 Fine\r\nX: a b\r\nContent-Length: 5\r\n\r\n"
        );
        let both = rewritten("X: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5");
        assert_eq!(both, "HTTP/1.1 200 Fine\r\nX: a\r\n\r\n");
    }

    proptest! {
        #[test]
        fn no_bytes_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Door::default().look(&[b"HTTP/1.1 200 OK\r\n", bytes.as_slice()].concat());
            let _ = Door::default().look(&bytes);
        }

        #[test]
        fn a_head_in_pieces_is_the_same_as_in_one(
            lines in prop::collection::vec("[A-Za-z]{1,9}:[ a-z0-9,]{0,20}", 0..9),
            piece in 1..40_usize,
        ) {
            let text = format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", lines.join("\r\n"));
            let (mut door, mut seen) = (Door::default(), 0);
            let whole = Door::default().look(text.as_bytes());
            let pieced = loop {
                seen = (seen + piece).min(text.len());
                match door.look(&text.as_bytes()[..seen]) {
                    Ok(Look::More) => prop_assert!(seen < text.len(), "{text:?}"),
                    other => break other,
                }
            };
            prop_assert_eq!(format!("{whole:?}"), format!("{pieced:?}"));
        }
    }
}
