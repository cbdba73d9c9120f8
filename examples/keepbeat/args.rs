//! The command line: what was asked for. What it means together with the environment and a file is
//! worked out in `plan`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};
use log::LevelFilter;

use crate::settings::{self, Settings};
use crate::{config, nearest, schemes};

/// What the program is to do.
pub enum Ask {
    Help,
    Version,
    PrintConfig,
    /// What a recording says, or what a cause means.
    Explain(OsString),
    Run(Box<Args>),
}

/// The flags of a run.
#[derive(Default)]
pub struct Args {
    /// As they were typed: a name, if one was given, and the target.
    pub targets: Vec<(Option<String>, String)>,
    pub config: Option<PathBuf>,
    pub check_config: bool,
    pub settings: Settings,
    /// Settings given as flags, by their keys.
    pub given: Vec<&'static str>,
    pub rounds: Option<u64>,
    pub duration: Option<Duration>,
    pub json: bool,
    /// Where diagnoses are recorded.
    pub record: Option<PathBuf>,
    /// The demo behind a firewall, and which part of it this process plays.
    pub firewall: Option<Part>,
    pub log_level: Option<LevelFilter>,
    pub color: Color,
}

/// A part of the demo behind a firewall.
#[derive(Clone, Copy, PartialEq)]
pub enum Part {
    /// Makes the network and starts the others in it.
    Network,
    /// Beats, and tells.
    Client,
    /// Answers.
    Server,
}

#[derive(Clone, Copy, Default, PartialEq)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

const FLAGS: [&str; 30] = [
    "--config",
    "--check-config",
    "--print-config",
    "--interval",
    "--timeout",
    "--fall",
    "--rise",
    "--send",
    "--expect",
    "--steps",
    "--password-file",
    "--method",
    "--status",
    "--ca",
    "--insecure",
    "--no-diagnosis",
    "--no-side-connections",
    "--side-connections",
    "--diagnosis",
    "--closed-port",
    "--probe-payload",
    "--record",
    "--once",
    "--count",
    "--for",
    "--json",
    "--log-level",
    "--color",
    "--version",
    "--help",
];

/// Takes the command line apart.
///
/// # Errors
///
/// One line: what is wrong, and the remedy.
pub fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Ask, String> {
    let mut parser = Parser::from_iter(line);
    let mut args = Args::default();
    let mut ask = None;
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => ask = Some(Ask::Help),
            Arg::Short('V') | Arg::Long("version") => ask = Some(Ask::Version),
            Arg::Long("print-config") => ask = ask.or(Some(Ask::PrintConfig)),
            Arg::Short(letter) => {
                return Err(format!("unknown flag `-{letter}`; --help has a list"));
            }
            Arg::Long(flag) => {
                let flag = flag.to_owned();
                args.flag(&flag, &mut parser)?;
            }
            Arg::Value(word) if args.is_subject(&word, "explain") => return explain(parser),
            Arg::Value(word) if args.is_subject(&word, FIREWALL) => {
                args.firewall = Some(Part::Network);
            }
            Arg::Value(value) if args.firewall.is_some() => args.firewall = Some(part(&value)?),
            Arg::Value(value) => args.targets.push(target(value)?),
        }
    }
    args.check()?;
    if args.check_config && args.config.is_none() && ask.is_none() {
        return Err("--check-config needs the file: add --config FILE".to_owned());
    }
    Ok(ask.unwrap_or_else(|| Ask::Run(Box::new(args))))
}

/// The word for the demo behind a firewall.
pub const FIREWALL: &str = "demo-firewall";

/// The words for its parts, which it gives to itself.
pub const CLIENT: &str = "client";
pub const SERVER: &str = "server";

fn part(word: &OsString) -> Result<Part, String> {
    match word.to_str() {
        Some(CLIENT) => Ok(Part::Client),
        Some(SERVER) => Ok(Part::Server),
        _ => Err(format!("{FIREWALL} brings its own target: leave the other one out")),
    }
}

fn explain(mut parser: Parser) -> Result<Ask, String> {
    let mut what = None;
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Ask::Help),
            Arg::Value(value) if what.is_none() => what = Some(value),
            _ => return Err("explain takes one file or one cause, and nothing else".to_owned()),
        }
    }
    what.map(Ask::Explain).ok_or_else(|| {
        "explain needs a file of --record or --json (- is standard input), or a cause as in \
         `keepbeat explain peer-silent`"
            .to_owned()
    })
}

