//! Schemes that people paste and for which keepbeat has no protocol: what to use instead.

use keepbeat::Target;

/// The scheme, the usual port of its service, and whether that is under TLS.
const SERVICES: [(&str, u16, bool); 38] = [
    ("amqp", 5672, false),
    ("amqps", 5671, true),
    ("cassandra", 9042, false),
    ("ftp", 21, false),
    ("ftps", 990, true),
    ("git", 9418, false),
    ("imap", 143, false),
    ("imaps", 993, true),
    ("irc", 6667, false),
    ("ircs", 6697, true),
    ("kafka", 9092, false),
    ("ldap", 389, false),
    ("ldaps", 636, true),
    ("mariadb", 3306, false),
    ("memcache", 11211, false),
    ("memcached", 11211, false),
    ("modbus", 502, false),
    ("mongodb", 27017, false),
    ("mqtt", 1883, false),
    ("mqtts", 8883, true),
    ("mysql", 3306, false),
    ("nats", 4222, false),
    ("nntp", 119, false),
    ("pop3", 110, false),
    ("pop3s", 995, true),
    ("postgres", 5432, false),
    ("postgresql", 5432, false),
    ("rtsp", 554, false),
    ("sftp", 22, false),
    ("sip", 5060, false),
    ("smtp", 25, false),
    ("smtps", 465, true),
    ("ssh", 22, false),
    ("stomp", 61613, false),
    ("telnet", 23, false),
    ("vnc", 5900, false),
    ("ws", 80, false),
    ("wss", 443, true),
];

/// Words for TLS without a protocol inside.
const TLS: [&str; 3] = ["tls", "ssl", "tcps"];

/// Schemes that name no TCP connection.
const NO_TCP: [&str; 8] = ["udp", "unix", "file", "serial", "quic", "icmp", "ping", "redis+socket"];

/// What to use instead of this scheme, if it is a known one. `rest` is the text behind it. It may
/// hold a password, so only its host and port are repeated.
pub fn advice(scheme: &str, rest: &str) -> Option<String> {
    if NO_TCP.contains(&scheme) {
        return Some(format!(
            "`{scheme}://` is not a TCP connection, and keepbeat watches no others"
        ));
    }
    let under_tls = scheme.strip_prefix("tls+");
    let wanted = under_tls.unwrap_or(scheme).split('+').next().unwrap_or_default();
    let service = |wanted: &str| SERVICES.iter().find(|(known, ..)| *known == wanted);
    let secured = under_tls.and_then(|_| service(&format!("{wanted}s")));
    let (port, tls) = match secured.or_else(|| service(wanted)) {
        Some((_, port, tls)) => (Some(*port), *tls || under_tls.is_some()),
        None if TLS.contains(&scheme) => (None, true),
        None => return None,
    };
    let hold = if tls { "tls+connect" } else { "connect" };
    let place = place(rest, port).unwrap_or_else(|| "HOST:PORT".to_owned());
    let more = match wanted {
        "memcache" | "memcached" => {
            format!(", or `{place} --send 'version\\r\\n' --expect VERSION`, which asks it")
        }
        "ssh" | "sftp" => format!(", or `{place} --expect SSH-`, which reads its greeting"),
        _ if TLS.contains(&scheme) => format!(", or `tls+tcp://{place}` with --send and --expect"),
        _ => String::new(),
    };
    Some(format!(
        "this version has no protocol for `{scheme}://`: use `{hold}://{place}`, which holds a \
         connection and sends no byte{more}"
    ))
}

/// `host:port`, without the rest of the URL.
fn place(rest: &str, port: Option<u16>) -> Option<String> {
    let rest = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
    // If there are several hosts, the first.
    let address = address.split(',').next().unwrap_or_default();
    let target = Target::new(address).ok();
    let target = target.or_else(|| Target::new(&format!("{address}:{}", port?)).ok())?;
    Some(target.to_string().trim_start_matches("tcp://").to_owned())
}
