//! One `Set-Cookie` field, read as RFC 6265, section 5.2, says, and where browsers have become
//! stricter, as its successor does (draft-ietf-httpbis-rfc6265bis). Pure.

use std::time::{Duration, SystemTime};

use super::super::date;
use crate::protocol::http::hint::number;

/// Name and value together, and the value of an attribute (6265bis, section 5.6).
const LONGEST: usize = 4096;
const LONGEST_ATTRIBUTE: usize = 1024;

/// No cookie lives longer, whatever it says (6265bis, section 5.5).
const LONGEST_LIFE: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SetCookie {
    pub(super) name: String,
    pub(super) value: String,
    /// None: until the session ends.
    pub(super) expires: Option<SystemTime>,
    /// In lower case, without a leading dot.
    pub(super) domain: Option<String>,
    pub(super) path: Option<String>,
    pub(super) secure: bool,
}

impl SetCookie {
    /// None if it is no cookie, or one without a name: servers read those in different ways.
    pub(super) fn read(text: &str, now: SystemTime) -> Option<SetCookie> {
        if text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return None;
        }
        let mut parts = text.split(';');
        let (name, value) = pair(parts.next()?)?;
        if name.is_empty() || name.len() + value.len() > LONGEST {
            return None;
        }
        let (name, value) = (name.to_owned(), value.to_owned());
        let mut cookie =
            SetCookie { name, value, expires: None, domain: None, path: None, secure: false };
        let (mut expires, mut max_age) = (None, None);
        for attribute in parts {
            let (key, value) = pair(attribute).unwrap_or((attribute.trim(), ""));
            if value.len() > LONGEST_ATTRIBUTE {
                continue;
            }
            // Of several, the last one counts.
            match key.to_ascii_lowercase().as_str() {
                "expires" => expires = time(value).or(expires),
                "max-age" => max_age = seconds(value).or(max_age),
                "domain" => {
                    let domain = value.strip_prefix('.').unwrap_or(value).to_ascii_lowercase();
                    cookie.domain = (!domain.is_empty()).then_some(domain);
                }
                "path" => cookie.path = value.starts_with('/').then(|| value.to_owned()),
                "secure" => cookie.secure = true,
                _ => {}
            }
        }
        // `Max-Age` counts more than `Expires`.
        let life = max_age.map(|age| if age == Duration::ZERO { past() } else { now + age });
        cookie.expires = life.or(expires).map(|at| at.min(now + LONGEST_LIFE));
        Some(cookie)
    }
}

fn past() -> SystemTime {
    SystemTime::UNIX_EPOCH
}

fn pair(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').map(|(name, value)| (name.trim(), value.trim()))
}

/// `Max-Age`: zero where it is negative.
fn seconds(text: &str) -> Option<Duration> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let seconds = number(digits).map(Duration::from_secs)?;
    Some(if is_negative { Duration::ZERO } else { seconds.min(LONGEST_LIFE) })
}

/// A date, in whatever order its parts stand (RFC 6265, section 5.1.1).
fn time(text: &str) -> Option<SystemTime> {
    let (mut clock, mut day, mut month, mut year) = (None, None, None, None);
    let delimiter = |c: char| !(c.is_ascii_alphanumeric() || c == ':') && c.is_ascii();
    for word in text.split(delimiter).filter(|word| !word.is_empty()) {
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        let number = || word[..digits].parse::<u64>().ok();
        if clock.is_none() && word.contains(':') {
            clock = clock_of(word);
        } else if day.is_none() && (1..=2).contains(&digits) {
            day = number();
        } else if month.is_none() && digits == 0 && date::month(word).is_some() {
            month = date::month(word);
        } else if year.is_none() && (2..=4).contains(&digits) {
            year = number();
        }
    }
    let year = match year? {
        short @ 70..=99 => short + 1900,
        short @ 0..=69 => short + 2000,
        year => year,
    };
    if (1601..1970).contains(&year) {
        return Some(past()); // a usual way to take a cookie back
    }
    date::moment((year, month?, day?), clock?)
}

fn clock_of(word: &str) -> Option<(u64, u64, u64)> {
    let mut numbers = word.splitn(3, ':').map(|part| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        part[..digits].parse().ok().filter(|_| (1..=2).contains(&digits))
    });
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn read(text: &str) -> Option<SetCookie> {
        SetCookie::read(text, now())
    }

    #[test]
    fn name_value_and_attributes_are_read_in_any_spelling() {
        let plain = read("a=b").unwrap();
        assert_eq!((plain.name.as_str(), plain.value.as_str()), ("a", "b"));
        assert_eq!(
            (plain.expires, plain.domain, plain.path, plain.secure),
            (None, None, None, false)
        );
        let full =
            read(" a = b=c \"d\" ;SECURE; Domain=.Example.COM ;path=/x; httponly; z").unwrap();
        assert_eq!((full.name.as_str(), full.value.as_str()), ("a", "b=c \"d\""));
        assert_eq!(full.domain.as_deref(), Some("example.com"));
        assert_eq!((full.path.as_deref(), full.secure), (Some("/x"), true));
        let last = read("a=; domain=x; domain=; path=/x; path=y").unwrap();
        assert_eq!((last.value.as_str(), last.domain, last.path), ("", None, None));
    }

    #[test]
    fn what_is_no_cookie_is_none() {
        let long = format!("a={}", "x".repeat(LONGEST));
        for text in ["", "a", ";a=b", "=b", " = ", "a\0=b", "a=b\n", "a=\x7f", long.as_str()] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert!(read(&format!("a=b; path=/{}", "x".repeat(2000))).unwrap().path.is_none());
    }

    #[test]
    fn a_life_is_as_long_as_the_server_says_and_no_longer_than_400_days() {
        let expires = |text: &str| read(&format!("a=b; {text}")).unwrap().expires;
        let after = |seconds| Some(now() + Duration::from_secs(seconds));
        assert_eq!(expires("Max-Age=60"), after(60));
        assert_eq!(expires("Max-Age=60; Expires=Wed, 21 Oct 2015 07:28:00 GMT"), after(60));
        assert_eq!(expires("Max-Age=0"), Some(past()));
        assert_eq!(expires("Max-Age=-5"), Some(past()));
        let most = Some(now() + LONGEST_LIFE);
        assert_eq!(expires("Max-Age=99999999999999999999999"), most);
        assert_eq!(expires("Expires=Fri, 31 Dec 9999 23:59:59 GMT"), most);
        for nonsense in ["Max-Age=", "Max-Age=1.5", "Max-Age=+5", "Expires=soon", "Expires="] {
            assert_eq!(expires(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn dates_are_read_in_all_forms_that_servers_use() {
        let at = |seconds: u64| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", at(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", at(784_111_777)),
            ("Sat, 01-Jan-00 00:00:00 GMT", at(946_684_800)),
            ("Sun Nov  6 08:49:37 1994", at(784_111_777)),
            ("Thu, 29-Feb-1996 00:00:00 GMT", at(825_552_000)),
            ("Thu, 01-Jan-1970 00:00:00 GMT", at(0)),
            ("Mon, 01 Jan 1601 00:00:00 GMT", at(0)),
            ("06 Nov 2094 08:49:37", at(3_939_871_777)),
            ("Sun, 06 Nov 1994", None),
            ("Sun, 32 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:49:37 GMT", None),
            ("Sun, 06 Nob 1994 08:49:37 GMT", None),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_harms(text in "\\PC{0,80}", date in "[a-zA-Z0-9:, -]{0,40}") {
            let _ = read(&text);
            let _ = read(&format!("a=b; expires={date}; max-age={date}"));
        }
    }
}
