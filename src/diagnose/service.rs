//! What listens, by the first bytes that it says, and what to type to watch it. Pure: a table of
//! fingerprints. Whatever is not told by them stays unknown.

use memchr::memmem::find;

use super::fact::words;

words! {
    /// A service, known by what it said.
    Service {
        Amqp = "amqp",
        Beanstalkd = "beanstalkd",
        /// It sends back what it gets.
        Echo = "echo",
        Ftp = "ftp",
        Http = "http",
        Http2 = "http2",
        /// An HTTP server that wants TLS, and says so without.
        Https = "https",
        Imap = "imap",
        Irc = "irc",
        Ldap = "ldap",
        /// The numbered lines of this crate.
        Line = "line",
        /// SMTP or FTP: both greet with the same number.
        Mail = "smtp-or-ftp",
        Memcached = "memcached",
        MongoDb = "mongodb",
        Mpd = "mpd",
        Mqtt = "mqtt",
        MySql = "mysql",
        Nats = "nats",
        Nntp = "nntp",
        Pop3 = "pop3",
        Postgres = "postgresql",
        Redis = "redis",
        Rsync = "rsync",
        Rtsp = "rtsp",
        Smtp = "smtp",
        Ssh = "ssh",
        Stomp = "stomp",
        Svn = "svn",
        Telnet = "telnet",
        Tls = "tls",
        /// The bytes of the tutorial.
        Tutorial = "tcp",
        Vnc = "vnc",
        Xmpp = "xmpp",
    }
}

/// Texts by which servers tell that a port wants TLS (nginx, Apache, Go).
const WANT_TLS: [&str; 3] = [
    "plain HTTP request was sent to HTTPS port",
    "speaking plain HTTP to an SSL-enabled server",
    "HTTP request to an HTTPS server",
];

/// Lines with which Redis and its like refuse a command.
const REDIS: [&str; 12] = [
    "-ERR unknown command",
    "-ERR Protocol error",
    "-ERR wrong number of arguments",
    "-ERR max number of clients",
    "-ERR operation not permitted",
    "-NOAUTH",
    "-WRONGPASS",
    "-NOPERM",
    "-DENIED Redis",
    "-LOADING",
    "-MISCONF",
    "+PONG",
];

/// The service that says this to begin with, or over bytes that it does not know.
pub(crate) fn of(bytes: &[u8]) -> Option<Service> {
    binary(bytes).or_else(|| text(bytes))
}

fn text(bytes: &[u8]) -> Option<Service> {
    let begins = |start: &str| bytes.starts_with(start.as_bytes());
    let has = |part: &str| find(bytes, part.as_bytes()).is_some();
    let upper = bytes.to_ascii_uppercase();
    let says = |word: &str| find(&upper, word.as_bytes()).is_some();
    Some(match bytes {
        _ if has("access MongoDB over HTTP") => Service::MongoDb,
        _ if WANT_TLS.iter().any(|text| has(text)) => Service::Https,
        _ if begins("HTTP/1.") || begins("<!DOCTYPE") || begins("<html") => Service::Http,
        _ if begins("SSH-") || has("SSH identification string") || has("MaxStartups") => {
            Service::Ssh
        }
        _ if begins("220") && says("FTP") => Service::Ftp,
        _ if begins("220") && says("SMTP") => Service::Smtp,
        _ if begins("220 ") || begins("220-") => Service::Mail,
        _ if (begins("554 ") || begins("421 ")) && says("SMTP") => Service::Smtp,
        _ if begins("* OK") || begins("* PREAUTH") || begins("* BYE") => Service::Imap,
        _ if begins("+OK ") => Service::Pop3,
        _ if (begins("200 ") || begins("201 ")) && (says("NNTP") || says("NEWS")) => Service::Nntp,
        _ if REDIS.iter().any(|line| begins(line)) => Service::Redis,
        _ if begins("ERROR\r\n") || begins("CLIENT_ERROR") || begins("SERVER_ERROR") => {
            Service::Memcached
        }
        _ if begins("UNKNOWN_COMMAND\r\n") || begins("BAD_FORMAT\r\n") => Service::Beanstalkd,
        _ if begins("INFO {") => Service::Nats,
        _ if begins("RFB 00") => Service::Vnc,
        _ if begins("RTSP/1.") => Service::Rtsp,
        _ if begins("@RSYNCD:") => Service::Rsync,
        _ if begins("( success (") => Service::Svn,
        _ if begins("OK MPD") => Service::Mpd,
        _ if begins("ERROR\nmessage:") => Service::Stomp,
        _ if begins("<?xml") && has("stream:stream") => Service::Xmpp,
        _ if begins("ERROR :") || begins("NOTICE ") || (begins(":") && has(" NOTICE ")) => {
            Service::Irc
        }
        _ if begins("heartbeat_ack") => Service::Tutorial,
        [b'a', b'c', b'k', b' ', digit, ..] if digit.is_ascii_digit() => Service::Line,
        _ => return None,
    })
}

