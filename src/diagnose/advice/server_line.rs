//! What to do about a line with which a server refuses: it says itself what it waits for. The lines
//! are those of Redis and of what answers in its name.

use crate::cause::Cause;

/// A word in the line, and the advice that fits it.
type Row = (&'static str, &'static str);

const NOT_READY: [Row; 15] = [
    ("LOADING", "wait: it reads its data into memory, and answers when that is done"),
    (
        "BUSY",
        "wait, or end the script that runs on it with `redis-cli SCRIPT KILL` (a function with \
         `FUNCTION KILL`)",
    ),
    (
        "UNKILLABLE",
        "wait for the script that runs on it: it has written, so only `SHUTDOWN NOSAVE` would end \
         it, and lose those writes",
    ),
    (
        "MASTERDOWN",
        "look at its master, which it cannot reach; or let it answer from old data with \
         `replica-serve-stale-data yes`",
    ),
    (
        "MISCONF",
        "look at its disk and its log: it cannot save its data; `stop-writes-on-bgsave-error no` \
         lets it go on without",
    ),
    ("CLUSTERDOWN", "look at the other nodes of its cluster: `redis-cli CLUSTER INFO`"),
    ("NOREPLICAS", "look at its replicas: fewer are well than `min-replicas-to-write` asks for"),
    (
        "protected mode",
        "give it a password (`requirepass`), or let it listen on an address of its own (`bind`) \
         with `protected-mode no`; until then it answers its own host alone",
    ),
    (
        "number of clients",
        "raise its `maxclients`, or find who holds so many connections: `redis-cli CLIENT LIST`",
    ),
    ("concurrent connections", "raise its limit of connections, or find who holds so many"),
    ("too many", "raise its limit of connections, or find who holds so many"),
    ("OOM", "give it more memory (`maxmemory`), or have it forget more"),
    ("upstream", "look at the servers behind this proxy: it has none that answers"),
    ("Connection refused", "look at the server behind this proxy: it refuses the connection"),
    ("timed out", "look at the server behind this proxy: it does not answer in time"),
];

const LOGIN: [Row; 6] = [
    ("NOAUTH", "give it the password, in the URL or with --password-file"),
    ("without any password configured", NONE_NEEDED),
    ("no password is set", NONE_NEEDED),
    ("number of arguments for 'auth'", "leave the user out: a server before Redis 6 knows none"),
    (
        "WRONGPASS",
        "check user and password, and on the server with `ACL LIST` whether that user is on",
    ),
    ("invalid password", "check the password: the server's is in `requirepass`"),
];

const NONE_NEEDED: &str = "leave the password out: the server asks for none";

const RIGHT: &str = "give that user the right to PING: `redis-cli ACL SETUSER NAME +ping`";

/// The advice that fits what the server says. `hold` is what to type to watch its connection alone.
pub(super) fn advise(cause: Cause, detail: &str, hold: Option<&str>) -> Option<String> {
    let (_, line) = detail.split_once("the server says `")?;
    let is_error = line.starts_with('-');
    let of = |rows: &[Row]| {
        let row = rows.iter().find(|(word, _)| line.contains(word)).filter(|_| is_error);
        row.map(|(_, advice)| (*advice).to_owned())
    };
    match cause {
        Cause::NotReady => of(&NOT_READY),
        Cause::LoginRefused => of(&LOGIN),
        Cause::PermissionMissing if is_error => Some(RIGHT.to_owned()),
        Cause::WrongReply if is_error && line.to_lowercase().contains("unknown command") => {
            let hold = hold.map_or_else(String::new, |hold| format!(", or watch it with {hold}"));
            Some(format!(
                "allow the command on that server: it was renamed or disabled there \
                 (`rename-command`, or a proxy that does not know it){hold}"
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_fits_the_line() {
        use Cause::{LoginRefused, NotReady, PermissionMissing, WrongReply};
        for (cause, line, words) in [
            (NotReady, "-LOADING Redis is loading the dataset in memory", "wait: it reads"),
            (NotReady, "-BUSY Redis is busy running a script.", "`redis-cli SCRIPT KILL`"),
            (NotReady, "-MASTERDOWN Link with MASTER is down", "look at its master"),
            (NotReady, "-MISCONF Redis is configured to save", "look at its disk"),
            (NotReady, "-ERR max number of clients reached", "raise its `maxclients`"),
            (NotReady, "-DENIED Redis is running in protected mode because", "`protected-mode no`"),
            (NotReady, "-no upstream host", "the servers behind this proxy"),
            (LoginRefused, "-NOAUTH Authentication required.", "--password-file"),
            (LoginRefused, "-ERR AUTH <password> called without any password configured", {
                "leave the password out"
            }),
            (LoginRefused, "-ERR wrong number of arguments for 'auth' command", "leave the user"),
            (PermissionMissing, "-NOPERM this user has no permissions", "ACL SETUSER NAME +ping"),
            (WrongReply, "-ERR unknown command 'PING'", "renamed or disabled there"),
        ] {
            let told = advise(cause, &format!("the server says `{line}`"), Some("`keepbeat x`"));
            assert!(told.as_ref().is_some_and(|told| told.contains(words)), "{line}: {told:?}");
        }
        let http = "the server says `401 Unauthorized`; give it user and password";
        assert_eq!(advise(LoginRefused, http, None), None);
        assert_eq!(advise(NotReady, "busy", None), None, "of another protocol");
        assert_eq!(advise(NotReady, "the server says `-ODD`", None), None);
    }
}
