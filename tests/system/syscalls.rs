//! System calls per beat, by strace: three on a link's thread, one more with a diagnosis, and none
//! of them setsockopt.

use std::collections::HashMap;
use std::process::Stdio;

use keepbeat::Responder;
use libtest_mimic::Trial;

use crate::server::{Settings, answering, program};
use crate::{Need, child, trial};

const LINKS: u64 = 5;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("three_system_calls_a_beat_without_diagnosis", need(), count),
        trial("a_diagnosis_costs_one_system_call_in_twenty_beats", need(), diagnosed),
    ]
}

/// It must be there, and be allowed to trace.
pub fn need() -> Need {
    program("strace", "strace")?;
    let traced = std::process::Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status();
    if traced.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err("strace may not trace here: it needs CAP_SYS_PTRACE or a laxer ptrace_scope".to_owned())
}

/// What strace saw of a child.
fn seen(name: &str, words: &[&str]) -> String {
    let file = Settings::new(&format!("strace-{name}"), "");
    let child = child::command();
    let status = std::process::Command::new("strace")
        .args(["-f", "-q", "-o"])
        .arg(&file.0)
        .arg(child.get_program())
        .arg("--child")
        .args(words)
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::read_to_string(&file.0).unwrap()
}

/// The names of the calls of each thread that sends something, in their order.
fn threads(trace: &str) -> Vec<Vec<&str>> {
    let mut threads: HashMap<&str, Vec<&str>> = HashMap::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        // A call that was interrupted by another thread's line stands twice: once begun, once
        // resumed.
        if let Some((name, _)) = call.split_once('(').filter(|_| !call.starts_with("<...")) {
            threads.entry(thread).or_default().push(name);
        }
    }
    threads.into_values().filter(|calls| calls.contains(&"sendto")).collect()
}

/// The calls of those threads of a child that send something, by name.
pub fn trace(name: &str, words: &[&str]) -> HashMap<String, u64> {
    let mut sum = HashMap::new();
    for name in threads(&seen(name, words)).concat() {
        *sum.entry(name.to_owned()).or_default() += 1;
    }
    sum
}

/// Calls that gave an option of a socket the value that it had from an earlier call.
fn set_again(trace: &str) -> Vec<&str> {
    let mut values: HashMap<(&str, &str, &str), &str> = HashMap::new();
    let mut again = Vec::new();
    for line in trace.lines().filter(|line| !line.contains("<... ")) {
        let thread = line.split(' ').next().unwrap();
        let Some((_, arguments)) = line.split_once("setsockopt(") else {
            // The number goes to the next connection.
            let closed = line.split_once(" close(").and_then(|(_, fd)| fd.split([')', ' ']).next());
            values.retain(|(_, fd, _), _| Some(*fd) != closed);
            continue;
        };
        let (fd, rest) = arguments.split_once(", ").unwrap();
        // The value stands in brackets, braces or quotes; its length and the result follow.
        let (option, value) = rest.split_once(['[', '{', '"']).unwrap_or((rest, ""));
        let value = value.split([']', '}', '"']).next().unwrap();
        if values.insert((thread, fd, option), value).is_some_and(|before| before == value) {
            again.push(line);
        }
    }
    again
}

/// The read timeout follows the usual answer in steps of two, and so moves once in a while on a
/// busy machine; with each beat never. Ten times a link is more than was ever seen there.
const MOVES: usize = 10 * LINKS as usize;

/// A machine that puts threads aside adds a call to some beats: who comes too late to read at once
/// waits in poll before it, and what is not answered for 40 ms is looked at. Most beats have none.
const MORE: f64 = 0.5;

/// Whether most beats make exactly these calls, from one `sendto` to the next.
fn most_beats_make(expected: &[&str], how: &str) {
    let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
    let address = responder.local_addr().to_string();
    let text = seen(&format!("beats-{how}"), &["beats", &address, &LINKS.to_string(), "600", how]);
    let again = set_again(&text);
    assert!(again.is_empty(), "options that had this value before:\n{}", again.join("\n"));
    let threads = threads(&text);
    assert_eq!(threads.len() as u64, LINKS);
    let mut rounds: HashMap<Vec<&str>, usize> = HashMap::new();
    for calls in &threads {
        // The first piece is the connecting, the last one has the end in it.
        let mut pieces: Vec<_> = calls.split(|name| *name == "sendto").skip(1).collect();
        pieces.pop();
        for piece in pieces {
            let round = piece.iter().map(|name| if *name == "ppoll" { "poll" } else { *name });
            *rounds.entry(round.collect()).or_default() += 1;
        }
    }
    let beats: usize = rounds.values().sum();
    let calls: usize = rounds.iter().map(|(calls, n)| (calls.len() + 1) * n).sum();
    let (mean, usual) = (calls as f64 / beats as f64, rounds.get(expected).copied().unwrap_or(0));
    println!("{how}: {usual} of {beats} beats as expected, {mean:.3} system calls a beat");
    assert!(beats as u64 >= LINKS * 590, "not everything was seen: {beats}");
    assert!(usual * 2 > beats, "sendto, then not {expected:?} but {rounds:?}");
    let least = (expected.len() + 1) as f64;
    assert!(mean <= least + MORE, "{mean} system calls a beat: {rounds:?}");
    let set: usize = rounds
        .iter()
        .map(|(calls, n)| calls.iter().filter(|c| **c == "setsockopt").count() * n)
        .sum();
    assert!(set <= MOVES, "{set} calls of setsockopt in {beats} beats");
}

fn count() {
    most_beats_make(&["recvfrom", "poll"], "off");
}

/// The kernel is asked before a beat now and then, and where something is not as usual.
fn diagnosed() {
    most_beats_make(&["recvfrom", "poll"], "default");
}
