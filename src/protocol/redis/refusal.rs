//! What an error reply to AUTH or PING means: other credentials, a right, a wait, or another
//! protocol. Redis, and whatever answers in its name: KeyDB, Valkey, Dragonfly, Sentinel, proxies.

use memchr::memmem::find;

use crate::cause::Cause;

/// Codes with which the right server says that it does not serve now.
const NOT_NOW: [&str; 17] = [
    "LOADING",
    "BUSY",
    "MASTERDOWN",
    "MISCONF",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "UNKILLABLE",
    "NOREPLICAS",
    "NOGOODSLAVE",
    "NOMASTERLINK",
    "NOQUORUM",
    "READONLY",
    "OOM",
    "DENIED",
    "INPROG",
    "IOERR",
    "REDIRECT",
];

/// The same in words, of servers that have no code for it, and of proxies without a server.
const NOT_NOW_WORDS: [&str; 18] = [
    "max number of clients",
    "max concurrent connections",
    "max number of connections",
    "too many connections",
    "too many clients",
    "limit exceeded",
    "protected mode",
    "is loading",
    "is busy",
    "shutting down",
    "try again",
    "not ready",
    "unavailable",
    "upstream",
    "connection refused",
    "timed out",
    "server connection",
    "is down",
];

/// Codes of a login that was refused, or is missing.
const LOGIN: [&str; 3] = ["NOAUTH", "WRONGPASS", "NOTAUTHENTICATED"];

/// The same in words, whenever they come.
const LOGIN_WORDS: [&str; 5] = [
    "invalid password",
    "no password is set",
    "without any password configured",
    "authentication required",
    "operation not permitted",
];

/// The cause that an error reply stands for. `logging_in` says that AUTH has no answer yet.
pub(super) fn cause(line: &[u8], logging_in: bool) -> Cause {
    let line = line.strip_prefix(b"-").unwrap_or(line);
    let code = line.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    let is = |words: &[&str]| words.iter().any(|word| code == word.as_bytes());
    let text = line.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| find(&text, word.as_bytes()).is_some());
    if is(&LOGIN) {
        Cause::LoginRefused
    } else if code == b"NOPERM" {
        Cause::PermissionMissing
    } else if says(&["unknown command", "protocol error"]) {
        // It may repeat what it was sent, and that may sound like anything.
        Cause::WrongReply
    } else if is(&NOT_NOW) || says(&NOT_NOW_WORDS) {
        Cause::NotReady
    } else if says(&LOGIN_WORDS) || (logging_in && says(&["auth", "password", "user"])) {
        Cause::LoginRefused
    } else {
        Cause::WrongReply
    }
}

/// Whether a server says so to a connection that it then ends, before it has read any command.
pub(super) fn is_at_the_door(line: &[u8]) -> bool {
    line.starts_with(b"-DENIED") || find(line, b"max number of clients").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_means_what_the_server_means() {
        use Cause::{LoginRefused, NotReady, PermissionMissing, WrongReply};
        for (line, alone, at_login) in [
            ("-LOADING Redis is loading the dataset in memory", NotReady, NotReady),
            ("-LOADING Dragonfly is loading the dataset in memory", NotReady, NotReady),
            ("-BUSY Redis is busy running a script.", NotReady, NotReady),
            ("-UNKILLABLE Sorry the script already executed write commands", NotReady, NotReady),
            ("-MASTERDOWN Link with MASTER is down", NotReady, NotReady),
            ("-MISCONF Redis is configured to save RDB snapshots", NotReady, NotReady),
            ("-NOREPLICAS Not enough good replicas to write.", NotReady, NotReady),
            ("-CLUSTERDOWN The cluster is down", NotReady, NotReady),
            ("-TRYAGAIN Multiple keys request during rehashing", NotReady, NotReady),
            ("-ERR max number of clients reached", NotReady, NotReady),
            ("-ERR max number of clients + cluster connections reached", NotReady, NotReady),
            ("-ERR max concurrent connections exceeded", NotReady, NotReady),
            ("-DENIED Redis is running in protected mode because", NotReady, NotReady),
            ("-ERR Connection refused", NotReady, NotReady),
            ("-ERR Connection timed out", NotReady, NotReady),
            ("-no upstream host", NotReady, NotReady),
            ("-NOAUTH Authentication required.", LoginRefused, LoginRefused),
            ("-ERR operation not permitted", LoginRefused, LoginRefused),
            ("-ERR invalid password", LoginRefused, LoginRefused),
            ("-WRONGPASS invalid username-password pair", LoginRefused, LoginRefused),
            ("-ERR Client sent AUTH, but no password is set", LoginRefused, LoginRefused),
            ("-ERR wrong number of arguments for 'auth' command", WrongReply, LoginRefused),
            ("-NOPERM User mon has no permissions to run the 'ping'", PermissionMissing, {
                PermissionMissing
            }),
            ("-ERR unknown command 'PING', with args beginning with:", WrongReply, WrongReply),
            ("-ERR unknown command `AUTH`, with args: `too many clients`", WrongReply, WrongReply),
            ("-ERR Protocol error: invalid bulk length", WrongReply, WrongReply),
            ("-ERR sorry, u are unknown", WrongReply, WrongReply),
            ("-", WrongReply, WrongReply),
        ] {
            assert_eq!(cause(line.as_bytes(), false), alone, "{line}");
            assert_eq!(cause(line.as_bytes(), true), at_login, "{line}, as the answer to AUTH");
        }
    }
}
