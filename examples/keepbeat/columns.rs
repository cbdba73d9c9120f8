//! The columns of readable lines: time, event, target, cause, detail; and the lines below that
//! belong to them. On a terminal they keep to its width: the detail continues below itself, or
//! below the columns if there is no room beside them.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use keepbeat::{Cause, State};

use super::screen::Screen;
use super::wrap::{padded, width, wrapped};

/// How lines look.
pub struct Columns {
    pub screen: Screen,
    /// The width of the column of names.
    names: usize,
    /// The width of the column of causes: that of the longest word.
    causes: usize,
    /// The day of the last line, counted from 1970.
    day: Cell<Option<u64>>,
}

/// A symbol, its plain ASCII form, a word and a colour. No mark is a colour alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    symbol: char,
    plain: char,
    pub word: &'static str,
    color: &'static str,
}

pub const DIM: &str = "2";
pub const BOLD: &str = "1";
pub const GREEN: &str = "32";
pub const YELLOW: &str = "33";
pub const RED: &str = "31";

impl Mark {
    pub const fn new(symbol: char, plain: char, word: &'static str, color: &'static str) -> Mark {
        Mark { symbol, plain, word, color }
    }
}

pub const CONNECTING: Mark = Mark::new('○', 'o', "connecting", DIM);

/// The width of `12:34:56.789Z  `.
const CLOCK: usize = 15;

/// The width of `○ connecting  `.
const MARK: usize = 14;

/// The width of `↳ remedy    `, two columns to the right of the mark above it.
const BELOW: usize = 12;

/// A detail with less room than this has lines of its own.
const ROOM: usize = 26;

impl Columns {
    /// For names that are `names` columns wide at most.
    pub fn new(screen: Screen, names: usize) -> Columns {
        // No application closes the connections of this program.
        let words = Cause::ALL.iter().filter(|cause| **cause != Cause::ClosedByApplication);
        let causes = words.map(|cause| cause.word().len()).max().unwrap_or(0);
        Columns { screen, names, causes, day: Cell::new(None) }
    }

    /// The line of an event, with the lines on which its detail continues.
    pub fn line(
        &self,
        time: SystemTime,
        mark: Mark,
        name: &str,
        cause: Option<Cause>,
        detail: &str,
    ) -> String {
        let name = padded(&self.screen.letters(name), self.column_of_names());
        let word = cause.map_or("", Cause::word);
        let dim = mark.color == DIM || word.is_empty();
        let shown = |text: &str| if dim { text.to_owned() } else { self.painted(mark.color, text) };
        let head = format!("{}  {}", self.painted(DIM, &clock(time)), self.mark(mark));
        let detail = self.screen.letters(detail);
        let causes = padded(word, self.causes);
        let at_name = CLOCK + MARK;
        let at_cause = at_name + width(&name) + 2;
        let at_detail = at_cause + self.causes + 2;
        let line = match self.screen.columns() {
            Some(most) if most < at_detail + ROOM => {
                let fits = at_cause + word.len() <= most;
                let first = if fits { format!("{name}  {}", shown(word)) } else { name };
                let first = format!("{head}  {first}");
                let rest = match (fits, word) {
                    (false, word) if !word.is_empty() => format!("{word}: {detail}"),
                    _ => detail,
                };
                // If there is no cause, the detail may begin in its column.
                if word.is_empty() && most >= at_cause + ROOM {
                    self.beside(&first, at_cause, &rest, most)
                } else if rest.is_empty() {
                    first
                } else {
                    let (at, first) = (self.hanging(most), first.trim_end());
                    format!("{first}\n{}", self.beside(&" ".repeat(at), at, &rest, most))
                }
            }
            most => {
                let first = format!("{head}  {name}  {}  ", shown(&causes));
                self.beside(&first, at_detail, &detail, most.unwrap_or(usize::MAX))
            }
        };
        format!("{}{}\n", self.day(time), line.trim_end())
    }

    /// A line that belongs to the one above it.
    pub fn below(&self, word: &str, text: &str) -> String {
        let arrow = if self.screen.ascii { '>' } else { '↳' };
        let first = format!("{:CLOCK$}  {}", "", self.painted(DIM, &format!("{arrow} {word:<8}")));
        let text = self.screen.letters(text);
        let most = self.screen.columns().unwrap_or(usize::MAX);
        format!("{}\n", self.beside(&format!("{first}  "), CLOCK + 2 + BELOW, &text, most))
    }

    /// A line that is no event.
    pub fn act(&self, words: &str) -> String {
        let text = self.screen.letters(words);
        let most = self.screen.columns().unwrap_or(usize::MAX);
        format!("{}\n", self.painted(BOLD, &self.beside("-- ", 3, &text, most)))
    }

    /// The text behind `first`, which takes `at` columns. What does not fit continues below.
    pub fn beside(&self, first: &str, at: usize, text: &str, most: usize) -> String {
        let lines = wrapped(text, most.saturating_sub(at).max(1));
        format!("{first}{}", lines.join(&format!("\n{}", " ".repeat(at))))
    }

    /// On a terminal, a name that leaves no room for a detail moves only its own line.
    fn column_of_names(&self) -> usize {
        let beside = CLOCK + MARK + 2 + ROOM;
        self.screen.columns().map_or(self.names, |most| self.names.min(most.saturating_sub(beside)))
    }

    /// The column at which lines begin that have no room beside the columns.
    fn hanging(&self, most: usize) -> usize {
        let beside = CLOCK + MARK;
        if most >= beside + ROOM { beside } else { most / 4 }
    }

    /// A line with the date, if the date has changed since the line before.
    fn day(&self, time: SystemTime) -> String {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let day = since.as_secs() / (24 * 3600);
        match self.day.replace(Some(day)) {
            Some(before) if before != day => {
                let text = humantime::format_rfc3339_seconds(time).to_string();
                self.act(text.split('T').next().unwrap_or(&text))
            }
            _ => String::new(),
        }
    }

    /// The text in this colour, if colours are on.
    pub fn painted(&self, color: &str, text: &str) -> String {
        if self.screen.colors { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn mark(&self, mark: Mark) -> String {
        let symbol = if self.screen.ascii { mark.plain } else { mark.symbol };
        self.painted(mark.color, &format!("{symbol} {:<10}", mark.word))
    }

    /// Symbol and word of a state.
    pub fn state(&self, state: State) -> String {
        self.mark(mark(state))
    }
}

/// The mark of a state.
pub fn mark(state: State) -> Mark {
    match state {
        State::Up => Mark::new('●', '*', "up", GREEN),
        State::Suspect => Mark::new('◐', '?', "suspect", YELLOW),
        State::Down => Mark::new('✖', 'x', "down", RED),
        _ => CONNECTING,
    }
}

/// `12:34:56.789Z`: in UTC, as in the JSON lines.
pub fn clock(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_millis(time).to_string();
    text.split_once('T').map_or(text.clone(), |(_, clock)| clock.to_owned())
}

/// Three or four digits and a unit; from one minute on, minutes and seconds.
pub fn short(time: Duration) -> String {
    if time.is_zero() {
        "0s".to_owned()
    } else if time < Duration::from_secs(60) {
        format!("{time:.1?}")
    } else {
        humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
    }
}

/// `1 target`, `3 targets`.
pub fn counted(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}
