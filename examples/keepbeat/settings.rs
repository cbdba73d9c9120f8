//! Settings of a target, from the command line, the environment and a file. Each is checked where
//! it is read, so that the error can point there. A stronger source wins.

use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keepbeat::protocol::FRAME_LIMIT;
use keepbeat::{Diagnose, Heartbeat, Http, Patience, Steps};

use crate::escapes;
use crate::secure::{self, Tls};
use crate::shown::typed;

/// The keys as a file has them. On the command line they have `--` and `-`, in the environment
/// `KEEPBEAT_` and capitals.
pub const KEYS: [&str; 24] = [
    "interval",
    "timeout",
    "fall",
    "rise",
    "jitter",
    "patience",
    "connect_timeout",
    "write_timeout",
    "user_timeout",
    "backoff",
    "backoff_cap",
    "send",
    "expect",
    "steps",
    "password_file",
    "method",
    "status",
    "ca",
    "certificate_days",
    "insecure",
    "diagnosis",
    "side_connections",
    "closed_port",
    "probe_payload",
];

/// What a value looks like in a file.
pub enum Kind {
    Time,
    /// A whole number.
    Count,
    Fraction,
    Switch,
    /// Text, with an example.
    Text(&'static str),
}

/// The kind of the value of a key.
pub fn kind(key: &str) -> Kind {
    match key {
        "interval" | "timeout" | "connect_timeout" | "write_timeout" | "user_timeout"
        | "backoff" | "backoff_cap" => Kind::Time,
        "fall" | "rise" | "certificate_days" => Kind::Count,
        "jitter" => Kind::Fraction,
        "patience" => Kind::Text("patience = 'rtt'"),
        "password_file" => Kind::Text("password_file = 'redis.password'"),
        "status" => Kind::Text("status = '200-399'"),
        "method" => Kind::Text("method = 'GET'"),
        "ca" => Kind::Text("ca = 'ca.pem'"),
        key if SWITCHES.contains(&key) => Kind::Switch,
        _ => Kind::Text("send = 'PING\\r\\n'"),
    }
}

/// The environment variable of a key.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase())
}

const PREFIX: &str = "KEEPBEAT_";

/// The keys that are true or false. On the command line they have no value: `--insecure`, or
/// `--no-insecure` to override a file.
pub const SWITCHES: [&str; 5] =
    ["insecure", "diagnosis", "side_connections", "closed_port", "probe_payload"];

/// Longer than any password, so that reading `/dev/zero` ends.
const LONGEST_PASSWORD: u64 = 64 * 1024;

/// A password: it has no `Debug` and no `Display`, so it cannot be printed by mistake.
#[derive(Clone, PartialEq)]
pub struct Password(String);