fn binary(bytes: &[u8]) -> Option<Service> {
    // The object identifier of LDAP's notice of disconnection (RFC 4511, section 4.4.1).
    const LDAP_NOTICE: &[u8] = b"1.3.6.1.4.1.1466.20036";
    Some(match bytes {
        [0x15 | 0x16, 3, 0..=4, _, _, ..] => Service::Tls,
        [b'A', b'M', b'Q', b'P', 0..=3, ..] => Service::Amqp,
        // Settings, the first frame of every server (RFC 9113, section 3.4).
        [0, 0, _, 4, 0 | 1, 0, 0, 0, 0, ..] => Service::Http2,
        [_, _, 0, 0 | 1, 0xff, _, _, ..] => Service::MySql,
        [_, 0, 0, 0, 10, b'0'..=b'9', b'.' | b'0'..=b'9', ..] => Service::MySql,
        // A notice of the X protocol.
        [_, 0, 0, 0, 0x0b, 8, ..] => Service::MySql,
        [b'E', 0, 0, _, _, b'S', ..] => Service::Postgres,
        [0xff, 0xfb..=0xfe, _, ..] => Service::Telnet,
        [0x20, 2, 0 | 1, 0..=5] | [0x20, 3..=255, 0 | 1, 0x80..=0xff, ..] => Service::Mqtt,
        [0xe0, 0 | 2, ..] => Service::Mqtt,
        [0x30, ..] if find(bytes, LDAP_NOTICE).is_some() => Service::Ldap,
        _ => return None,
    })
}

