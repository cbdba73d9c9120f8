//! A simulated world with one clock and one seed: links, each to a host of its own, and one fault
//! after another. What is told in it is held against the faults that were there.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::cause::Cause;
use crate::diagnose::{Confidence, Diagnose};
use crate::heartbeat::Heartbeat;
use crate::pulse::Input;
use crate::state::State;

use super::fate::{Fault, Kind};
use super::link::{Link, Told};
use super::path::Path;
use super::sides::Shared;

/// So long a fault may be told of after it is over: until the next beat is answered.
const AFTERWARDS: Duration = Duration::from_secs(60);

/// No world of half an hour needs more side connections.
const MOST_OPENED: usize = 2000;

/// Side connections are asked for again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct Params {
    pub interval: Duration,
    pub timeout: Duration,
    pub fall: u32,
    pub rtt: Duration,
    pub side: bool,
}

impl Params {
    pub fn draw(seed: u64) -> Params {
        let mut rng = Rng::with_seed(seed ^ 0xFA7E);
        let timeout = Duration::from_millis(rng.u64(800..3000));
        Params {
            interval: Duration::from_millis(rng.u64(2000..8000)),
            timeout,
            fall: rng.u32(2..=4),
            rtt: Duration::from_micros(rng.u64(200..40_000)),
            side: rng.bool(),
        }
    }

    /// From the fault to the last word of it, at most: a beat, the rounds, and what a dead path
    /// takes to be told from a lossy one.
    pub fn detection(&self) -> Duration {
        self.interval * 2 + self.timeout * (self.fall + 1) + Duration::from_secs(20)
    }

    pub fn heartbeat(&self) -> Heartbeat {
        let diagnose = match self.side {
            true => Diagnose::side_connections().closed_port(),
            false => Diagnose::kernel(),
        };
        Heartbeat::every(self.interval).timeout(self.timeout).fall(self.fall).diagnose(diagnose)
    }
}

pub struct World {
    pub seed: u64,
    pub params: Params,
    start: Instant,
    now: Instant,
    pub links: Vec<Link>,
    pub shared: Shared,
    faults: Vec<Fault>,
    /// Those that have struck.
    struck: usize,
}

impl World {
    pub fn new(seed: u64, params: Params, hosts: u8) -> World {
        // Far enough from the machine's own clock that ages can be taken from it.
        let start = Instant::now() + Duration::from_secs(100_000);
        let path = Path { rtt: params.rtt, loss: 0.0, faults: Vec::new(), hung_until: None };
        let links = (0..hosts).map(|n| {
            let seed = seed ^ u64::from(n) << 32;
            Link::new(n, seed, params.heartbeat(), path.clone(), start)
        });
        let (links, shared) = (links.collect(), Shared::default());
        World { seed, params, start, now: start, links, shared, faults: Vec::new(), struck: 0 }
    }

    /// A fault of all hosts, so long after the start, for so long.
    pub fn with(mut self, kind: Kind, after: Duration, lasts: Duration) -> World {
        let from = self.start + after;
        self.faults.push(Fault { kind, from, until: from + lasts });
        self.links.iter_mut().for_each(|link| link.path.faults.clone_from(&self.faults));
        self
    }

    pub fn fail(&self, what: impl std::fmt::Debug) -> ! {
        panic!(
            "seed {}: {what:?}\n{:?}\n{}run it alone with KEEPBEAT_SEED={}",
            self.seed,
            self.params,
            self.story(),
            self.seed
        )
    }

    /// What went wrong, and what was told.
    pub fn story(&self) -> String {
        let at = |at: Instant| format!("{:9.3}s", (at - self.start).as_secs_f64());
        let faults = self.faults.iter().map(|fault| {
            format!("{} {:?} for {:?}\n", at(fault.from), fault.kind, fault.until - fault.from)
        });
        let told = self.links.iter().flat_map(|link| {
            let told = link.told.iter().map(|told| {
                format!("{} {:?} {:?} {}\n", at(told.at), link.host(), told.state, told.why)
            });
            told.chain(link.ups.iter().map(|up| format!("{} {:?} up\n", at(*up), link.host())))
        });
        let mut lines: Vec<_> = faults.chain(told).collect();
        lines.sort();
        lines.concat()
    }

