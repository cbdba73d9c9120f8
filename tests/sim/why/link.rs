//! A watched link in a simulated world: its thread does what `links/driver.rs` does, in that order,
//! with the same pulse and the same inquiry; kernel, path and peer are simulated.

mod wire;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::cause::{Cause, Loss};
use crate::diagnose::{Act, Attempt, Diagnosis, Inquiry, Ledger, Saw};
use crate::heartbeat::Heartbeat;
use crate::pulse::{Input, Output, Pulse, Report};
use crate::state::State;
use crate::target::Target;

use super::kernel::Flow;
use super::path::{Path, Reach};
use super::sides::{Eyes, Shared, Side};

pub const BEAT: u64 = 9;

/// What comes to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive(u64, u64, u64, u64),
    Ack(u64, u64, bool),
    Answer(u64, u64),
    Said(u64, i32),
    Fin(u64),
    Rst(u64),
}

/// What a user is told.
#[derive(Clone, Debug)]
pub struct Told {
    pub at: Instant,
    pub state: Option<State>,
    pub why: Arc<Diagnosis>,
    pub is_alarm: bool,
}

pub struct Link {
    pub pulse: Pulse,
    pub mind: Inquiry,
    heartbeat: Heartbeat,
    pub path: Path,
    peer: SocketAddr,
    rng: Rng,
    pub flow: Option<Flow>,
    old: Option<Flow>,
    flows: u64,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    order: u64,
    /// What waits to be read.
    inbox: VecDeque<Input>,
    /// Answers that a stopped process owes.
    owed: Vec<(u64, u64)>,
    until: Option<Instant>,
    due: Option<Instant>,
    sent: Instant,
    connecting: Option<(Instant, Result<u32, Attempted>)>,
    pub attempt: Attempt,
    pub side: Side,
    /// For how long this machine has slept since all was well, and since a stall was told.
    pub slept: (Duration, Duration),
    pub is_suspect: bool,
    pub told: Vec<Told>,
    pub ups: Vec<Instant>,
    pub answers: Vec<Instant>,
    pub beats: u64,
    pub misses: u64,
    pub failed: Vec<String>,
}

type Attempted = (Cause, Option<(u8, u8)>);

impl Link {
    pub fn new(n: u8, seed: u64, heartbeat: Heartbeat, path: Path, now: Instant) -> Link {
        let peer = SocketAddr::from(([10, n, 0, 1], 7000));
        let mut mind = Inquiry::new(&heartbeat, "tcp://peer:7000", now);
        mind.case().set_watched("tcp", &Target::new("peer:7000").expect("a target"));
        Link {
            pulse: Pulse::new(heartbeat.clone(), seed, now),
            mind,
            heartbeat,
            path,
            peer,
            rng: Rng::with_seed(seed ^ 0x51DE),
            flow: None,
            old: None,
            flows: 0,
            events: BinaryHeap::new(),
            order: 0,
            inbox: VecDeque::new(),
            owed: Vec::new(),
            until: Some(now),
            due: None,
            sent: now,
            connecting: None,
            attempt: Attempt::default(),
            side: Side::default(),
            slept: (Duration::ZERO, Duration::ZERO),
            is_suspect: false,
            told: Vec::new(),
            ups: Vec::new(),
            answers: Vec::new(),
            beats: 0,
            misses: 0,
            failed: Vec::new(),
        }
    }

    pub fn host(&self) -> IpAddr {
        self.peer.ip()
    }

    /// When something happens next, in its kernel or its thread.
    pub fn next(&mut self, now: Instant) -> Option<Instant> {
        let kernel = self.kernel_next();
        kernel.into_iter().chain(self.thread_next(now)).min()
    }

    fn kernel_next(&self) -> Option<Instant> {
        let event = self.events.peek().map(|Reverse((at, ..))| *at);
        let timers = [&self.flow, &self.old].map(|flow| flow.as_ref().and_then(|f| f.timer));
        let owed = self.path.hung_until.filter(|_| !self.owed.is_empty());
        timers.into_iter().flatten().chain(event).chain(owed).min()
    }

