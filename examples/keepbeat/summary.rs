//! The summary at the end, with a row for each target; and one line about all of them meanwhile.

use std::time::{Duration, Instant};

use keepbeat::{Cause, State, Status};

use crate::alive::grouped;
use crate::columns::{Columns, counted, short};
use crate::wrap::{padded, right, width};

const HEADS: [&str; 7] = ["sent", "acked", "late", "missed", "reconnects", "rtt min/avg/max", "up"];

/// The width of `● up          `.
const STATE: usize = 12;

/// The reason has at least this many columns beside the numbers, or a line of its own.
const ROOM: usize = 24;

/// How many targets the line of a running program names.
const NAMED: usize = 5;

struct Row {
    name: String,
    state: State,
    numbers: [String; 7],
    why: String,
}

impl Row {
    fn without_uptime(mut self) -> Row {
        self.numbers[6] = "-".to_owned();
        self
    }
}

/// With more targets than this, those that are up share a row.
const ROWS: usize = 24;

/// The table. `all`: a row for each target, however many. `once`: one beat has no uptime to show.
pub fn table(statuses: &[Status], columns: &Columns, all: bool, once: bool) -> String {
    let shared = statuses.len() > ROWS && !all;
    let (up, others): (Vec<_>, Vec<_>) =
        statuses.iter().partition(|status| shared && status.state == State::Up);
    let sum = (!up.is_empty()).then(|| sum(&up, columns));
    let rows: Vec<Row> = others.into_iter().map(|status| row(status, columns)).chain(sum).collect();
    let rows: Vec<Row> = match once {
        true => rows.into_iter().map(Row::without_uptime).collect(),
        false => rows,
    };
    let mut widths = HEADS.map(str::len);
    for row in &rows {
        for (wide, cell) in widths.iter_mut().zip(&row.numbers) {
            *wide = (*wide).max(width(cell));
        }
    }
    let names = rows.iter().map(|row| width(&row.name)).max().unwrap_or(0);
    let numbers: usize = widths.iter().map(|wide| wide + 2).sum();
    let beside = names + 2 + STATE + numbers + 2;
    let some_why = rows.iter().any(|row| !row.why.is_empty());
    let room = if some_why { ROOM } else { 0 };
    let heads = joined(&HEADS.map(str::to_owned), &widths);
    let head = |name: &str, state| format!("{}  {}", padded(name, names), columns.state(state));
    match columns.screen.columns() {
        // Names, states and reasons on one line each, the numbers below.
        Some(most) if most < beside + room => {
            let mut table = format!("\n  {heads}\n");
            // A name that leaves no room for a reason moves only its own line.
            let names = names.min(most.saturating_sub(2 + STATE + 2 + ROOM));
            for Row { name, state, numbers, why } in &rows {
                let first = format!("{}  {}  ", padded(name, names), columns.state(*state));
                let at = width(name).max(names) + 2 + STATE + 2;
                let named = match at + ROOM <= most {
                    true => columns.beside(&first, at, why, most),
                    false if why.is_empty() => first,
                    false => {
                        let below = columns.beside("    ", 4, why, most);
                        format!("{}\n{below}", first.trim_end())
                    }
                };
                table += &format!("{}\n  {}\n", named.trim_end(), joined(numbers, &widths));
            }
            table
        }
        most => {
            let mut table = format!("\n{}{heads}\n", " ".repeat(names + 2 + STATE));
            for Row { name, state, numbers, why } in &rows {
                let first = format!("{}{}  ", head(name, *state), joined(numbers, &widths));
                let line = columns.beside(&first, beside, why, most.unwrap_or(usize::MAX));
                table += &format!("{}\n", line.trim_end());
            }
            table
        }
    }
}

fn joined(cells: &[String; 7], widths: &[usize; 7]) -> String {
    cells.iter().zip(widths).map(|(cell, wide)| format!("  {}", right(cell, *wide))).collect()
}

fn row(status: &Status, columns: &Columns) -> Row {
    let letters = |text: &str| columns.screen.letters(text);
    let loss = status.loss.as_ref().filter(|_| status.state != State::Up);
    // Word and detail are about the same failure, the latest one.
    let why = loss.map_or_else(String::new, |loss| loss.to_string());
    Row {
        name: letters(&status.name),
        state: status.state,
        numbers: [
            status.sent.to_string(),
            status.acked.to_string(),
            status.late.to_string(),
            status.missed.to_string(),
            status.reconnects.to_string(),
            letters(&rtt_of(status)),
            percent(status.uptime_ratio(Instant::now())),
        ],
        why: letters(&why),
    }
}

/// One row for all these targets.
fn sum(up: &[&Status], columns: &Columns) -> Row {
    let sum = |count: fn(&Status) -> u64| up.iter().map(|status| count(status)).sum::<u64>();
    let min = up.iter().filter_map(|status| status.rtt.min()).min();
    let max = up.iter().filter_map(|status| status.rtt.max()).max();
    let avgs: Vec<Duration> = up.iter().filter_map(|status| status.rtt.avg()).collect();
    let avg = avgs.iter().sum::<Duration>().checked_div(avgs.len() as u32);
    let now = Instant::now();
    let ratio = up.iter().map(|status| status.uptime_ratio(now)).sum::<f64>() / up.len() as f64;
    Row {
        name: format!("{} in all", counted(up.len(), "target")),
        state: State::Up,
        numbers: [
            sum(|status| status.sent).to_string(),
            sum(|status| status.acked).to_string(),
            sum(|status| status.late).to_string(),
            sum(|status| status.missed).to_string(),
            sum(|status| status.reconnects).to_string(),
            columns.screen.letters(&rtt([min, avg, max])),
            percent(ratio),
        ],
        why: String::new(),
    }
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

/// The shortest, mean and longest round-trip time of a link.
fn rtt_of(status: &Status) -> String {
    rtt([status.rtt.min(), status.rtt.avg(), status.rtt.max()])
}

fn rtt(known: [Option<Duration>; 3]) -> String {
    let shown: Option<Vec<String>> =
        known.into_iter().map(|rtt: Option<Duration>| rtt.map(short)).collect();
    shown.map_or_else(|| "-".to_owned(), |shown| shown.join("/"))
}

/// One line about all targets.
pub fn in_a_word(statuses: &[Status]) -> String {
    let acked: u64 = statuses.iter().map(|status| status.acked).sum();
    let beats = if acked == 1 { "1 beat".to_owned() } else { format!("{} beats", grouped(acked)) };
    let not_up: Vec<_> = statuses.iter().filter(|status| status.state != State::Up).collect();
    if not_up.is_empty() {
        return match statuses.len() {
            1 => format!("the target is up, {beats} acked"),
            n => format!("all {n} targets are up, {beats} acked"),
        };
    }
    let up = statuses.len() - not_up.len();
    let named: Vec<String> = not_up
        .iter()
        .take(NAMED)
        .map(|status| match status.loss.as_ref().map(|loss| loss.cause) {
            Some(cause) => format!("{} is {} ({})", status.name, status.state, Cause::word(cause)),
            None => format!("{} is {}", status.name, status.state),
        })
        .collect();
    let more = match not_up.len() - named.len() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("{} of {} up: {}{more}", up, counted(statuses.len(), "target"), named.join(", "))
}