impl Args {
    /// Whether this is the first word, and tells what to do.
    fn is_subject(&self, word: &OsString, subject: &str) -> bool {
        self.targets.is_empty() && self.firewall.is_none() && word == subject
    }

    /// Flags that contradict each other.
    fn check(&self) -> Result<(), String> {
        if let Some((key, fault)) = self.settings.contradiction() {
            return Err(at(&key.replace('_', "-"), &fault));
        }
        if self.record.is_some() && self.settings.diagnosis == Some(false) {
            return Err("--record: without a diagnosis there is nothing to record: leave it, or \
                        --no-diagnosis, out"
                .to_owned());
        }
        Ok(())
    }

    fn flag(&mut self, flag: &str, parser: &mut Parser) -> Result<(), String> {
        let key = settings::KEYS.into_iter().find(|key| key.replace('_', "-") == flag);
        if let Some(key) = key {
            let is_switch = settings::SWITCHES.contains(&key);
            let text = if is_switch { "true".to_owned() } else { value(flag, parser)? };
            self.given.push(key);
            return self.settings.set(key, &text, None).map_err(|fault| at(flag, &fault));
        }
        let mut switches = settings::SWITCHES.into_iter();
        if let Some(key) = switches.find(|key| flag == format!("no-{}", key.replace('_', "-"))) {
            return self.settings.set(key, "false", None).map_err(|fault| at(flag, &fault));
        }
        match flag {
            "config" => {
                let file = parser.value().map_err(|_| at(flag, "the file is missing"))?;
                self.config = Some(PathBuf::from(file));
            }
            "check-config" => self.check_config = true,
            "json" => self.json = true,
            "once" => self.set_rounds(1)?,
            "count" => self.set_rounds(count(&value(flag, parser)?)?)?,
            "for" => {
                let text = value(flag, parser)?;
                self.duration = Some(duration(&text).map_err(|fault| at(flag, &fault))?);
            }
            "record" => {
                let file = parser.value().map_err(|_| at(flag, "the file is missing"))?;
                self.record = Some(PathBuf::from(file));
            }
            "log-level" => self.log_level = Some(level(&value(flag, parser)?)?),
            "color" => self.color = color(&value(flag, parser)?)?,
            "listen" => return Err("this version has no --listen".to_owned()),
            unknown => {
                let hint = nearest::hint(&format!("--{unknown}"), &FLAGS);
                return Err(format!("unknown flag `--{unknown}`{hint}; --help has a list"));
            }
        }
        Ok(())
    }

    fn set_rounds(&mut self, rounds: u64) -> Result<(), String> {
        match self.rounds.replace(rounds) {
            None => Ok(()),
            Some(_) => Err("--once and --count say how many rounds: give one of them".to_owned()),
        }
    }
}

fn at(flag: &str, fault: &str) -> String {
    format!("--{flag}: {fault}")
}

fn value(flag: &str, parser: &mut Parser) -> Result<String, String> {
    let value = parser.value().map_err(|_| at(flag, "its value is missing"))?;
    value.string().map_err(|_| at(flag, "its value is not UTF-8"))
}

/// `NAME=TARGET`, where a name has none of the characters that only a target has: the `=` of
/// `redis://:pass=word@host` belongs to the password.
fn target(value: OsString) -> Result<(Option<String>, String), String> {
    let text = value.string().map_err(|_| "a target is not UTF-8".to_owned())?;
    match text.split_once('=') {
        Some((name, rest)) if !name.contains([':', '/', '@', '[']) => {
            match config::name_fault(name) {
                None => Ok((Some(name.to_owned()), rest.to_owned())),
                Some(fault) => Err(fault),
            }
        }
        _ => Ok((None, text)),
    }
}

fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(rounds) if rounds > 0 => Ok(rounds),
        _ => Err(format!("--count: `{text}` is no number of rounds: use 1 or more")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match settings::duration(text)? {
        Duration::ZERO => Err("no time at all: use 1ms or more".to_owned()),
        time => Ok(time),
    }
}

