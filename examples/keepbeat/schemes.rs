//! Which scheme speaks which protocol.

use keepbeat::{ConnectOnly, Exchange, Line, Protocol, Redis, Target};

use crate::nearest;
use crate::settings::Settings;

/// The scheme and what a beat of it is.
pub const KNOWN: [(&str, &str); 4] = [
    ("tcp", "sends `heartbeat`, expects `heartbeat_ack`; or --send and --expect"),
    ("line", "numbered lines: sends `beat 12`, expects `ack 12`"),
    ("redis", "sends PING, expects PONG; logs in first if there is a password"),
    ("connect", "sends nothing, holds the connection open and tells when it ends"),
];

/// Schemes of a later version.
const PLANNED: [&str; 5] = ["http", "https", "mqtt", "ws", "wss"];

/// Takes a target apart.
///
/// # Errors
///
/// Says what is wrong and what is known; never repeats user or password.
pub fn target(text: &str) -> Result<Target, String> {
    if let Some((scheme, _)) = text.split_once("://") {
        if is_word(scheme) && !KNOWN.iter().any(|(known, _)| *known == scheme) {
            return Err(unknown(scheme));
        }
    }
    Target::new(text).map_err(|error| error.to_string())
}

/// What is no scheme at all is left to [`Target::new`], which says so.
fn is_word(scheme: &str) -> bool {
    !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+')
}

fn unknown(scheme: &str) -> String {
    let known = KNOWN.map(|(known, _)| known);
    let list = known.map(|known| format!("{known}://")).join(" ");
    if PLANNED.contains(&scheme) || scheme.starts_with("tls+") {
        return format!("this version has no protocol for `{scheme}://`; it knows {list}");
    }
    let hint = nearest::hint(&scheme.to_lowercase(), &known);
    format!("`{scheme}://` is no known scheme{hint}: use one of {list}")
}

/// What a beat on this target looks like.
///
/// # Errors
///
/// Settings that do not fit the scheme.
pub fn protocol(target: &Target, settings: &Settings) -> Result<Box<dyn Protocol>, String> {
    if target.scheme() != "redis" && (target.user().is_some() || target.password().is_some()) {
        return Err(format!(
            "`{}://` has no login: take user and password out of the target",
            target.scheme()
        ));
    }
    match target.scheme() {
        "tcp" => Ok(Box::new(exchange(settings)?)),
        "line" => Ok(Box::new(Line)),
        "redis" => Ok(Box::new(redis(target, settings)?)),
        "connect" => Ok(Box::new(ConnectOnly)),
        other => Err(unknown(other)),
    }
}

fn exchange(settings: &Settings) -> Result<Exchange, String> {
    let exchange = match (&settings.send, &settings.expect) {
        (Some(send), Some(expect)) => Exchange::new(send.as_slice(), expect.as_slice()),
        (None, None) => Exchange::new("heartbeat", "heartbeat_ack"),
        (Some(_), None) => {
            return Err(
                "there are bytes to send and none to expect: add `expect`, the bytes with \
                        which the reply begins"
                    .to_owned(),
            );
        }
        (None, Some(_)) => {
            return Err("there are bytes to expect and none to send: add `send`".to_owned());
        }
    };
    Ok(exchange.with_any_rest())
}

/// The password in the URL belongs to this target alone, so it goes before that of a file.
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
