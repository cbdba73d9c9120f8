//! A scheme whose `://` slipped: `redis:/host`, `http//host`, `http:host`.

/// Words that are rather a scheme than a host.
const SCHEMES: [&str; 24] = [
    "http",
    "https",
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "tcp",
    "line",
    "connect",
    "tls+tcp",
    "tls+line",
    "tls+redis",
    "tls+connect",
    "ws",
    "wss",
    "mqtt",
    "mqtts",
    "amqp",
    "ssh",
    "ftp",
    "mysql",
    "postgres",
    "postgresql",
    "mongodb",
];

/// What slipped, and how it is written. What follows the scheme may hold a password and is not
/// repeated.
pub(super) fn of(text: &str) -> Option<String> {
    if text.contains("://") {
        return None;
    }
    let end = text.find([':', '/', '\\', ';'])?;
    let (word, rest) = text.split_at(end);
    let scheme = SCHEMES.into_iter().find(|scheme| word.eq_ignore_ascii_case(scheme))?;
    let port = rest.strip_prefix(':').unwrap_or(rest);
    // A host may well be called `redis`.
    if rest.starts_with(':') && port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let is_mark = |c: char| matches!(c, ':' | ';' | '/' | '\\');
    let typed: String = rest.chars().take_while(|c| is_mark(*c)).collect();
    Some(format!(
        "`{scheme}{typed}` is no scheme, it ends with `://`: write `{scheme}://host:port`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slipped_scheme_is_known_and_a_host_of_that_name_is_none() {
        for slip in ["redis:/h", "http//h", "http:h", "HTTP:\\\\h", "tcp:h:7000", "https;//h"] {
            let told = of(slip).unwrap_or_else(|| panic!("{slip}"));
            assert!(told.contains("write `") && !told.contains("h:7000"), "{told}");
        }
        assert!(of("http:u:s3cret@h").is_some_and(|told| !told.contains("s3cret")));
        for fine in ["redis:6379", "http:80", "redis://h", "httpd:x", "h:80", "redis:", "[::1]:1"] {
            assert_eq!(of(fine), None, "{fine}");
        }
    }
}
