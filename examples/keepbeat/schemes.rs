//! The schemes: the protocol of each, and the settings that apply to it.

use keepbeat::{ConnectOnly, Exchange, Http, Line, Protocol, Redis, Steps, Target};

use crate::settings::Settings;
use crate::{elsewhere, nearest};

/// Each scheme, and what its beat is.
pub const KNOWN: [(&str, &str); 6] = [
    ("tcp", "sends `heartbeat`, expects `heartbeat_ack`; or --send and --expect; or --steps"),
    ("line", "numbered lines: sends `beat 12`, expects `ack 12`"),
    ("redis", "sends PING, expects PONG; logs in first if there is a password; rediss: under TLS"),
    ("connect", "sends nothing, keeps the connection open and reports when it ends"),
    ("http", "one kept connection: HEAD of the path, expects a status from 200 to 399"),
    ("https", "the same under TLS"),
];

/// The others under TLS.
pub const UNDER_TLS: [&str; 4] = ["tls+tcp", "tls+line", "tls+redis", "tls+connect"];

/// Aliases of some of them, which [`Target`] knows.
const ALIASES: [&str; 3] = ["rediss", "valkey", "valkeys"];

/// Parses a target.
///
/// # Errors
///
/// Says what is wrong and which schemes are known. Never repeats the user or the password.
pub fn target(text: &str) -> Result<Target, String> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let scheme = scheme.to_ascii_lowercase();
        let is_known = |scheme| known().chain(ALIASES).any(|known| known == scheme);
        if is_word(&scheme) && !is_known(scheme.as_str()) {
            return Err(elsewhere::advice(&scheme, rest).unwrap_or_else(|| unknown(&scheme)));
        }
    }
    let target = Target::new(text).map_err(|error| error.to_string())?;
    #[cfg(not(feature = "tls"))]
    if is_tls(target.scheme()) {
        return Err(format!("`{}://`: {}", target.scheme(), crate::secure::NOT_BUILT_IN));
    }
    Ok(target)
}

fn known() -> impl Iterator<Item = &'static str> {
    KNOWN.into_iter().map(|(known, _)| known).chain(UNDER_TLS)
}

/// Whether the text can be a scheme at all; [`Target::new`] refuses the rest.
fn is_word(scheme: &str) -> bool {
    !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+')
}

fn is_tls(scheme: &str) -> bool {
    scheme == "https" || scheme.starts_with("tls+")
}

/// The scheme of the same protocol without TLS.
fn base(scheme: &str) -> &str {
    if scheme == "https" { "http" } else { scheme.strip_prefix("tls+").unwrap_or(scheme) }
}

fn unknown(scheme: &str) -> String {
    let known: Vec<&str> = known().collect();
    let list = known.iter().map(|known| format!("{known}://")).collect::<Vec<_>>().join(" ");
    let typed = scheme.to_lowercase();
    // Who may have meant TLS gets no hint without TLS.
    let near = known.iter().copied().filter(|known| is_tls(known) || !drops_tls(&typed, known));
    let near: Vec<&str> = near.collect();
    let hint = nearest::hint(&typed, &near);
    format!("`{scheme}://` is not a known scheme{hint}: use one of {list}")
}

/// Whether what was typed suggests TLS and the known scheme has none: `rediss`, `htps`, `ssl`.
fn drops_tls(typed: &str, known: &str) -> bool {
    let says_so = typed.contains("tls") || typed.contains("ssl");
    let more = typed.ends_with("ss") || typed.ends_with('s') && !known.ends_with('s');
    says_so || more
}

/// Whether the setting applies to targets of this scheme.
pub fn heeds(scheme: &str, key: &str) -> bool {
    let protocol = base(scheme);
    match key {
        "send" | "steps" | "probe_payload" => protocol == "tcp",
        "expect" => matches!(protocol, "tcp" | "http"),
        "password_file" => matches!(protocol, "redis" | "http"),
        "method" | "status" => protocol == "http",
        "ca" | "certificate_days" | "insecure" => is_tls(scheme),
        _ => true,
    }
}

