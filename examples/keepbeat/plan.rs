//! The plan of a run: the links to make, from the command line, the environment and the file.

use std::collections::HashSet;

use keepbeat::{Coordinator, Heartbeat, Protocol, Target};

use crate::args::Args;
use crate::config::{Config, Entry, Places};
use crate::settings::Settings;
use crate::shown::harmless;
use crate::source::{Fault, Source};
use crate::{env, schemes, secure};

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
/// Everything that is wrong, each fault with its place and remedy.
pub fn plan(args: &Args) -> Result<Vec<Watch>, Vec<String>> {
    let (env, mut faults) = Settings::from_env();
    faults.extend(env::unknown().faults);
    let config = args.config.as_deref().map(Config::read).transpose();
    let mut config = config.unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    let defaults = config.as_ref().map(|config| config.defaults.clone()).unwrap_or_default();
    // Stronger than the settings of a target in the file; the defaults are weaker.
    let strong = args.settings.clone().or(&env);
    let (rounds, once) = (args.rounds, args.once);
    let mut builder = Builder { rounds, once, faults, ..Builder::default() };

    for (name, text) in &args.targets {
        let result = schemes::target(text).and_then(|target| {
            let target = builder.named(target, name.as_deref())?;
            builder.add(target, strong.clone().or(&defaults))
        });
        builder.faults.extend(result.err().map(|fault| harmless(&fault)));
    }
    if let Some(Config { source, targets, faults, places, .. }) = &mut config {
        for entry in targets.iter() {
            let settings = strong.clone().or(&entry.settings).or(&defaults);
            faults.extend(builder.add_entry(entry, settings, places));
        }
        faults.sort_by_key(|fault| fault.span.start);
        builder.faults.extend(faults.iter().map(|fault| source.show(fault)));
        builder.refuse_nothing(source);
    }
    builder.refuse_useless(&args.given);
    if builder.faults.is_empty() { Ok(builder.watches) } else { Err(builder.faults) }
}

/// The plan of a demo.
pub fn nothing() -> Result<Vec<Watch>, Vec<String>> {
    let faults = env::unknown().faults;
    if faults.is_empty() { Ok(Vec::new()) } else { Err(faults) }
}

#[derive(Default)]
struct Builder {
    watches: Vec<Watch>,
    names: HashSet<String>,
    faults: Vec<String>,
    rounds: Option<u64>,
    once: bool,
    /// Whether some target sends bytes that the user gave.
    sends: bool,
}

impl Builder {
    /// Gives the target its name. Lines are told apart by names, so two targets must not share one.
    fn named(&mut self, target: Target, name: Option<&str>) -> Result<Target, String> {
        let target = match name {
            Some(name) => target.named(name),
            None => target,
        };
        match self.names.insert(target.name()) {
            true => Ok(target),
            false if name.is_none() => Err(format!(
                "the target `{target}` is there twice: leave one out, or give it a name"
            )),
            false => Err(format!("two targets are called `{}`: use each name once", target.name())),
        }
    }

    fn add(&mut self, target: Target, from: Settings) -> Result<(), String> {
        self.try_add(target, from).map_err(|wrong| wrong.what)
    }

    fn try_add(&mut self, target: Target, from: Settings) -> Result<(), Wrong> {
        let at = |fault: String| format!("{target}: {fault}");
        let protocol = schemes::protocol(&target, &from)
            .map_err(|fault| Wrong { keys: &["send", "expect"], what: at(fault) })?;
        self.sends |= from.send.is_some() && schemes::heeds(target.scheme(), "send");
        let mut heartbeat = from.heartbeat();
        if self.once {
            // The first failure is the verdict.
            heartbeat = heartbeat.fall(1);
        }
        if let Some(rounds) = self.rounds {
            heartbeat = heartbeat.rounds(rounds);
        }
        heartbeat.check().map_err(|error| Wrong {
            keys: &["user_timeout", "backoff", "backoff_cap"],
            what: at(error.to_string()),
        })?;
        let target = secure::secured(target, &from);
        Coordinator::check(&target, &heartbeat)
            .map_err(|error| Wrong { keys: &[], what: error.to_string() })?;
        self.watches.push(Watch { target, heartbeat, protocol, words: from.words(self.once) });
        Ok(())
    }

    /// Adds one target of the file. Returns all that is wrong with it.
    fn add_entry(&mut self, entry: &Entry, settings: Settings, defaults: &Places) -> Vec<Fault> {
        let mut faults = Vec::new();
        let name = entry.name.as_ref();
        let span = name.map_or(entry.span.clone(), |name| name.span());
        let named = self.named(entry.target.clone(), name.map(|name| name.get_ref().as_str()));
        let target = named.map_err(|what| faults.push(Fault { span, what })).ok();
        let scheme = entry.target.scheme();
        for (key, span) in entry.places.all() {
            let needless = || (key == "probe_payload" && settings.send.is_none()).then(needless);
            let useless = schemes::useless(scheme, key).or_else(needless);
            faults.extend(useless.map(|what| Fault { span: span.clone(), what }));
        }
        if let Some(Err(Wrong { keys, what })) = target.map(|target| self.try_add(target, settings))
        {
            // The wrong setting is here, or among the defaults.
            let heeded: Vec<&str> =
                keys.iter().copied().filter(|key| schemes::heeds(scheme, key)).collect();
            let place = entry.places.find(&heeded).or_else(|| defaults.find(&heeded));
            faults.push(Fault { span: place.unwrap_or(entry.span.clone()), what });
        }
        faults
    }

    fn refuse_nothing(&mut self, source: &Source) {
        if self.watches.is_empty() && self.faults.is_empty() {
            let name = source.name();
            self.faults.push(format!("{name} names no target: add a [[target]] with its url"));
        }
    }

    /// Refuses flags that apply to no target of the run.
    fn refuse_useless(&mut self, given: &[&str]) {
        if self.watches.is_empty() {
            return; // faults enough
        }
        let heeded = |key: &str| match key {
            "probe_payload" => self.sends,
            _ => self.watches.iter().any(|watch| schemes::heeds(watch.target.scheme(), key)),
        };
        for (keys, whose) in WHOSE {
            let useless = keys.iter().filter(|key| given.contains(key) && !heeded(key));
            let flags: Vec<_> = useless.map(|key| format!("--{}", key.replace('_', "-"))).collect();
            let Some((last, before)) = flags.split_last() else { continue };
            let what = match before {
                [] => format!("{last} is for {whose}, and there is no such target: leave it out"),
                before => format!(
                    "{} and {last} are for {whose}, and there is no such target: leave them out",
                    before.join(", ")
                ),
            };
            self.faults.push(what);
        }
    }
}

/// What is wrong with a target, and the settings that may be to blame.
struct Wrong {
    keys: &'static [&'static str],
    what: String,
}

fn needless() -> String {
    "there is no `send`, so other bytes are allowed anyway: leave it out".to_owned()
}

/// Flags, and the targets to which they apply.
const WHOSE: [(&[&str], &str); 5] = [
    (&["send", "expect", "steps"], "tcp:// targets, --expect for http:// as well"),
    (&["probe_payload"], "tcp:// targets with --send"),
    (&["password_file"], "redis:// and http:// targets"),
    (&["method", "status"], "http:// and https:// targets"),
    (&["ca", "certificate_days", "insecure"], "https:// and tls+...:// targets"),
];
