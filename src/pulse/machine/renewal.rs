//! A peer ends the connection where it may: it has announced it, or its protocol lets it do so
//! whenever it owes no answer. Another connection takes the place, and nobody is blamed.
//!
//! Where the end was to be expected, not before the next beat is due: a peer that ends every
//! connection would have an idle one at its door all the time, and one that serves a single
//! connection at a time would be blocked by it. Where it was not, the peer may be gone: another
//! connection is opened at once, to see, and serves the next beat. A beat that crossed the end on
//! its way is sent once more. And it cannot spin: no end costs more than a connection, and the next
//! one needs a beat in between.

use std::time::{Duration, Instant};

use crate::cause::{Cause, Loss};
use crate::pulse::Regular;
use crate::state::State;

use super::{Phase, Pulse, Purpose};

/// So many connections are opened without a beat, between two beats, to see whether a peer still
/// accepts: one after an end of a connection in use, one more after the end of that.
const MOST_CHECKS: u32 = 2;

/// A server that is going down still accepts for so long, as a rule.
const MOMENT: Duration = Duration::from_secs(1);

impl Pulse {
    pub(super) fn on_renew(&mut self) {
        let due = match self.phase {
            Phase::Resting { due } => due,
            // An earlier beat was acked late, with the announcement: nobody will answer this one,
            // and that is no miss. The next is planned as after any round.
            Phase::Expecting { .. } => {
                self.spend_round();
                if self.rounds == Some(0) {
                    return self.end(Cause::Stopped.into());
                }
                self.next_due()
            }
            _ => return,
        };
        self.let_go(Cause::Renewed.into(), None);
        self.phase = Phase::Renewing { due };
    }

    /// The connection is over, and nobody is blamed for it.
    pub(super) fn let_go(&mut self, loss: Loss, regular: Option<Regular>) {
        let connection = self.connection.take();
        self.beats.clear();
        self.disconnect(connection.as_ref(), loss, regular);
        // What was proven stays proven: a failure later is the first after all that time.
        self.proven_since = connection.and_then(|connection| connection.up_since);
        if self.state() == State::Up {
            self.attempt = 0; // they are counted since the link was last Up, and it is
        }
    }

    /// It ended where it may.
    pub(super) fn on_ended(&mut self, loss: Loss, repeat: bool) {
        let Some(connection) = &self.connection else { return };
        if !self.conduct.reconnects() {
            return self.lose(loss);
        }
        let end = self.end_of(connection, loss.cause);
        // On one that never had a beat the server waits for the first, by another limit.
        let is_used = connection.acked > 0;
        let is_fresh = connection.traffic.is_fresh();
        let said = loss.cause == Cause::Renewed;
        let renewed = Loss { cause: Cause::Renewed, ..loss.clone() };
        match self.phase {
            Phase::Resting { due } => {
                let known = match is_used {
                    _ if said => true,
                    true => self.ends.on_free_end(self.now, end),
                    false => self.ends.on_unused_end(end),
                };
                self.let_go(renewed, None);
                if known || self.paused {
                    self.phase = Phase::Renewing { due };
                } else if self.checks >= MOST_CHECKS {
                    // Accepting alone tells nothing here: the beat does, a moment later.
                    let due = due.min(self.now + MOMENT);
                    self.schedule.move_to(due);
                    self.phase = Phase::Renewing { due };
                } else {
                    self.checks += 1;
                    self.purpose = Purpose::Check { due };
                    self.open();
                }
            }
            // On a fresh one only a peer that says so has not taken it, and once for each beat.
            Phase::Expecting { seq, .. }
                if !is_fresh || said && self.repeated.replace(seq) != Some(seq) =>
            {
                if is_used {
                    self.ends.on_free_end(self.now, end);
                }
                self.let_go(renewed, None);
                if repeat {
                    self.purpose = Purpose::Repeat;
                    return self.open();
                }
                self.spend_round();
                if self.rounds == Some(0) {
                    return self.end(Cause::Stopped.into());
                }
                let due = self.next_due();
                self.phase = Phase::Renewing { due };
            }
            _ => self.lose(loss),
        }
    }

    /// The beat that is due would go out at about the moment when the peer ends the connection:
    /// another one is opened for it.
    pub(super) fn renews_for_beat(&mut self) -> bool {
        let Some(connection) = &self.connection else { return false };
        if connection.acked == 0 || self.conduct.carries_data() {
            return false; // what else it carries is not to be lost for a beat
        }
        let idle = connection.traffic.idle(self.now);
        let rtt = self.rtt.avg().unwrap_or_default();
        let Some(limit) = self.ends.limit_near(self.now, idle, rtt) else { return false };
        let detail =
            format!("it was idle for {idle:.1?}, and the peer ends it after about {limit:.1?}");
        self.let_go(Loss::new(Cause::Renewed, detail), None);
        self.purpose = Purpose::Planned;
        self.open();
        true
    }

