//! What may be secret in bytes that a user gave to be sent: a login among them, a token in a beat.

/// The words that are hidden where the peer repeats them: all but the first of several, and but for
/// a short word of letters that is all of a beat, which are commands.
pub(super) fn within(sent: &[u8], is_beat: bool) -> Vec<&[u8]> {
    let words = sent.split(|byte| byte.is_ascii_whitespace() || *byte == 0).map(unquoted);
    let mut words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
    if words.len() > 1 || (is_beat && words.iter().all(|word| is_command(word))) {
        words.drain(..words.len().min(1));
    }
    words
}

fn is_command(word: &[u8]) -> bool {
    word.len() <= 9 && word.iter().all(u8::is_ascii_alphabetic)
}

/// A word without the quotes around it.
fn unquoted(word: &[u8]) -> &[u8] {
    let is_quote = |byte: &u8| matches!(byte, b'"' | b'\'' | b'<' | b'>');
    let start = word.iter().position(|byte| !is_quote(byte)).unwrap_or(word.len());
    let end = word.iter().rposition(|byte| !is_quote(byte)).map_or(start, |last| last + 1);
    &word[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_tokens_are_secret_and_commands_are_not() {
        for (sent, opening, beat) in [
            ("NOOP\r\n", &["NOOP"][..], &[][..]),
            ("heartbeat", &["heartbeat"], &[]),
            ("t0ken\r\n", &["t0ken"], &["t0ken"]),
            ("PASS \"my word\"\r\n", &["my", "word"], &["my", "word"]),
            ("", &[], &[]),
        ] {
            let found = |is_beat| within(sent.as_bytes(), is_beat);
            let words = |words: &[&'static str]| -> Vec<&[u8]> {
                words.iter().map(|word| word.as_bytes()).collect()
            };
            assert_eq!((found(false), found(true)), (words(opening), words(beat)), "{sent}");
        }
    }
}