impl Service {
    /// With its article.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::Amqp => "an AMQP broker",
            Service::Beanstalkd => "a beanstalkd",
            Service::Echo => "an echo: it sends back what it gets",
            Service::Ftp => "an FTP server",
            Service::Http => "an HTTP server",
            Service::Http2 => "a server of HTTP/2 alone",
            Service::Https => "an HTTPS server",
            Service::Imap => "an IMAP server",
            Service::Irc => "an IRC server",
            Service::Ldap => "an LDAP server",
            Service::Line => "a server of numbered lines",
            Service::Mail => "an SMTP or FTP server",
            Service::Memcached => "a memcached",
            Service::MongoDb => "a MongoDB",
            Service::Mpd => "an MPD",
            Service::Mqtt => "an MQTT broker",
            Service::MySql => "a MySQL or MariaDB server",
            Service::Nats => "a NATS server",
            Service::Nntp => "a news server (NNTP)",
            Service::Pop3 => "a POP3 server",
            Service::Postgres => "a PostgreSQL server",
            Service::Redis => "a Redis",
            Service::Rsync => "an rsync daemon",
            Service::Rtsp => "an RTSP server",
            Service::Smtp => "an SMTP server",
            Service::Ssh => "an SSH server",
            Service::Stomp => "a STOMP broker",
            Service::Svn => "a Subversion server",
            Service::Telnet => "a telnet server",
            Service::Tls => "a server that speaks TLS",
            Service::Tutorial => "a server that answers `heartbeat_ack`",
            Service::Vnc => "a VNC server",
            Service::Xmpp => "an XMPP server",
        }
    }

    /// The scheme that speaks its protocol, if there is one.
    fn scheme(self) -> Option<&'static str> {
        Some(match self {
            Service::Http | Service::Https => "http",
            Service::Redis => "redis",
            Service::Line => "line",
            Service::Tutorial => "tcp",
            _ => return None,
        })
    }

    /// The bytes with which it greets, as they are typed.
    fn greeting(self) -> Option<&'static str> {
        Some(match self {
            Service::Ssh => "SSH-",
            Service::Ftp | Service::Smtp | Service::Mail => "220",
            Service::Imap => "'* OK'",
            Service::Pop3 => "+OK",
            Service::Vnc => "RFB",
            Service::Nats => "INFO",
            Service::Rsync => "@RSYNCD",
            Service::Mpd => "'OK MPD'",
            Service::Svn => "'( success'",
            _ => return None,
        })
    }

    /// What to type next, for a target of `scheme` at `place`, `host:port`. Where there was TLS,
    /// there is TLS again.
    pub(crate) fn command(self, scheme: &str, place: &str) -> String {
        let tls = scheme == "https" || scheme.starts_with("tls+");
        let under = |plain: &str| match (plain, tls) {
            ("http", true) => "https".to_owned(),
            (plain, true) => format!("tls+{plain}"),
            (plain, false) => plain.to_owned(),
        };
        let hold = format!("`keepbeat {}://{place}`", under("connect"));
        let tcp = if tls { format!("tls+tcp://{place}") } else { place.to_owned() };
        match self {
            Service::Https => format!("`keepbeat https://{place}/`"),
            Service::Tls => match scheme {
                "http" => format!("`keepbeat https://{place}/`"),
                other => format!(
                    "`keepbeat tls+{other}://{place}`, or `keepbeat https://{place}/` for HTTP"
                ),
            },
            Service::Echo => format!("`keepbeat {tcp} --send heartbeat --expect heartbeat`"),
            Service::Memcached => {
                format!(r"`keepbeat {tcp} --send 'version\r\n' --expect VERSION`")
            }
            _ => match (self.scheme(), self.greeting()) {
                (Some("http"), _) => format!("`keepbeat {}://{place}/`", under("http")),
                (Some(plain), _) => format!("`keepbeat {}://{place}`", under(plain)),
                (None, Some(greeting)) => format!(
                    "{hold}, which sends no byte, or `keepbeat {tcp} --expect {greeting}`, which \
                     reads its greeting, too"
                ),
                (None, None) => format!("{hold}, which sends no byte"),
            },
        }
    }

    /// Whether a target of this scheme speaks to it already.
    pub(crate) fn is_spoken_by(self, scheme: &str) -> bool {
        let plain = scheme.strip_prefix("tls+").unwrap_or(scheme);
        let plain = if plain == "https" { "http" } else { plain };
        // That a port wants TLS is news to whoever speaks HTTP without.
        self.scheme() == Some(plain) && (self != Service::Https || scheme == "https")
    }
}

