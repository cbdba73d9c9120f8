//! Bytes of a peer as people may see them: escaped, 64 at most, our own secrets replaced by `***`.

/// The most bytes of a peer that are shown.
const MOST: usize = 64;

/// The shortest end of the bytes that is taken for the beginning of a secret cut off.
const TELLING: usize = 2;

/// Escapes the first 64 bytes. Secrets go first, also one that the end of the bytes cuts off, and
/// also where one holds another.
pub(crate) fn shown(bytes: &[u8], secrets: &[&[u8]]) -> String {
    let mut hidden = vec![false; bytes.len()];
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        for at in 0..bytes.len() {
            let rest = &bytes[at..];
            let cut_off = rest.len() >= TELLING && secret.starts_with(rest);
            if rest.starts_with(secret) || cut_off {
                let len = secret.len().min(rest.len());
                hidden[at..at + len].fill(true);
            }
        }
    }
    let mut clean = Vec::with_capacity(bytes.len().min(MOST));
    for (at, byte) in bytes.iter().enumerate() {
        if !hidden[at] {
            clean.push(*byte);
        } else if at == 0 || !hidden[at - 1] {
            clean.extend_from_slice(b"***");
        }
    }
    let cut = clean.len() > MOST;
    clean.truncate(MOST);
    let mut text = clean.escape_ascii().to_string();
    if cut {
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
        let (user, password): (&[u8], &[u8]) = (b"admin", b"admin123");
        assert_eq!(shown(b"no admin123", &[user, password]), "no ***");
        assert_eq!(shown(b"no admin123", &[password, user]), "no ***");
    }
}
