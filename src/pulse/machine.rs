//! The machine itself: phases, and what each input does in each of them.

mod adjust;
mod regular;
mod renewal;
mod rounds;
mod settling;
mod silence;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::cause::{Cause, Loss};
use crate::heartbeat::Heartbeat;
use crate::state::State;

use super::backoff::Backoff;
use super::beats::Beats;
use super::conduct::Conduct;
use super::doubt::Doubt;
use super::ends::Ends;
use super::health::Health;
use super::pace::Schedule;
use super::rtt::Rtt;
use super::{Input, Output, Regular, Report};

use regular::Traffic;
use silence::Silence;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// The driver is connecting.
    Opening,
    /// Connected; the next beat is due then.
    Resting {
        due: Instant,
    },
    /// A beat waits for its ack.
    Expecting {
        seq: u64,
        deadline: Instant,
        timeout: Duration,
        extra: Extra,
    },
    /// Connected, and this end sends no beats.
    Listening,
    /// Connected, and the first beat needs no byte: answered if the connection stands until then.
    Settling {
        seq: u64,
        until: Instant,
    },
    /// Connected, and the first beat is held back until then: see `settling`.
    Holding {
        until: Instant,
    },
    /// The peer ended the connection in an orderly way; the next beat, and the connection for it,
    /// are due then.
    Renewing {
        due: Instant,
    },
    /// No connection; the next attempt is due then.
    BackingOff {
        until: Instant,
    },
    Done,
}

/// Why a beat may be waited for longer than its timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Extra {
    /// A part of a frame came: one timeout more, once.
    partial: Partial,
    /// We slept over the deadline: a fresh timeout. What the ack took is then not known any more.
    granted: bool,
    /// The peer is alive, whatever became of the ack: it sent another frame.
    alive: bool,
    /// Its kernel acknowledged what was sent, while our own side kept the ack from being read: no
    /// miss, and no proof that somebody answers.
    vouched: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Partial {
    #[default]
    No,
    Seen,
    Extended,
}

#[derive(Debug)]
struct Connection {
    since: Instant,
    up_since: Option<Instant>,
    acked: u64,
    traffic: Traffic,
}

/// What the connection that is being opened is for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Purpose {
    /// The first one, or one after a loss: beats are planned anew.
    #[default]
    Anew,
    /// It takes the place of one that was regularly ended; beats go on from here.
    Regular,
    /// A beat that has its place in the plan.
    Planned,
    /// The beat that met the end of the last connection, once more.
    Repeat,
    /// To see whether the peer still accepts. It serves the beat that is due then.
    Check { due: Instant },
}

/// The state machine of one link. The [module](super) has the contract and the drawing.
#[derive(Debug)]
pub struct Pulse {
    heartbeat: Heartbeat,
    conduct: Conduct,
    rng: Rng,
    now: Instant,
    phase: Phase,
    outbox: VecDeque<Output>,
    beats: Beats,
    health: Health,
    schedule: Schedule,
    silence: Silence,
    rtt: Rtt,
    rto: Option<Duration>,
    doubt: Doubt,
    backoff: Backoff,
    connection: Option<Connection>,
    ends: Ends,
    purpose: Purpose,
    /// Connections since the last beat that were opened to see whether the peer accepts.
    checks: u32,
    /// The last beat that was repeated on the peer's own word.
    repeated: Option<u64>,
    /// No beat was ever answered, and a connection ended without an answer: see `settling`.
    is_wary: bool,
    /// Since when the link was Up on connections that were renewed without a failure.
    proven_since: Option<Instant>,
    attempt: u32,
    rounds: Option<u64>,
    down_since: Option<Instant>,
    paused: bool,
    /// Frames of the application wait for an ack to prove that they were read.
    unproven: bool,
    /// When the last beat went out.
    beaten: Instant,
}

impl Pulse {
    /// A pulse that wants to connect at once. Its jitter is drawn from `seed`.
    ///
    /// # Panics
    ///
    /// If the heartbeat cannot work: ask [`Heartbeat::check`] first.
    pub fn new(heartbeat: Heartbeat, seed: u64, now: Instant) -> Pulse {
        Pulse::of(Conduct::Watch, heartbeat, seed, now)
    }

    /// A pulse for a link that is made in this way.
    pub(crate) fn of(conduct: Conduct, heartbeat: Heartbeat, seed: u64, now: Instant) -> Pulse {
        heartbeat.check().expect("the heartbeat has been checked");
        let health = Health::new(heartbeat.fall, heartbeat.rise);
        let mut pulse = Pulse {
            rng: Rng::with_seed(seed),
            now,
            phase: Phase::BackingOff { until: now },
            // A miss that fells a link makes five, and more room once. A healthy beat makes two.
            outbox: VecDeque::with_capacity(4),
            beats: Beats::new(health.most_outstanding()),
            health,
            schedule: Schedule::new(now),
            silence: Silence::new(heartbeat.longest_silence(), now),
            rtt: Rtt::default(),
            rto: None,
            doubt: Doubt::default(),
            backoff: Backoff::default(),
            connection: None,
            ends: Ends::default(),
            purpose: Purpose::default(),
            checks: 0,
            repeated: None,
            is_wary: false,
            proven_since: None,
            attempt: 0,
            rounds: heartbeat.rounds,
            down_since: None,
            paused: false,
            unproven: false,
            beaten: now,
            heartbeat,
            conduct,
        };
        pulse.open();
        pulse
    }