    fn thread_next(&mut self, now: Instant) -> Option<Instant> {
        let wake = if let Some((at, _)) = &self.connecting {
            Some(*at)
        } else if !self.inbox.is_empty() || self.side.is_ready(now) {
            Some(now)
        } else {
            let look = self.look_due();
            let side = self.side.next();
            [self.until, self.due, look, side].into_iter().flatten().min()
        };
        // Who does not run wakes later.
        wake.map(|wake| self.path.awake(wake.max(now)))
    }

    fn look_due(&mut self) -> Option<Instant> {
        let sent = self.pulse.expecting().map(|_| self.sent);
        self.mind.look_due(sent, self.pulse.rtt().avg())
    }

    pub fn step(&mut self, now: Instant, shared: &mut Shared) {
        self.run_kernel(now);
        let awake = self.path.awake(now) == now;
        if awake && self.thread_next(now).is_some_and(|wake| wake <= now) {
            self.run_thread(now, shared);
        }
    }

    // The thread.

    fn run_thread(&mut self, now: Instant, shared: &mut Shared) {
        if let Some((_, result)) = self.connecting.take() {
            return self.on_connect(result, now, shared);
        }
        if !self.mind.is_calm() {
            self.see(Saw::Time, now, shared);
        }
        if let Some(input) = self.inbox.pop_front() {
            return self.tell(input, now, shared);
        }
        if self.look_due().is_some_and(|look| look <= now) {
            let thorough = self.mind.on_looked(now, 1);
            let Some(flow) = self.flow.as_mut() else { return };
            let (info, said) = (flow.look(now), flow.said.take());
            match said {
                Some(errno) => self.see(Saw::Icmp(errno), now, shared),
                None => self.see(Saw::Quiet { info: Some(info), thorough }, now, shared),
            };
        }
        if self.until.is_some_and(|until| until <= now) {
            self.tell(Input::Tick, now, shared);
        }
    }

    pub fn tell(&mut self, input: Input, now: Instant, shared: &mut Shared) {
        self.pulse.handle(now, input);
        loop {
            match self.pulse.poll() {
                Output::Connect => {
                    self.connecting = Some(self.connect(now));
                    self.until = None;
                    return;
                }
                Output::Beat(seq) => self.beat(seq, now),
                Output::Close => self.close(now),
                Output::Report(report) => self.report(report, now, shared),
                Output::Wait(until) => {
                    self.until = until;
                    return;
                }
                Output::Done => return,
            }
        }
    }

    fn report(&mut self, mut report: Report, now: Instant, shared: &mut Shared) {
        if let Report::Beat { .. } = report {
            self.slept = (Duration::ZERO, Duration::ZERO);
            self.answers.push(now);
            shared.heard(self.host(), now);
        }
        self.misses += u64::from(matches!(report, Report::Missed { .. }));
        let why = self.see(Saw::Report(&mut report), now, shared);
        match &report {
            Report::State { to, .. } => {
                if *to == State::Up {
                    self.ups.push(now);
                    if std::mem::take(&mut self.is_suspect) {
                        shared.roster.well(self.host());
                    }
                }
                let state = Some(*to);
                self.told.extend(why.map(|why| Told { at: now, state, why, is_alarm: false }));
            }
            Report::Beat { seq, rtt, late } => {
                let saw = Saw::Answered { seq: *seq, rtt: *rtt, late: *late };
                self.see(saw, now, shared);
            }
            _ => self.tell_of(why, now, false),
        }
    }

    fn tell_of(&mut self, why: Option<Arc<Diagnosis>>, at: Instant, is_alarm: bool) {
        self.told.extend(why.map(|why| Told { at, state: None, why, is_alarm }));
    }

