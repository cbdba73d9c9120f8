//! The test binary as a child of itself: a process to be stopped, traced, or driven into its
//! limits.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keepbeat::{Coordinator, Diagnose, EventKind, Heartbeat};

use crate::server::tutorial;
use crate::{itself, limits, names, observe, session};

/// Runs the part of a child, if this process is one.
pub fn run() -> bool {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() != Some("--child") {
        return false;
    }
    let words: Vec<_> = words.collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["events", address, interval] => tell_events(address, interval),
        ["beats", address, links, rounds, how] => beat(address, links, rounds, how),
        ["session", url, requests] => session::request(url, requests),
        ["serve", address] => session::serve(address),
        ["silent", url] => session::silent(url),
        ["observe", address] => observe::tell(address),
        ["itself"] => itself::connect(),
        ["names"] => names::ask(),
        ["few-files"] => limits::few_files(),
        ["all-threads"] => limits::all_threads(),
        _ => panic!("no such child: {words:?}"),
    }
    true
}

pub fn command() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

pub fn start(words: &[&str]) -> Child {
    command().arg("--child").args(words).stdout(Stdio::piped()).spawn().unwrap()
}

/// Each event is a line, until the pipe breaks.
fn tell_events(address: &str, interval: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let coordinator = Coordinator::new().unwrap();
    let interval = Duration::from_millis(interval.parse().unwrap());
    let beat = Heartbeat::every(interval).timeout(Duration::from_millis(100));
    coordinator.watch(address, beat, tutorial()).unwrap();
    for event in coordinator.events() {
        if writeln!(std::io::stdout(), "{} {}", event.kind().word(), event.kind()).is_err() {
            break;
        }
    }
}

/// So many links, so many rounds each, then the end.
fn beat(address: &str, links: &str, rounds: &str, how: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let (links, rounds): (usize, u64) = (links.parse().unwrap(), rounds.parse().unwrap());
    let coordinator = Coordinator::new().unwrap();
    let beat =
        Heartbeat::every(Duration::from_millis(20)).timeout(Duration::from_secs(20)).rounds(rounds);
    let beat = match how {
        "default" => beat,
        "off" => beat.diagnose(Diagnose::off()),
        _ => panic!("no such diagnosis: {how}"),
    };
    for _ in 0..links {
        coordinator.watch(address, beat.clone(), tutorial()).unwrap();
    }
    let ended = |kind: &EventKind| *kind == EventKind::Ended;
    let ends = coordinator.events().iter().filter(|event| ended(event.kind()));
    assert_eq!(ends.take(links).count(), links);
    for status in coordinator.statuses() {
        assert_eq!((status.acked, status.missed, status.late), (rounds, 0, 0));
    }
    coordinator.stop().unwrap();
}