impl Password {
    /// The password, for the login only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// The settings of one source; `None` where it has no such setting.
#[derive(Clone, Default)]
pub struct Settings {
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub fall: Option<u32>,
    pub rise: Option<u32>,
    pub jitter: Option<f64>,
    pub patience: Option<Patience>,
    pub connect_timeout: Option<Duration>,
    pub write_timeout: Option<Duration>,
    pub user_timeout: Option<Duration>,
    pub backoff: Option<Duration>,
    pub backoff_cap: Option<Duration>,
    pub send: Option<Vec<u8>>,
    pub expect: Option<Vec<u8>>,
    pub steps: Option<Steps>,
    pub password: Option<Password>,
    pub method: Option<String>,
    pub status: Option<RangeInclusive<u16>>,
    pub ca: Option<Tls>,
    pub certificate_days: Option<u32>,
    pub insecure: Option<bool>,
    pub diagnosis: Option<bool>,
    pub side_connections: Option<bool>,
    pub closed_port: Option<bool>,
    pub probe_payload: Option<bool>,
}

impl Settings {
    /// Sets the setting `key`, one of [`KEYS`]. A relative file is looked for in `folder`.
    pub fn set(&mut self, key: &str, text: &str, folder: Option<&Path>) -> Result<(), String> {
        let file = || folder.map_or_else(|| PathBuf::from(text), |folder| folder.join(text));
        match key {
            "interval" => self.interval = Some(checked(duration(text)?, Heartbeat::every)?),
            "timeout" => {
                let value = duration(text)?;
                self.timeout = Some(checked(value, |t| Heartbeat::default().timeout(t))?);
            }
            "fall" => self.fall = Some(checked(count(text)?, |n| Heartbeat::default().fall(n))?),
            "rise" => self.rise = Some(checked(count(text)?, |n| Heartbeat::default().rise(n))?),
            "jitter" => {
                self.jitter = Some(checked(fraction(text)?, |n| Heartbeat::default().jitter(n))?);
            }
            "patience" => self.patience = Some(patience(text)?),
            "connect_timeout" => {
                let value = duration(text)?;
                let heartbeat = |t| Heartbeat::default().connect_timeout(t);
                self.connect_timeout = Some(checked(value, heartbeat)?);
            }
            "write_timeout" => {
                let value = duration(text)?;
                self.write_timeout =
                    Some(checked(value, |t| Heartbeat::default().write_timeout(t))?);
            }
            // Whether this is longer than a verdict takes is checked when all settings are known.
            "user_timeout" => self.user_timeout = Some(duration(text)?),
            "backoff" => {
                let value = duration(text)?;
                self.backoff = Some(checked(value, |t| Heartbeat::default().backoff(t, t))?);
            }
            "backoff_cap" => {
                let value = duration(text)?;
                self.backoff_cap = Some(checked(value, |t| Heartbeat::default().backoff(t, t))?);
            }
            "send" => self.send = Some(payload(text)?),
            "expect" => self.expect = Some(payload(text)?),
            "steps" => self.steps = Some(Steps::read(file()).map_err(|error| error.to_string())?),
            "password_file" => self.password = Some(password(&file())?),
            "method" => self.method = Some(method(text)?),
            "status" => self.status = Some(status(text)?),
            "ca" => self.ca = Some(secure::authorities(&file())?),
            "certificate_days" => self.certificate_days = Some(days(text)?),
            "insecure" => self.insecure = Some(switch(text)?),
            "diagnosis" => self.diagnosis = Some(switch(text)?),
            "side_connections" => self.side_connections = Some(switch(text)?),
            "closed_port" => self.closed_port = Some(switch(text)?),
            "probe_payload" => self.probe_payload = Some(switch(text)?),
            other => unreachable!("`{other}` is not one of the keys"),
        }
        Ok(())
    }

    /// The settings from `KEEPBEAT_INTERVAL` and the others, and a line for each that cannot be
    /// used.
    pub fn from_env() -> (Settings, Vec<String>) {
        let mut settings = Settings::default();
        let mut faults = Vec::new();
        for key in KEYS {
            let variable = variable(key);
            let Some(value) = std::env::var_os(&variable) else { continue };
            let result = match value.to_str() {
                Some(text) => settings.set(key, text, None),
                None => Err("it is not UTF-8".to_owned()),
            };
            faults.extend(result.err().map(|fault| format!("{variable}: {fault}")));
        }
        (settings, faults)
    }

