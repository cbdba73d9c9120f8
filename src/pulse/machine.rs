//! The machine itself: phases, and what each input does in each of them.

mod renewal;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::cause::{Cause, Loss};
use crate::heartbeat::Heartbeat;
use crate::state::State;

use super::backoff::Backoff;
use super::beats::Beats;
use super::doubt::Doubt;
use super::health::{Health, Miss};
use super::pace::Schedule;
use super::rtt::Rtt;
use super::{Input, Output, Report};

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
}

/// The state machine of one link. The [module](super) has the contract and the drawing.
#[derive(Debug)]
pub struct Pulse {
    heartbeat: Heartbeat,
    rng: Rng,
    now: Instant,
    phase: Phase,
    outbox: VecDeque<Output>,
    beats: Beats,
    health: Health,
    schedule: Schedule,
    rtt: Rtt,
    rto: Option<Duration>,
    doubt: Doubt,
    backoff: Backoff,
    connection: Option<Connection>,
    /// The connection that is being opened takes the place of one that the peer ended.
    renewing: bool,
    /// Since when the link was Up on connections that were renewed without a failure.
    proven_since: Option<Instant>,
    attempt: u32,
    rounds: Option<u64>,
    down_since: Option<Instant>,
    paused: bool,
}

impl Pulse {
    /// A pulse that wants to connect at once. Its jitter is drawn from `seed`.
    ///
    /// # Panics
    ///
    /// If the heartbeat cannot work: ask [`Heartbeat::check`] first.
    pub fn new(heartbeat: Heartbeat, seed: u64, now: Instant) -> Pulse {
        heartbeat.check().expect("the heartbeat has been checked");
        let health = Health::new(heartbeat.fall, heartbeat.rise);
        let mut pulse = Pulse {
            rng: Rng::with_seed(seed),
            now,
            phase: Phase::BackingOff { until: now },
            // A miss that fells a link makes the most: miss, state, disconnect, close, connect.
            outbox: VecDeque::with_capacity(8),
            beats: Beats::new(health.most_outstanding()),
            health,
            schedule: Schedule::new(now),
            rtt: Rtt::default(),
            rto: None,
            doubt: Doubt::default(),
            backoff: Backoff::default(),
            connection: None,
            renewing: false,
            proven_since: None,
            attempt: 0,
            rounds: heartbeat.rounds,
            down_since: None,
            paused: false,
            heartbeat,
        };
        pulse.open();
        pulse
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
            Input::Partial => self.on_partial(),
            Input::Renew => self.on_renew(),
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
        match self.phase {
            Phase::Opening => Output::Wait(None),
            Phase::Resting { due } | Phase::Renewing { due } => Output::Wait(Some(due)),
            Phase::Expecting { deadline, .. } => Output::Wait(Some(deadline)),
            Phase::BackingOff { until } => Output::Wait(Some(until)),
            Phase::Done => Output::Done,
        }
    }

    /// The state of the link.
    pub fn state(&self) -> State {
        self.health.state
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
        self.connection = Some(Connection { since: self.now, up_since, acked: 0 });
        self.report(Report::Connected { attempt: self.attempt });
        // The beat for which a connection was renewed has its place in the plan already.
        if !std::mem::take(&mut self.renewing) {
            self.schedule.at_once(self.now, true);
        }
        if self.paused { self.rest() } else { self.beat() }
    }

    fn on_lost(&mut self, loss: Loss) {
        if self.connection.is_some() || self.phase == Phase::Opening {
            self.lose(loss);
        }
    }

    fn on_sent(&mut self, sent: u64, at: Instant) {
        let now = self.now;
        if let Phase::Expecting { seq, deadline, timeout, .. } = &mut self.phase {
            if *seq == sent {
                *deadline = now + *timeout;
                self.beats.sent(sent, at.min(now));
            }
        }
    }

