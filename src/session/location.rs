//! Where a redirect leads: a `Location` against the URL that it answers (RFC 3986, section 5). What
//! no URL may hold (blanks, quotes, UTF-8, raw bytes) is percent-encoded, as browsers and curl do
//! it. Pure.

use ureq::http::Uri;

/// Why a `Location` cannot be followed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Nowhere {
    /// A scheme other than `http` and `https`.
    Scheme(String),
    Wrong(&'static str),
}

/// The parts of a reference, each as it stands there.
struct Reference<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a [u8]>,
    path: &'a [u8],
    query: Option<&'a [u8]>,
}

/// The URL that a `Location` means. Fragments are not sent, and so not kept.
pub(crate) fn resolve(base: &Uri, location: &[u8]) -> Result<Uri, Nowhere> {
    let reference = Reference::read(location.trim_ascii());
    let base_scheme = base.scheme_str().unwrap_or("http");
    let scheme = match reference.scheme {
        None => base_scheme.to_owned(),
        Some(scheme) => scheme.to_ascii_lowercase(),
    };
    if scheme != "http" && scheme != "https" {
        return Err(Nowhere::Scheme(scheme.chars().take(32).collect()));
    }
    // `http:path` is an old way to write `path` (RFC 3986, section 5.2.2).
    let own = reference.scheme.is_some() && scheme != base_scheme;
    let base_authority = base.authority().map_or("", |authority| authority.as_str());
    let (path, query) = (encoded(reference.path), reference.query.map(encoded));
    let (authority, path, query) = match reference.authority {
        Some(authority) => (plain(authority)?, without_dots(&path), query),
        None if own => return Err(Nowhere::Wrong("it has no host")),
        None if path.is_empty() => {
            let query = query.or(base.query().map(str::to_owned));
            (base_authority, base.path().to_owned(), query)
        }
        None if path.starts_with('/') => (base_authority, without_dots(&path), query),
        None => {
            let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            (base_authority, without_dots(&format!("{folder}/{path}")), query)
        }
    };
    let path = if path.is_empty() { "/" } else { path.as_str() };
    let mark = if query.is_some() { "?" } else { "" };
    let text = format!("{scheme}://{authority}{path}{mark}{}", query.unwrap_or_default());
    text.parse().map_err(|_| Nowhere::Wrong("it is no URL"))
}

/// An authority as it stands there. What is encoded in it would be another one: of
/// `http://a\@b/` browsers make the host `a`, and RFC 3986 nothing at all.
fn plain(authority: &[u8]) -> Result<&str, Nowhere> {
    let text = std::str::from_utf8(authority).ok();
    let text = text.filter(|text| text.bytes().all(is_of_url));
    text.ok_or(Nowhere::Wrong("its host holds what no URL may hold"))
}

impl<'a> Reference<'a> {
    /// RFC 3986, appendix B.
    fn read(bytes: &'a [u8]) -> Reference<'a> {
        let (bytes, _) = split(bytes, b'#').unwrap_or((bytes, &[]));
        let (scheme, rest) = match split(bytes, b':') {
            Some((scheme, rest)) if is_scheme(scheme) => (std::str::from_utf8(scheme).ok(), rest),
            _ => (None, bytes),
        };
        let (rest, query) = match split(rest, b'?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        match rest.strip_prefix(b"//") {
            Some(rest) => {
                let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
                let (authority, path) = rest.split_at(end);
                Reference { scheme, authority: Some(authority), path, query }
            }
            None => Reference { scheme, authority: None, path: rest, query },
        }
    }
}

/// What stands before the first of these bytes, and behind it.
fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == at)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn is_scheme(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}

/// Without `.` and `..` (RFC 3986, section 5.2.4). What leads above the root stays there.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." if kept.len() > 1 => drop(kept.pop()),
            ".." => {}
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push(""); // they name a folder
        }
    }
    kept.join("/")
}

/// As bytes that may stand in a URL.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if is_of_url(*byte) {
            text.push(*byte as char);
        } else {
            push_encoded(&mut text, *byte);
        }
    }
    text
}

fn is_of_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

/// A byte as `%` and two digits.
pub(crate) fn push_encoded(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(DIGITS[usize::from(byte >> 4)] as char);
    text.push(DIGITS[usize::from(byte & 15)] as char);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from(base: &str, location: &str) -> Result<String, Nowhere> {
        resolve(&base.parse().unwrap(), location.as_bytes()).map(|uri| uri.to_string())
    }

    #[test]
    fn the_examples_of_rfc_3986_5_4_lead_where_it_says() {
        for (reference, target) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("g;x?y#s", "http://a/b/c/g;x?y"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("../../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            (".g", "http://a/b/c/.g"),
            ("g..", "http://a/b/c/g.."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("g#s/../x", "http://a/b/c/g"),
            ("http:g", "http://a/b/c/g"),
        ] {
            assert_eq!(from("http://a/b/c/d;p?q", reference).as_deref(), Ok(target), "{reference}");
        }
    }

    #[test]
    fn what_no_url_may_hold_is_encoded() {
        for (location, target) in [
            (" /a b ", "http://h/a%20b"),
            ("/ä?ö", "http://h/%C3%A4?%C3%B6"),
            ("/a\"<>\\^`{|}", "http://h/a%22%3C%3E%5C%5E%60%7B%7C%7D"),
            ("/a%20b%zz", "http://h/a%20b%zz"),
            ("/a\tb", "http://h/a%09b"),
            ("https://u:p@other:8443/x", "https://u:p@other:8443/x"),
            ("HTTP://OTHER", "http://OTHER/"),
            ("//other?x", "http://other/?x"),
            ("?x=1", "http://h/old?x=1"),
            ("/a//b", "http://h/a//b"),
            ("/a?b?c", "http://h/a?b?c"),
        ] {
            assert_eq!(from("http://h/old?q", location).as_deref(), Ok(target), "{location}");
        }
        let raw = resolve(&"http://h/".parse().unwrap(), b"/\xff\xfe").unwrap();
        assert_eq!(raw.to_string(), "http://h/%FF%FE");
    }

    #[test]
    fn other_schemes_lead_nowhere() {
        for scheme in ["ftp", "ws", "file", "javascript", "localhost"] {
            let nowhere = Nowhere::Scheme(scheme.to_owned());
            assert_eq!(from("http://h/", &format!("{scheme}://x/y")), Err(nowhere));
        }
        assert!(matches!(from("http://h/", "data:text/plain,x"), Err(Nowhere::Scheme(_))));
        assert_eq!(from("http://h/", "https:x"), Err(Nowhere::Wrong("it has no host")));
    }

    #[test]
    fn an_authority_is_not_made_one_by_encoding() {
        for location in
            ["http://a\\@b/", "//a\\b/", "http://u ser@h/", "http://h\"/", "http://ä/", "//a b"]
        {
            assert!(matches!(from("http://h/", location), Err(Nowhere::Wrong(_))), "{location}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_harm(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let base = "http://h/a/b?c".parse().unwrap();
            if let Ok(uri) = resolve(&base, &bytes) {
                prop_assert!(uri.path().starts_with('/') && uri.to_string().is_ascii());
            }
        }
    }
}
