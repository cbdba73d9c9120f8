//! The plan of a run: from the command line, the environment and the file to the links to be made.

use std::collections::HashSet;

use keepbeat::{Heartbeat, Protocol, Target};

use crate::args::Args;
use crate::config::{Config, Entry};
use crate::schemes;
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
    let config = args.config.as_deref().map(Config::read).transpose()?;
    let defaults = config.as_ref().map(|config| config.defaults.clone()).unwrap_or_default();
    // What goes before, and after, what a target in the file says of itself.
    let strong = args.settings.clone().or(&env);
    let mut builder = Builder { rounds: args.rounds, ..Builder::default() };

    for (name, text) in &args.targets {
        let result = schemes::target(text)
            .and_then(|target| builder.add(target, name.as_deref(), strong.clone().or(&defaults)));
        builder.faults.extend(result.err());
    }
    if let Some(Config { source, targets, .. }) = &config {
        for entry in targets {
            let own = entry.settings.clone();
            let settings = strong.clone().or(&own).or(&defaults);
            if let Err(fault) = builder.add_entry(entry, settings) {
                builder.faults.push(source.show(&fault));
            }
        }
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
}

impl Builder {
    fn add(&mut self, target: Target, name: Option<&str>, from: Settings) -> Result<(), String> {
        let protocol =
            schemes::protocol(&target, &from).map_err(|fault| format!("{target}: {fault}"))?;
        let target = match name {
            Some(name) if !self.names.insert(name.to_owned()) => {
                return Err(format!("two targets are called `{name}`: each name once"));
            }
            Some(name) => target.named(name),
            None => target,
        };
        let heartbeat = from.heartbeat();
        let heartbeat = match self.rounds {
            Some(rounds) => heartbeat.rounds(rounds),
            None => heartbeat,
        };
        self.watches.push(Watch { target, heartbeat, protocol, words: from.words() });
        Ok(())
    }

    fn add_entry(&mut self, entry: &Entry, settings: Settings) -> Result<(), Fault> {
        let fault = |what| Fault { span: entry.span.clone(), what };
        let scheme = entry.target.scheme();
        let own = &entry.settings;
        if scheme != "tcp" && (own.send.is_some() || own.expect.is_some()) {
            return Err(fault(format!("`{scheme}://` has beats of its own: {NO_SEND}")));
        }
        if scheme != "redis" && own.password.is_some() {
            return Err(fault(format!("`{scheme}://` has no login: leave password_file out")));
        }
        let name = entry.name.as_ref().map(|name| name.get_ref().as_str());
        self.add(entry.target.clone(), name, settings).map_err(|what| match &entry.name {
            Some(name) if what.starts_with("two targets") => Fault { span: name.span(), what },
            _ => fault(what),
        })
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
        let no = |scheme: &str| self.watches.iter().all(|watch| watch.target.scheme() != scheme);
        if (given.contains(&"send") || given.contains(&"expect")) && no("tcp") {
            let text = "--send and --expect are for tcp:// targets, and there is none";
            self.faults.push(format!("{text}: leave them out, or write the target as tcp://"));
        }
        if given.contains(&"password_file") && no("redis") {
            let text = "--password-file is for redis:// targets, and there is none: leave it out";
            self.faults.push(text.to_owned());
        }
    }
}

const NO_SEND: &str = "leave send and expect out, or write it as tcp://";
