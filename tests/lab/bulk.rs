//! A link that carries data: what waits behind our own bytes is no death.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use keepbeat::{Cause, Coordinator, EventKind, Framed, Heartbeat, Link, State};

use crate::net::{Lab, SERVER};
use crate::server::{SINK, SLOW_READER};
use crate::watching::{LIMIT, TIMES, ms};
use crate::{Test, recording};

pub const TESTS: &[Test] = &[
    ("a_beat_behind_our_own_data_fells_nobody", behind_data),
    ("a_beat_behind_our_own_data_on_a_slow_path_fells_nobody", slow_path),
    ("a_peer_that_stops_reading_fells_nobody", deaf),
];

struct Adopted {
    coordinator: Coordinator,
    link: Link,
    enough: Arc<AtomicBool>,
    writer: Option<thread::JoinHandle<()>>,
}

impl Adopted {
    fn new(port: u16) -> Adopted {
        let stream = TcpStream::connect((SERVER, port)).unwrap();
        let coordinator = Coordinator::new().unwrap();
        // A frame that is half out when the peer stops reading may take long.
        let beat = Heartbeat::every(ms(200)).timeout(ms(400)).fall(2).write_timeout(LIMIT);
        let lines = Framed::lines("PING", "PONG").unwrap();
        let link = coordinator.adopt(stream, beat, lines).unwrap();
        Adopted { coordinator, link, enough: Arc::default(), writer: None }
    }

    /// Waits for an event that is wanted; that the link falls is none.
    fn wait(&self, what: &str, wanted: impl Fn(&EventKind) -> bool) -> EventKind {
        let deadline = Instant::now() + LIMIT;
        let mut told = Vec::new();
        loop {
            let Ok(event) = self.coordinator.events().recv_deadline(deadline) else {
                panic!("no {what} within {LIMIT:?}, but {told:#?}");
            };
            told.push(event.to_string());
            let fell = match event.kind() {
                EventKind::State { to, .. } => *to == State::Down,
                kind => matches!(kind, EventKind::Disconnected { .. }),
            };
            assert!(!fell, "{told:#?}");
            if wanted(event.kind()) {
                return event.kind().clone();
            }
        }
    }

    fn up(&self) {
        self.wait("Up", |kind| matches!(kind, EventKind::State { to: State::Up, .. }));
    }

    /// Lines without end, from a thread of their own.
    fn write(&mut self) {
        let (link, enough) = (self.link.try_clone().unwrap(), Arc::clone(&self.enough));
        self.writer = Some(thread::spawn(move || {
            let line = "-".repeat(1000);
            while !enough.load(Ordering::Relaxed) {
                link.send(&line).unwrap();
            }
        }));
    }

    fn stop_writing(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
        self.writer.take().unwrap().join().unwrap();
    }

    /// Waits for the word, and then for so many rounds more that nobody was felled by.
    fn held_up(&self, name: &str, causes: &[Cause]) {
        let is_right =
            |kind: &EventKind| kind.diagnosis().is_some_and(|told| causes.contains(&told.cause()));
        let kind = self.wait("a word", is_right);
        let told = kind.diagnosis().unwrap();
        println!("{told}");
        for _ in 0..TIMES {
            self.wait("a round", |kind| {
                matches!(kind, EventKind::Alive { .. } | EventKind::Beat { .. })
            });
        }
        recording::record(name, told);
    }
}

fn behind_data() {
    let _lab = Lab::quick();
    let mut links: Vec<_> = (0..TIMES).map(|_| Adopted::new(SLOW_READER)).collect();
    links.iter().for_each(Adopted::up);
    links.iter_mut().for_each(Adopted::write);
    for link in &links {
        link.held_up("behind-own-data", &[Cause::QueuedBehindData, Cause::PeerNotReading]);
    }
    links.iter_mut().for_each(Adopted::stop_writing);
}

/// The peer reads, and the path is slow: a router lets so much pass and drops the rest.
fn slow_path() {
    let lab = Lab::quick();
    let mut links: Vec<_> = (0..TIMES).map(|_| Adopted::new(SINK)).collect();
    links.iter().for_each(Adopted::up);
    lab.rule("tcp dport 7600 meta length > 500 limit rate over 400 kbytes/second drop");
    links.iter_mut().for_each(Adopted::write);
    for link in &links {
        link.held_up("behind-own-data-on-a-slow-path", &[Cause::QueuedBehindData]);
    }
    lab.heal();
    links.iter_mut().for_each(Adopted::stop_writing);
}

fn deaf() {
    let mut lab = Lab::quick();
    let mut links: Vec<_> = (0..TIMES).map(|_| Adopted::new(SLOW_READER)).collect();
    links.iter().for_each(Adopted::up);
    lab.server.order("deaf");
    links.iter_mut().for_each(Adopted::write);
    for link in &links {
        link.held_up("peer-stops-reading", &[Cause::PeerNotReading]);
    }
    lab.server.order("answer");
    links.iter_mut().for_each(Adopted::stop_writing);
}
