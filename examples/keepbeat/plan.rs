//! The plan of a run: from the command line, the environment and the file to the links to be made.

use std::collections::HashSet;

use keepbeat::{Heartbeat, Protocol, Target};

use crate::args::Args;
use crate::config::{Config, Entry};
use crate::schemes;
use crate::secure;
use crate::settings::Settings;
use crate::source::{Fault, Source};

/// One link to be made.
pub struct Watch {
    pub target: Target,
    pub heartbeat: Heartbeat,
    pub protocol: Box<dyn Protocol>,
    /// The heartbeat in words.
    pub words: String,
}

/// Every link of the run.
///
/// # Errors
///
/// Everything that is wrong, each with its place and remedy.
pub fn plan(args: &Args) -> Result<Vec<Watch>, Vec<String>> {
    let env = Settings::from_env()?;
    let config = args.config.as_deref().map(Config::read).transpose();
    let mut config = config.map_err(|fault| vec![fault])?;
    let defaults = config.as_ref().map(|config| config.defaults.clone()).unwrap_or_default();
    // What goes before, and after, what a target in the file says of itself.
    let strong = args.settings.clone().or(&env);
    let mut builder = Builder { rounds: args.rounds, ..Builder::default() };

    for (name, text) in &args.targets {
        let result = schemes::target(text).and_then(|target| {
            let target = builder.named(target, name.as_deref())?;
            builder.add(target, strong.clone().or(&defaults))
        });
        builder.faults.extend(result.err());
    }
    if let Some(Config { source, targets, faults, .. }) = &mut config {
        for entry in targets.iter() {
            let settings = strong.clone().or(&entry.settings).or(&defaults);
            faults.extend(builder.add_entry(entry, settings));
        }
        faults.sort_by_key(|fault| fault.span.start);
        builder.faults.extend(faults.iter().map(|fault| source.show(fault)));
        builder.refuse_nothing(source);
    }
    builder.refuse_useless(&args.given);
    if builder.faults.is_empty() { Ok(builder.watches) } else { Err(builder.faults) }
}

#[derive(Default)]
struct Builder {
    watches: Vec<Watch>,
    names: HashSet<String>,
    faults: Vec<String>,
    rounds: Option<u64>,
    /// Some target sends bytes that were given to it.
    sends: bool,
}

impl Builder {
    fn named(&mut self, target: Target, name: Option<&str>) -> Result<Target, String> {
        match name {
            Some(name) if !self.names.insert(name.to_owned()) => {
                Err(format!("two targets are called `{name}`: use each name once"))
            }
            Some(name) => Ok(target.named(name)),
            None => Ok(target),
        }
    }

    fn add(&mut self, target: Target, from: Settings) -> Result<(), String> {
        let protocol =
            schemes::protocol(&target, &from).map_err(|fault| format!("{target}: {fault}"))?;
        self.sends |= from.send.is_some() && schemes::heeds(target.scheme(), "send");
        let heartbeat = match self.rounds {
            Some(rounds) => from.heartbeat().rounds(rounds),
            None => from.heartbeat(),
        };
        let target = secure::secured(target, &from);
        self.watches.push(Watch { target, heartbeat, protocol, words: from.words() });
        Ok(())
    }

    /// One target of the file; returns all that is wrong with it.
    fn add_entry(&mut self, entry: &Entry, settings: Settings) -> Vec<Fault> {
        let mut faults = Vec::new();
        let target = match &entry.name {
            Some(name) => {
                let named = self.named(entry.target.clone(), Some(name.get_ref()));
                named.map_err(|what| faults.push(Fault { span: name.span(), what })).ok()
            }
            None => Some(entry.target.clone()),
        };
        let scheme = entry.target.scheme();
        for (key, span) in &entry.spans {
            let harmless = || (key == "probe_payload" && settings.send.is_none()).then(harmless);
            let useless = schemes::useless(scheme, key).or_else(harmless);
            faults.extend(useless.map(|what| Fault { span: span.clone(), what }));
        }
        if let Some(target) = target {
            let place = entry.place(&["steps", "send", "expect"]).unwrap_or(entry.span.clone());
            let span = if schemes::heeds(scheme, "send") { place } else { entry.span.clone() };
            faults.extend(self.add(target, settings).err().map(|what| Fault { span, what }));
        }
        faults
    }

    fn refuse_nothing(&mut self, source: &Source) {
        if self.watches.is_empty() && self.faults.is_empty() {
            let name = source.name();
            self.faults.push(format!("{name}: it names no target: add a [[target]] with its url"));
        }
    }

    /// Flags that no target of the run can heed.
    fn refuse_useless(&mut self, given: &[&str]) {
        if self.watches.is_empty() {
            return; // the demo, or faults enough
        }
        let heeded = |key: &str| match key {
            "probe_payload" => self.sends,
            _ => self.watches.iter().any(|watch| schemes::heeds(watch.target.scheme(), key)),
        };
        for (keys, whose) in WHOSE {
            let useless = keys.iter().filter(|key| given.contains(key) && !heeded(key));
            let flags: Vec<_> = useless.map(|key| format!("--{}", key.replace('_', "-"))).collect();
            let (are, them) = if flags.len() == 1 { ("is", "it") } else { ("are", "them") };
            if !flags.is_empty() {
                let flags = flags.join(" and ");
                let what =
                    format!("{flags} {are} for {whose}, and there is none: leave {them} out");
                self.faults.push(what);
            }
        }
    }
}

fn harmless() -> String {
    "there is no `send`, and the bytes `heartbeat` may be probed anyway: leave it out".to_owned()
}

/// Flags, and the targets that they are for.
const WHOSE: [(&[&str], &str); 5] = [
    (&["send", "expect", "steps"], "tcp:// targets, --expect for http:// as well"),
    (&["probe_payload"], "tcp:// targets with --send"),
    (&["password_file"], "redis:// and http:// targets"),
    (&["method", "status"], "http:// and https:// targets"),
    (&["ca", "insecure"], "https:// and tls+...:// targets"),
];