/// The service that a port usually is, and that says nothing to bytes that it does not know, or
/// ends the connection. It supports a guess, and is none.
pub(crate) fn by_port(port: u16) -> Option<Service> {
    Some(match port {
        443 | 8443 | 6443 | 9443 => Service::Tls,
        1883 => Service::Mqtt,
        3306 => Service::MySql,
        5432 => Service::Postgres,
        6379 | 6380 | 26379 => Service::Redis,
        11211 => Service::Memcached,
        80 | 8080 => Service::Http,
        27017 => Service::MongoDb,
        389 => Service::Ldap,
        5672 => Service::Amqp,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_known_by_what_they_say_first() {
        for (bytes, service) in [
            (b"SSH-2.0-OpenSSH_9.2\r\n".as_slice(), Service::Ssh),
            (b"Invalid SSH identification string.\r\n", Service::Ssh),
            (b"220 mail.example ESMTP Postfix\r\n", Service::Smtp),
            (b"554 mail.example ESMTP not accepting\r\n", Service::Smtp),
            (b"220 (vsFTPd 3.0.3)\r\n", Service::Ftp),
            (b"220---------- Welcome to Pure-FTPd [privsep] ----------\r\n", Service::Ftp),
            (b"220 hello\r\n", Service::Mail),
            (b"* OK [CAPABILITY IMAP4rev1] Dovecot ready.\r\n", Service::Imap),
            (b"+OK Dovecot ready.\r\n", Service::Pop3),
            (b"200 news.example InterNetNews NNRP server\r\n", Service::Nntp),
            (b"d\0\0\0\n5.5.5-10.11.19-MariaDB-0+deb12u1\0", Service::MySql),
            (b"J\0\0\0\n8.0.36\0", Service::MySql),
            (b"\x17\0\0\0\xff\x10\x04#08004Too many connections", Service::MySql),
            (b"\x05\0\0\0\x0b\x08\x05\x1a\0", Service::MySql),
            (b"E\0\0\0\x85SFATAL\0VFATAL\0C0A000\0Munsupported\0\0", Service::Postgres),
            (b"-NOAUTH Authentication required.\r\n", Service::Redis),
            (b"-ERR unknown command 'HEAD', with args\r\n", Service::Redis),
            (b"-DENIED Redis is running in protected mode\r\n", Service::Redis),
            (b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n", Service::Http),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n<p>The plain HTTP request was sent to HTTPS port", {
                Service::Https
            }),
            (b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", {
                Service::Https
            }),
            (b"HTTP/1.0 200 OK\r\n\r\nIt looks like you are trying to access MongoDB over HTTP", {
                Service::MongoDb
            }),
            (b"\x15\x03\x01\0\x02\x02\x16", Service::Tls),
            (b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80", Service::Http2),
            (b"ERROR\r\n", Service::Memcached),
            (b"UNKNOWN_COMMAND\r\n", Service::Beanstalkd),
            (b"AMQP\0\0\x09\x01", Service::Amqp),
            (b"\x20\x02\0\x01", Service::Mqtt),
            (b"RFB 003.008\n", Service::Vnc),
            (b"\xff\xfd\x18\xff\xfd\x20", Service::Telnet),
            (b"0\x24\x02\x01\0\x78\x1f\x0a\x01\x02\x8a\x161.3.6.1.4.1.1466.20036", Service::Ldap),
            (b"INFO {\"server_id\":\"x\"}\r\n", Service::Nats),
            (b"@RSYNCD: 31.0\n", Service::Rsync),
            (b":irc.example NOTICE * :*** Looking up\r\n", Service::Irc),
            (b"<?xml version='1.0'?><stream:stream id='1'>", Service::Xmpp),
            (b"heartbeat_ack", Service::Tutorial),
            (b"ack 1\n", Service::Line),
        ] {
            assert_eq!(of(bytes), Some(service), "{}", bytes.escape_ascii());
        }
        for unknown in [
            b"".as_slice(),
            b"hello\r\n",
            b"2200",
            b"+OK\r\n",
            b"ERRORS",
            b"-ERR no\r\n",
            b"\0\0\0\0",
            b"\x16\x03",
            b"acknowledged",
            b"\x01\x03\x02\0\x05",
        ] {
            assert_eq!(of(unknown), None, "{}", unknown.escape_ascii());
        }
    }

    #[test]
    fn what_to_type_next_is_whole_and_never_drops_tls() {
        let plain = |service: Service| service.command("tcp", "h:1");
        let secured = |service: Service| service.command("tls+redis", "h:1");
        assert!(plain(Service::Ssh).starts_with("`keepbeat connect://h:1`"));
        assert!(plain(Service::Ssh).contains("`keepbeat h:1 --expect SSH-`"));
        assert_eq!(plain(Service::Redis), "`keepbeat redis://h:1`");
        assert_eq!(plain(Service::Http), "`keepbeat http://h:1/`");
        assert_eq!(plain(Service::Https), "`keepbeat https://h:1/`");
        assert!(plain(Service::Tls).starts_with("`keepbeat tls+tcp://h:1`"));
        assert_eq!(Service::Tls.command("http", "h:1"), "`keepbeat https://h:1/`");
        assert_eq!(secured(Service::Http), "`keepbeat https://h:1/`");
        assert!(secured(Service::Imap).starts_with("`keepbeat tls+connect://h:1`"));
        assert!(secured(Service::Imap).contains("`keepbeat tls+tcp://h:1 --expect '* OK'`"));
        assert!(secured(Service::Memcached).starts_with("`keepbeat tls+tcp://h:1 --send"));
        assert!(Service::Redis.is_spoken_by("tls+redis") && !Service::Redis.is_spoken_by("tcp"));
        assert!(Service::Http.is_spoken_by("https") && Service::Http.is_spoken_by("http"));
        assert!(!Service::Https.is_spoken_by("http") && Service::Https.is_spoken_by("https"));
        assert!(!Service::Ssh.is_spoken_by("ssh"));
    }
}
