//! On a terminal: lines keep to its width, words are whole, letters are those it has.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Command};

use unicode_width::UnicodeWidthStr;

use super::process::{DEAD, Done, Running, keepbeat, peer};

/// A terminal of so many columns: our end and the program's.
fn terminal(columns: u16) -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (0, 0);
    let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let none = std::ptr::null_mut::<libc::c_char>();
    // SAFETY: openpty writes two descriptors and reads one winsize; name and settings may be null.
    let result = unsafe { libc::openpty(&mut ours, &mut theirs, none, std::ptr::null(), &size) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both are open, and nobody else's.
    unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) }
}

/// Everything that a program writes on a terminal.
fn shown(mut command: Command, columns: u16) -> String {
    let (mut ours, theirs) = terminal(columns);
    command.stdout(theirs);
    let mut child: Child = command.spawn().unwrap();
    drop(command); // and with it the last end of theirs here
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    // An error is the end: the other end is closed.
    while let Ok(n @ 1..) = ours.read(&mut piece) {
        all.extend_from_slice(&piece[..n]);
    }
    child.wait().unwrap();
    String::from_utf8(all).unwrap().replace("\r\n", "\n")
}

fn plain(args: &[&str]) -> Command {
    let mut command = keepbeat(args);
    command.args(["--color", "never"]).env("TERM", "xterm");
    command
}

const LONG: &str = "a.rather.long.name.of.a.target";

#[test]
fn lines_keep_to_the_width_of_the_terminal_and_a_pipe_has_none() {
    let (_responder, up) = peer();
    let (long, dead) = (format!("{LONG}={up}"), format!("dead={DEAD}"));
    let args = ["--count", "2", "--interval", "20ms", &long, &dead];
    for columns in [80, 100, 132] {
        let out = shown(plain(&args), columns);
        for line in out.lines() {
            let wide = line.width();
            assert!(wide <= usize::from(columns), "{wide} of {columns}: {line}\n{out}");
        }
        let words: Vec<_> = out.split_whitespace().collect();
        for word in ["connecting", LONG, "Connection", "refused", "●", "listens", "reconnects"] {
            assert!(words.contains(&word), "no {word}:\n{out}");
        }
    }
    // Who says so knows better than the terminal, and nobody asks a pipe.
    let mut command = plain(&args);
    command.env("COLUMNS", "90");
    let out = shown(command, 300);
    assert!(out.lines().all(|line| line.width() <= 90), "{out}");
    let mut command = plain(&args);
    command.env("COLUMNS", "60");
    let Done { out, .. } = Running::new(command).done();
    let first = out.lines().next().unwrap();
    assert!(first.contains(LONG) && first.contains("down after 3 misses"), "{out}");
}

#[test]
fn what_goes_on_below_stands_below_its_column() {
    let out = shown(plain(&["--once", &format!("dead={DEAD}")]), 80);
    let why: Vec<&str> = out.lines().skip_while(|line| !line.contains("↳ why")).take(2).collect();
    let at = why[0].split("certain").next().unwrap().width();
    let below = why[1].len() - why[1].trim_start().len();
    assert_eq!(at, below, "{out}");
}

#[test]
fn a_locale_without_letters_gets_plain_ascii_and_the_same_columns() {
    let (_responder, up) = peer();
    let args = ["--count", "2", "--interval", "20ms"];
    for (name, value) in [("LC_ALL", "C"), ("LANG", "POSIX"), ("TERM", "dumb")] {
        let mut command = keepbeat(&args);
        command.args([&format!("データ={up}"), &format!("dead={DEAD}")]).env(name, value);
        let Done { out, .. } = Running::new(command).done();
        assert!(out.is_ascii(), "{name}={value}:\n{out}");
        for words in ["o connecting", "* up", "x down", "> why", "us", "\\u{30c7}"] {
            assert!(out.contains(words), "no {words}:\n{out}");
        }
        columns_are_in_line(&out);
    }
}

/// Where the second column of words begins.
fn columns_are_in_line(out: &str) {
    let details: Vec<usize> = out
        .lines()
        .filter(|line| line.contains(" connecting "))
        .filter_map(|line| line.find("tcp://127").map(|at| line[..at].width()))
        .collect();
    assert!(details.len() >= 2 && details.iter().all(|at| *at == details[0]), "{out}");
}

#[test]
fn wide_letters_take_their_columns() {
    let (_responder, up) = peer();
    let names = ["データベース", "cafe\u{301}", "ascii", "🚀🚀"];
    let targets = names.map(|name| format!("{name}={up}"));
    let mut command = keepbeat(&["--count", "2", "--interval", "20ms"]);
    command.args(&targets);
    let Done { code, out, .. } = Running::new(command).done();
    assert_eq!(code, Some(0), "{out}");
    columns_are_in_line(&out);
    let (_, summary) = out.split_once("\n\n").unwrap();
    let at: Vec<usize> =
        summary.lines().filter_map(|line| line.find("● up").map(|at| line[..at].width())).collect();
    assert_eq!(at, [14; 4], "{out}");
}

#[test]
fn a_run_in_which_nothing_happens_says_that_it_runs_where_that_was_asked_for() {
    let (_responder, up) = peer();
    let mut running =
        Running::new(keepbeat(&["--alive", "300ms", "--interval", "1h", &format!("a={up}")]));
    let line = running.line("· running     *");
    // The second beat comes at any moment of the first interval.
    assert!(line.contains("the target is up, ") && line.contains(" acked"), "{line}");
    running.line("· running     *");
    running.signal("TERM");
    running.done();

    let two = [&format!("a={up}"), "dead=127.0.0.1:1"];
    let mut running = Running::new(keepbeat(&["--alive", "300ms", two[0], two[1]]));
    let line = running.line("· running     *");
    assert!(line.contains("1 of 2 targets up: dead is down (refused)"), "{line}");
    running.signal("TERM");
    running.done();

    let none = keepbeat(&["--for", "1s", "--interval", "10s", "--json", "--alive", "100ms", &up]);
    let Done { out, .. } = Running::new(none).done();
    assert!(!out.contains("running"), "no line of JSON says so:\n{out}");
}
