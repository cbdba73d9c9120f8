//! Ends that come as regularly as the one before: after the same pause, or at the same age. The
//! peer lives, and has a limit; another connection is opened at once, and the state stays.

use std::time::{Duration, Instant};

use crate::cause::{Cause, Loss};
use crate::pulse::Regular;
use crate::pulse::ends::End;
use crate::state::State;

use super::{Connection, Extra, Partial, Phase, Pulse, Purpose};

/// A connection that ends sooner has not proven anything, and opening one after the other at once
/// would be a storm.
const LEAST: Duration = Duration::from_secs(1);

/// When bytes went over a connection.
#[derive(Debug)]
pub(super) struct Traffic {
    /// Last, either way.
    busy: Instant,
    /// How long nothing had gone before the beat in flight; none if it opened the connection.
    pause: Option<Duration>,
    /// The longest pause that was followed by an answer.
    survived: Duration,
    /// A beat went out as soon as it stood, and nothing came yet.
    is_fresh: bool,
}

impl Traffic {
    pub(super) fn new(now: Instant) -> Traffic {
        Traffic { busy: now, pause: None, survived: Duration::ZERO, is_fresh: false }
    }

    /// A beat goes out as soon as the connection stands.
    pub(super) fn begin(&mut self) {
        self.is_fresh = true;
    }

    /// A beat went out.
    pub(super) fn asked(&mut self, at: Instant) {
        self.pause = Some(at.saturating_duration_since(self.busy));
        self.busy = self.busy.max(at);
    }

    /// A beat was answered.
    pub(super) fn answered(&mut self, now: Instant) {
        self.survived = self.survived.max(self.pause.take().unwrap_or_default());
        self.heard(now);
    }

    /// Bytes came.
    pub(super) fn heard(&mut self, at: Instant) {
        self.moved(at);
        self.is_fresh = false;
    }

    /// Bytes went either way.
    pub(super) fn moved(&mut self, at: Instant) {
        self.busy = self.busy.max(at);
    }

    /// Since bytes last went either way.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.busy)
    }

    /// Whether the beat in flight went out as soon as the connection stood: then no end of it that
    /// the peer had decided on before can have crossed it.
    pub(super) fn is_fresh(&self) -> bool {
        self.is_fresh
    }
}

impl Phase {
    fn is_expecting(&self) -> bool {
        matches!(self, Phase::Expecting { .. })
    }

    /// A part of the answer was here already, or other signs of life.
    fn has_begun(&self) -> bool {
        let Phase::Expecting { extra: Extra { partial, .. }, .. } = self else { return false };
        *partial != Partial::No
    }
}

impl Pulse {
    /// This connection ends now.
    pub(super) fn end_of(&self, connection: &Connection, cause: Cause) -> End {
        let traffic = &connection.traffic;
        let (in_flight, since_beat) = (self.phase.is_expecting(), traffic.idle(self.now));
        // Nothing that a beat does is here before its round trip is over.
        let there_and_back = self.rtt.min().unwrap_or_default() * 9 / 10;
        // Who ended it before that has not seen the beat: its pause goes on.
        let before = traffic.pause.filter(|_| in_flight).unwrap_or_default();
        End {
            idle: since_beat + before,
            lived: self.now.saturating_duration_since(connection.since),
            survived: traffic.survived,
            cause,
            may_be_the_beat: in_flight && since_beat >= there_and_back,
        }
    }

    /// Whether this is the end of a connection that was well, as regular as the last.
    pub(super) fn regular_end(&mut self, loss: &Loss) -> Option<Regular> {
        let connection = self.connection.as_ref()?;
        let causes = [Cause::ClosedByPeer, Cause::ClosedWithReason, Cause::Reset];
        let may_be =
            self.conduct.reconnects() && causes.contains(&loss.cause) && !self.phase.has_begun();
        if !may_be {
            return None;
        }
        let end = self.end_of(connection, loss.cause);
        let was_well = connection.up_since.is_some() && self.health.state == State::Up;
        let regular = self.ends.on_end(end)?;
        if !was_well || end.lived < LEAST || self.paused {
            return None;
        }
        self.ends.go_by(self.now, regular);
        Some(regular)
    }

