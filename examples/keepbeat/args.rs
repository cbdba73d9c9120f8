//! The command line. `plan` combines it with the environment and a file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};
use log::LevelFilter;

use crate::settings::{self, Settings};
use crate::shown::typed;
use crate::{commands, config, nearest, record};

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
    /// The targets as they were typed, each with a name if one was given.
    pub targets: Vec<(Option<String>, String)>,
    pub config: Option<PathBuf>,
    pub check_config: bool,
    pub settings: Settings,
    /// Settings given as flags, by their keys.
    pub given: Vec<&'static str>,
    /// All flags that were given, as they were typed.
    flags: Vec<String>,
    pub once: bool,
    pub rounds: Option<u64>,
    pub duration: Option<Duration>,
    pub json: bool,
    pub verbosity: Verbosity,
    /// A sign of life after this long without a line; zero means never.
    pub alive: Option<Duration>,
    /// The file of the recording, and how long it may become.
    pub record: Option<PathBuf>,
    record_limit: Option<u64>,
    pub demo: Option<Demo>,
    pub log_level: Option<LevelFilter>,
    pub color: Color,
}

/// How much of what happens is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Verbosity {
    Quiet,
    #[default]
    Normal,
    Verbose,
}

/// A demo, and the part of it that this process plays.
#[derive(Clone, Copy, PartialEq)]
pub enum Demo {
    /// On loopback.
    Faults,
    /// Makes a network with a firewall, and starts client and server in it.
    Network,
    /// Sends beats, and shows what happens.
    Client,
    /// Answers the beats.
    Server,
}

#[derive(Clone, Copy, Default, PartialEq)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    /// Whether colours are on, if the user said so.
    pub fn wanted(self) -> Option<bool> {
        match self {
            Color::Auto => None,
            Color::Always => Some(true),
            Color::Never => Some(false),
        }
    }
}

/// Flags that are not settings of a target, and whether a demo accepts them.
const FLAGS: [(&str, bool); 18] = [
    ("--config", false),
    ("--check-config", false),
    ("--print-config", false),
    ("--record", true),
    ("--record-limit", true),
    ("--once", false),
    ("--count", false),
    ("--for", false),
    ("--json", true),
    ("--quiet", true),
    ("--verbose", true),
    ("--alive", true),
    ("--log-level", true),
    ("--color", true),
    ("--version", false),
    ("--help", false),
    ("-q", true),
    ("-v", true),
];

/// Parses the command line. The first word is the program.
///
/// # Errors
///
/// One line: what is wrong, and the remedy.
pub fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Ask, String> {
    let line: Vec<OsString> = line.into_iter().collect();
    let bare = line.len() <= 1;
    let mut parser = Parser::from_iter(line);
    let mut args = Args::default();
    let mut ask = None;
    while let Some(arg) = next(&mut parser)? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => ask = Some(Ask::Help),
            Arg::Short('V') | Arg::Long("version") => ask = Some(Ask::Version),
            Arg::Long("print-config") => ask = ask.or(Some(Ask::PrintConfig)),
            Arg::Short(letter) => args.letter(letter)?,
            Arg::Long(flag) => {
                let flag = flag.to_owned();
                args.flag(&flag, &mut parser)?;
            }
            Arg::Value(word) => match args.command(&word) {
                Some(commands::EXPLAIN) => return explain(parser),
                Some(commands::HELP) => ask = Some(Ask::Help),
                Some(commands::VERSION) => ask = Some(Ask::Version),
                Some(commands::FIREWALL) => args.demo = Some(Demo::Network),
                Some(_) => args.demo = Some(Demo::Faults),
                None if args.demo.is_some() => args.demo = Some(args.part(&word)?),
                None => args.targets.push(target(word)?),
            },
        }
    }
    if let Some(ask) = ask {
        return Ok(ask);
    }
    if bare {
        args.demo = Some(Demo::Faults);
    }
    args.check()?;
    Ok(Ask::Run(Box::new(args)))
}

fn next(parser: &mut Parser) -> Result<Option<Arg<'_>>, String> {
    parser.next().map_err(|error| match error {
        lexopt::Error::UnexpectedValue { option, value } => {
            let value = typed(&value.to_string_lossy());
            format!("{} takes no value: leave `={value}` out", typed(&option))
        }
        other => typed(&other.to_string()),
    })
}

