//! Links that are watched while something is done to them, and what must be told of it.

use std::time::{Duration, Instant, SystemTime};

use std::sync::Arc;

use keepbeat::{
    Cause, Confidence, Coordinator, Diagnose, Diagnosis, Event, EventKind, Exchange, Fact,
    Heartbeat, LinkId, State, Status,
};

use crate::net::{Lab, SERVER};
use crate::recording;

/// No wait of a test is longer.
pub const LIMIT: Duration = Duration::from_secs(20);

/// So many links are watched at once: each fault is met so often.
pub const TIMES: usize = 4;

/// A certain cause is told so soon after the fact, in the best of [`TIMES`].
const AT_ONCE: Duration = Duration::from_millis(50);

pub const TIMEOUT: Duration = ms(1000);

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
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

/// The bytes that the server answers.
pub fn protocol() -> Exchange {
    Exchange::new("heartbeat", "heartbeat_ack")
}

/// A coordinator that lets all its links make side connections.
pub fn coordinator() -> Coordinator {
    Coordinator::builder().side_connections(64, 4000).build().unwrap()
}

/// One link, with a coordinator of its own, and all that was told since the last [`Watched::up`].
pub struct Watched {
    coordinator: Coordinator,
    id: LinkId,
    has_side: bool,
    told: Vec<Event>,
}

impl Watched {
    pub fn new(
        address: &str,
        beat: Heartbeat,
        protocol: impl Fn() -> Exchange + Send + 'static,
    ) -> Watched {
        let coordinator = coordinator();
        let has_side = format!("{beat:?}").contains("side: true");
        let id = coordinator.watch(address, beat, protocol()).unwrap();
        Watched { coordinator, id, has_side, told: Vec::new() }
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
    fn next(&mut self) {
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
    fn story(&self) -> String {
        let told: Vec<_> = self.told.iter().map(Event::to_string).collect();
        let facts = self.diagnoses().last().map(|(_, diagnosis)| diagnosis.evidence().facts());
        format!("{told:#?}\n{facts:?}")
    }

    /// When the first beat was written that was not answered in time.
    fn first_missed(&self) -> Option<SystemTime> {
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

/// How soon it must be told.
#[derive(Clone, Copy, PartialEq)]
pub enum Soon {
    /// Certain from the moment when the fault is made.
    AtOnce,
    /// Certain from the first beat that meets the fault.
    AtBeat,
    /// Two ack timeouts after the beat that was lost.
    Silence,
    /// No matter.
    AtLast,
}

/// What the last diagnosis must be.
pub struct Case {
    pub name: &'static str,
    pub cause: Cause,
    /// What may be told in its place, by luck or later.
    pub or: &'static [Cause],
    /// What may be told at first, with the cause beside it.
    pub first: &'static [Cause],
    /// What must stand beside it.
    pub beside: &'static [Cause],
    pub soon: Soon,
    pub port: u16,
    /// Each link its own port.
    pub spread: bool,
    pub beat: Heartbeat,
    pub protocol: fn() -> Exchange,
    /// Good beats before the fault.
    pub good: u32,
    /// Whether the link must fall; else the word is enough.
    pub falls: bool,
    /// Whether the fault is also watched without side connections.
    pub kernel: bool,
}

impl Case {
    pub fn new(name: &'static str, cause: Cause) -> Case {
        Case {
            name,
            cause,
            or: &[],
            first: &[],
            beside: &[],
            soon: Soon::Silence,
            port: 7000,
            spread: false,
            beat: beat(),
            protocol,
            good: 3,
            falls: true,
            kernel: true,
        }
    }

    fn address(&self, n: usize) -> String {
        let port = self.port + if self.spread { n as u16 } else { 0 };
        format!("{SERVER}:{port}")
    }

    fn links(&self) -> Vec<Watched> {
        let side = (0..TIMES).map(|n| (n, with_side(self.beat.clone())));
        let kernel = (TIMES..TIMES + 2).map(|n| (n, self.beat.clone()));
        let kernel = kernel.take(if self.kernel { 2 } else { 0 });
        let watch = |(n, beat)| Watched::new(&self.address(n), beat, self.protocol);
        side.chain(kernel).map(watch).collect()
    }

    /// The fault is made while beats are answered; then all that is told of it is looked at.
    pub fn run(&self, lab: &mut Lab, fault: impl FnOnce(&mut Lab)) {
        self.run_with(lab, |lab, _| fault(lab));
    }

    pub fn run_with(
        &self,
        lab: &mut Lab,
        fault: impl FnOnce(&mut Lab, &[Watched]),
    ) -> Vec<Watched> {
        let mut links = self.links();
        links.iter_mut().for_each(|link| link.up(self.good));
        fault(lab, &links);
        let begun = SystemTime::now();
        for link in &mut links {
            self.follow(link);
        }
        let done: Vec<_> = links.iter().map(|link| self.judge(link, begun)).collect();
        let soonest = done.iter().flatten().min().copied().unwrap_or_default();
        println!("{}: told after {soonest:.1?} and {done:.1?}", self.name);
        let limit = match self.soon {
            Soon::AtOnce | Soon::AtBeat => AT_ONCE,
            Soon::Silence => 2 * TIMEOUT,
            Soon::AtLast => Duration::MAX,
        };
        assert!(soonest <= limit, "{} took {soonest:?}: {}", self.name, links[0].story());
        let (_, last) = links[0].diagnoses().pop().unwrap();
        println!("{last}");
        recording::record(self.name, &last);
        links
    }

    /// Waits until enough is told.
    pub fn follow(&self, link: &mut Watched) {
        if !self.falls {
            link.until(self.cause.word(), |event, _| {
                event.kind().diagnosis().is_some_and(|told| self.is_right(told))
            });
            return;
        }
        link.down();
        let silence = matches!(self.soon, Soon::Silence | Soon::AtLast);
        if silence && !link.has_side {
            link.next();
        }
    }

    fn is_right(&self, told: &Diagnosis) -> bool {
        told.cause() == self.cause || self.or.contains(&told.cause())
    }

    /// Whether what is told leaves room for the truth.
    fn leaves_room(&self, told: &Diagnosis) -> bool {
        self.is_right(told) || told.alternatives().contains(&self.cause)
    }

    /// How long it took to be told, where that counts.
    pub fn judge(&self, link: &Watched, begun: SystemTime) -> Option<Duration> {
        let told = link.diagnoses();
        for (_, diagnosis) in &told {
            let fits = self.leaves_room(diagnosis);
            assert!(fits, "{}: {diagnosis}\nof {}", self.name, link.story());
        }
        let (_, last) = told.last().unwrap_or_else(|| panic!("{}: {}", self.name, link.story()));
        if !link.has_side {
            return None;
        }
        assert!(self.is_right(last), "{}: {last}\nof {}", self.name, link.story());
        assert!(last.confidence() >= Confidence::Likely || !self.falls, "{last}");
        for other in self.beside.iter().filter(|_| last.cause() == self.cause) {
            let beside = last.alternatives().contains(other);
            assert!(beside, "{}: no {other} beside {last}", self.name);
        }
        let counts = |told: &Diagnosis| self.is_right(told) || self.first.contains(&told.cause());
        let (at, first) = told.iter().find(|(_, told)| counts(told)).unwrap();
        match self.soon {
            // It may be told before whoever made the fault knows that it is made.
            Soon::AtOnce => Some(at.duration_since(begun).unwrap_or_default()),
            Soon::AtBeat => number(first, "waited_us").map(Duration::from_micros),
            Soon::Silence => at.duration_since(link.first_missed()?).ok(),
            Soon::AtLast => None,
        }
    }
}
