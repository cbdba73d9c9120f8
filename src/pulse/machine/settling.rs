//! The first moments of a connection. Whoever accepts is not yet whoever serves: a proxy whose
//! backend is gone, a balancer or a list of allowed clients accepts and hangs up at once.
//!
//! So where no byte is sent, a connection counts only once it has stood for a moment. And where
//! a peer has never answered a beat and ended a connection, the next first beat waits for a moment:
//! what ends before it does not care for our bytes, and what ends upon it does not know them.

use std::time::{Duration, Instant};

use crate::heartbeat::Heartbeat;
use crate::pulse::Report;

use super::{Phase, Pulse};

/// Longer than any stand-in takes to hang up, by some round trips; and a person hardly waits.
const MOMENT: Duration = Duration::from_millis(500);

impl Pulse {
    fn moment(&self) -> Duration {
        MOMENT.min(self.heartbeat.timeout)
    }

    /// The connection has come to stand.
    pub(super) fn first_beat(&mut self) {
        if self.is_wary {
            self.phase = Phase::Holding { until: self.now + self.moment() };
        } else {
            self.beat_first();
        }
    }

    /// Whether the next first beat waits as well. Where the connection ended while one waited, it
    /// goes out at once: a peer that allows no silence would never hear it.
    pub(super) fn is_wary_next(&self, had_connection: bool) -> bool {
        if had_connection { !matches!(self.phase, Phase::Holding { .. }) } else { self.is_wary }
    }

