//! Settings of a target, wherever they were written: on the command line, in the environment, in a
//! file. Each is checked where it is read, so that the error can point there; a stronger source
//! wins.

use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keepbeat::protocol::FRAME_LIMIT;
use keepbeat::{Diagnose, Heartbeat, Http, Steps};

use crate::escapes;
use crate::secure::{self, Tls};

/// The keys, as they stand in a file; with `--` and `-` on the command line, `KEEPBEAT_` and
/// capitals in the environment.
pub const KEYS: [&str; 16] = [
    "interval",
    "timeout",
    "fall",
    "rise",
    "send",
    "expect",
    "steps",
    "password_file",
    "method",
    "status",
    "ca",
    "insecure",
    "diagnosis",
    "side_connections",
    "closed_port",
    "probe_payload",
];

/// Those that are true or false. On the command line they have no value: `--insecure`, or
/// `--no-insecure` to go before a file.
pub const SWITCHES: [&str; 5] =
    ["insecure", "diagnosis", "side_connections", "closed_port", "probe_payload"];

/// More than any password, so that `/dev/zero` in its place ends.
const LONGEST_PASSWORD: u64 = 64 * 1024;

/// A password: it has no `Debug` and no `Display`, so it cannot be printed by mistake.
#[derive(Clone, PartialEq)]
pub struct Password(String);

impl Password {
    /// For the login and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// What one source says; `None` where it says nothing.
#[derive(Clone, Default)]
pub struct Settings {
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub fall: Option<u32>,
    pub rise: Option<u32>,
    pub send: Option<Vec<u8>>,
    pub expect: Option<Vec<u8>>,
    pub steps: Option<Steps>,
    pub password: Option<Password>,
    pub method: Option<String>,
    pub status: Option<RangeInclusive<u16>>,
    pub ca: Option<Tls>,
    pub insecure: Option<bool>,
    pub diagnosis: Option<bool>,
    pub side_connections: Option<bool>,
    pub closed_port: Option<bool>,
    pub probe_payload: Option<bool>,
}

impl Settings {
    /// Takes the setting called `key`, one of [`KEYS`]. A relative file is looked for in `folder`.
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
            "send" => self.send = Some(payload(text)?),
            "expect" => self.expect = Some(payload(text)?),
            "steps" => self.steps = Some(Steps::read(file()).map_err(|error| error.to_string())?),
            "password_file" => self.password = Some(password(&file())?),
            "method" => self.method = Some(method(text)?),
            "status" => self.status = Some(status(text)?),
            "ca" => self.ca = Some(secure::authorities(&file())?),
            "insecure" => self.insecure = Some(switch(text)?),
            "diagnosis" => self.diagnosis = Some(switch(text)?),
            "side_connections" => self.side_connections = Some(switch(text)?),
            "closed_port" => self.closed_port = Some(switch(text)?),
            "probe_payload" => self.probe_payload = Some(switch(text)?),
            other => unreachable!("`{other}` is none of the keys"),
        }
        Ok(())
    }

    /// What `KEEPBEAT_INTERVAL` and the others say.
    ///
    /// # Errors
    ///
    /// One line for each variable that cannot be used.
    pub fn from_env() -> Result<Settings, Vec<String>> {
        let mut settings = Settings::default();
        let mut faults = Vec::new();
        for key in KEYS {
            let variable = format!("KEEPBEAT_{}", key.to_uppercase());
            let Some(value) = std::env::var_os(&variable) else { continue };
            let result = match value.to_str() {
                Some(text) => settings.set(key, text, None),
                None => Err("it is not UTF-8".to_owned()),
            };
            faults.extend(result.err().map(|fault| format!("{variable}: {fault}")));
        }
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }

    /// These, and `weaker` ones where these say nothing.
    pub fn or(self, weaker: &Settings) -> Settings {
        Settings {
            interval: self.interval.or(weaker.interval),
            timeout: self.timeout.or(weaker.timeout),
            fall: self.fall.or(weaker.fall),
            rise: self.rise.or(weaker.rise),
            send: self.send.or_else(|| weaker.send.clone()),
            expect: self.expect.or_else(|| weaker.expect.clone()),
            steps: self.steps.or_else(|| weaker.steps.clone()),
            password: self.password.or_else(|| weaker.password.clone()),
            method: self.method.or_else(|| weaker.method.clone()),
            status: self.status.or_else(|| weaker.status.clone()),
            ca: self.ca.or_else(|| weaker.ca.clone()),
            insecure: self.insecure.or(weaker.insecure),
            diagnosis: self.diagnosis.or(weaker.diagnosis),
            side_connections: self.side_connections.or(weaker.side_connections),
            closed_port: self.closed_port.or(weaker.closed_port),
            probe_payload: self.probe_payload.or(weaker.probe_payload),
        }
    }

    /// The heartbeat in words, where something was said about it.
    pub fn words(&self) -> String {
        let interval = self.interval.unwrap_or(Duration::from_secs(30));
        let timeout = self.timeout.unwrap_or(Duration::from_secs(5));
        let fall = self.fall.unwrap_or(3);
        let misses = if fall == 1 { "miss" } else { "misses" };
        format!("a beat every {interval:?}, {timeout:?} for its ack, down after {fall} {misses}")
    }

    /// The heartbeat that these make; the library's own defaults where they say nothing.
    pub fn heartbeat(&self) -> Heartbeat {
        let mut heartbeat = self.interval.map_or_else(Heartbeat::default, Heartbeat::every);
        if let Some(timeout) = self.timeout {
            heartbeat = heartbeat.timeout(timeout);
        }
        if let Some(fall) = self.fall {
            heartbeat = heartbeat.fall(fall);
        }
        if let Some(rise) = self.rise {
            heartbeat = heartbeat.rise(rise);
        }
        heartbeat.diagnose(self.diagnose())
    }

    /// How far a diagnosis may go: to side connections, unless these say otherwise.
    fn diagnose(&self) -> Diagnose {
        let diagnose = match (self.diagnosis, self.side_connections) {
            (Some(false), _) => Diagnose::off(),
            (_, Some(false)) => Diagnose::kernel(),
            _ => Diagnose::side_connections(),
        };
        if self.closed_port == Some(true) { diagnose.closed_port() } else { diagnose }
    }

    /// A setting that another one of the same source has made useless, and what to do.
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

/// The value, if a heartbeat with it and defaults otherwise can work.
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
        format!("`{text}` is no duration: write a number and a unit, as in 1500ms, 15s or 2m")
    })
}

fn count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no count: use 1 to 100"))
}

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
        _ => Err(format!("`{text}` is no status: use 100 to 999, as in 204 or 200-399")),
    }
}

fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("`{text}` is neither true nor false"))
}

fn payload(text: &str) -> Result<Vec<u8>, String> {
    let bytes = escapes::bytes(text)?;
    match bytes.len() {
        0 => {
            Err("no bytes at all: to send nothing, write the target as connect://host:port".into())
        }
        len if len > FRAME_LIMIT => Err(format!("{len} bytes are too many: {FRAME_LIMIT} at most")),
        _ => Ok(bytes),
    }
}

/// The content of the file, without the line end that editors add.
fn password(file: &Path) -> Result<Password, String> {
    let shown = file.display();
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
