//! The command keepbeat: keeps one connection open to each target, sends beats on it, and says when
//! it has died, and why. Without arguments it plays a demo.

mod alive;
mod args;
mod columns;
mod commands;
mod config;
mod crowd;
mod demo;
mod dump;
mod elsewhere;
mod env;
mod escapes;
mod explain;
mod firewall;
mod help;
mod json;
mod limits;
mod nearest;
mod order;
mod output;
mod plan;
mod record;
mod run;
mod schemes;
mod screen;
mod script;
mod secure;
mod settings;
mod shown;
mod signals;
mod source;
mod summary;
mod terminal;
mod text;
mod why;
mod wrap;

use std::io::{self, Write};
use std::process::ExitCode;

use args::{Args, Ask, Color, Demo};
use plan::Watch;
use record::Record;

/// Every target was alive at the end.
const ALIVE: u8 = 0;
/// Some target was not alive, or the run itself failed.
const NOT_ALIVE: u8 = 1;
/// Nothing was started: the command line, the environment or the file is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    if let Err(error) = output::open() {
        complain(&format!("cannot write to standard output: {error}"));
        return ExitCode::from(NOT_ALIVE);
    }
    ExitCode::from(match args::parse(std::env::args_os()) {
        Ok(Ask::Help) => print(&help::help()),
        Ok(Ask::Version) => print(concat!("keepbeat ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Ask::PrintConfig) => print(config::SAMPLE),
        Ok(Ask::Explain(what)) => explain::explain(&what),
        Ok(Ask::Run(args)) => start(&args),
        Err(fault) => {
            complain(&shown::harmless(&fault));
            USAGE
        }
    })
}

fn start(args: &Args) -> u8 {
    start_log(args);
    match args.demo {
        Some(Demo::Network) => {
            complain(&firewall::network());
            return USAGE;
        }
        Some(Demo::Server) => return ended(firewall::serve()),
        Some(Demo::Client | Demo::Faults) | None => {}
    }
    env::unknown().warnings.iter().for_each(|warning| complain(warning));
    let watches = match if args.demo.is_some() { plan::nothing() } else { plan::plan(args) } {
        Ok(watches) if args.check_config => return print(&checked(args, &watches)),
        Ok(watches) => watches,
        Err(faults) => {
            faults.iter().for_each(|fault| complain(fault));
            return USAGE;
        }
    };
    let record = args.record.as_deref().map(|path| Record::open(path, args.record_limit()));
    let record = match record.transpose() {
        Ok(record) => record,
        Err(fault) => {
            complain(&fault);
            return USAGE;
        }
    };
    limits::raise_files();
    ended(match args.demo {
        Some(Demo::Faults) => demo::run(args, record),
        Some(_) => firewall::play(args, record),
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
    let file = args.config.as_ref().map_or_else(String::new, |file| shown::file(file));
    format!("{file}: every line is right; {}\n", columns::counted(watches.len(), "target"))
}

/// Starts the log, on stderr. The readable lines already say what happens to links, so the log is
/// quiet unless the user asked for it.
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

/// Prints the text, and returns the exit code.
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
    let fault = shown::harmless_lines(fault);
    // If stderr fails, there is nowhere to report it.
    let _ = writeln!(io::stderr(), "keepbeat: {fault}");
}
