//! keepbeat on the command line: holds one connection open to each target, beats on it, and says
//! when, and why, it has died. Without a target it plays a demo of every fault.

mod args;
mod columns;
mod config;
mod demo;
mod dump;
mod elsewhere;
mod escapes;
mod explain;
mod firewall;
mod json;
mod nearest;
mod output;
mod plan;
mod record;
mod run;
mod schemes;
mod script;
mod secure;
mod settings;
mod signals;
mod source;
mod summary;
mod text;
mod why;

use std::io::{self, Write};
use std::process::ExitCode;

use args::{Args, Ask, Color, Part};
use plan::Watch;
use record::Record;

/// Every target was alive at the end.
const ALIVE: u8 = 0;
/// Some target was not, or the run itself failed.
const NOT_ALIVE: u8 = 1;
/// Nothing was started: the command line, the environment or the file is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    ExitCode::from(match args::parse(std::env::args_os()) {
        Ok(Ask::Help) => print(&args::help()),
        Ok(Ask::Version) => print(concat!("keepbeat ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Ask::PrintConfig) => print(config::SAMPLE),
        Ok(Ask::Explain(what)) => explain::explain(&what),
        Ok(Ask::Run(args)) => start(&args),
        Err(fault) => {
            complain(&fault);
            USAGE
        }
    })
}

fn start(args: &Args) -> u8 {
    start_log(args);
    match args.firewall {
        Some(Part::Network) => {
            complain(&firewall::network());
            return USAGE;
        }
        Some(Part::Server) => return ended(firewall::serve()),
        Some(Part::Client) | None => {}
    }
    let demo = args.targets.is_empty() && args.config.is_none();
    let watches = match if demo { Ok(Vec::new()) } else { plan::plan(args) } {
        Ok(watches) if args.check_config => return print(&checked(args, &watches)),
        Ok(watches) => watches,
        Err(faults) => {
            faults.iter().for_each(|fault| complain(fault));
            return USAGE;
        }
    };
    let record = match args.record.as_deref().map(Record::open).transpose() {
        Ok(record) => record,
        Err(fault) => {
            complain(&fault);
            return USAGE;
        }
    };
    ended(match args.firewall {
        Some(_) => firewall::play(args, record),
        None if demo => demo::run(args, record),
        None => run::run(args, record, watches),
    })
}

/// The exit code.
fn ended(result: Result<bool, String>) -> u8 {
    match result {
        Ok(true) => ALIVE,
        Ok(false) => NOT_ALIVE,
        Err(fault) => {
            complain(&fault);
            NOT_ALIVE
        }
    }
}

fn checked(args: &Args, watches: &[Watch]) -> String {
    let file = args.config.as_ref().map_or_else(String::new, |file| file.display().to_string());
    let targets =
        if watches.len() == 1 { "1 target".into() } else { format!("{} targets", watches.len()) };
    format!("{file}: every line is right; {targets}\n")
}

/// The log goes to stderr. What it would say of links stands in the readable lines already, so it
/// is quiet beside them unless it was asked for.
fn start_log(args: &Args) {
    let quiet = if args.json { "warn,demo=info" } else { "error,tls=warn" };
    let env = env_logger::Env::default().default_filter_or(quiet);
    let mut builder = match args.log_level {
        Some(level) => {
            let mut builder = env_logger::Builder::new();
            builder.filter_level(level);
            builder
        }
        None => env_logger::Builder::from_env(env),
    };
    if args.color == Color::Never {
        builder.write_style(env_logger::WriteStyle::Never);
    }
    builder.init();
}

/// Prints what was asked for, and nothing else.
fn print(text: &str) -> u8 {
    match output::write(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("cannot write to standard output: {error}"));
            NOT_ALIVE
        }
        _ => ALIVE,
    }
}

fn complain(fault: &str) {
    // Where stderr takes nothing, nobody can be told.
    let _ = writeln!(io::stderr(), "keepbeat: {fault}");
}
