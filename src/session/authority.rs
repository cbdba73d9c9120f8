//! Host, port and login of a URL, read strictly. `http` and ureq accept whatever looks like an
//! authority; where the port is not a number, they connect to port 80 and send there what was meant
//! for another port. Pure.

use std::net::Ipv6Addr;

use ureq::http::Uri;
use ureq::http::uri::Authority;

use crate::protocol::line;

/// The part of a URL between `//` and the path (RFC 3986, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    /// What stands before the `@`, as it stands there.
    pub(crate) login: Option<&'a str>,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
    /// Host and port as they stand there.
    pub(crate) place: &'a str,
}

impl<'a> Address<'a> {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words that repeat nothing of it: it may hold a password.
    pub(crate) fn read(authority: &'a str) -> Result<Address<'a>, &'static str> {
        let (login, place) = match authority.bytes().rposition(|byte| byte == b'@') {
            Some(at) => (Some(&authority[..at]), &authority[at + 1..]),
            None => (None, authority),
        };
        if !login.unwrap_or_default().bytes().all(|b| is_name(b) || matches!(b, b'%' | b':')) {
            return Err(
                "user and password hold a character that has to be written as `%` and two \
                        hex digits",
            );
        }
        let (host, port) = split(place)?;
        Ok(Address { login, host, port: port.map(number).transpose()?.flatten(), place })
    }

    /// Of a URL.
    ///
    /// # Errors
    ///
    /// As [`read`](Address::read), or the URL has no host.
    pub(crate) fn of(uri: &'a Uri) -> Result<Address<'a>, &'static str> {
        Address::read(uri.authority().map(Authority::as_str).ok_or("it has no host")?)
    }

    /// The port, also where it goes without saying.
    pub(crate) fn port_for(&self, https: bool) -> u16 {
        self.port.unwrap_or(usual_port(https))
    }

    /// As it stands in a URL that says nothing without need: no login, no usual port.
    pub(crate) fn bare(&self, https: bool) -> Authority {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.to_owned(),
        };
        let text = match self.port.filter(|port| *port != usual_port(https)) {
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        text.parse().expect("host and port were part of such a text")
    }

    /// Whether it stands there as [`bare`](Address::bare) would say it.
    pub(crate) fn is_bare(&self, https: bool) -> bool {
        let begins_with_zero = || {
            let colon = self.place.bytes().rposition(|byte| byte == b':');
            colon.is_some_and(|at| self.place.as_bytes().get(at + 1) == Some(&b'0'))
        };
        self.login.is_none()
            && match self.port {
                Some(port) => port != usual_port(https) && !begins_with_zero(),
                None => !self.place.ends_with(':'),
            }
    }
}

pub(crate) fn usual_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// Host and port; the port not yet read.
fn split(place: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("a `[` without its `]`")?;
        host.parse::<Ipv6Addr>().map_err(|_| "what stands in brackets is no IPv6 address")?;
        return match rest.strip_prefix(':') {
            None if rest.is_empty() => Ok((host, None)),
            Some(port) => Ok((host, Some(port))),
            None => Err("something stands behind the `]` that is no port"),
        };
    }
    // All of it is short: a loop over its bytes is sooner done than a search is begun.
    let (host, port) = match place.bytes().position(|byte| byte == b':') {
        Some(at) => (&place[..at], Some(&place[at + 1..])),
        None => (place, None),
    };
    if port.is_some_and(|port| port.bytes().any(|byte| byte == b':')) {
        return Err("more than one `:`; an IPv6 address belongs into brackets");
    }
    if host.is_empty() {
        return Err("it has no host");
    }
    // What is percent-encoded (RFC 3986 allows it) no name server knows.
    if !host.bytes().all(is_name) {
        return Err("a character that no host name has");
    }
    Ok((host, port))
}