    /// These settings, and those of `weaker` where these have none.
    pub fn or(self, weaker: &Settings) -> Settings {
        Settings {
            interval: self.interval.or(weaker.interval),
            timeout: self.timeout.or(weaker.timeout),
            fall: self.fall.or(weaker.fall),
            rise: self.rise.or(weaker.rise),
            jitter: self.jitter.or(weaker.jitter),
            patience: self.patience.or(weaker.patience),
            connect_timeout: self.connect_timeout.or(weaker.connect_timeout),
            write_timeout: self.write_timeout.or(weaker.write_timeout),
            user_timeout: self.user_timeout.or(weaker.user_timeout),
            backoff: self.backoff.or(weaker.backoff),
            backoff_cap: self.backoff_cap.or(weaker.backoff_cap),
            send: self.send.or_else(|| weaker.send.clone()),
            expect: self.expect.or_else(|| weaker.expect.clone()),
            steps: self.steps.or_else(|| weaker.steps.clone()),
            password: self.password.or_else(|| weaker.password.clone()),
            method: self.method.or_else(|| weaker.method.clone()),
            status: self.status.or_else(|| weaker.status.clone()),
            ca: self.ca.or_else(|| weaker.ca.clone()),
            certificate_days: self.certificate_days.or(weaker.certificate_days),
            insecure: self.insecure.or(weaker.insecure),
            diagnosis: self.diagnosis.or(weaker.diagnosis),
            side_connections: self.side_connections.or(weaker.side_connections),
            closed_port: self.closed_port.or(weaker.closed_port),
            probe_payload: self.probe_payload.or(weaker.probe_payload),
        }
    }

    /// The heartbeat in words. `once`: a single beat.
    pub fn words(&self, once: bool) -> String {
        let interval = self.interval.unwrap_or(INTERVAL);
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        if once {
            let connect = self.connect_timeout();
            return format!("one beat, {connect:?} to connect, {timeout:?} for its ack");
        }
        let fall = self.fall.unwrap_or(FALL);
        let misses = if fall == 1 { "miss" } else { "misses" };
        format!("a beat every {interval:?}, {timeout:?} for its ack, down after {fall} {misses}")
    }

    /// Twice the ack timeout: who waits two seconds for an ack does not want to wait ten for a
    /// connection. At least 3 s, because a lost SYN is sent again after one.
    fn connect_timeout(&self) -> Duration {
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        let usual = (2 * timeout).clamp(Duration::from_secs(3), Duration::from_secs(10));
        self.connect_timeout.unwrap_or(usual)
    }

    /// The heartbeat with these settings, and the library's defaults for the rest.
    pub fn heartbeat(&self) -> Heartbeat {
        let mut heartbeat = Heartbeat::every(self.interval.unwrap_or(INTERVAL))
            .timeout(self.timeout.unwrap_or(TIMEOUT))
            .fall(self.fall.unwrap_or(FALL))
            .connect_timeout(self.connect_timeout())
            .backoff(self.backoff.unwrap_or(BACKOFF), self.backoff_cap.unwrap_or(BACKOFF_CAP))
            .diagnose(self.diagnose());
        if let Some(rise) = self.rise {
            heartbeat = heartbeat.rise(rise);
        }
        if let Some(jitter) = self.jitter {
            heartbeat = heartbeat.jitter(jitter);
        }
        if let Some(patience) = self.patience {
            heartbeat = heartbeat.patience(patience);
        }
        if let Some(timeout) = self.write_timeout {
            heartbeat = heartbeat.write_timeout(timeout);
        }
        if let Some(timeout) = self.user_timeout {
            heartbeat = heartbeat.user_timeout(timeout);
        }
        heartbeat
    }

    /// How far a diagnosis may go. Default: side connections.
    fn diagnose(&self) -> Diagnose {
        let diagnose = match (self.diagnosis, self.side_connections) {
            (Some(false), _) => Diagnose::off(),
            (_, Some(false)) => Diagnose::kernel(),
            _ => Diagnose::side_connections(),
        };
        if self.closed_port == Some(true) { diagnose.closed_port() } else { diagnose }
    }

