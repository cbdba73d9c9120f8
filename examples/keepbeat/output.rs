//! Standard output: readable lines, or lines of JSON.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Event, EventKind, Status};
use log::info;

use crate::alive::Alive;
use crate::args::{Args, Verbosity};
use crate::columns::Columns;
use crate::plan::Watch;
use crate::record::Record;
use crate::screen::{Screen, Width};
use crate::text::Text;
use crate::wrap::width;
use crate::{json, summary};

/// On a terminal, the first sign of life comes this long after the last line.
const ALIVE: Duration = Duration::from_secs(10 * 60);

/// Writes everything that the user asked for. Each line is written at once.
pub struct Output {
    shape: Shape,
    verbosity: Verbosity,
    once: bool,
    record: Option<Record>,
    alive: Alive,
}

enum Shape {
    Text(Box<Text>),
    Json,
}

impl Output {
    /// For links with these names.
    pub fn new(args: &Args, record: Option<Record>, names: &[String]) -> Output {
        let screen = Screen::new(args.color.wanted());
        let (now, verbosity) = (Instant::now(), args.verbosity);
        let shape = if args.json {
            Shape::Json
        } else {
            let wide = names.iter().map(|name| width(&screen.letters(name))).max().unwrap_or(0);
            let columns = Columns::new(screen, wide);
            Shape::Text(Box::new(Text::new(columns, args, names.len())))
        };
        let quiet = args.json || verbosity == Verbosity::Quiet || screen.width == Width::Unlimited;
        let pause = args.alive.or((!quiet).then_some(ALIVE)).filter(|pause| !pause.is_zero());
        Output { shape, verbosity, once: args.once, record, alive: Alive::new(pause, now) }
    }

    /// Shows what is going to be watched.
    pub fn start(&mut self, watches: &[Watch]) -> io::Result<()> {
        let Shape::Text(text) = &mut self.shape else { return Ok(()) };
        let lines = text.starts(watches);
        write(&lines)
    }

    /// Shows what happened.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        // The recording comes first, so that it is kept if standard output fails.
        if let Some(record) = &mut self.record {
            record.event(event);
        }
        let usual = matches!(event.kind(), EventKind::Beat { .. } | EventKind::Connected { .. });
        let lines = match &mut self.shape {
            Shape::Text(text) => text.event(event),
            Shape::Json if usual && self.verbosity == Verbosity::Quiet => String::new(),
            Shape::Json => json::event(event),
        };
        self.tell(&lines)
    }

    fn tell(&mut self, lines: &str) -> io::Result<()> {
        if !lines.is_empty() {
            self.alive.on_told(Instant::now());
        }
        write(lines)
    }

    /// When the next line is due that no event causes.
    pub fn due(&self) -> Option<Instant> {
        let Shape::Text(text) = &self.shape else { return None };
        text.due().into_iter().chain(self.alive.due()).min()
    }

    /// Shows the lines that are due by now.
    pub fn tick(&mut self, statuses: impl FnOnce() -> Vec<Status>) -> io::Result<()> {
        let Shape::Text(text) = &mut self.shape else { return Ok(()) };
        let crowds = text.crowds(false);
        self.tell(&crowds)?;
        if self.alive.take(Instant::now()) {
            if let Shape::Text(text) = &self.shape {
                write(&text.running(&summary::in_a_word(&statuses())))?;
            }
        }
        Ok(())
    }

    /// Shows what the demo does next. With JSON it goes to the log.
    pub fn act(&self, words: &str) -> io::Result<()> {
        match &self.shape {
            Shape::Text(text) => write(&text.act(words)),
            Shape::Json => {
                info!(target: "demo", "{words}");
                Ok(())
            }
        }
    }

    /// Shows the summary.
    pub fn summary(&mut self, statuses: &[Status]) -> io::Result<()> {
        match &mut self.shape {
            Shape::Text(text) => {
                write(&text.crowds(true))?;
                if self.verbosity == Verbosity::Quiet {
                    return Ok(());
                }
                let all = self.verbosity == Verbosity::Verbose;
                write(&summary::table(statuses, &text.columns, all, self.once))
            }
            Shape::Json => write(&statuses.iter().map(json::summary).collect::<String>()),
        }
    }
}

/// Standard output without the buffer of std, which does not report how much of a line was written.
static OUT: OnceLock<File> = OnceLock::new();

/// Opens standard output for as long as the process lives, because later there may be no descriptor
/// left.
///
/// # Errors
///
/// There is no descriptor left already.
pub fn open() -> io::Result<()> {
    if OUT.get().is_none() {
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let _ = OUT.set(out); // somebody was faster
    }
    Ok(())
}

/// Writes everything to standard output, however slowly it is read.
pub fn write(text: &str) -> io::Result<()> {
    open()?;
    let Some(mut out) = OUT.get() else { return Ok(()) };
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(n) => rest = &rest[n..],
            // Some parents pass on a descriptor that does not block: wait, as with one that does.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The pause before the next try, if standard output is full and does not block.
const FULL: Duration = Duration::from_millis(10);
