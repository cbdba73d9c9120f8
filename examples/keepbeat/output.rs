//! Standard output: lines to read, or lines of JSON.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use keepbeat::{Event, Status};
use log::info;

use crate::args::{Args, Color};
use crate::plan::Watch;
use crate::record::Record;
use crate::text::Text;
use crate::{json, summary};

/// Where everything goes that was asked for. Each line leaves at once.
pub struct Output {
    shape: Shape,
    record: Option<Record>,
}

enum Shape {
    Text(Text),
    Json,
}

impl Output {
    /// For links with names of `width` characters at most.
    pub fn new(args: &Args, record: Option<Record>, width: usize) -> Output {
        let text = || Shape::Text(Text::new(colors(args.color), width));
        Output { shape: if args.json { Shape::Json } else { text() }, record }
    }

    /// What is going to be watched.
    pub fn start(&self, watches: &[Watch]) -> io::Result<()> {
        let Shape::Text(text) = &self.shape else { return Ok(()) };
        let lines: String = watches
            .iter()
            .map(|watch| {
                let target = watch.target.to_string();
                text.start(&watch.target.name(), &target, &watch.words)
            })
            .collect();
        write(&lines)
    }

    /// What happened.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        // First, so that an output that ends takes no recording with it.
        if let Some(record) = &mut self.record {
            record.event(event);
        }
        match &mut self.shape {
            Shape::Text(text) => write(&text.event(event)),
            Shape::Json => write(&json::event(event)),
        }
    }

    /// What the demo does next. Among lines of JSON it has no place, so it goes to the log.
    pub fn act(&self, words: &str) -> io::Result<()> {
        match &self.shape {
            Shape::Text(text) => write(&text.act(words)),
            Shape::Json => {
                info!(target: "demo", "{words}");
                Ok(())
            }
        }
    }

    /// How it was.
    pub fn summary(&self, statuses: &[Status]) -> io::Result<()> {
        match &self.shape {
            Shape::Text(text) => write(&summary::table(statuses, text)),
            Shape::Json => write(&statuses.iter().map(json::summary).collect::<String>()),
        }
    }
}

/// Writes to standard output, through to whoever reads it, however slowly.
pub fn write(text: &str) -> io::Result<()> {
    // Past the buffer of std, which does not tell how much of a line was taken.
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(n) => rest = &rest[n..],
            // Some parents hand down a descriptor that does not block: wait as with one that does.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The pause before a standard output that is full and does not block is tried again.
const FULL: Duration = Duration::from_millis(10);

/// A flag goes before the environment, that before what the terminal can do.
fn colors(color: Color) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if is_set("NO_COLOR") => false,
        Color::Auto
            if std::env::var_os("CLICOLOR_FORCE").is_some_and(|v| !v.is_empty() && v != "0") =>
        {
            true
        }
        Color::Auto => {
            io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}