    fn on_ack(&mut self, seq: Option<u64>) {
        if !matches!(self.phase, Phase::Resting { .. } | Phase::Expecting { .. }) {
            return;
        }
        let Some(beat) = self.beats.ack(seq) else {
            let detail = match seq {
                Some(seq) => format!("an ack of beat {seq}, which waits for none"),
                None => "more acks than beats".to_owned(),
            };
            return self.lose(Loss::new(Cause::WrongReply, detail));
        };
        if let Some(connection) = &mut self.connection {
            connection.acked += 1;
        }
        match self.phase {
            Phase::Expecting { seq, deadline, timeout, extra } if seq == beat.seq => {
                if self.now <= deadline && !extra.granted {
                    let rtt = self.now.saturating_duration_since(beat.sent);
                    self.on_ack_in_time(seq, Some(rtt));
                } else {
                    // It waited here while we slept: nobody is convicted, and it tells no RTT.
                    self.notice_stall(deadline, timeout);
                    self.on_late_ack(seq);
                    self.end_round();
                }
            }
            _ => self.on_late_ack(beat.seq),
        }
    }

    fn on_stands(&mut self, stands: u64) {
        if self.beating() == Some(stands) && self.beats.ack(Some(stands)).is_some() {
            if let Some(connection) = &mut self.connection {
                connection.acked += 1;
            }
            self.on_ack_in_time(stands, None);
        }
    }

    fn on_ack_in_time(&mut self, seq: u64, rtt: Option<Duration>) {
        if let Some(rtt) = rtt {
            self.rtt.sample(rtt);
        }
        self.doubt.on_clean_round();
        self.report(Report::Beat { seq, rtt, late: false });
        let from = self.health.state;
        if self.health.on_ack() {
            self.attempt = 0;
            let down = self.down_since.take().map(|since| self.now - since);
            self.report(Report::State { from, to: State::Up, loss: None, down });
        }
        if let (State::Up, Some(connection)) = (self.health.state, &mut self.connection) {
            connection.up_since.get_or_insert(self.now);
        }
        self.end_round();
    }

    fn on_late_ack(&mut self, seq: u64) {
        self.health.on_late_ack();
        self.report(Report::Beat { seq, rtt: None, late: true });
    }

    fn on_partial(&mut self) {
        if let Phase::Expecting { extra, .. } = &mut self.phase {
            if extra.partial == Partial::No {
                extra.partial = Partial::Seen;
            }
        }
    }

