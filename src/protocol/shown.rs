//! Bytes of a peer as people may see them: escaped, 64 at most, our own secrets replaced by `***`.
//!
//! What is replaced is a whole secret, never its letters. A secret of one or two letters is part of
//! ordinary words, and a gap in an ordinary word would tell which letter is missing.

use std::fmt::Write;

/// The most bytes of a peer that are shown.
const MOST: usize = 64;

/// The shortest end of the bytes that is taken for the beginning of a secret cut off.
const TELLING: usize = 2;

/// The same for the end of a line, which a server may have cut: fewer letters are those of a word.
const TELLING_LINE: usize = 4;

/// So much of the beginning of a secret is hidden wherever it stands.
const LONG_BEGINNING: usize = 12;

/// A shorter secret is hidden only where it stands as a word.
const SHORTEST: usize = 3;

/// A secret of so many letters is known in capitals, too: a shorter one may be an ordinary word.
const LONG: usize = 8;

/// A shorter name of a user is hidden only where it stands as a word, one shorter than `SHORTEST`
/// never: without its password it opens nothing.
const SHORTEST_NAME: usize = 5;

/// Words of one or two letters that any text may have.
const COMMON: [&str; 30] = [
    "a", "i", "am", "an", "as", "at", "be", "by", "db", "do", "go", "he", "id", "if", "in", "io",
    "ip", "is", "it", "me", "my", "no", "of", "ok", "on", "or", "so", "to", "up", "us",
];

/// Escapes the first 64 bytes. Secrets go first, also one that the end of the bytes cuts off, and
/// also where one holds another.
pub(crate) fn shown(bytes: &[u8], secrets: &[&[u8]]) -> String {
    cut(&hidden(bytes, &[], secrets), MOST)
}

/// The bytes with `***` in the place of every secret, and of the names of users.
pub(crate) fn hidden(bytes: &[u8], names: &[&[u8]], secrets: &[&[u8]]) -> Vec<u8> {
    let mut hidden = vec![false; bytes.len()];
    for name in names.iter().filter(|name| name.len() >= SHORTEST) {
        hide(bytes, name, name.len() < SHORTEST_NAME, &mut hidden);
    }
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let is_short = secret.len() < SHORTEST;
        if !is_short || !COMMON.iter().any(|word| secret.eq_ignore_ascii_case(word.as_bytes())) {
            hide(bytes, secret, is_short, &mut hidden);
        }
    }
    let mut clean = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if !hidden[at] {
            clean.push(*byte);
        } else if at == 0 || !hidden[at - 1] {
            clean.extend_from_slice(b"***");
        }
    }
    clean
}

fn hide(bytes: &[u8], secret: &[u8], only_words: bool, hidden: &mut [bool]) {
    for at in 0..bytes.len() {
        let (found, taken) = begins(&bytes[at..], secret);
        let end = at + taken;
        let is_hit = if only_words {
            found == secret.len() && is_edge(bytes, at) && is_edge(bytes, end)
        } else {
            let least = match bytes.get(end) {
                None => TELLING,
                Some(b'\r' | b'\n') => TELLING_LINE,
                Some(_) => LONG_BEGINNING,
            };
            found >= least.min(secret.len())
        };
        if is_hit {
            hidden[at..end].fill(true);
        }
    }
}

/// How many bytes of the secret stand at the front, percent-encoded or not, a long one in whatever
/// letters; and how many bytes they take there.
fn begins(bytes: &[u8], secret: &[u8]) -> (usize, usize) {
    let any_case = secret.len() >= LONG;
    let mut taken = 0;
    for (found, byte) in secret.iter().enumerate() {
        let rest = &bytes[taken..];
        taken += match rest {
            [plain, ..] if plain == byte => 1,
            [plain, ..] if any_case && plain.eq_ignore_ascii_case(byte) => 1,
            [b'%', high, low, ..] if coded(*high, *low) == Some(*byte) => 3,
            _ => return (found, taken),
        };
    }
    (secret.len(), taken)
}