    /// Has it judged, and does what follows.
    fn see(&mut self, saw: Saw<'_>, now: Instant, shared: &mut Shared) -> Option<Arc<Diagnosis>> {
        let mut eyes = Eyes {
            now,
            shared,
            path: &self.path,
            flow: self.flow.as_ref(),
            old: self.old.as_ref(),
            attempt: &self.attempt,
            side: &mut self.side,
            slept: &mut self.slept,
            is_suspect: &mut self.is_suspect,
            host: self.peer.ip(),
            heartbeat: &self.heartbeat,
        };
        self.mind.handle(now, saw, &mut eyes);
        let mut with = None;
        loop {
            match self.mind.poll() {
                Act::Tell(why) => self.tell_of(Some(why), now, false),
                Act::Alarm(why) => self.tell_of(Some(why), now, true),
                Act::Note(_) | Act::Met(..) => {}
                Act::Report(why) => with = why,
                Act::Over { .. } => self.side.close(now),
                Act::Part { .. } => {}
                Act::Spare(_) => self.failed.push("a peer that serves many was spared".into()),
                Act::LetGo => self.old = None,
                Act::Wait(due) => {
                    self.due = due;
                    return with;
                }
            }
        }
    }

    // The connection.

    /// When the attempt ends, and how: with so many SYNs sent again, or a loss.
    fn connect(&mut self, now: Instant) -> (Instant, Result<u32, Attempted>) {
        let limit = self.heartbeat.connect_timeout;
        if let Some(cause) = self.path.no_way_out(now) {
            return (now, Err((cause, None)));
        }
        for (again, after) in [0, 1, 3, 7].into_iter().enumerate() {
            let at = now + Duration::from_secs(after);
            if at >= now + limit {
                break;
            }
            let back = at + self.path.rtt;
            match self.path.reach(at) {
                Reach::Dead => {}
                Reach::Refused => return (back, Err((Cause::Refused, None))),
                Reach::Said(cause, icmp) => return (back, Err((cause, Some(icmp)))),
                Reach::Hung | Reach::Well => return (back, Ok(again as u32)),
            }
        }
        (now + limit, Err((Cause::ConnectTimeout, None)))
    }

    fn on_connect(&mut self, result: Result<u32, Attempted>, now: Instant, shared: &mut Shared) {
        match result {
            Ok(resent) => {
                self.flows += 1;
                let flow = Flow::open(self.flows, now, self.path.rtt, resent);
                let (took, _) = flow.opening();
                let took = took + Duration::from_secs((1 << resent) - 1);
                self.flow = Some(flow);
                self.owed.clear();
                self.slept = (Duration::ZERO, Duration::ZERO);
                shared.join(self.host(), now);
                let ledger = Ledger { opened: true, wrote: Some(0), ..Ledger::default() };
                let peer = Some(self.peer);
                self.see(Saw::Connected { peer, ledger, took }, now, shared);
                self.tell(Input::Connected, now, shared);
            }
            Err((cause, icmp)) => {
                let address = Some(self.peer);
                self.attempt = Attempt { address, icmp, ..Attempt::default() };
                self.tell(Input::Lost(Loss::from(cause)), now, shared);
            }
        }
    }

    fn close(&mut self, now: Instant) {
        self.inbox.clear();
        let flow = self.flow.take();
        if self.mind.keeps_old(now) {
            self.old = flow;
            self.due = Some(now);
        }
    }

    fn beat(&mut self, seq: u64, now: Instant) {
        self.beats += 1;
        let Some(flow) = self.flow.as_mut() else { return };
        // Where it is not asked, what it would have said is worked out.
        let before = self.mind.case().asks_kernel().then(|| flow.look(now));
        self.mind.case().on_sent(seq, now, BEAT as usize, before);
        let segment = flow.write(now, seq, BEAT);
        self.sent = now;
        segment.into_iter().for_each(|segment| self.send(now, false, segment));
        self.pulse.handle(now, Input::Sent { seq, at: now });
    }
}
