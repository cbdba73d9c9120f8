//! A case: a fault that is made while links are Up, and what must be told of it, and how soon.

use std::time::{Duration, SystemTime};

use keepbeat::{Cause, Confidence, Diagnosis, Exchange, Heartbeat};

use crate::net::{Lab, SERVER};
use crate::recording;
use crate::watching::{Kind, TIMEOUT, TIMES, Watched, beat, number, protocol, with_side};

/// A certain cause is told so soon after the fact, in the best of [`TIMES`].
const AT_ONCE: Duration = Duration::from_millis(50);

/// So often a case is tried whose machine was busy in each of them.
const TRIES: u32 = 3;

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
    pub kind: Kind,
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
            kind: Kind::Watched,
        }
    }

    fn address(&self, n: usize) -> String {
        let port = self.port + if self.spread { n as u16 } else { 0 };
        format!("{SERVER}:{port}")
    }

    /// Some with side connections, some without.
    fn links(&self) -> Vec<Watched> {
        let side = (0..TIMES).map(|n| (n, with_side(self.beat.clone())));
        let kernel = (TIMES..TIMES + 2).map(|n| (n, self.beat.clone()));
        let link = |(n, beat)| match self.kind {
            Kind::Watched => Watched::new(&self.address(n), beat, self.protocol),
            Kind::Adopted => Watched::adopted(&self.address(n), beat),
            Kind::Followed => Watched::followed(&self.address(n), beat),
        };
        side.chain(kernel).map(link).collect()
    }

    /// The fault is made while beats are answered; then all that is told of it is looked at.
    pub fn run(&self, lab: &mut Lab, mut fault: impl FnMut(&mut Lab)) -> Vec<Watched> {
        let mut tries = 1;
        loop {
            let (links, took) = self.once(lab, &mut fault);
            let limit = self.limit();
            let soonest = took.iter().flatten().min().copied().unwrap_or_default();
            println!("{}: told after {soonest:.1?} and {took:.1?}", self.name);
            let (_, last) = links[0].diagnoses().pop().unwrap();
            println!("{last}");
            // All of them may meet a moment in which the machine is busy.
            let late = took.iter().flatten().any(|took| *took > limit.saturating_add(TIMEOUT));
            if soonest <= limit && !late {
                recording::record(self.name, &last);
                return links;
            }
            let again = tries < TRIES && limit == AT_ONCE;
            assert!(again, "{} took {took:?}: {}", self.name, links[0].story());
            drop(links);
            tries += 1;
            lab.renew();
        }
    }

    fn limit(&self) -> Duration {
        match self.soon {
            Soon::AtOnce | Soon::AtBeat => AT_ONCE,
            Soon::Silence => 2 * TIMEOUT,
            Soon::AtLast => Duration::MAX,
        }
    }

    fn once(
        &self,
        lab: &mut Lab,
        fault: &mut impl FnMut(&mut Lab),
    ) -> (Vec<Watched>, Vec<Option<Duration>>) {
        let mut links = self.links();
        links.iter_mut().for_each(|link| link.up(self.good));
        fault(lab);
        let begun = SystemTime::now();
        for link in &mut links {
            self.follow(link);
        }
        let took = links.iter().map(|link| self.judge(link, begun)).collect();
        (links, took)
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
        if silence && !link.has_side && link.kind == Kind::Watched {
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