    /// The beat that met the end of the last connection goes out on this one.
    pub(super) fn repeat_beat(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.traffic.begin();
        }
        let seq = self.beats.again(self.now);
        self.expect(seq);
    }

    /// The beat that the new connection is for is due.
    pub(super) fn on_renewal_due(&mut self, due: Instant) {
        self.notice_stall(due, self.heartbeat.timeout);
        if self.paused {
            let due = self.next_due();
            self.phase = Phase::Renewing { due };
        } else {
            self.purpose = Purpose::Planned;
            self.open();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::Heartbeat;
    use crate::pulse::{Input, Output, Report};

    const S: Duration = Duration::from_secs(1);

    fn beat() -> Heartbeat {
        Heartbeat::every(10 * S).timeout(S).jitter(0.0)
    }

    /// Polls until it waits or is done.
    fn outputs(pulse: &mut Pulse) -> Vec<Output> {
        let mut all = Vec::new();
        loop {
            all.push(pulse.poll());
            if matches!(all.last(), Some(Output::Wait(_) | Output::Done)) {
                return all;
            }
        }
    }

    fn tell(pulse: &mut Pulse, now: Instant, input: Input) -> Vec<Output> {
        pulse.handle(now, input);
        outputs(pulse)
    }

    fn due(outputs: &[Output]) -> Instant {
        match outputs.last() {
            Some(Output::Wait(Some(due))) => *due,
            other => panic!("it waits for nothing: {other:?}"),
        }
    }

    /// A pulse whose first beat was acked.
    fn up(heartbeat: Heartbeat, start: Instant) -> (Pulse, Instant) {
        let mut pulse = Pulse::new(heartbeat, 7, start);
        outputs(&mut pulse);
        tell(&mut pulse, start, Input::Connected);
        let due = due(&tell(&mut pulse, start, Input::Ack(None)));
        assert_eq!(pulse.state(), State::Up);
        (pulse, due)
    }

    fn has_state(outputs: &[Output]) -> bool {
        outputs.iter().any(|output| matches!(output, Output::Report(Report::State { .. })))
    }

    #[test]
    fn a_renewal_costs_no_state_and_no_beat_and_keeps_the_plan() {
        let start = Instant::now();
        let (mut pulse, planned) = up(beat(), start);
        let closed = tell(&mut pulse, start, Input::Renew);
        let Output::Report(Report::Disconnected { loss, beats: 1, .. }) = &closed[0] else {
            panic!("{closed:?}");
        };
        assert_eq!((loss.cause, &closed[1]), (Cause::Renewed, &Output::Close));
        assert_eq!(due(&closed), planned, "nothing is opened before the next beat");
        let opened = tell(&mut pulse, planned, Input::Tick);
        assert_eq!(opened, [Output::Connect, Output::Wait(None)]);
        let connected = tell(&mut pulse, planned + S / 2, Input::Connected);
        assert_eq!(connected[0], Output::Report(Report::Connected { attempt: 1 }));
        assert_eq!(connected[1], Output::Beat(2));
        let acked = tell(&mut pulse, planned + S, Input::Ack(None));
        assert_eq!(due(&acked), planned + 10 * S, "lateness of the connect does not add up");
        assert!(![closed, opened, connected, acked].iter().any(|all| has_state(all)));
        assert_eq!(pulse.state(), State::Up);
    }

    #[test]
    fn a_failure_to_renew_is_an_ordinary_loss_after_all_that_was_proven() {
        let start = Instant::now();
        let (mut pulse, mut now) = up(beat(), start);
        for _ in 0..3 {
            tell(&mut pulse, now, Input::Renew);
            tell(&mut pulse, now, Input::Tick);
            let connected = tell(&mut pulse, now, Input::Connected);
            assert_eq!(connected[0], Output::Report(Report::Connected { attempt: 1 }));
            now = due(&tell(&mut pulse, now, Input::Ack(None)));
        }
        tell(&mut pulse, now, Input::Renew);
        tell(&mut pulse, now, Input::Tick);
        let lost = tell(&mut pulse, now, Input::Lost(Loss::from(Cause::Refused)));
        assert!(has_state(&lost), "{lost:?}");
        assert_eq!(pulse.state(), State::Down);
        // Up for longer than an interval, over four connections: the first retry is immediate.
        assert!(lost.contains(&Output::Connect), "{lost:?}");
        // That one was no renewal: what follows its first beat is spread anew, off the old plan.
        let later = now + 25 * S;
        tell(&mut pulse, later, Input::Connected);
        let next = due(&tell(&mut pulse, later, Input::Ack(None)));
        assert!(next <= later + 10 * S, "{:?}", next - later);
        assert_ne!((next - now).as_nanos() % (10 * S).as_nanos(), 0, "on the old plan");
    }

    #[test]
    fn with_a_beat_in_flight_it_is_neither_miss_nor_hurry() {
        let start = Instant::now();
        let mut pulse = Pulse::new(beat(), 7, start);
        outputs(&mut pulse);
        tell(&mut pulse, start, Input::Connected);
        // Beat 1 is missed, beat 2 is out, then the late ack of beat 1 says good-bye.
        let missed = tell(&mut pulse, start + S, Input::Tick);
        assert!(missed.contains(&Output::Beat(2)), "{missed:?}");
        tell(&mut pulse, start + S, Input::Ack(None));
        let closed = tell(&mut pulse, start + S, Input::Renew);
        let missed = closed.iter().any(|o| matches!(o, Output::Report(Report::Missed { .. })));
        assert!(!missed && !has_state(&closed), "{closed:?}");
        let next = due(&closed);
        assert!(next > start + S, "a peer that does so for ever must not make it spin");
        tell(&mut pulse, next, Input::Tick);
        tell(&mut pulse, next, Input::Connected);
        let acked = tell(&mut pulse, next, Input::Ack(None));
        let Output::Report(Report::Beat { seq: 3, late: false, .. }) = acked[0] else {
            panic!("no ack of an old beat can come on a new connection: {acked:?}");
        };
    }

    #[test]
    fn the_last_round_ends_it_and_a_pause_puts_it_off() {
        let start = Instant::now();
        let mut pulse = Pulse::new(beat().rounds(2), 7, start);
        outputs(&mut pulse);
        tell(&mut pulse, start, Input::Connected);
        tell(&mut pulse, start + S, Input::Tick);
        tell(&mut pulse, start + S, Input::Ack(None));
        let ended = tell(&mut pulse, start + S, Input::Renew);
        assert!(ended.contains(&Output::Close) && ended.ends_with(&[Output::Done]), "{ended:?}");
        let (mut pulse, planned) = up(beat(), start);
        tell(&mut pulse, start, Input::Renew);
        tell(&mut pulse, start, Input::Pause);
        let held = tell(&mut pulse, planned, Input::Tick);
        assert!(due(&held) > planned && !held.contains(&Output::Connect), "{held:?}");
        tell(&mut pulse, planned, Input::Resume);
        let opened = tell(&mut pulse, planned + 10 * S, Input::Tick);
        assert!(opened.contains(&Output::Connect), "{opened:?}");
    }

    #[test]
    fn a_server_that_is_going_down_is_asked_a_second_later() {
        let start = Instant::now();
        let (mut pulse, planned) = up(beat(), start);
        let ended = || Input::Ended { loss: Cause::ClosedByPeer.into(), repeat: true };
        let mut now = start + S / 2;
        for _ in 0..MOST_CHECKS {
            let checks = tell(&mut pulse, now, ended());
            assert!(checks.contains(&Output::Connect), "{checks:?}");
            tell(&mut pulse, now, Input::Connected);
            now += S / 1000; // it still accepts
        }
        let over = tell(&mut pulse, now, ended());
        assert_eq!(due(&over), now + MOMENT, "long before {planned:?}");
        tell(&mut pulse, now + MOMENT, Input::Tick);
        let refused = tell(&mut pulse, now + MOMENT, Input::Lost(Cause::Refused.into()));
        assert!(has_state(&refused), "{refused:?}");
    }

    #[test]
    fn while_no_connection_stands_nothing_that_belongs_to_one_does_harm() {
        let start = Instant::now();
        let (mut pulse, planned) = up(beat(), start);
        tell(&mut pulse, start, Input::Renew);
        let lost = Input::Lost(Loss::from(Cause::Reset));
        for input in [Input::Renew, Input::Ack(None), lost, Input::Connected, Input::Partial] {
            let said = tell(&mut pulse, start, input.clone());
            assert_eq!(said, [Output::Wait(Some(planned))], "{input:?}");
        }
    }
}
