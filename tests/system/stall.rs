//! Our own stall: the process is stopped for several timeouts and continued, and convicts nobody.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use keepbeat::{Exchange, Responder};
use libtest_mimic::Trial;

use crate::server::{LIMIT, freeze, ms, signal_to};
use crate::{child, trial};

pub fn trials() -> Vec<Trial> {
    let need = if cfg!(target_os = "linux") { Ok(()) } else { Err("needs /proc".to_owned()) };
    vec![trial("a_stall_of_our_own_convicts_nobody", need, stall)]
}

fn stall() {
    let answering = || Exchange::answering("heartbeat", "heartbeat_ack");
    let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
    let mut child = child::start(&["events", &responder.local_addr().to_string()]);
    let (line, lines) = crossbeam_channel::unbounded();
    let stdout = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = line.send(text);
        }
    });
    let mut seen = Vec::new();
    let mut wait = |word: &str| {
        let deadline = Instant::now() + LIMIT;
        loop {
            let text = lines.recv_deadline(deadline).unwrap_or_else(|_| panic!("{word}: {seen:?}"));
            seen.push(text);
            if seen.last().is_some_and(|text| text.starts_with(word)) {
                return;
            }
        }
    };
    wait("state up");
    for round in 0..6 {
        wait("beat");
        // In every phase of a round: waiting for the ack, and for the next beat.
        std::thread::sleep(ms(17 * round));
        freeze(child.id());
        std::thread::sleep(Duration::from_secs(1)); // the fault: ten timeouts
        signal_to(child.id(), libc::SIGCONT);
        wait("diagnosis"); // the stall is told as ours
        wait("beat");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let blamed = |text: &&String| {
        ["miss", "disconnect", "state suspect", "state down"].iter().any(|w| text.starts_with(w))
    };
    assert_eq!(seen.iter().find(blamed), None, "{seen:#?}");
}