fn explain(mut parser: Parser) -> Result<Ask, String> {
    let mut what = None;
    while let Some(arg) = next(&mut parser)? {
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
    /// The size limit of a recording.
    pub fn record_limit(&self) -> u64 {
        self.record_limit.unwrap_or(record::LIMIT)
    }

    /// The command that a word names, if it is the first word.
    fn command(&self, word: &OsString) -> Option<&'static str> {
        let is_first = self.targets.is_empty() && self.demo.is_none();
        word.to_str().filter(|_| is_first).and_then(commands::of)
    }

    /// The part of `demo-firewall` that the demo gives to its own processes.
    fn part(&self, word: &OsString) -> Result<Demo, String> {
        match (self.demo, word.to_str()) {
            (Some(Demo::Network), Some(commands::CLIENT)) => Ok(Demo::Client),
            (Some(Demo::Network), Some(commands::SERVER)) => Ok(Demo::Server),
            _ => Err("a demo has its own target: leave the other one out".to_owned()),
        }
    }

    /// Refuses flags that contradict each other or have no effect.
    fn check(&self) -> Result<(), String> {
        if let Some((key, fault)) = self.settings.contradiction() {
            return Err(at(&key.replace('_', "-"), &fault));
        }
        if self.record.is_some() && self.settings.diagnosis == Some(false) {
            return Err("--record: with --no-diagnosis there is nothing to record: leave one of \
                        them out"
                .to_owned());
        }
        if self.record_limit.is_some() && self.record.is_none() {
            return Err("--record-limit needs the file: add --record FILE".to_owned());
        }
        if self.check_config && self.config.is_none() {
            return Err("--check-config needs the file: add --config FILE".to_owned());
        }
        if self.demo.is_some() {
            let useless = self.flags.iter().find(|flag| !FLAGS.contains(&(flag.as_str(), true)));
            return match useless {
                Some(flag) => Err(format!(
                    "{flag} does not apply to a demo, which has its own settings: leave it out"
                )),
                None => Ok(()),
            };
        }
        if self.targets.is_empty() && self.config.is_none() {
            return Err("no target was given: write `keepbeat [FLAGS] HOST:PORT`. If the target \
                        came from a shell variable, that variable is not set. `keepbeat demo` runs \
                        the demo"
                .to_owned());
        }
        Ok(())
    }

    fn letter(&mut self, letter: char) -> Result<(), String> {
        match letter {
            'q' => self.set_verbosity(Verbosity::Quiet),
            'v' => self.set_verbosity(Verbosity::Verbose),
            other => {
                Err(format!("unknown flag `-{}`; --help has a list", typed(&other.to_string())))
            }
        }?;
        self.flags.push(format!("-{letter}"));
        Ok(())
    }

    fn flag(&mut self, flag: &str, parser: &mut Parser) -> Result<(), String> {
        let key = settings::KEYS.into_iter().find(|key| key.replace('_', "-") == flag);
        self.flags.push(format!("--{flag}"));
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
            "config" => self.config = Some(file(flag, parser)?),
            "check-config" => self.check_config = true,
            "json" => self.json = true,
            "quiet" => self.set_verbosity(Verbosity::Quiet)?,
            "verbose" => self.set_verbosity(Verbosity::Verbose)?,
            "once" => {
                self.once = true;
                self.set_rounds(1)?;
            }
            "count" => self.set_rounds(count(&value(flag, parser)?)?)?,
            "for" => {
                let text = value(flag, parser)?;
                self.duration = Some(duration(&text).map_err(|fault| at(flag, &fault))?);
            }
            "alive" => {
                let text = value(flag, parser)?;
                let pause = settings::duration(&text).map_err(|fault| at(flag, &fault))?;
                self.alive = Some(pause);
            }
            "record" => self.record = Some(file(flag, parser)?),
            "record-limit" => {
                let text = value(flag, parser)?;
                self.record_limit = Some(size(&text).map_err(|fault| at(flag, &fault))?);
            }
            "log-level" => self.log_level = Some(level(&value(flag, parser)?)?),
            "color" => self.color = color(&value(flag, parser)?)?,
            "listen" => return Err("this version has no --listen".to_owned()),
            unknown => return Err(unknown_flag(unknown)),
        }
        Ok(())
    }

    fn set_rounds(&mut self, rounds: u64) -> Result<(), String> {
        match self.rounds.replace(rounds) {
            None => Ok(()),
            Some(_) => Err("--once and --count say how many rounds: give one of them".to_owned()),
        }
    }

    fn set_verbosity(&mut self, verbosity: Verbosity) -> Result<(), String> {
        match std::mem::replace(&mut self.verbosity, verbosity) {
            before if before == verbosity || before == Verbosity::Normal => Ok(()),
            _ => Err("-q tells less and -v more: give one of them".to_owned()),
        }
    }
}

