//! Bytes of a peer as people may see them: escaped, 64 at most, our own secrets replaced by `***`.

/// The most bytes of a peer that are shown.
const MOST: usize = 64;

/// The shortest end of the bytes that is taken for the beginning of a secret cut off.
const TELLING: usize = 2;

/// Escapes the first 64 bytes. Secrets go first, also one that the end of the bytes cuts off.
pub(crate) fn shown(bytes: &[u8], secrets: &[&[u8]]) -> String {
    let mut clean = bytes.to_vec();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        clean = masked(&clean, secret);
    }
    let cut = clean.len() > MOST;
    clean.truncate(MOST);
    let mut text = clean.escape_ascii().to_string();
    if cut {
        text.push_str("...");
    }
    text
}

fn masked(bytes: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memmem::find(rest, secret) {
        clean.extend_from_slice(&rest[..at]);
        clean.extend_from_slice(b"***");
        rest = &rest[at + secret.len()..];
    }
    let most = secret.len().min(rest.len() + 1);
    let cut_off = (TELLING..most).rev().find(|&n| rest.ends_with(&secret[..n])).unwrap_or(0);
    clean.extend_from_slice(&rest[..rest.len() - cut_off]);
    if cut_off > 0 {
        clean.extend_from_slice(b"***");
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_escaped_and_cut() {
        assert_eq!(shown(b"a\x00\x1b[31m\xff\n", &[]), r"a\x00\x1b[31m\xff\n");
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
        let across_the_cut = [vec![b'x'; 60], secret.to_vec()].concat();
        assert!(!shown(&across_the_cut, &[secret]).contains("hun"));
        assert_eq!(shown(b"abc", &[b""]), "abc");
    }
}
