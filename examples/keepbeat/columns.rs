//! The columns of readable lines: time, what, which target, cause, detail; and below such a line
//! what belongs to it.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use keepbeat::{Cause, State};

/// How lines look.
pub struct Columns {
    pub colors: bool,
    /// The width of the column of names.
    names: usize,
    /// The width of the column of causes: that of the longest word, so that none moves the rest.
    causes: usize,
}

/// A symbol, a word and a colour: never a colour alone.
#[derive(Clone, Copy)]
pub struct Mark(pub &'static str, pub &'static str, pub &'static str);

pub const DIM: &str = "2";
pub const BOLD: &str = "1";
pub const GREEN: &str = "32";
pub const YELLOW: &str = "33";
pub const RED: &str = "31";

pub const CONNECTING: Mark = Mark("○", "connecting", DIM);

/// The width of `12:34:56.789Z  `.
const CLOCK: usize = 15;

impl Columns {
    /// For names that are `names` characters at most.
    pub fn new(colors: bool, names: usize) -> Columns {
        // A connection of keepbeat's own is closed by no application.
        let words = Cause::ALL.iter().filter(|cause| **cause != Cause::ClosedByApplication);
        let causes = words.map(|cause| cause.word().len()).max().unwrap_or(0);
        Columns { colors, names, causes }
    }

    /// A line of its own.
    pub fn line(
        &self,
        time: SystemTime,
        mark: Mark,
        name: &str,
        cause: Option<Cause>,
        detail: &str,
    ) -> String {
        let Mark(symbol, word, color) = mark;
        let (names, causes) = (self.names, self.causes);
        let what = self.painted(color, &format!("{symbol} {word:<10}"));
        let cause = format!("{:<causes$}", cause.map_or("", Cause::word));
        let cause = if color == DIM || cause.trim().is_empty() {
            cause
        } else {
            self.painted(color, &cause)
        };
        let mut line = self.painted(DIM, &clock(time));
        write!(line, "  {what}  {name:<names$}  {cause}  {detail}")
            .expect("a String takes any text");
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }

    /// A line that belongs to the one above it.
    pub fn below(&self, word: &str, text: &str) -> String {
        let word = self.painted(DIM, &format!("↳ {word:<8}"));
        format!("{:CLOCK$}  {word}  {text}\n", "")
    }

    /// In this colour, if there are colours.
    pub fn painted(&self, color: &str, text: &str) -> String {
        if self.colors { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Symbol and word of a state.
    pub fn state(&self, state: State) -> String {
        let Mark(symbol, word, color) = mark(state);
        self.painted(color, &format!("{symbol} {word:<10}"))
    }
}

/// What stands for a state.
pub fn mark(state: State) -> Mark {
    match state {
        State::Up => Mark("●", "up", GREEN),
        State::Suspect => Mark("◐", "suspect", YELLOW),
        State::Down => Mark("✖", "down", RED),
        _ => CONNECTING,
    }
}

/// `12:34:56.789Z`: in UTC, as in the JSON lines.
pub fn clock(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_millis(time).to_string();
    text.split_once('T').map_or(text.clone(), |(_, clock)| clock.to_owned())
}

/// Three or four digits and a unit; from a minute on minutes and seconds.
pub fn short(time: Duration) -> String {
    if time.is_zero() {
        "0s".to_owned()
    } else if time < Duration::from_secs(60) {
        format!("{time:.1?}")
    } else {
        humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
    }
}