    /// A setting that another one of the same source makes useless, and what to do.
    pub fn contradiction(&self) -> Option<(&'static str, String)> {
        let set = |switch: Option<bool>| switch == Some(true);
        let asked = [
            ("closed_port", set(self.closed_port)),
            ("probe_payload", set(self.probe_payload)),
            ("side_connections", set(self.side_connections)),
        ];
        let off = match (self.diagnosis, self.side_connections) {
            (Some(false), _) => "there is no diagnosis",
            (_, Some(false)) => "there are no side connections",
            _ => return None,
        };
        let (key, _) = asked.into_iter().find(|(_, asked)| *asked)?;
        Some((key, format!("useless, because {off}: leave one of the two out")))
    }
}

/// The library's defaults, which the help repeats.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(5);
const FALL: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(500);
const BACKOFF_CAP: Duration = Duration::from_secs(60);

/// The value, if a heartbeat with it and defaults for the rest can work.
fn checked<T: Copy>(value: T, heartbeat: impl Fn(T) -> Heartbeat) -> Result<T, String> {
    heartbeat(value).check().map_err(|error| error.to_string())?;
    Ok(value)
}

/// A duration with its unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(format!("`{text}` has no unit: write `{text}s`, or `{text}ms`"));
    }
    humantime::parse_duration(text).map_err(|_| {
        let text = typed(text);
        format!("`{text}` is not a duration: write a number and a unit, as in 1500ms, 15s or 2m")
    })
}

fn count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{}` is not a count: use 1 to 100", typed(text)))
}

/// `0.05`, or `5%`.
fn fraction(text: &str) -> Result<f64, String> {
    let (number, whole) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim(), 100.0),
        None => (text, 1.0),
    };
    let number: Option<f64> = number.parse().ok();
    number.map(|number| number / whole).ok_or_else(|| {
        format!("`{}` is not a part of an interval: use 0 to 0.5, as in 0.05 or 5%", typed(text))
    })
}

fn patience(text: &str) -> Result<Patience, String> {
    match text {
        "fixed" => Ok(Patience::Fixed),
        "rtt" => Ok(Patience::FromRtt),
        other => Err(format!("`{}` is not a patience: use fixed or rtt", typed(other))),
    }
}

fn days(text: &str) -> Result<u32, String> {
    let days = text.parse().ok().filter(|days| *days <= MOST_DAYS);
    days.ok_or_else(|| {
        format!("`{}` is not a number of days: use 0 to {MOST_DAYS}, 0 for never", typed(text))
    })
}

/// No certificate is valid for longer.
const MOST_DAYS: u32 = 36_500;

fn method(text: &str) -> Result<String, String> {
    let checked = Http::new("host").and_then(|http| http.method(text));
    checked.map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// `204`, or a range with its ends: `200-399`.
fn status(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let digits = |text: &str| text.trim().parse().ok().filter(|code| (100..=999).contains(code));
    match (digits(first), digits(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => {
            Err(format!("`{}` is not a status: use 100 to 999, as in 204 or 200-399", typed(text)))
        }
    }
}

fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("`{}` is neither true nor false", typed(text)))
}

fn payload(text: &str) -> Result<Vec<u8>, String> {
    let bytes = escapes::bytes(text)?;
    match bytes.len() {
        0 => {
            Err("there are no bytes: to send nothing, write the target as connect://host:port"
                .into())
        }
        len if len > FRAME_LIMIT => Err(format!("{len} bytes are too many: {FRAME_LIMIT} at most")),
        _ => Ok(bytes),
    }
}

/// The content of the file, without the line end that editors add.
fn password(file: &Path) -> Result<Password, String> {
    let shown = crate::shown::file(file);
    let cannot = |error: io::Error| format!("cannot read the password file `{shown}`: {error}");
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| {
        file.take(LONGEST_PASSWORD + 1).read_to_end(&mut bytes)?;
        Ok(())
    });
    read.map_err(cannot)?;
    if bytes.len() as u64 > LONGEST_PASSWORD {
        return Err(format!(
            "the password file `{shown}` is longer than 64 KiB: is it another one?"
        ));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| format!("the password file `{shown}` is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(format!("the password file `{shown}` is empty: write the password into it"));
    }
    Ok(Password(text.to_owned()))
}
