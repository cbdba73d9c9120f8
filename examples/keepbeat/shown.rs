//! Makes typed text safe to show: without control characters, and without passwords.

use std::fmt::Write;
use std::path::Path;

/// Escapes control characters, line ends included, and characters that change the direction of
/// text.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push_str("\\t"),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            c if c.is_ascii_control() => {
                write!(shown, "\\x{:02x}", c as u32).expect("a String takes any text");
            }
            c if misleads(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// The same for a text of several lines: these stay, and tabs do.
pub fn harmless_lines(text: &str) -> String {
    text.split_inclusive(['\n', '\t'])
        .map(|part| match part.strip_suffix(['\n', '\t']) {
            Some(words) => harmless(words) + &part[words.len()..],
            None => harmless(part),
        })
        .collect()
}

/// Whether a character changes how the text around it is shown.
pub fn misleads(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Makes a typed word safe to show: harmless, and with the user and the password of a URL replaced.
pub fn typed(text: &str) -> String {
    let text = harmless(text);
    let start = text.find("://").map(|at| at + 3);
    let end = text.rfind('@');
    match (start, end) {
        (Some(start), Some(end)) if start <= end => {
            format!("{}***{}", &text[..start], &text[end..])
        }
        (None, Some(end)) if text[..end].contains(':') => format!("***{}", &text[end..]),
        // Without an `@` a password may be where the port should be.
        (Some(start), None) if !is_port(&text[start..]) => format!("{}***", &text[..start]),
        _ => text,
    }
}

/// Whether what follows the last `:` is a number, if there is one.
fn is_port(address: &str) -> bool {
    let address = address.split(['/', '?', '#']).next().unwrap_or(address);
    match address.rsplit_once(':') {
        Some((_, port)) => port.bytes().all(|byte| byte.is_ascii_digit() || byte == b']'),
        None => true,
    }
}

/// The same for the name of a file.
pub fn file(path: &Path) -> String {
    typed(&path.to_string_lossy())
}
