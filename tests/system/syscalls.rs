//! System calls per beat, counted by strace: at most 3.05 on a link's thread, one more with a
//! diagnosis, and none of them setsockopt.

use std::collections::HashMap;
use std::process::Stdio;

use keepbeat::Responder;
use libtest_mimic::Trial;

use crate::server::{Settings, answering, program};
use crate::{Need, child, trial};

const LINKS: u64 = 5;

/// How the one call is counted that only a look at a late answer makes, and how many calls such a
/// look costs in all: waking up, the state before, the error, waiting again.
const LOOK: &str = "look";
const A_LOOK: f64 = 4.0;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("three_system_calls_a_beat_without_diagnosis", need(), count),
        trial("a_diagnosis_costs_one_system_call_a_beat", need(), diagnosed),
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

/// The calls of all link threads of a run with so many rounds, by name.
fn beats(rounds: u64, how: &str) -> HashMap<String, u64> {
    let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
    let (address, rounds) = (responder.local_addr().to_string(), rounds.to_string());
    trace(&format!("beats-{rounds}"), &["beats", &address, &LINKS.to_string(), &rounds, how])
}

/// The calls of those threads of a child that send something, by name.
pub fn trace(name: &str, words: &[&str]) -> HashMap<String, u64> {
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
    let text = std::fs::read_to_string(&file.0).unwrap();
    let again = set_again(&text);
    assert!(again.is_empty(), "options that had this value before:\n{}", again.join("\n"));
    let mut threads: HashMap<&str, HashMap<String, u64>> = HashMap::new();
    for line in text.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        // A call that was interrupted by another thread's line stands twice: once begun, once
        // resumed.
        if let Some((name, _)) = call.split_once('(').filter(|_| !call.starts_with("<...")) {
            // A beat that has no answer for 40 ms is looked at, which happens on a busy machine.
            let name = if call.contains("SO_ERROR") { LOOK } else { name };
            *threads.entry(thread).or_default().entry(name.to_owned()).or_default() += 1;
        }
    }
    let mut sum = HashMap::new();
    for calls in threads.into_values().filter(|calls| calls.contains_key("sendto")) {
        for (name, n) in calls {
            *sum.entry(name).or_default() += n;
        }
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
const MOVES: u64 = 10 * LINKS;

/// System calls a beat, by name; and the sum.
fn a_beat(how: &str) -> (HashMap<String, f64>, f64) {
    // The difference of two runs leaves out connecting and the end.
    let (short, long) = (100, 600);
    let (before, after) = (beats(short, how), beats(long, how));
    let beats = (LINKS * (long - short)) as f64;
    let a_beat: HashMap<_, _> = after
        .iter()
        .map(|(name, n)| {
            let more = *n as f64 - *before.get(name).unwrap_or(&0) as f64;
            (name.clone(), more / beats)
        })
        .filter(|(_, n)| n.abs() > 0.0005)
        .collect();
    let sum = a_beat.values().sum();
    println!("{how}: {sum:.3} system calls a beat: {a_beat:.3?}");
    let set = |calls: &HashMap<String, u64>| calls.get("setsockopt").copied().unwrap_or_default();
    let more = set(&after).abs_diff(set(&before));
    assert!(more <= MOVES, "{more} more calls of setsockopt in {beats} beats");
    (a_beat, sum)
}

fn count() {
    let (calls, sum) = a_beat("off");
    assert!(sum <= 3.05, "{sum} system calls a beat: {calls:?}");
    assert!(sum > 2.9, "not everything was seen: {calls:?}");
}

/// What the kernel knew just before it, and nothing else.
fn diagnosed() {
    let (calls, sum) = a_beat("default");
    let of = |name: &str| calls.get(name).copied().unwrap_or_default();
    let healthy = sum - A_LOOK * of(LOOK);
    assert!(healthy <= 4.05, "{healthy} system calls a beat: {calls:?}");
    let asked = of("getsockopt") - of(LOOK);
    assert!((0.95..1.05).contains(&asked), "{asked} questions a beat: {calls:?}");
}
