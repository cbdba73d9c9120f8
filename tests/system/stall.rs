//! Our own stall: the process is stopped for several timeouts and continued, and convicts nobody.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use keepbeat::Responder;
use libtest_mimic::Trial;

use crate::server::{LIMIT, answering, freeze, ms, signal_to};
use crate::{child, trial};

pub fn trials() -> Vec<Trial> {
    let need = if cfg!(target_os = "linux") { Ok(()) } else { Err("needs /proc".to_owned()) };
    vec![
        trial("a_stall_of_our_own_convicts_nobody", need.clone(), stall),
        trial("a_beat_that_was_slept_over_goes_out_at_once", need, slept_over),
    ]
}

/// A process that watches, to be stopped.
struct Watching {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    _responder: Responder,
}

impl Watching {
    fn start(interval_ms: &str) -> Watching {
        let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
        let address = responder.local_addr().to_string();
        let mut child = child::start(&["events", &address, interval_ms]);
        let (line, lines) = unbounded();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for text in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = line.send(text);
            }
        });
        Watching { child, lines, seen: Vec::new(), _responder: responder }
    }

    fn wait(&mut self, word: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let line = self.lines.recv_deadline(deadline);
            let text = line.unwrap_or_else(|_| panic!("no {word} after {:#?}", self.seen));
            let found = text.starts_with(word);
            self.seen.push(text);
            if found {
                return;
            }
        }
    }

    fn sleep(&self, time: Duration) {
        freeze(self.child.id());
        std::thread::sleep(time); // the fault
        signal_to(self.child.id(), libc::SIGCONT);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stall() {
    let mut watching = Watching::start("100");
    watching.wait("state up");
    for round in 0..6 {
        watching.wait("beat");
        // In every phase of a round: waiting for the ack, and for the next beat.
        std::thread::sleep(ms(17 * round));
        watching.sleep(Duration::from_secs(1)); // ten timeouts
        watching.wait("diagnosis"); // the stall is told as ours
        let told = watching.seen.last().unwrap();
        assert!(told.starts_with("diagnosis local-stall (certain): this process woke "), "{told}");
        assert!(told.contains("too late; ") && told.contains("this process"), "{told}");
        assert!(!told.contains("; or "), "nobody else may be to blame: {told}");
        watching.wait("beat");
    }
    let blamed = |text: &&String| {
        ["miss", "disconnect", "state suspect", "state down"].iter().any(|w| text.starts_with(w))
    };
    assert_eq!(watching.seen.iter().find(blamed), None, "{:#?}", watching.seen);
}

/// A wait that the kernel goes on with where it was stopped would send it up to an interval later.
fn slept_over() {
    let mut watching = Watching::start("10000");
    watching.wait("state up");
    watching.wait("beat"); // the second, anywhere in the first ten seconds
    watching.sleep(Duration::from_secs(12));
    let start = Instant::now();
    watching.wait("diagnosis");
    watching.wait("beat");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?} after it went on");
}
