//! One link of any kind, with all that is told of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use keepbeat::{
    Cause, Coordinator, Diagnose, Diagnosis, Event, EventKind, Exchange, Fact, Following,
    Heartbeat, Link, LinkId, State, Status, Transport,
};

/// No wait of a test is longer.
pub const LIMIT: Duration = Duration::from_secs(20);

/// So many links are watched at once: each fault is met so often.
pub const TIMES: usize = 4;

pub const TIMEOUT: Duration = ms(1000);

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    eventually_none(what, || if holds() { Vec::new() } else { vec![false] });
}

/// Waits until nothing is left that is otherwise; says what is left, in the end.
pub fn eventually_none<T: std::fmt::Debug>(what: &str, others: impl Fn() -> Vec<T>) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let left = others();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}, but {left:#?}");
        std::thread::sleep(ms(1)); // between two looks
    }
}

pub fn beat() -> Heartbeat {
    Heartbeat::every(ms(400)).timeout(TIMEOUT).connect_timeout(TIMEOUT).backoff(ms(100), ms(200))
}

/// With other connections, to a port where nobody listens, too.
pub fn with_side(beat: Heartbeat) -> Heartbeat {
    beat.diagnose(Diagnose::side_connections().closed_port())
}

fn has_side(beat: &Heartbeat) -> bool {
    *beat == beat.clone().diagnose(Diagnose::side_connections().closed_port())
}

/// The bytes that the server answers.
pub fn protocol() -> Exchange {
    Exchange::new("heartbeat", "heartbeat_ack")
}

/// A coordinator that lets all its links make side connections.
pub fn coordinator() -> Coordinator {
    Coordinator::builder().side_connections(64, 4000).build().unwrap()
}

/// Whose connection it is.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// keepbeat's own, opened again.
    Watched,
    /// Handed over by the application.
    Adopted,
    /// The application's, which says what it reads.
    Followed,
}

/// One link, with a coordinator of its own, and all that was told since the last [`Watched::up`].
pub struct Watched {
    coordinator: Coordinator,
    id: LinkId,
    pub kind: Kind,
    pub has_side: bool,
    told: Vec<Event>,
    /// What must live as long as the link.
    _keeps: Option<Link>,
}

impl Watched {
    pub fn new(address: &str, beat: Heartbeat, protocol: impl Fn() -> Exchange) -> Watched {
        let coordinator = coordinator();
        let has_side = has_side(&beat);
        let id = coordinator.watch(address, beat, protocol()).unwrap();
        let (kind, told, _keeps) = (Kind::Watched, Vec::new(), None);
        Watched { coordinator, id, kind, has_side, told, _keeps }
    }

    pub fn adopted(address: &str, beat: Heartbeat) -> Watched {
        let (coordinator, has_side) = (coordinator(), has_side(&beat));
        let stream = TcpStream::connect(address).unwrap();
        let link = coordinator.adopt(stream, beat, protocol()).unwrap();
        let (id, told) = (link.id(), Vec::new());
        Watched { coordinator, id, kind: Kind::Adopted, has_side, told, _keeps: Some(link) }
    }

    /// What keepbeat has no socket of: there are no side connections.
    pub fn followed(address: &str, beat: Heartbeat) -> Watched {
        let coordinator = coordinator();
        let mut reader = TcpStream::connect(address).unwrap();
        let mut writer = reader.try_clone().unwrap();
        let send = move |bytes: &[u8]| writer.write_all(bytes);
        let following = Following::named("followed").over(Transport::Tcp);
        let follower = coordinator.follow_as(following, beat, protocol(), send).unwrap();
        let id = follower.id();
        thread::spawn(move || {
            let mut bytes = [0; 512];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                if follower.heard(&bytes[..n]).is_err() {
                    return;
                }
            }
            follower.lost(Cause::ClosedByPeer);
        });
        let (kind, has_side, told) = (Kind::Followed, false, Vec::new());
        Watched { coordinator, id, kind, has_side, told, _keeps: None }
    }

    /// Waits until it is Up and so many beats in a row were acked in time. What was told before is
    /// forgotten.
    pub fn up(&mut self, beats: u32) {
        let mut good = 0;
        self.until("good beats", |event, status| {
            let acked = matches!(event.kind(), EventKind::Beat { late: false, .. });
            let other = matches!(event.kind(), EventKind::Missed { .. });
            good = if other { 0 } else { good + u32::from(acked) };
            good >= beats && status.state == State::Up
        });
        self.told.clear();
    }

    /// Waits for an event that is wanted.
    pub fn until(&mut self, what: &str, mut wanted: impl FnMut(&Event, &Status) -> bool) -> Event {
        let deadline = Instant::now() + LIMIT;
        loop {
            let Ok(event) = self.coordinator.events().recv_deadline(deadline) else {
                let told: Vec<_> = self.told.iter().map(Event::to_string).collect();
                panic!("no {what} within {LIMIT:?}, but {told:#?}");
            };
            self.told.push(event.clone());
            if wanted(&event, &self.status()) {
                return event;
            }
        }
    }

    pub fn down(&mut self) -> Event {
        self.until("Down", |event, _| {
            matches!(event.kind(), EventKind::State { to: State::Down, .. })
        })
    }

    /// Waits until the next connection has told how it fares.
    pub fn next(&mut self) {
        let mut ends = 0;
        self.until("a next connection", |event, _| {
            ends += u32::from(matches!(event.kind(), EventKind::Disconnected { .. }));
            let told = matches!(event.kind(), EventKind::Missed { .. });
            told || ends == 2 || matches!(event.kind(), EventKind::State { to: State::Up, .. })
        });
    }

    pub fn status(&self) -> Status {
        self.coordinator.status(self.id).unwrap()
    }

    pub fn diagnoses(&self) -> Vec<(SystemTime, Arc<Diagnosis>)> {
        let stalled = |event: &&Event| !matches!(event.kind(), EventKind::Stalled { .. });
        let with_time = |event: &Event| Some((event.time(), Arc::clone(event.kind().diagnosis()?)));
        self.told.iter().filter(stalled).filter_map(with_time).collect()
    }

    /// All that was told, for whoever has to find out.
    pub fn story(&self) -> String {
        let told: Vec<_> = self.told.iter().map(Event::to_string).collect();
        let facts = self.diagnoses().last().map(|(_, diagnosis)| diagnosis.evidence().facts());
        format!("{told:#?}\n{facts:?}")
    }

    /// When the first beat was written that was not answered in time.
    pub fn first_missed(&self) -> Option<SystemTime> {
        self.told.iter().find_map(|event| match event.kind() {
            EventKind::Missed { timeout, .. } => Some(event.time() - *timeout),
            _ => None,
        })
    }
}

/// A number among the evidence, in microseconds say.
pub fn number(diagnosis: &Diagnosis, name: &str) -> Option<u64> {
    diagnosis.evidence().facts().into_iter().find_map(|(fact, value)| match value {
        Fact::Number(number) if fact == name => Some(number),
        _ => None,
    })
}
