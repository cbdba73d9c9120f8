//! Bytes written as text: `\r \n \t \0 \\ \xNN`, everything else as it stands (UTF-8).

use crate::error::Error;

/// The bytes that a text with escapes stands for: `\r \n \t \0 \\` and `\xNN`; everything else
/// stands for itself, in UTF-8.
///
/// # Errors
///
/// Names the escape that is not one of the list, and repeats nothing else of the text.
///
/// # Examples
///
/// ```
/// assert_eq!(keepbeat::protocol::unescaped(r"NOOP\r\n\x00")?, b"NOOP\r\n\0");
/// # Ok::<(), keepbeat::Error>(())
/// ```
pub fn unescaped(text: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('\\');
    bytes.extend_from_slice(parts.next().unwrap_or("").as_bytes());
    while let Some(part) = parts.next() {
        let Some(letter) = part.chars().next() else {
            // Two backslashes: what follows the second is plain text. None follows a lone last one.
            let Some(plain) = parts.next() else { return Err(unknown("")) };
            bytes.push(b'\\');
            bytes.extend_from_slice(plain.as_bytes());
            continue;
        };
        let (byte, len) = match letter {
            'r' => (b'\r', 1),
            'n' => (b'\n', 1),
            't' => (b'\t', 1),
            '0' => (0, 1),
            'x' => (hex(part).ok_or_else(|| unknown(part))?, 3),
            _ => return Err(unknown(part)),
        };
        bytes.push(byte);
        bytes.extend_from_slice(&part.as_bytes()[len..]);
    }
    Ok(bytes)
}

/// The byte of `xNN...`.
fn hex(part: &str) -> Option<u8> {
    let digits = part.get(1..3).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

fn unknown(part: &str) -> Error {
    let shown: String = part.chars().take(if part.starts_with('x') { 3 } else { 1 }).collect();
    Error::invalid(format!(
        "`\\{shown}` is no escape: use \\r \\n \\t \\0 \\\\ or \\xNN with two hex digits"
    ))
}
