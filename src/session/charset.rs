//! Text: from the bytes of a body by what its `Content-Type` says. The charsets that half of the
//! rest of the world's text is in are read here; of any other it is said which one it is.

/// The charset in a `Content-Type`; none if it says none.
pub(crate) fn of_content_type(value: &str) -> Option<String> {
    value.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        let is = name.trim().eq_ignore_ascii_case("charset") && !value.is_empty();
        is.then(|| value.to_ascii_lowercase())
    })
}

/// A charset that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    Utf8,
    /// And what the web calls Latin-1 (WHATWG Encoding, 4.2).
    Windows1252,
    Latin9,
    Utf16Le,
    Utf16Be,
}

/// The charset of this name, in lower case; UTF-8 without one.
///
/// # Errors
///
/// The name, if it is not known here.
pub(crate) fn known(name: Option<&str>) -> Result<Charset, String> {
    Ok(match name.unwrap_or("utf-8") {
        "utf-8" | "utf8" | "us-ascii" | "ascii" => Charset::Utf8,
        "iso-8859-1" | "latin1" | "iso8859-1" | "iso_8859-1" | "windows-1252" | "cp1252" => {
            Charset::Windows1252
        }
        "iso-8859-15" | "latin9" => Charset::Latin9,
        "utf-16" | "utf-16le" => Charset::Utf16Le,
        "utf-16be" => Charset::Utf16Be,
        other => return Err(other.to_owned()),
    })
}

impl Charset {
    /// The text. What is no character becomes `U+FFFD`.
    pub(crate) fn decode(self, bytes: Vec<u8>) -> String {
        match self {
            Charset::Utf8 => utf8(bytes),
            Charset::Windows1252 => bytes.iter().map(|byte| windows_1252(*byte)).collect(),
            Charset::Latin9 => bytes.iter().map(|byte| latin_9(*byte)).collect(),
            Charset::Utf16Le => utf16(&bytes, u16::from_le_bytes, u16::from_be_bytes),
            Charset::Utf16Be => utf16(&bytes, u16::from_be_bytes, u16::from_le_bytes),
        }
    }
}

fn utf8(mut bytes: Vec<u8>) -> String {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A mark at the front says which order of bytes it really is.
fn utf16(bytes: &[u8], said: fn([u8; 2]) -> u16, other: fn([u8; 2]) -> u16) -> String {
    let units = |order: fn([u8; 2]) -> u16| {
        bytes.chunks(2).map(move |pair| pair.try_into().map_or(0xFFFD, order))
    };
    let swapped = units(said).next() == Some(0xFFFE);
    let order = if swapped { other } else { said };
    let units = units(order).enumerate().filter(|(n, unit)| *n > 0 || *unit != 0xFEFF);
    let chars = char::decode_utf16(units.map(|(_, unit)| unit));
    chars.map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn windows_1252(byte: u8) -> char {
    const FROM_80: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => FROM_80[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

fn latin_9(byte: u8) -> char {
    match byte {
        0xa4 => '€',
        0xa6 => 'Š',
        0xa8 => 'š',
        0xb4 => 'Ž',
        0xb8 => 'ž',
        0xbc => 'Œ',
        0xbd => 'œ',
        0xbe => 'Ÿ',
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charset_is_found_however_it_is_written() {
        for (value, charset) in [
            ("text/plain", None),
            ("text/plain; charset=UTF-8", Some("utf-8")),
            ("text/plain;charset=\"Latin1\"", Some("latin1")),
            ("text/plain; x=y; CHARSET = windows-1252 ; z", Some("windows-1252")),
            ("text/plain; charset=", None),
            ("charset=utf-8", None),
        ] {
            assert_eq!(of_content_type(value).as_deref(), charset, "{value}");
        }
    }

    #[test]
    fn text_is_read_in_its_charset() {
        let is = |bytes: &[u8], charset: Option<&str>, text: &str| {
            assert_eq!(known(charset).unwrap().decode(bytes.to_vec()), text, "{charset:?}");
        };
        is("grün".as_bytes(), None, "grün");
        is(b"\xef\xbb\xbfa\xff", Some("utf-8"), "a\u{fffd}");
        is(b"gr\xfcn \x80", Some("iso-8859-1"), "grün €");
        is(b"\xa4\xfc", Some("iso-8859-15"), "€ü");
        is(b"a\0\xfc\0", Some("utf-16le"), "aü");
        is(b"\0a\0\xfc", Some("utf-16be"), "aü");
        is(b"\xfe\xff\0a", Some("utf-16"), "a");
        is(b"\xff\xfea\0b", Some("utf-16"), "a\u{fffd}");
        is(b"\x3d\xd8\x00\xde", Some("utf-16le"), "😀");
        assert_eq!(known(Some("shift_jis")), Err("shift_jis".to_owned()));
    }
}