    /// A pulse for a connection that is somebody else's. It stays when the link falls by misses or
    /// silence, and the link comes back Up on it; [`Input::Lost`] ends the pulse.
    ///
    /// # Panics
    ///
    /// If the heartbeat cannot work: ask [`Heartbeat::check`] first.
    pub fn staying(heartbeat: Heartbeat, seed: u64, now: Instant) -> Pulse {
        Pulse::of(Conduct::Stay, heartbeat, seed, now)
    }

    /// Takes one input. A `now` before an earlier one counts as that one.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Connected => self.on_connected(),
            Input::Lost(loss) => self.on_lost(loss),
            Input::Sent { seq, at } => self.on_sent(seq, at),
            Input::Ack(seq) => self.on_ack(seq),
            Input::Stands(seq) => self.on_stands(seq),
            Input::Skipped(seq) => self.beats.skipped(seq),
            Input::Partial => self.on_partial(),
            Input::Heard(at) => self.on_heard(at),
            Input::Wrote(at) => self.on_wrote(at),
            Input::Unproven(unproven) => self.unproven = unproven,
            Input::Adjust(heartbeat) => self.on_adjusted(&heartbeat),
            Input::Vouched => self.on_vouched(),
            Input::Renew => self.on_renew(),
            Input::Ended { loss, repeat } => self.on_ended(loss, repeat),
            Input::IdleLimit(limit) => self.ends.announce(limit),
            Input::Rto(rto) => self.rto = Some(rto),
            Input::Tick => self.on_tick(),
            Input::Pause => self.paused = true,
            Input::Resume => self.paused = false,
            Input::Stop => self.end(Cause::Stopped.into()),
        }
    }

    /// Hands out what is to be done, one thing at a time.
    pub fn poll(&mut self) -> Output {
        if let Some(output) = self.outbox.pop_front() {
            return output;
        }
        let until = match self.phase {
            Phase::Opening | Phase::Listening => None,
            Phase::Resting { due } | Phase::Renewing { due } => Some(due),
            Phase::Expecting { deadline, .. } => Some(deadline),
            Phase::Settling { until, .. } | Phase::Holding { until } => Some(until),
            Phase::BackingOff { until } => Some(until),
            Phase::Done => return Output::Done,
        };
        let silence = self.connection.is_some().then(|| self.silence.due()).flatten();
        Output::Wait([until, silence].into_iter().flatten().min())
    }

    /// The state of the link.
    pub fn state(&self) -> State {
        self.health.state
    }

    /// Whether it is over: nothing will be done any more.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// The timeout of the beat that waits for its ack, if one does.
    pub fn expecting(&self) -> Option<Duration> {
        match self.phase {
            Phase::Expecting { timeout, .. } => Some(timeout),
            _ => None,
        }
    }

    /// Beats whose acks may still come, missed ones included.
    pub fn outstanding(&self) -> usize {
        self.beats.outstanding()
    }

    /// Round-trip times so far.
    pub fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// The local-health score, 0 to 8: how much this machine doubts itself.
    pub fn doubt(&self) -> u8 {
        self.doubt.score()
    }

    fn on_connected(&mut self) {
        if self.phase != Phase::Opening {
            return;
        }
        let up_since = self.proven_since.take();
        let traffic = Traffic::new(self.now);
        self.connection = Some(Connection { since: self.now, up_since, acked: 0, traffic });
        self.silence.start(self.now);
        self.report(Report::Connected { attempt: self.attempt });
        if !self.heartbeat.role.sends() {
            self.phase = Phase::Listening;
            return;
        }
        match std::mem::take(&mut self.purpose) {
            Purpose::Check { due } if due > self.now => {
                self.phase = Phase::Resting { due };
                return;
            }
            Purpose::Repeat if !self.paused => return self.repeat_beat(),
            Purpose::Anew => self.schedule.at_once(self.now, true),
            Purpose::Regular => self.schedule.at_once(self.now, false),
            Purpose::Planned | Purpose::Repeat | Purpose::Check { .. } => {}
        }
        if self.paused { self.rest() } else { self.first_beat() }
    }

    fn on_lost(&mut self, loss: Loss) {
        if self.connection.is_none() && self.phase != Phase::Opening {
            return;
        }
        match self.regular_end(&loss) {
            Some(regular) => self.reopen(loss, regular),
            None => self.lose(loss),
        }
    }

    fn on_tick(&mut self) {
        let now = self.now;
        self.judge_silence();
        match self.phase {
            Phase::Resting { due } if now >= due => self.on_due(due),
            Phase::Expecting { deadline, .. } if now >= deadline => self.judge(),
            Phase::Settling { seq, until } if now >= until => self.on_settled(seq, until),
            Phase::Holding { until } if now >= until => self.on_held(until),
            Phase::Renewing { due } if now >= due => self.on_renewal_due(due),
            Phase::BackingOff { until } if now >= until => {
                if self.paused {
                    self.phase = Phase::BackingOff { until: now + self.heartbeat.interval };
                } else {
                    self.open();
                }
            }
            _ => {}
        }
    }

    /// Tells a stall of our own, if being late for `deadline` is one.
    fn notice_stall(&mut self, deadline: Instant, timeout: Duration) -> bool {
        let Some(late) = Doubt::stall(self.now, deadline, timeout) else { return false };
        self.doubt.on_stall();
        self.report(Report::Stalled { late });
        true
    }

    fn open(&mut self) {
        self.attempt += 1;
        self.phase = Phase::Opening;
        self.outbox.push_back(Output::Connect);
    }

    /// The connection, or the attempt to open one, is over.
    fn lose(&mut self, loss: Loss) {
        if self.is_in_round() {
            self.spend_round();
        }
        let connection = self.connection.take();
        self.is_wary = self.health.is_first_contact() && self.is_wary_next(connection.is_some());
        self.beats.clear();
        let from = self.health.state;
        if self.health.on_lost() {
            self.down_since = Some(self.now);
            let to = State::Down;
            self.report(Report::State { from, to, loss: Some(loss.clone()), down: None });
        }
        let cause = loss.cause;
        self.disconnect(connection.as_ref(), loss, None);
        let last = !self.conduct.reconnects();
        if last || cause == Cause::ProtocolPanicked || self.rounds == Some(0) {
            self.report(Report::Ended);
            self.phase = Phase::Done;
            return;
        }
        let up_since = connection.and_then(|c| c.up_since).or(self.proven_since.take());
        self.purpose = Purpose::Anew;
        let up = up_since.map_or(Duration::ZERO, |up| self.now - up);
        let Heartbeat { interval, backoff_base: base, backoff_cap: cap, .. } = self.heartbeat;
        let wait = if self.backoff.lived(up, interval) {
            Duration::ZERO
        } else if cause == Cause::LoginRefused {
            self.backoff.after_refused_login(base, cap, &mut self.rng)
        } else {
            self.backoff.next(base, cap, &mut self.rng)
        };
        self.phase = Phase::BackingOff { until: self.now + wait };
        if wait.is_zero() && !self.paused {
            self.open();
        }
    }

    /// Tells the end of a connection, or of an attempt; closes what is open.
    fn disconnect(
        &mut self,
        connection: Option<&Connection>,
        loss: Loss,
        regular: Option<Regular>,
    ) {
        let expected = regular.is_some() || loss.cause == Cause::Renewed;
        // A connection that lived for no measurable time is still no failed attempt.
        let lived = connection.map_or(Duration::ZERO, |connection| {
            (self.now - connection.since).max(Duration::from_nanos(1))
        });
        let beats = connection.map_or(0, |connection| connection.acked);
        self.report(Report::Disconnected { loss, lived, beats, expected, regular });
        if connection.is_some() {
            self.outbox.push_back(Output::Close);
        }
    }

    /// Over, on request: the state stays as it was last known.
    fn end(&mut self, loss: Loss) {
        if self.phase == Phase::Done {
            return;
        }
        self.outbox.retain(|output| matches!(output, Output::Report(_) | Output::Close));
        if let Some(connection) = self.connection.take() {
            self.disconnect(Some(&connection), loss, None);
        }
        self.beats.clear();
        self.report(Report::Ended);
        self.phase = Phase::Done;
    }

    /// It fell, by silence or by misses. Where the connection is the application's, it stays.
    fn fall(&mut self, loss: Loss) {
        if !self.conduct.stays() {
            return self.lose(loss);
        }
        let from = self.health.state;
        if self.health.on_lost() {
            self.down_since = Some(self.now);
            let to = State::Down;
            self.report(Report::State { from, to, loss: Some(loss), down: None });
        }
    }

    /// A sign of life in time: the link rises, or stays up.
    fn rise(&mut self) {
        let from = self.health.state;
        if self.health.on_ack() {
            self.attempt = 0;
            let down = self.down_since.take().map(|since| self.now - since);
            self.report(Report::State { from, to: State::Up, loss: None, down });
        }
        if let (State::Up, Some(connection)) = (self.health.state, &mut self.connection) {
            connection.up_since.get_or_insert(self.now);
        }
    }

    fn report(&mut self, report: Report) {
        self.outbox.push_back(Output::Report(report));
    }
}