/// Why the setting does not apply to targets of this scheme, and what to do.
pub fn useless(scheme: &str, key: &str) -> Option<String> {
    if heeds(scheme, key) {
        return None;
    }
    let why = match key {
        "send" | "expect" | "steps" | "probe_payload" => "has beats of its own",
        "password_file" => "has no login",
        "method" | "status" => "is not HTTP",
        _ => "is not under TLS",
    };
    let instead = match (key, scheme) {
        ("send" | "expect" | "steps" | "probe_payload", _) => ", or write it as tcp://".to_owned(),
        ("ca" | "certificate_days" | "insecure", "http") => ", or write it as https://".to_owned(),
        ("ca" | "certificate_days" | "insecure", _) => format!(", or write it as tls+{scheme}://"),
        _ => String::new(),
    };
    Some(format!("`{scheme}://` {why}: leave {key} out{instead}"))
}

/// What a beat on this target looks like.
///
/// # Errors
///
/// Settings that do not fit the scheme.
pub fn protocol(target: &Target, settings: &Settings) -> Result<Box<dyn Protocol>, String> {
    let scheme = target.scheme();
    let login = target.user().is_some() || target.password().is_some();
    if login && !heeds(scheme, "password_file") {
        let what = "has no login: take user and password out of the target";
        return Err(format!("`{scheme}://` {what}"));
    }
    match base(scheme) {
        "tcp" => bytes(settings),
        "line" => Ok(Box::new(Line)),
        "redis" => Ok(Box::new(redis(target, settings)?)),
        "connect" => Ok(Box::new(ConnectOnly)),
        "http" => Ok(Box::new(http(target, settings)?)),
        _ => Err(unknown(scheme)),
    }
}

/// The protocol of `tcp://`: steps, a greeting alone, or fixed bytes and their answer.
fn bytes(settings: &Settings) -> Result<Box<dyn Protocol>, String> {
    let Settings { send, expect, steps, .. } = settings;
    let exchange = match (send, expect) {
        _ if steps.is_some() && (send.is_some() || expect.is_some()) => {
            return Err("steps say what is sent and expected: leave send and expect out".to_owned());
        }
        _ if steps.is_some() => return Ok(Box::new(steps.clone().unwrap_or_default())),
        (None, Some(greeting)) => return Ok(Box::new(Steps::greeting(greeting.as_slice()))),
        (Some(send), Some(expect)) => Exchange::new(send.as_slice(), expect.as_slice()),
        (None, None) => Exchange::new("heartbeat", "heartbeat_ack"),
        (Some(_), None) => {
            return Err(
                "`send` needs `expect`: add `expect`, the bytes with which the reply begins"
                    .to_owned(),
            );
        }
    };
    let exchange = exchange.with_any_rest();
    Ok(Box::new(match settings.probe_payload {
        Some(true) => exchange.allow_other_bytes(),
        _ => exchange,
    }))
}

/// A password in the URL overrides the one of a file, because it belongs to this target alone. A
/// file may serve many targets; those without a user do not log in.
fn http(target: &Target, settings: &Settings) -> Result<Http, String> {
    let text = |error: keepbeat::Error| error.to_string();
    let mut http = Http::for_target(target).map_err(text)?;
    if let (Some(user), None, Some(password)) =
        (target.user(), target.password(), &settings.password)
    {
        http = http.login(user, password.reveal()).map_err(text)?;
    }
    if let Some(method) = &settings.method {
        http = http.method(method).map_err(text)?;
    }
    if let Some(status) = &settings.status {
        http = http.expect_status(status.clone()).map_err(text)?;
    }
    if let Some(part) = &settings.expect {
        http = http.expect_body(part.as_slice()).map_err(text)?;
    }
    Ok(http)
}

/// A password in the URL overrides the one of a file, because it belongs to this target alone.
fn redis(target: &Target, settings: &Settings) -> Result<Redis, String> {
    let from_file = settings.password.as_ref().map(|password| password.reveal());
    let mut redis = Redis::new();
    match (target.user(), target.password().or(from_file)) {
        (Some(_), None) => {
            return Err(
                "there is a user and no password: write `redis://USER:PASSWORD@host:port`, \
                        or put the password into a file and add `password_file`"
                    .to_owned(),
            );
        }
        (user, Some(password)) => {
            redis = redis.password(password);
            if let Some(user) = user {
                redis = redis.user(user);
            }
        }
        (None, None) => {}
    }
    Ok(redis)
}