    /// Its first business is a beat.
    fn beat_first(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.traffic.begin();
        }
        self.beat();
    }

    /// It has stood for a moment: now the beat.
    pub(super) fn on_held(&mut self, until: Instant) {
        self.notice_stall(until, self.heartbeat.timeout);
        if self.paused { self.rest() } else { self.beat_first() }
    }

    /// Whether the end of the connection, or of the attempt, ends a round as well.
    pub(super) fn is_in_round(&self) -> bool {
        matches!(
            self.phase,
            Phase::Opening
                | Phase::Expecting { .. }
                | Phase::Settling { .. }
                | Phase::Holding { .. }
        )
    }

    /// The beat in flight needs no ack, as long as the connection stands.
    pub(super) fn on_stands(&mut self, seq: u64) {
        if self.beating() != Some(seq) {
            return;
        }
        let Some(connection) = &self.connection else { return };
        let until = connection.since + self.moment();
        // A connection that is somebody else's stood before.
        let is_new = connection.acked == 0 && self.conduct.reconnects();
        if is_new && !self.silence.is_judged() && self.now < until {
            self.phase = Phase::Settling { seq, until };
        } else {
            self.on_stood(seq);
        }
    }

    /// It has stood for long enough.
    pub(super) fn on_settled(&mut self, seq: u64, until: Instant) {
        let Heartbeat { timeout, .. } = self.heartbeat;
        self.notice_stall(until, timeout);
        self.on_stood(seq);
    }

    fn on_stood(&mut self, seq: u64) {
        self.beats.ack(Some(seq));
        if let Some(connection) = &mut self.connection {
            connection.acked += 1;
        }
        if self.silence.is_judged() {
            // That it could be written says nothing about the peer; silence will.
            self.report(Report::Beat { seq, rtt: None, late: false });
            self.end_round();
        } else {
            self.on_ack_in_time(seq, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::{Cause, Loss};
    use crate::pulse::{Input, Output};
    use crate::state::State;

    const S: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

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

    /// A pulse whose connection has just come to stand, and what it did then.
    fn connected(heartbeat: Heartbeat, now: Instant) -> (Pulse, Vec<Output>) {
        let mut pulse = Pulse::new(heartbeat, 7, now);
        outputs(&mut pulse);
        let done = tell(&mut pulse, now, Input::Connected);
        (pulse, done)
    }

    fn lost(cause: Cause) -> Input {
        Input::Lost(Loss::from(cause))
    }

    /// Its next connection, which stands from the moment at which it is opened.
    fn again(pulse: &mut Pulse, outputs: &[Output], now: Instant) -> (Instant, Vec<Output>) {
        let now = match outputs.last() {
            Some(Output::Wait(Some(until))) => *until,
            other => panic!("{other:?} at {now:?}"),
        };
        assert!(tell(pulse, now, Input::Tick).contains(&Output::Connect));
        (now, tell(pulse, now, Input::Connected))
    }

    #[test]
    fn where_no_byte_is_sent_a_connection_counts_once_it_has_stood_for_a_moment() {
        for (timeout, moment) in [(5 * S, MOMENT), (100 * MS, 100 * MS)] {
            let start = Instant::now();
            let beat = Heartbeat::every(10 * S).timeout(timeout);
            let (mut pulse, done) = connected(beat, start);
            assert!(done.contains(&Output::Beat(1)), "{done:?}");
            let waits = tell(&mut pulse, start, Input::Stands(1));
            assert_eq!(waits, [Output::Wait(Some(start + moment))]);
            tell(&mut pulse, start + moment - MS, Input::Tick);
            assert_eq!(pulse.state(), State::Connecting);
            assert_eq!(pulse.expecting(), None, "nothing is on its way");
            tell(&mut pulse, start + moment, Input::Tick);
            assert_eq!(pulse.state(), State::Up);
            // Later beats on it need no moment.
            let due = tell(&mut pulse, start + 20 * S, Input::Tick);
            assert!(due.contains(&Output::Beat(2)), "{due:?}");
            let acked = tell(&mut pulse, start + 20 * S, Input::Stands(2));
            assert!(matches!(acked[0], Output::Report(Report::Beat { seq: 2, .. })), "{acked:?}");
        }
    }

    #[test]
    fn what_ends_within_that_moment_was_never_up_and_costs_the_round() {
        let start = Instant::now();
        let beat = Heartbeat::every(10 * S).rounds(2);
        let (mut pulse, _) = connected(beat, start);
        tell(&mut pulse, start, Input::Stands(1));
        let ended = tell(&mut pulse, start + MS, lost(Cause::ClosedByPeer));
        assert_eq!(pulse.state(), State::Down);
        let (now, _) = again(&mut pulse, &ended, start + MS);
        tell(&mut pulse, now + 600 * MS, Input::Tick); // the beat
        let over = tell(&mut pulse, now + 600 * MS, lost(Cause::ClosedByPeer));
        assert_eq!(over.last(), Some(&Output::Done), "two rounds: {over:?}");
    }

    #[test]
    fn who_never_answered_and_hung_up_is_given_a_moment_before_the_next_first_beat() {
        let start = Instant::now();
        let (mut pulse, done) = connected(Heartbeat::every(10 * S), start);
        assert!(done.contains(&Output::Beat(1)), "the first goes out at once: {done:?}");
        let mut ended = tell(&mut pulse, start + MS, lost(Cause::Reset));
        for _ in 0..3 {
            let (now, done) = again(&mut pulse, &ended, start);
            assert_eq!(done.last(), Some(&Output::Wait(Some(now + MOMENT))), "{done:?}");
            let beat = tell(&mut pulse, now + MOMENT, Input::Tick);
            assert!(matches!(beat[0], Output::Beat(_)), "{beat:?}");
            ended = tell(&mut pulse, now + MOMENT + MS, lost(Cause::ClosedByPeer));
        }
        let (now, _) = again(&mut pulse, &ended, start);
        tell(&mut pulse, now + MOMENT, Input::Tick);
        tell(&mut pulse, now + MOMENT + MS, Input::Ack(None));
        assert_eq!(pulse.state(), State::Up);
        let ended = tell(&mut pulse, now + S, lost(Cause::Reset));
        let (_, done) = again(&mut pulse, &ended, now + S);
        assert!(done.iter().any(|o| matches!(o, Output::Beat(_))), "it has answered: {done:?}");
    }

    #[test]
    fn a_connection_that_ends_while_its_beat_is_held_back_is_a_round_and_the_next_beat_waits_not() {
        let start = Instant::now();
        let (mut pulse, _) = connected(Heartbeat::every(10 * S).rounds(5), start);
        let mut ended = tell(&mut pulse, start + MS, lost(Cause::Reset));
        for waits in [true, false, true, false] {
            assert_ne!(ended.last(), Some(&Output::Done));
            let (now, done) = again(&mut pulse, &ended, start);
            let beats = done.iter().any(|o| matches!(o, Output::Beat(_)));
            assert_eq!(beats, !waits, "or who allows no silence hears no beat: {done:?}");
            ended = tell(&mut pulse, now + MS, lost(Cause::Reset));
            if waits {
                // An attempt without a connection tells nothing new.
                assert!(!pulse.is_wary, "{ended:?}");
            }
        }
        assert_eq!(ended.last(), Some(&Output::Done), "or it would never end: {ended:?}");
    }

    #[test]
    fn while_it_settles_a_pause_a_stop_and_foreign_inputs_do_no_harm() {
        let start = Instant::now();
        let (mut pulse, _) = connected(Heartbeat::every(10 * S), start);
        tell(&mut pulse, start, Input::Stands(1));
        let wait = [Output::Wait(Some(start + MOMENT))];
        for input in [Input::Ack(None), Input::Stands(1), Input::Partial, Input::Renew] {
            assert_eq!(tell(&mut pulse, start + MS, input.clone()), wait, "{input:?}");
        }
        tell(&mut pulse, start + MS, Input::Pause);
        tell(&mut pulse, start + MOMENT, Input::Tick);
        assert_eq!(pulse.state(), State::Up);
        let (mut pulse, _) = connected(Heartbeat::every(10 * S), start);
        tell(&mut pulse, start, Input::Stands(1));
        let over = tell(&mut pulse, start + MS, Input::Stop);
        assert!(over.contains(&Output::Close) && over.ends_with(&[Output::Done]), "{over:?}");
    }
}
