//! A conversation: two ends on one connection that stays, each with a pulse of its own and with an
//! application that talks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;
use keepbeat::pulse::{Input, Output, Pulse, Report};
use keepbeat::{Heartbeat, Role, State};

use crate::world::start;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Frame {
    Beat(u64),
    Ack(u64),
    Data,
}

/// What becomes of frames while the path is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// Nothing is sent again, as on a serial line.
    Lost,
    /// They come when it has healed, in order, as over TCP.
    Late,
}

pub struct End {
    pulse: Pulse,
    role: Role,
    until: Option<Instant>,
    arrivals: VecDeque<(Instant, Frame)>,
    /// It does nothing any more, and says nothing of it.
    dead: bool,
    /// Its application says something so often, on average, at these times.
    talks: Option<Duration>,
    next_word: Instant,
    /// It reads beats and never answers them.
    pub mute: bool,
    /// The last frame that it sent, and the longest time between two.
    spoke: Instant,
    pub longest_gap: Duration,
    pub beats: u64,
    pub reports: Vec<Report>,
}

impl End {
    fn new(beat: Heartbeat, role: Role, seed: u64) -> End {
        End {
            pulse: Pulse::staying(beat.role(role), seed, start()),
            role,
            until: None,
            arrivals: VecDeque::new(),
            dead: false,
            talks: None,
            next_word: start(),
            mute: false,
            spoke: start(),
            longest_gap: Duration::ZERO,
            beats: 0,
            reports: Vec::new(),
        }
    }

    pub fn state(&self) -> State {
        self.pulse.state()
    }

    pub fn count(&self, counted: impl Fn(&Report) -> bool) -> usize {
        self.reports.iter().filter(|report| counted(report)).count()
    }

    /// Misses, silences, and states for the worse.
    pub fn complaints(&self) -> usize {
        self.count(|report| {
            let worse = |to: &State| *to != State::Up;
            matches!(report, Report::Missed { .. } | Report::Silent { .. })
                || matches!(report, Report::State { to, .. } if worse(to))
        })
    }

    fn next(&self) -> Option<Instant> {
        let word = self.talks.map(|_| self.next_word);
        let arrival = self.arrivals.front().map(|(at, _)| *at);
        [self.until, word, arrival].into_iter().flatten().min().filter(|_| !self.dead)
    }
}

pub struct Ends {
    pub now: Instant,
    pub ends: [End; 2],
    rng: Rng,
    delay: Duration,
    numbered: bool,
    cut: Option<Cut>,
}

impl Ends {
    pub fn new(seed: u64, delay: Duration, beats: [(Heartbeat, Role); 2]) -> Ends {
        let rng = Rng::with_seed(seed ^ 0xE7D5);
        let mut n = seed;
        let ends = beats.map(|(beat, role)| {
            n += 1_000_000;
            End::new(beat, role, n)
        });
        let mut all = Ends { now: start(), ends, rng, delay, numbered: true, cut: None };
        all.settle(0);
        all.settle(1);
        all
    }

    pub fn without_numbers(mut self) -> Ends {
        self.numbered = false;
        self
    }

    /// From now on its application says something so often, on average.
    pub fn talk(&mut self, end: usize, every: Option<Duration>) {
        self.ends[end].talks = every;
        self.ends[end].next_word = self.now;
    }

    pub fn kill(&mut self, end: usize) {
        self.ends[end].dead = true;
        self.ends[1 - end].arrivals.clear();
    }

    pub fn cut(&mut self, cut: Cut) {
        self.cut = Some(cut);
    }

    pub fn heal(&mut self) {
        self.cut = None;
        let at = self.now + self.delay;
        for end in &mut self.ends {
            for arrival in &mut end.arrivals {
                arrival.0 = arrival.0.min(at);
            }
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// How long it takes until that end is so.
    pub fn run_until(&mut self, end: usize, state: State, most: Duration) -> Duration {
        let (begin, until) = (self.now, self.now + most);
        while self.ends[end].state() != state && self.step(until) {}
        self.now - begin
    }

    /// The next thing that happens, if it does before then.
    fn step(&mut self, until: Instant) -> bool {
        let next = [0, 1].into_iter().filter_map(|n| Some((self.ends[n].next()?, n))).min();
        let Some((at, n)) = next.filter(|(at, _)| *at <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(at);
        let now = self.now;
        let end = &mut self.ends[n];
        // What came is read before anybody is judged.
        if end.arrivals.front().is_some_and(|(at, _)| *at <= now) {
            let (_, frame) = end.arrivals.pop_front().expect("just seen");
            self.hear(n, frame);
        } else if end.talks.is_some() && end.next_word <= now {
            let every = end.talks.expect("just seen");
            end.next_word = now + every.mul_f64(2.0 * self.rng.f64());
            self.ends[n].pulse.handle(now, Input::Wrote(now));
            self.say(n, Frame::Data);
        } else {
            end.pulse.handle(now, Input::Tick);
        }
        self.settle(n);
        true
    }

    fn hear(&mut self, n: usize, frame: Frame) {
        let now = self.now;
        let input = match frame {
            Frame::Ack(seq) => Input::Ack(self.numbered.then_some(seq)),
            Frame::Beat(_) | Frame::Data => Input::Heard(now),
        };
        self.ends[n].pulse.handle(now, input);
        let answers = matches!(self.ends[n].role, Role::Active | Role::Passive);
        if let (Frame::Beat(seq), true) = (frame, answers && !self.ends[n].mute) {
            self.ends[n].pulse.handle(now, Input::Wrote(now));
            self.say(n, Frame::Ack(seq));
        }
    }

    fn say(&mut self, n: usize, frame: Frame) {
        let end = &mut self.ends[n];
        end.longest_gap = end.longest_gap.max(self.now - end.spoke);
        end.spoke = self.now;
        let crossing = self.delay.mul_f64(0.5 + 0.5 * self.rng.f64());
        let at = match self.cut {
            None => self.now + crossing,
            Some(Cut::Lost) => return,
            Some(Cut::Late) => self.now + Duration::from_secs(1_000_000_000),
        };
        let queue = &mut self.ends[1 - n].arrivals;
        let after = queue.back().map_or(at, |(last, _)| at.max(*last));
        queue.push_back((after, frame));
    }

    /// Does what the pulse says until it waits.
    fn settle(&mut self, n: usize) {
        let now = self.now;
        loop {
            match self.ends[n].pulse.poll() {
                Output::Connect => self.ends[n].pulse.handle(now, Input::Connected),
                Output::Beat(seq) => {
                    self.ends[n].beats += 1;
                    let stands = self.ends[n].role == Role::SendOnly;
                    let sent =
                        if stands { Input::Stands(seq) } else { Input::Sent { seq, at: now } };
                    self.ends[n].pulse.handle(now, sent);
                    self.say(n, Frame::Beat(seq));
                }
                Output::Report(report) => self.ends[n].reports.push(report),
                Output::Close | Output::Done => panic!("{:?}", self.ends[n].reports.last()),
                Output::Wait(until) => {
                    self.ends[n].until = until;
                    break;
                }
            }
        }
    }
}
