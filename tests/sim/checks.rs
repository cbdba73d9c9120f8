//! What must hold at each step, whatever the world does.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use keepbeat::pulse::{Output, Report};
use keepbeat::{Cause, State};

use crate::world::Params;

pub struct Checks {
    seed: u64,
    params: Params,
    state: State,
    connected: bool,
    /// The beat that waits for its timeout, and since when.
    waiting: Option<(u64, Instant)>,
    last_seq: u64,
    /// The last beat met an expected end.
    crossed: bool,
    misses_in_row: u32,
    acks_in_row: u32,
    pub beats: u64,
    pub rounds: u64,
    pub attempts: u64,
    pub misses: u64,
    pub stalls: u64,
    pub ups: u64,
    pub downs: u64,
    pub renewals: u64,
    /// Acks in time.
    pub acks: u64,
    pub last_cause: Option<Cause>,
    /// A hash over all that the pulse said, and when.
    pub trace: u64,
}

impl Checks {
    pub fn new(seed: u64, params: Params) -> Checks {
        Checks {
            seed,
            params,
            state: State::Connecting,
            connected: false,
            waiting: None,
            last_seq: 0,
            crossed: false,
            misses_in_row: 0,
            acks_in_row: 0,
            beats: 0,
            rounds: 0,
            attempts: 0,
            misses: 0,
            stalls: 0,
            ups: 0,
            downs: 0,
            renewals: 0,
            acks: 0,
            last_cause: None,
            trace: 0,
        }
    }

    pub fn fail(&self, what: impl Debug) -> ! {
        panic!(
            "seed {}: {what:?} ({:?}); run it alone with KEEPBEAT_SEED={} cargo test --test sim",
            self.seed, self.params, self.seed
        )
    }

    fn hold(&self, holds: bool, what: impl Debug) {
        if !holds {
            self.fail(what);
        }
    }

    pub fn on_output(&mut self, now: Instant, since: Duration, output: &Output) {
        self.trace(since, output);
        match output {
            Output::Connect => self.hold(!self.connected, "two connections at once"),
            Output::Beat(seq) => {
                self.hold(self.connected, "a beat without a connection");
                self.hold(self.waiting.is_none(), "two beats wait for their timeout");
                let again = std::mem::take(&mut self.crossed) && *seq == self.last_seq;
                self.rounds -= u64::from(again);
                self.hold(again || *seq == self.last_seq + 1, "beats are numbered in order");
                (self.waiting, self.last_seq) = (Some((*seq, now)), *seq);
                self.beats += 1;
            }
            Output::Close => {
                self.hold(self.connected, "a close without a connection");
                self.connected = false;
            }
            Output::Report(report) => self.on_report(now, report),
            Output::Wait(_) | Output::Done => {}
        }
    }

    /// The hash of numbers only: formatting ten million outputs would cost more than simulating
    /// them.
    fn trace(&mut self, since: Duration, output: &Output) {
        let mut hasher = DefaultHasher::new();
        (self.trace, since).hash(&mut hasher);
        match output {
            Output::Beat(seq) => seq.hash(&mut hasher),
            Output::Report(Report::Beat { seq, rtt, late }) => (seq, rtt, late).hash(&mut hasher),
            Output::Wait(_) => {}
            other => format!("{other:?}").hash(&mut hasher),
        }
        self.trace = hasher.finish();
    }

    fn on_report(&mut self, now: Instant, report: &Report) {
        match report {
            Report::Connected { .. } => self.connected = true,
            Report::Beat { seq, rtt, late } => self.on_ack(now, *seq, *rtt, *late),
            Report::Missed { seq, timeout, misses, .. } => {
                let Some((waiting, sent)) = self.waiting.take() else {
                    self.fail("a miss of a beat that does not wait")
                };
                self.hold(waiting == *seq, "a miss of another beat");
                self.hold(now >= sent + *timeout, "judged before its timeout");
                self.misses += 1;
                self.rounds += 1;
                self.misses_in_row += 1;
                self.acks_in_row = 0;
                self.hold(*misses == self.misses_in_row, "misses are counted in a row");
            }
            Report::State { from, to, loss, .. } => self.on_state(*from, *to, loss.is_some()),
            Report::Disconnected { loss, expected, .. } => {
                self.last_cause = Some(loss.cause);
                let mid_round = self.waiting.take().is_some();
                self.rounds += u64::from(mid_round && loss.cause != Cause::Stopped);
                // What was expected is no failure: rows go on across it, and a beat that met it is
                // sent once more.
                self.crossed = mid_round && *expected;
                if *expected {
                    self.renewals += 1;
                } else {
                    (self.misses_in_row, self.acks_in_row) = (0, 0);
                }
            }
            Report::Stalled { .. } => self.stalls += 1,
            Report::Alive { .. } | Report::Silent { .. } => {
                self.fail("a watched link knows no life but acks")
            }
            Report::Ended => {}
        }
    }

    fn on_ack(&mut self, now: Instant, seq: u64, rtt: Option<Duration>, late: bool) {
        self.hold(late || rtt.is_some(), "an ack in time tells a round-trip time");
        self.hold(!late || rtt.is_none(), "a late ack tells none");
        self.misses_in_row = 0;
        self.acks += u64::from(!late);
        if let Some((waiting, sent)) = self.waiting.filter(|(waiting, _)| *waiting == seq) {
            if let Some(rtt) = rtt {
                self.hold(rtt == now - sent, "the round-trip time is from written to read");
                // Stretched five times at the most, by doubts about ourselves.
                self.hold(rtt <= self.params.timeout * 5, "in time is within the timeout");
                self.acks_in_row += 1;
            }
            self.hold(waiting == self.last_seq, "only the latest beat waits");
            self.waiting = None;
            self.rounds += 1;
        } else {
            self.hold(late, "an ack in time of a beat that does not wait");
        }
    }

    fn on_state(&mut self, from: State, to: State, has_cause: bool) {
        self.hold(from == self.state, "the state before is the one told before");
        self.hold(has_cause == (to != State::Up), "a cause for the worse, none for the better");
        match (from, to) {
            (State::Connecting | State::Suspect | State::Down, State::Up) => {
                self.hold(self.acks_in_row >= self.params.rise, "up takes `rise` acks in a row");
                self.ups += 1;
            }
            (State::Up, State::Suspect) => self.hold(self.misses_in_row > 0, "suspect by a miss"),
            (State::Connecting | State::Up | State::Suspect, State::Down) => self.downs += 1,
            other => self.fail(("no such turn", other)),
        }
        self.state = to;
    }

    /// A beat went out only now.
    pub fn on_sent(&mut self, now: Instant) {
        if let Some((_, sent)) = &mut self.waiting {
            *sent = now;
        }
    }
}