/// `unreserved` and `sub-delims` of RFC 3986.
fn is_name(byte: u8) -> bool {
    const NAME: [bool; 256] = {
        let (mut table, mut byte, marks) = ([false; 256], 0, b"-._~!$&'()*+,;=");
        while byte < 256 {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut at = 0;
        while at < marks.len() {
            table[marks[at] as usize] = true;
            at += 1;
        }
        table
    };
    NAME[usize::from(byte)]
}

/// A port; none if nothing is said.
fn number(port: &str) -> Result<Option<u16>, &'static str> {
    if port.is_empty() {
        return Ok(None);
    }
    let number = line::number(port.as_bytes()).and_then(|port| u16::try_from(port).ok());
    number.filter(|port| *port > 0).map(Some).ok_or("its port is no number from 1 to 65535")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<(&str, Option<u16>, Option<&str>)> {
        Address::read(text).ok().map(|address| (address.host, address.port, address.login))
    }

    #[test]
    fn what_rfc_3986_allows_is_read() {
        assert_eq!(read("h"), Some(("h", None, None)));
        assert_eq!(read("h:"), Some(("h", None, None)));
        assert_eq!(read("h:00080"), Some(("h", Some(80), None)));
        assert_eq!(read("h:65535"), Some(("h", Some(65_535), None)));
        assert_eq!(read("[::1]:8080"), Some(("::1", Some(8080), None)));
        assert_eq!(read("u:p%40:x@[2001:db8::1]"), Some(("2001:db8::1", None, Some("u:p%40:x"))));
        assert_eq!(read("10.0.0.1:1"), Some(("10.0.0.1", Some(1), None)));
        assert_eq!(read("a_b-c.~d!$&'()*+,;="), Some(("a_b-c.~d!$&'()*+,;=", None, None)));
    }

    #[test]
    fn all_else_is_refused() {
        for text in [
            "h:99999",
            "h:65536",
            "h:0",
            "h:8080x",
            "h:+80",
            "h:-1",
            "h: 80",
            "h:80 ",
            "h:8_0",
            "h:0x50",
            "h:٨٠",
            "h:80:80",
            "h::80",
            "::1",
            "::1:80",
            "[::1",
            "[::1]80",
            "[::1]:80x",
            "[::1]x:80",
            "[::1%25eth0]",
            "[fe80::1%eth0]",
            "[v1.x]",
            "[]",
            "[127.0.0.1]",
            "",
            ":80",
            "@",
            "u@",
            "u:p@:80",
            "u@v@h",
            "u:p@ss@h",
            "u:p/@h",
            "u[@h",
            "h#",
            "h?",
            "h/",
            "h\\",
            "h%20x",
            "h%41",
            "h<",
            "h\"",
            "h`",
            "h{",
            "hé",
            "h\0",
            "h\n",
            "a b",
            "h]",
            "h]:80",
            "h[",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_bare_form_says_nothing_without_need() {
        for (text, https, bare) in [
            ("u:p@H.example:443", true, "H.example"),
            ("h:443", false, "h:443"),
            ("h:0080", false, "h"),
            ("h:0081", false, "h:81"),
            ("[::1]:081", false, "[::1]:81"),
            ("h:", false, "h"),
            ("[::1]:80", true, "[::1]:80"),
            ("[::1]:80", false, "[::1]"),
            ("u@a_b-c.~d!$&'()*+,;=:443", true, "a_b-c.~d!$&'()*+,;="),
        ] {
            let address = Address::read(text).unwrap();
            assert_eq!(address.bare(https).as_str(), bare, "{text}");
            assert_eq!(address.is_bare(https), text == bare, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_leads_where_it_says(text in "[a-z:@\\[\\]0-9%.]{0,12}") {
            if let Ok(address) = Address::read(&text) {
                for https in [false, true] {
                    let bare = address.bare(https);
                    let again = Address::read(bare.as_str()).unwrap();
                    prop_assert_eq!(again.host, address.host);
                    prop_assert_eq!(again.port_for(https), address.port_for(https));
                    prop_assert!(again.is_bare(https));
                }
            }
        }
    }
}