    fn on_tick(&mut self) {
        let now = self.now;
        match self.phase {
            Phase::Resting { due } if now >= due => {
                self.notice_stall(due, self.heartbeat.timeout);
                if self.paused { self.rest() } else { self.beat() }
            }
            Phase::Expecting { deadline, .. } if now >= deadline => self.judge(),
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

    /// The deadline of the beat in flight has passed, and no byte waits to be read.
    fn judge(&mut self) {
        let Phase::Expecting { seq, deadline, timeout, mut extra } = self.phase else { return };
        let extended = if self.notice_stall(deadline, timeout) {
            extra.granted = self.doubt.grant();
            extra.granted
        } else {
            self.doubt.on_time();
            let seen = extra.partial == Partial::Seen;
            if seen {
                extra.partial = Partial::Extended;
            }
            seen
        };
        if extended {
            let deadline = self.now + timeout;
            self.phase = Phase::Expecting { seq, deadline, timeout, extra };
            return;
        }
        let cause = match extra.partial {
            Partial::No => Cause::AckTimeout,
            Partial::Seen | Partial::Extended => Cause::PartialReply,
        };
        let waited = if extra.partial == Partial::Extended { timeout * 2 } else { timeout };
        self.miss(seq, waited, cause);
    }

    fn miss(&mut self, seq: u64, timeout: Duration, cause: Cause) {
        let good = self.health.good;
        let from = self.health.state;
        let verdict = self.health.on_miss();
        let misses = self.health.misses();
        self.report(Report::Missed { seq, timeout, misses, cause, good });
        if verdict == Miss::Suspect {
            let loss = Loss::new(
                cause,
                format!("no ack of beat {seq} within {timeout:?} (after {good} good beats)"),
            );
            let to = State::Suspect;
            self.report(Report::State { from, to, loss: Some(loss), down: None });
        }
        if verdict == Miss::Fell {
            let detail = if misses < self.heartbeat.fall {
                format!("every ack came late or not at all, the last within {timeout:?}")
            } else {
                format!("no ack of {misses} beats in a row, each within {timeout:?}")
            };
            return self.lose(Loss::new(cause, detail));
        }
        self.spend_round();
        if self.rounds == Some(0) {
            return self.end(Cause::Stopped.into());
        }
        self.schedule.at_once(self.now, false);
        if self.paused { self.rest() } else { self.beat() }
    }

    /// Tells a stall of our own, if being late for `deadline` is one.
    fn notice_stall(&mut self, deadline: Instant, timeout: Duration) -> bool {
        let Some(late) = Doubt::stall(self.now, deadline, timeout) else { return false };
        self.doubt.on_stall();
        self.report(Report::Stalled { late });
        true
    }

    /// The beat in flight.
    fn beating(&self) -> Option<u64> {
        match self.phase {
            Phase::Expecting { seq, .. } => Some(seq),
            _ => None,
        }
    }

    fn beat(&mut self) {
        let seq = self.beats.send(self.now);
        let patience = self.heartbeat.patience;
        let timeout = patience.timeout(self.heartbeat.timeout, &self.rtt, self.rto);
        let timeout = self.doubt.stretch(timeout);
        let deadline = self.now + timeout;
        self.phase = Phase::Expecting { seq, deadline, timeout, extra: Extra::default() };
        self.outbox.push_back(Output::Beat(seq));
    }

    fn spend_round(&mut self) {
        if let Some(rounds) = &mut self.rounds {
            *rounds = rounds.saturating_sub(1);
        }
    }

    /// The beat in flight was answered.
    fn end_round(&mut self) {
        self.spend_round();
        if self.rounds == Some(0) {
            return self.end(Cause::Stopped.into());
        }
        self.rest();
    }

    fn rest(&mut self) {
        let due = self.next_due();
        self.phase = Phase::Resting { due };
    }

    fn next_due(&mut self) -> Instant {
        let Heartbeat { interval, timeout, jitter, pace, .. } = self.heartbeat;
        if self.health.state == State::Up || self.paused {
            self.schedule.next(self.now, pace, interval, jitter, &mut self.rng)
        } else {
            self.schedule.hurry(self.now, timeout, interval)
        }
    }

    fn open(&mut self) {
        self.attempt += 1;
        self.phase = Phase::Opening;
        self.outbox.push_back(Output::Connect);
    }

    /// The connection, or the attempt to open one, is over.
    fn lose(&mut self, loss: Loss) {
        if matches!(self.phase, Phase::Opening | Phase::Expecting { .. }) {
            self.spend_round();
        }
        let connection = self.connection.take();
        self.beats.clear();
        let from = self.health.state;
        if self.health.on_lost() {
            self.down_since = Some(self.now);
            let to = State::Down;
            self.report(Report::State { from, to, loss: Some(loss.clone()), down: None });
        }
        let cause = loss.cause;
        self.disconnect(connection.as_ref(), loss);
        if cause == Cause::ProtocolPanicked || self.rounds == Some(0) {
            self.report(Report::Ended);
            self.phase = Phase::Done;
            return;
        }
        let up_since = connection.and_then(|c| c.up_since).or(self.proven_since.take());
        self.renewing = false;
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
    fn disconnect(&mut self, connection: Option<&Connection>, loss: Loss) {
        let Some(connection) = connection else {
            let (lived, beats) = (Duration::ZERO, 0);
            return self.report(Report::Disconnected { loss, lived, beats });
        };
        // A connection that lived for no measurable time is still no failed attempt.
        let lived = (self.now - connection.since).max(Duration::from_nanos(1));
        self.report(Report::Disconnected { loss, lived, beats: connection.acked });
        self.outbox.push_back(Output::Close);
    }

    /// Over, on request: the state stays as it was last known.
    fn end(&mut self, loss: Loss) {
        if self.phase == Phase::Done {
            return;
        }
        self.outbox.retain(|output| matches!(output, Output::Report(_) | Output::Close));
        if let Some(connection) = self.connection.take() {
            self.disconnect(Some(&connection), loss);
        }
        self.beats.clear();
        self.report(Report::Ended);
        self.phase = Phase::Done;
    }

    fn report(&mut self, report: Report) {
        self.outbox.push_back(Output::Report(report));
    }
}