fn unknown_flag(flag: &str) -> String {
    let own = settings::KEYS.into_iter().map(|key| format!("--{}", key.replace('_', "-")));
    let off = settings::SWITCHES.into_iter().map(|key| format!("--no-{}", key.replace('_', "-")));
    let settings: Vec<String> = own.chain(off).collect();
    let plain = FLAGS.into_iter().map(|(flag, _)| flag);
    let known: Vec<&str> = plain.chain(settings.iter().map(String::as_str)).collect();
    let typed = typed(&format!("--{flag}"));
    format!("unknown flag `{typed}`{}; --help has a list", nearest::hint(&typed, &known))
}

fn at(flag: &str, fault: &str) -> String {
    format!("--{flag}: {fault}")
}

fn value(flag: &str, parser: &mut Parser) -> Result<String, String> {
    let value = parser.value().map_err(|_| at(flag, "its value is missing"))?;
    value.string().map_err(|_| at(flag, "its value is not UTF-8"))
}

fn file(flag: &str, parser: &mut Parser) -> Result<PathBuf, String> {
    let file = parser.value().map_err(|_| at(flag, "the file is missing"))?;
    match file.is_empty() {
        true => Err(at(flag, "the name of the file is empty")),
        false => Ok(PathBuf::from(file)),
    }
}

/// `NAME=TARGET`. A name has none of the characters that only a target has, because the `=` of
/// `redis://:pass=word@host` belongs to the password.
fn target(value: OsString) -> Result<(Option<String>, String), String> {
    let text = value.string().map_err(|_| "a target is not UTF-8".to_owned())?;
    if let Some(fault) = commands::fault(&text) {
        return Err(fault);
    }
    match text.split_once('=') {
        Some((name, rest)) if !name.contains([':', '/', '@', '[']) => {
            if let Some(fault) = config::name_fault(name) {
                return Err(fault);
            }
            if rest.trim().is_empty() {
                return Err(format!(
                    "`{}` has a name and no target: write NAME=HOST:PORT",
                    typed(&text)
                ));
            }
            Ok((Some(name.to_owned()), rest.to_owned()))
        }
        _ => Ok((None, text)),
    }
}

fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(rounds) if rounds > 0 => Ok(rounds),
        _ => Err(format!("--count: `{}` is not a number of rounds: use 1 or more", typed(text))),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match settings::duration(text)? {
        Duration::ZERO => Err("a time of 0 cannot work: use 1ms or more".to_owned()),
        time => Ok(time),
    }
}

/// Less than a megabyte would hold only a hundred diagnoses, and is likely a typing error.
const LEAST_RECORD: u64 = 1 << 20;

/// A number with its unit, as in `64MiB`.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!("`{}` is not a size: write a number and a unit, as in 64MiB or 1GiB", typed(text))
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit.trim().to_lowercase().as_str() {
        "" => return Err(format!("`{text}` has no unit: write `{text}MiB`")),
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    match number.checked_mul(unit) {
        Some(size) if size >= LEAST_RECORD => Ok(size),
        Some(_) => Err(format!("`{text}` is too short for a recording: use 1MiB or more")),
        None => Err(wrong()),
    }
}

fn level(text: &str) -> Result<LevelFilter, String> {
    let known = "use off, error, warn, info, debug or trace";
    text.parse().map_err(|_| format!("--log-level: `{}` is not a level: {known}", typed(text)))
}

fn color(text: &str) -> Result<Color, String> {
    match text {
        "auto" => Ok(Color::Auto),
        "always" => Ok(Color::Always),
        "never" => Ok(Color::Never),
        other => {
            Err(format!("--color: `{}` is not known: use auto, always or never", typed(other)))
        }
    }
}
