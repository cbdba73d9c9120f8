//! User and password, from a URL and to a header.

/// The text without its percent signs; none if one of them is not followed by two hex digits, or it
/// is no UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
            bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| hex)?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// User and password from `user:password` of a URL; or why they are none.
#[cfg(feature = "session")]
pub(crate) fn of_url(login: &str) -> Result<(String, String), &'static str> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let pair = percent_decoded(user).zip(percent_decoded(password));
    pair.ok_or("in user and password write `%` as `%25`")
}

/// What follows `Basic ` in `Authorization` (RFC 7617); or why it cannot.
pub(crate) fn basic(user: &str, password: &str) -> Result<String, &'static str> {
    if user.contains(':') {
        return Err("a user with `:` does not fit Basic authentication");
    }
    Ok(base64(format!("{user}:{password}").as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for digit in 0..4 {
            let at = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= three.len() { DIGITS[at as usize] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), coded);
        }
        assert_eq!(base64(b"\xfb\xff\xbf"), "+/+/");
    }
}
