//! Many targets of which some fare alike: a few lines, not thousands; and lines in the order of
//! their times.

use std::net::TcpListener;

use keepbeat::{Exchange, Responder};

use super::process::{Running, keepbeat};

const MANY: usize = 60;

fn listen() -> (Vec<Responder>, Vec<String>) {
    let answer = || Exchange::answering("heartbeat", "heartbeat_ack");
    let one = |_| Responder::bind("127.0.0.1:0", answer).unwrap();
    let peers: Vec<Responder> = (0..MANY).map(one).collect();
    let targets =
        peers.iter().enumerate().map(|(n, peer)| format!("t{n}={}", peer.local_addr())).collect();
    (peers, targets)
}

/// Dies, and comes back; all that is told of it.
fn story(flags: &[&str]) -> String {
    let (peers, targets) = listen();
    let args = ["--interval", "200ms", "--timeout", "10s", "--backoff", "100ms", "--backoff-cap"];
    let args = [args.as_slice(), &["200ms"], flags].concat();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let mut running = Running::new(keepbeat(&[args, targets].concat()));
    running.line("57 more targets, all on 127.0.0.1"); // they are connecting
    running.line("● up          *  ");
    let addresses: Vec<_> = peers.iter().map(Responder::local_addr).collect();
    peers.into_iter().for_each(|peer| peer.stop());
    running.line("✖ down        *  ");
    running.line("✖ down        *    refused");
    let answer = || Exchange::answering("heartbeat", "heartbeat_ack");
    let bind = |address| loop {
        // A passing connection may hold the port for a moment.
        match Responder::bind(address, answer) {
            Ok(peer) => return peer,
            Err(_) => std::thread::yield_now(),
        }
    };
    let _peers: Vec<_> = addresses.into_iter().map(bind).collect();
    running.line("● up          *  ");
    running.signal("TERM");
    let done = running.done();
    assert_eq!(done.code, Some(0), "{}", done.out);
    done.out
}

#[test]
fn one_host_that_dies_under_many_targets_and_comes_back_is_a_few_lines() {
    let out = story(&[]);
    let (events, summary) = out.split_once("\n\n").unwrap();
    // Beginning, death, why it stays down, and recovery: each three lines with why and what helps,
    // and a sum.
    assert!(events.lines().count() < 60, "{} lines:\n{out}", events.lines().count());
    for words in ["✖ down", "● up"] {
        let shown = events.lines().filter(|line| line.contains(words) && !line.contains("  *  "));
        assert_eq!(shown.count(), 6, "{words}:\n{out}");
    }
    assert_eq!(summary.lines().count(), 2, "the head, and one row for all:\n{out}");
    assert!(summary.contains("60 targets in all  ● up"), "{out}");

    let times: Vec<&str> = events.lines().filter_map(|line| line.split("Z  ").next()).collect();
    let times: Vec<&str> = times.into_iter().filter(|time| time.len() == 12).collect();
    assert!(times.len() > 20 && times.is_sorted(), "in the order of time:\n{out}");
}

#[test]
fn with_v_each_of_them_has_its_lines() {
    let (_peers, targets) = listen();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let args = [["--once", "-v"].as_slice(), &targets].concat();
    let out = Running::new(keepbeat(&args)).done().out;
    let (events, summary) = out.split_once("\n\n").unwrap();
    for words in ["○ connecting", "○ connected", "· ack", "● up"] {
        assert_eq!(events.matches(words).count(), MANY, "{words}:\n{out}");
    }
    assert_eq!(summary.lines().count(), MANY + 1, "{out}");
}

#[test]
fn with_q_trouble_and_its_end_alone_are_told() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (peers, targets) = listen();
    let dying = &targets[0];
    let address = peers[0].local_addr();
    let silent = format!("silent={}", silent.local_addr().unwrap());
    let args = ["-q", "--interval", "100ms", "--timeout", "300ms", "--backoff", "10ms"];
    let mut running = Running::new(keepbeat(
        &[args.as_slice(), &["--backoff-cap", "50ms", dying, &targets[1], &silent]].concat(),
    ));
    running.line("silent  peer-silent"); // its misses
    let mut peers = peers.into_iter();
    peers.next().unwrap().stop();
    running.line("✖ down        t0");
    let answer = || Exchange::answering("heartbeat", "heartbeat_ack");
    let _back = loop {
        if let Ok(peer) = Responder::bind(address, answer) {
            break peer;
        }
    };
    let back = running.line("● up");
    assert!(back.contains("t0") && back.contains("it was down for"), "{back}");
    running.signal("TERM");
    let done = running.done();
    assert_eq!(done.code, Some(1), "{}", done.out);
    for words in ["connecting", "○ connected", "rtt min", " t1 "] {
        assert!(!done.out.contains(words), "{words}:\n{}", done.out);
    }
}