fn coded(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Whether no word goes on across this place.
fn is_edge(bytes: &[u8], at: usize) -> bool {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let before = at.checked_sub(1).and_then(|before| bytes.get(before));
    !(is_word(before) && is_word(bytes.get(at)))
}

/// At most so many bytes, escaped: what is printable ASCII stands as it is, and so do quotes.
pub(crate) fn cut(bytes: &[u8], most: usize) -> String {
    let mut text = String::with_capacity(bytes.len().min(most));
    for byte in bytes.iter().take(most) {
        match byte {
            b'\'' | b'"' => text.push(char::from(*byte)),
            other => write!(text, "{}", other.escape_ascii()).expect("a String takes any text"),
        }
    }
    if bytes.len() > most {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_escaped_and_cut() {
        assert_eq!(shown(b"a\x00\x1b[31m\xff\n", &[]), r"a\x00\x1b[31m\xff\n");
        assert_eq!(shown(br#"the 'ping' "\""#, &[]), r#"the 'ping' "\\""#);
        assert_eq!(shown(&[b'x'; 65], &[]), "x".repeat(64) + "...");
    }

    #[test]
    fn secrets_never_show_whole_or_cut_off() {
        let secret: &[u8] = b"hunter2!";
        assert_eq!(shown(b"AUTH hunter2!\r\nhunter2!", &[secret]), r"AUTH ***\r\n***");
        for n in TELLING..secret.len() {
            let bytes = [b"AUTH ", &secret[..n]].concat();
            assert_eq!(shown(&bytes, &[secret]), "AUTH ***");
        }
        assert_eq!(shown(b"AUTH hunt\r\n", &[secret]), r"AUTH ***\r\n");
        assert_eq!(shown(b"it is disabled\r\n", &[b"led-zeppelin"]), r"it is disabled\r\n");
        let across_the_cut = [vec![b'x'; 60], secret.to_vec()].concat();
        assert!(!shown(&across_the_cut, &[secret]).contains("hun"));
        assert_eq!(shown(b"abc", &[b""]), "abc");
        let (user, password): (&[u8], &[u8]) = (b"admin", b"admin123");
        assert_eq!(shown(b"no admin123", &[user, password]), "no ***");
        assert_eq!(shown(b"no admin123", &[password, user]), "no ***");
    }

    #[test]
    fn a_secret_is_known_in_other_letters_and_percent_encoded_and_where_a_server_cuts_it() {
        let secret: &[u8] = b"p@ss:W0rd";
        for echo in ["P@SS:W0RD", "p%40ss%3aW0rd", "p%40ss:W0rd", "xp@ss:W0rdx"] {
            let text = shown(format!("got '{echo}'.").as_bytes(), &[secret]);
            assert!(text.contains("***") && !text.to_lowercase().contains("w0rd"), "{text}");
        }
        assert_eq!(shown(b"-WRONGPASS wrong", &[b"wrong"]), "-WRONGPASS ***");
        let long = b"correct-horse-battery".as_slice();
        assert_eq!(shown(b"args: 'correct-horse-b' 'x'", &[long]), "args: '***' 'x'");
    }

    #[test]
    fn short_secrets_neither_mangle_a_text_nor_show_by_its_gaps() {
        let says = |names: &[&[u8]], secrets: &[&[u8]]| {
            let bytes = b"-ERR sorry, u are unknown: a pw is an open book";
            cut(&hidden(bytes, names, secrets), MOST)
        };
        let whole = says(&[], &[]);
        assert_eq!(says(&[b"u"], &[]), whole, "a user of one letter");
        assert_eq!(says(&[b"ar", b"unk", b"now", b"open2"], &[]), whole, "parts of words");
        assert_eq!(says(&[], &[b"a", b"is", b"n", b"k"]), whole, "common words, and letters");
        assert_eq!(says(&[], &[b"pw"]), whole.replace("pw", "***"), "a word by itself");
        assert_eq!(says(&[b"book"], &[]), whole.replace("book", "***"));
        assert_eq!(shown(b"x=pw,pwx", &[b"pw"]), "x=***,pwx");
    }
}