fn level(text: &str) -> Result<LevelFilter, String> {
    let known = "use off, error, warn, info, debug or trace";
    text.parse().map_err(|_| format!("--log-level: `{text}` is no level: {known}"))
}

fn color(text: &str) -> Result<Color, String> {
    match text {
        "auto" => Ok(Color::Auto),
        "always" => Ok(Color::Always),
        "never" => Ok(Color::Never),
        other => Err(format!("--color: `{other}` is not known: use auto, always or never")),
    }
}

/// The answer to `--help`.
pub fn help() -> String {
    let schemes: String = schemes::KNOWN
        .iter()
        .map(|(scheme, beat)| format!("  {:<12}{beat}\n", format!("{scheme}://")))
        .collect();
    let under_tls = schemes::UNDER_TLS.map(|scheme| format!("{scheme}://")).join(" ");
    format!("{HEAD}\nTARGET is host:port, or a URL:\n{schemes}  {under_tls}\n\n{TAIL}")
}

const HEAD: &str = "\
Holds a connection open to each target, beats on it, and says when, and why, it has died.

usage: keepbeat [FLAGS] [NAME=]TARGET...
       keepbeat --config FILE [FLAGS] [[NAME=]TARGET...]
       keepbeat                    the demo: a peer of its own goes through every fault
       keepbeat demo-firewall      the demo behind a firewall that forgets idle connections
       keepbeat explain FILE       what a file of --record or --json says (- is standard input)
       keepbeat explain CAUSE      what a cause means, how to confirm it, what to change
";

const TAIL: &str = "\
The heartbeat:
  --interval 30s           from one beat to the next
  --timeout 5s             the longest wait for the ack of one beat
  --fall 3                 misses in a row until a target is down
  --rise 1                 acks in a row until it is up
                           A connect may take 10s; attempts back off from 0.5s to 60s.
  --send BYTES             tcp: what a beat is; \\r \\n \\t \\0 \\\\ \\xNN are escapes
  --expect BYTES           tcp: the bytes with which the reply begins; without --send those with
                           which the peer greets, and nothing is sent
  --steps FILE             tcp: what to send and expect, in order, on each new connection and for
                           each beat; lines `send BYTES`, `expect BYTES`, `until BYTES`, `beat`
  --expect TEXT            http: a part that the body must have; the request is a GET then
  --method HEAD            http: the method
  --status 200-399         http: the statuses to expect, or a single one
  --password-file FILE     redis, http: the password of the user in the URL, or of redis without
                           a user. A password in the URL (redis://USER:PASSWORD@host) is seen by
                           whoever can list processes.
  --ca FILE                TLS: the authorities to trust in place of the public ones, in PEM
  --insecure               TLS: accept any certificate; whoever is on the path can then read and
                           change what is sent

The diagnosis, by the kernel's evidence and by side connections to a target that is silent:
  --no-side-connections    no other connection than the one that is watched
  --closed-port            try a port nobody listens on, too: tells a filtered port from a dead
                           host, and looks like a scan
  --probe-payload          tcp with --send: other bytes than these may be sent on side connections
  --no-diagnosis           the certain words alone
  --record FILE            append the last beats and all evidence of each diagnosis, for `explain`

How long:
  --once                   the first ack or the first failure of each target
  --count N                N rounds per target: beats acked or missed, attempts that failed
  --for 30s                this long

What is told:
  --json                   one JSON object a line for each event, instead of lines to read
  --log-level LEVEL        off, error, warn, info, debug or trace, on stderr; RUST_LOG says more
  --color auto             auto, always or never; NO_COLOR and CLICOLOR_FORCE are heeded

A file:
  --config FILE            targets and settings from a file, in TOML
  --check-config           say whether the file is right, and start nothing
  --print-config           a file to begin with

  -h, --help               this text
  -V, --version            the version

A flag goes before its variable (KEEPBEAT_INTERVAL and so on), that before the file, that before the
default. Durations have a unit: 1500ms, 15s, 2m. What is true or false has a flag for both:
--closed-port, --no-closed-port; in the file and the environment closed_port = true or false.

Exit code: 0 if every target was up or suspect at the end, also after a signal; 1 if one was not;
2 if nothing was started: the command line or the file is wrong.
";