    /// Another connection takes the place of one that the peer ended as it always does.
    pub(super) fn reopen(&mut self, loss: Loss, regular: Regular) {
        let crossed = self.phase.is_expecting();
        self.let_go(loss, Some(regular));
        self.purpose = if crossed { Purpose::Repeat } else { Purpose::Regular };
        self.open();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::Heartbeat;
    use crate::pulse::{Input, Output, Report, Rule};

    const S: Duration = Duration::from_secs(1);

    /// Does what the pulse says until it waits, and answers each beat; what it said.
    fn settle(pulse: &mut Pulse, now: Instant) -> Vec<Output> {
        let mut all = Vec::new();
        loop {
            let output = pulse.poll();
            match output {
                Output::Connect => pulse.handle(now, Input::Connected),
                Output::Beat(seq) => {
                    pulse.handle(now, Input::Sent { seq, at: now });
                    all.push(output);
                    pulse.handle(now, Input::Ack(None));
                    continue;
                }
                Output::Wait(_) | Output::Done => return all,
                Output::Close | Output::Report(_) => {}
            }
            all.push(output);
        }
    }

    fn end(pulse: &mut Pulse, now: Instant, cause: Cause) -> Vec<Output> {
        pulse.handle(now, Input::Lost(Loss::from(cause)));
        settle(pulse, now)
    }

    fn is_down(outputs: &[Output]) -> bool {
        let to = |output: &Output| match output {
            Output::Report(Report::State { to, .. }) => Some(*to),
            _ => None,
        };
        outputs.iter().any(|output| to(output) == Some(State::Down))
    }

    fn regular(outputs: &[Output]) -> Option<Regular> {
        outputs.iter().find_map(|output| match output {
            Output::Report(Report::Disconnected { regular, expected, .. }) => {
                assert_eq!(regular.is_some(), *expected);
                *regular
            }
            _ => None,
        })
    }

    /// Up, with nothing due for an hour.
    fn up(start: Instant) -> Pulse {
        let mut pulse = Pulse::new(Heartbeat::every(3600 * S).timeout(S), 7, start);
        settle(&mut pulse, start);
        assert_eq!(pulse.state(), State::Up);
        pulse
    }

    #[test]
    fn the_second_end_after_the_same_pause_costs_a_connect_and_no_state() {
        let start = Instant::now();
        let mut pulse = up(start);
        let mut now = start + 60 * S;
        assert!(is_down(&end(&mut pulse, now, Cause::ClosedByPeer)), "once is no rule");
        now += S;
        pulse.handle(now, Input::Tick); // the backoff is over
        settle(&mut pulse, now);
        assert_eq!(pulse.state(), State::Up);
        for times in 2..=4 {
            now += 60 * S;
            let said = end(&mut pulse, now, Cause::ClosedByPeer);
            let rule = Regular { rule: Rule::Either, after: 60 * S, times };
            assert_eq!((is_down(&said), regular(&said)), (false, Some(rule)), "{said:?}");
            assert!(said.contains(&Output::Connect), "at once: {said:?}");
            assert!(said.iter().any(|output| matches!(output, Output::Beat(_))), "and proven");
        }
        assert!(is_down(&end(&mut pulse, now + 7 * S, Cause::ClosedByPeer)), "another end");
    }

    #[test]
    fn what_ends_within_a_second_or_before_it_was_up_is_no_rule() {
        let start = Instant::now();
        let mut pulse = up(start);
        let mut now = start;
        for _ in 0..3 {
            now += S / 2;
            let said = end(&mut pulse, now, Cause::ClosedByPeer);
            assert_eq!(regular(&said), None, "{said:?}");
            // Until the backoff is over.
            now += 60 * S;
            pulse.handle(now, Input::Tick);
            settle(&mut pulse, now);
        }
        let beat = Heartbeat::every(3600 * S).timeout(3600 * S).rise(2);
        let (mut never, mut now) = (Pulse::new(beat, 7, start), start);
        settle(&mut never, now);
        for _ in 0..4 {
            now += 60 * S;
            let said = end(&mut never, now, Cause::ClosedByPeer);
            assert_eq!(regular(&said), None, "one ack is not Up: {said:?}");
            now += 120 * S;
            never.handle(now, Input::Tick);
            settle(&mut never, now);
        }
    }

    /// Lets pass what is due before `until`.
    fn pass(pulse: &mut Pulse, until: Instant) {
        while let Output::Wait(Some(due)) = pulse.poll() {
            if due >= until {
                return;
            }
            pulse.handle(due, Input::Tick);
            settle(pulse, due);
        }
    }

    const AGE: Duration = Duration::from_secs(100);

    /// Up on its third connection, of a peer that ends each at [`AGE`]; with a beat in flight as
    /// the third is about to end.
    fn about_to_end(start: Instant) -> (Pulse, u64) {
        let beat = Heartbeat::every(AGE - S / 10).timeout(5 * S).jitter(0.0);
        // The second beat of each connection is spread: with this seed their pauses differ.
        let mut pulse = Pulse::new(beat, 3, start);
        settle(&mut pulse, start);
        pass(&mut pulse, start + AGE);
        assert!(is_down(&end(&mut pulse, start + AGE, Cause::ClosedByPeer)));
        pass(&mut pulse, start + 2 * AGE);
        let said = end(&mut pulse, start + 2 * AGE, Cause::ClosedByPeer);
        assert_eq!(regular(&said).map(|regular| regular.rule), Some(Rule::Lifetime), "{said:?}");
        let due = start + 3 * AGE - S / 10;
        pulse.handle(due, Input::Tick);
        let Output::Beat(seq) = pulse.poll() else { panic!("no beat is due") };
        pulse.handle(due, Input::Sent { seq, at: due });
        (pulse, seq)
    }

    #[test]
    fn a_beat_that_meets_a_regular_end_goes_out_again_under_its_number() {
        let start = Instant::now();
        let (mut pulse, seq) = about_to_end(start);
        let said = end(&mut pulse, start + 3 * AGE, Cause::ClosedByPeer);
        assert!(!is_down(&said) && regular(&said).is_some(), "{said:?}");
        assert!(said.contains(&Output::Beat(seq)), "{said:?}");
        assert_eq!(pulse.state(), State::Up);
    }

    #[test]
    fn an_end_in_the_middle_of_an_answer_is_no_rule() {
        let start = Instant::now();
        let (mut pulse, _) = about_to_end(start);
        pulse.handle(start + 3 * AGE, Input::Partial);
        let said = end(&mut pulse, start + 3 * AGE, Cause::ClosedByPeer);
        assert!(is_down(&said) && regular(&said).is_none(), "{said:?}");
    }
}
