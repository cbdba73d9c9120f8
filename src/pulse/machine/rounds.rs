//! A round: a beat goes out, and is acked, missed, or shown by other signs of life to be no miss.

use std::time::{Duration, Instant};

use crate::cause::{Cause, Loss};
use crate::counted::counted;
use crate::heartbeat::Heartbeat;
use crate::pulse::beats::Acked;
use crate::pulse::health::Miss;
use crate::pulse::{Output, Report};
use crate::state::State;

use super::{Extra, Partial, Phase, Pulse};

impl Pulse {
    pub(super) fn on_sent(&mut self, sent: u64, at: Instant) {
        let now = self.now;
        if let Phase::Expecting { seq, deadline, timeout, .. } = &mut self.phase {
            if *seq == sent {
                let at = at.min(now);
                *deadline = at + *timeout;
                self.beats.sent(sent, at);
                if let Some(connection) = &mut self.connection {
                    connection.traffic.asked(at);
                }
            }
        }
    }

    pub(super) fn on_ack(&mut self, seq: Option<u64>) {
        if !self.heartbeat.role.expects_acks() {
            return self.on_heard(self.now); // a sign of life, whatever it answers
        }
        if !matches!(self.phase, Phase::Resting { .. } | Phase::Expecting { .. }) {
            return;
        }
        let beat = match self.beats.ack(seq) {
            Acked::Beat(beat) => beat,
            Acked::GivenUp => return self.on_heard(self.now),
            Acked::Unknown => {
                let detail = match seq {
                    Some(seq) => format!("an ack of beat {seq}, which waits for none"),
                    None => "more acks than beats".to_owned(),
                };
                return self.lose(Loss::new(Cause::WrongReply, detail));
            }
        };
        self.silence.heard(self.now);
        if let Some(connection) = &mut self.connection {
            connection.acked += 1;
            connection.traffic.answered(self.now);
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
            _ => {
                self.on_late_ack(beat.seq);
                // Where any whole frame is life, this one is, too. Without it a peer that once lost
                // an ack, and so answers one beat behind for ever, would be down for ever.
                if self.conduct.any_frame_is_life() {
                    self.on_heard(self.now);
                }
            }
        }
    }

    pub(super) fn on_ack_in_time(&mut self, seq: u64, rtt: Option<Duration>) {
        if let Some(rtt) = rtt {
            self.rtt.sample(rtt);
        }
        self.doubt.on_clean_round();
        self.report(Report::Beat { seq, rtt, late: false });
        self.rise();
        self.end_round();
    }

    /// The ack did not come in time, but other signs of life did: no miss. It may still come.
    fn on_alive(&mut self, seq: u64, heard: bool) {
        self.doubt.on_clean_round();
        self.report(Report::Alive { seq });
        if heard || self.health.state == State::Up {
            self.rise();
        }
        self.end_round();
    }

    fn on_late_ack(&mut self, seq: u64) {
        self.health.on_late_ack();
        self.report(Report::Beat { seq, rtt: None, late: true });
    }

    pub(super) fn on_partial(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.traffic.heard(self.now);
        }
        if let Phase::Expecting { extra, .. } = &mut self.phase {
            if extra.partial == Partial::No {
                extra.partial = Partial::Seen;
            }
        }
    }

    /// The deadline of the beat in flight has passed, and no byte waits to be read.
    pub(super) fn judge(&mut self) {
        let Phase::Expecting { seq, deadline, timeout, mut extra } = self.phase else { return };
        if extra.alive || extra.vouched {
            self.notice_stall(deadline, timeout);
            return self.on_alive(seq, extra.alive);
        }
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
                format!(
                    "no ack of beat {seq} within {timeout:?} (after {})",
                    counted(good, "good beat", "good beats")
                ),
            );
            let to = State::Suspect;
            self.report(Report::State { from, to, loss: Some(loss), down: None });
        }
        if verdict == Miss::Fell {
            let detail = if misses < self.heartbeat.fall {
                format!("every ack came late or not at all, the last within {timeout:?}")
            } else if misses == 1 {
                format!("no ack of beat {seq} within {timeout:?}")
            } else {
                format!("no ack of {misses} beats in a row, each within {timeout:?}")
            };
            self.fall(Loss::new(cause, detail));
            if self.connection.is_none() {
                return;
            }
        }
        self.spend_round();
        if self.rounds == Some(0) {
            return self.end(Cause::Stopped.into());
        }
        self.schedule.at_once(self.now, false);
        if self.paused || self.has_fallen_in_place() { self.rest() } else { self.beat() }
    }

    /// Down, on a connection that stays: beats go on, at their ordinary pace.
    pub(super) fn has_fallen_in_place(&self) -> bool {
        self.health.state == State::Down && self.conduct.stays()
    }

    /// The next beat is due, unless it has become needless.
    pub(super) fn on_due(&mut self, due: Instant) {
        self.notice_stall(due, self.heartbeat.timeout);
        if self.paused {
            return self.rest();
        }
        let Heartbeat { interval, role, .. } = self.heartbeat;
        let busy = self.silence.carried(role).map(|carried| carried + interval);
        let busy = busy.map(|busy| self.proof_due().map_or(busy, |due| busy.min(due)));
        match busy.filter(|busy| *busy > self.now) {
            Some(until) if self.heartbeat.when_idle && self.health.state == State::Up => {
                self.schedule.move_to(until);
                self.phase = Phase::Resting { due: until };
            }
            _ if self.renews_for_beat() => {}
            _ => self.beat(),
        }
    }

    /// When a beat is due for the sake of the frames before it, though the connection is busy.
    fn proof_due(&self) -> Option<Instant> {
        let Heartbeat { interval, role, prove_every, .. } = self.heartbeat;
        let wanted = self.unproven && prove_every > 0 && role.expects_acks();
        wanted.then(|| self.beaten + interval * prove_every)
    }

    /// The beat in flight.
    pub(super) fn beating(&self) -> Option<u64> {
        match self.phase {
            Phase::Expecting { seq, .. } => Some(seq),
            _ => None,
        }
    }

    pub(super) fn beat(&mut self) {
        let seq = self.beats.send(self.now);
        self.expect(seq);
    }

    /// This beat goes out now.
    pub(super) fn expect(&mut self, seq: u64) {
        self.checks = 0;
        self.beaten = self.now;
        let patience = self.heartbeat.patience;
        let timeout = patience.timeout(self.heartbeat.timeout, &self.rtt, self.rto);
        let timeout = self.doubt.stretch(timeout);
        let deadline = self.now + timeout;
        self.phase = Phase::Expecting { seq, deadline, timeout, extra: Extra::default() };
        self.outbox.push_back(Output::Beat(seq));
    }

    pub(super) fn spend_round(&mut self) {
        if let Some(rounds) = &mut self.rounds {
            *rounds = rounds.saturating_sub(1);
        }
    }

    /// The beat in flight was answered.
    pub(super) fn end_round(&mut self) {
        self.spend_round();
        if self.rounds == Some(0) {
            return self.end(Cause::Stopped.into());
        }
        self.rest();
    }

    pub(super) fn rest(&mut self) {
        let due = self.next_due();
        self.phase = Phase::Resting { due };
    }

    pub(super) fn next_due(&mut self) -> Instant {
        let Heartbeat { interval, timeout, jitter, pace, .. } = self.heartbeat;
        if self.health.state == State::Up || self.paused || self.has_fallen_in_place() {
            self.schedule.next(self.now, pace, interval, jitter, &mut self.rng)
        } else {
            self.schedule.hurry(self.now, timeout, interval)
        }
    }
}
