//! The summary at the end: a row for each target, as ping has one.

use std::time::{Duration, Instant};

use keepbeat::{State, Status};

use crate::columns::short;
use crate::text::Text;

const HEADS: [&str; 8] =
    ["sent", "acked", "late", "missed", "reconnects", "rtt min/avg/max", "up", ""];

/// The table.
pub fn table(statuses: &[Status], text: &Text) -> String {
    let rows: Vec<[String; 8]> = statuses.iter().map(cells).collect();
    let mut widths = HEADS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let names = statuses.iter().map(|status| status.name.chars().count()).max().unwrap_or(0);
    let mut table = format!("\n{:names$}  {:12}", "", "");
    table += &joined(&HEADS.map(str::to_owned), &widths);
    for (status, row) in statuses.iter().zip(&rows) {
        let state = text.columns.state(status.state);
        table += &format!("{:<names$}  {state}{}", status.name, joined(row, &widths));
    }
    table
}

fn joined(cells: &[String; 8], widths: &[usize; 8]) -> String {
    let (last, numbers) = cells.split_last().expect("eight cells");
    let mut line = String::new();
    for (cell, width) in numbers.iter().zip(widths) {
        line += &format!("  {cell:>width$}");
    }
    line += "  ";
    line += last;
    format!("{}\n", line.trim_end())
}

fn cells(status: &Status) -> [String; 8] {
    let loss = status.loss.as_ref().filter(|_| status.state != State::Up);
    [
        status.sent.to_string(),
        status.acked.to_string(),
        status.late.to_string(),
        status.missed.to_string(),
        status.reconnects.to_string(),
        rtt(status),
        format!("{:.1} %", status.uptime_ratio(Instant::now()) * 100.0),
        // Word and detail are of the same trouble: what was met last.
        loss.map_or_else(String::new, |loss| loss.to_string()),
    ]
}

fn rtt(status: &Status) -> String {
    let known = [status.rtt.min(), status.rtt.avg(), status.rtt.max()];
    let shown: Option<Vec<String>> =
        known.into_iter().map(|rtt: Option<Duration>| rtt.map(short)).collect();
    shown.map_or_else(|| "-".to_owned(), |shown| shown.join("/"))
}