    pub fn run(&mut self, until: Duration) {
        let until = self.start + until;
        loop {
            let strike = self.faults.get(self.struck).map(|fault| fault.from);
            let mut next = strike.into_iter().chain([until]).min().unwrap_or(until);
            let now = self.now;
            let idle = self.idle_limit();
            for link in &mut self.links {
                let ends = idle.and_then(|limit| link.end_idle(limit, now));
                next = link.next(now).into_iter().chain(ends).chain([next]).min().unwrap_or(next);
            }
            self.now = next.max(self.now);
            if strike.is_some_and(|at| at <= self.now) {
                let fault = self.faults[self.struck];
                self.struck += 1;
                self.links.iter_mut().for_each(|link| link.strike(fault, self.now));
            }
            if self.now >= until {
                return;
            }
            if self.shared.opened.len() > MOST_OPENED {
                self.fail("asked without end");
            }
            for link in &mut self.links {
                link.step(self.now, &mut self.shared);
            }
        }
    }

    fn idle_limit(&self) -> Option<Duration> {
        self.faults.iter().find_map(|fault| match fault.kind {
            Kind::IdleClose(limit) if fault.is_on(self.now) => Some(limit),
            _ => None,
        })
    }

    pub fn stop(&mut self) {
        let World { links, shared, now, .. } = self;
        links.iter_mut().for_each(|link| link.tell(Input::Stop, *now, shared));
    }

    // What must hold.

    pub fn told(&self) -> impl Iterator<Item = &Told> {
        self.links.iter().flat_map(|link| &link.told)
    }

    /// Nobody is blamed for what was not there, nothing is told twice, nobody is asked too often.
    pub fn check(&self) {
        for link in &self.links {
            if let Some(failed) = link.failed.first() {
                self.fail(failed);
            }
            link.told.iter().for_each(|told| self.check_blame(told));
            self.check_once(link);
            self.check_asks(link);
        }
    }

    fn check_blame(&self, told: &Told) {
        let cause = told.why.cause();
        let near = |fault: &&Fault| {
            fault.from <= told.at && told.at < fault.until + AFTERWARDS + self.params.detection()
        };
        let allowed = |fault: &Fault| fault.kind.allows(cause);
        let is_many = self.links.len() > 2 && cause == Cause::LocalNetwork;
        let is_guess = told.why.confidence() < Confidence::Likely;
        let is_there = self.faults.iter().filter(near).any(allowed);
        if !is_guess && !is_many && !is_there {
            self.fail(format!("{} was not there: {}", cause, told.why));
        }
    }

    /// In one trouble each cause is told once, and again only if it is surer than ever, or if
    /// something else has happened since.
    fn check_once(&self, link: &Link) {
        let ends = link.ups.iter().copied().chain([self.now]);
        let mut from = self.start;
        for end in ends {
            let told = link.told.iter().filter(|told| from < told.at && told.at <= end);
            let told = told.filter(|told| told.state.is_none() && !told.is_alarm);
            let mut known: Vec<&Told> = Vec::new();
            for told in told.filter(|told| told.why.cause() != Cause::LocalStall) {
                let is_same = |one: &&Told| {
                    one.why.cause() == told.why.cause()
                        && one.why.confidence() >= told.why.confidence()
                        && !self.has_turned(one.at, told.at)
                };
                if known.iter().any(is_same) {
                    self.fail(format!("told twice in one trouble: {}", told.why));
                }
                known.push(told);
            }
            from = end;
        }
    }

    /// Whether a fault has begun or ended between these two moments.
    fn has_turned(&self, from: Instant, to: Instant) -> bool {
        let between = |at: Instant| from < at && at <= to;
        self.faults.iter().any(|fault| between(fault.from) || between(fault.until))
    }

    /// Once in a trouble, and once a minute; never where all is well.
    fn check_asks(&self, link: &Link) {
        for pair in link.side.asked.windows(2) {
            let answered = link.answers.iter().any(|at| pair[0] <= *at && *at <= pair[1]);
            if pair[1] - pair[0] <= ASK_AGAIN && !answered {
                let (one, other) = (pair[0] - self.start, pair[1] - self.start);
                self.fail(format!("asked for side connections at {one:?} and {other:?}"));
            }
        }
    }

    /// Some event, or some state, names it; and it is up again.
    pub fn expect(&self, cause: Cause, least: Confidence) {
        let names = |told: &Told| told.why.cause() == cause && told.why.confidence() >= least;
        if !self.told().any(names) {
            self.fail(format!("{cause} was not told"));
        }
    }

    /// The same, or it stands among what it may be.
    pub fn expect_among(&self, cause: Cause) {
        let names =
            |told: &Told| told.why.cause() == cause || told.why.alternatives().contains(&cause);
        if !self.told().any(names) {
            self.fail(format!("{cause} was not told"));
        }
    }

    pub fn expect_up(&self) {
        if let Some(link) = self.links.iter().find(|link| link.pulse.state() != State::Up) {
            self.fail(format!("{} is {:?}", link.host(), link.pulse.state()));
        }
    }
}
