//! Another pace while the link runs. What is on its way is judged as it was sent.

use crate::heartbeat::Heartbeat;

use super::{Phase, Pulse};

impl Pulse {
    pub(super) fn on_adjusted(&mut self, heartbeat: &Heartbeat) {
        let heartbeat = self.heartbeat.at_pace_of(heartbeat);
        if heartbeat.check().is_err() {
            return;
        }
        self.health.adjust(heartbeat.fall, heartbeat.rise);
        self.beats.make_room(self.health.most_outstanding());
        self.silence.set_limit(heartbeat.longest_silence());
        self.heartbeat = heartbeat;
        match self.phase {
            Phase::Resting { .. } => {
                let due = self.replanned();
                self.schedule.move_to(due);
                self.phase = Phase::Resting { due };
            }
            Phase::BackingOff { until } => {
                let until = until.min(self.now + self.heartbeat.backoff_cap);
                self.phase = Phase::BackingOff { until };
            }
            // It waits for its ack, or for the connection; what follows is planned by the new pace.
            _ => {}
        }
    }

    /// An interval after the last beat; where that is over, some time within one from now, so that
    /// links which are changed together spread out.
    fn replanned(&mut self) -> std::time::Instant {
        let interval = self.heartbeat.interval;
        let due = self.beaten + interval;
        if due > self.now { due } else { self.now + interval.mul_f64(self.rng.f64()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::cause::{Cause, Loss};
    use crate::heartbeat::Heartbeat;
    use crate::pulse::{Input, Output, Pulse};
    use crate::state::State;

    const S: Duration = Duration::from_secs(1);

    /// Up, its first beat acked, resting until the next.
    fn up(heartbeat: Heartbeat, now: Instant) -> Pulse {
        let mut pulse = Pulse::new(heartbeat, 1, now);
        pulse.handle(now, Input::Connected);
        let beat =
            std::iter::repeat_with(|| pulse.poll()).take(9).find_map(|output| match output {
                Output::Beat(seq) => Some(seq),
                _ => None,
            });
        pulse.handle(now, Input::Ack(beat));
        wait(&mut pulse);
        assert_eq!(pulse.state(), State::Up);
        pulse
    }

    fn wait(pulse: &mut Pulse) -> Option<Instant> {
        loop {
            match pulse.poll() {
                Output::Wait(until) => return until,
                Output::Done => return None,
                _ => {}
            }
        }
    }

    fn adjust(pulse: &mut Pulse, now: Instant, heartbeat: &Heartbeat) {
        pulse.handle(now, Input::Adjust(Box::new(heartbeat.clone())));
    }

    #[test]
    fn the_next_beat_is_planned_anew_and_those_after_it_too() {
        let start = Instant::now();
        let mut pulse = up(Heartbeat::every(3600 * S).jitter(0.0), start);
        let often = Heartbeat::every(10 * S).timeout(2 * S).jitter(0.0);
        adjust(&mut pulse, start + S, &often);
        assert_eq!(wait(&mut pulse), Some(start + 10 * S));
        // Long after the last one: some time within an interval.
        let mut pulse = up(Heartbeat::every(3600 * S).jitter(0.0), start);
        adjust(&mut pulse, start + 100 * S, &often);
        let due = wait(&mut pulse).unwrap();
        assert!(due >= start + 100 * S && due <= start + 110 * S);
        pulse.handle(due, Input::Tick);
        assert_eq!(pulse.poll(), Output::Beat(2));
        assert_eq!(wait(&mut pulse), Some(due + 2 * S), "the timeout is the new one");
        // And seldomer.
        pulse.handle(due, Input::Ack(Some(2)));
        wait(&mut pulse);
        adjust(&mut pulse, due, &Heartbeat::every(60 * S).jitter(0.0));
        assert_eq!(wait(&mut pulse), Some(due + 60 * S));
    }

    #[test]
    fn fall_counts_from_then_on_and_a_beat_on_its_way_keeps_its_timeout() {
        let start = Instant::now();
        let mut pulse = up(Heartbeat::every(10 * S).timeout(5 * S).jitter(0.0).fall(5), start);
        let due = wait(&mut pulse).unwrap();
        pulse.handle(due, Input::Tick);
        assert_eq!(pulse.poll(), Output::Beat(2));
        adjust(&mut pulse, due + S, &Heartbeat::every(S).timeout(S).fall(1));
        assert_eq!(wait(&mut pulse), Some(due + 5 * S));
        pulse.handle(due + 5 * S, Input::Tick);
        wait(&mut pulse);
        assert_eq!(pulse.state(), State::Down, "one miss is enough now");
    }

    #[test]
    fn a_longer_silence_is_allowed_at_once_and_a_shorter_backoff_ends_sooner() {
        let start = Instant::now();
        let passive = Heartbeat::every(10 * S).role(crate::role::Role::Passive).jitter(0.0);
        let mut pulse = Pulse::new(passive, 1, start);
        pulse.handle(start, Input::Connected);
        let before = wait(&mut pulse).unwrap();
        adjust(&mut pulse, start + S, &Heartbeat::every(60 * S).jitter(0.0));
        assert_eq!(wait(&mut pulse), Some(before + 50 * S));

        let slow = Heartbeat::default().backoff(3600 * S, 3600 * S);
        let mut pulse = Pulse::new(slow, 7, start);
        pulse.poll();
        pulse.handle(start, Input::Lost(Loss::from(Cause::Refused)));
        wait(&mut pulse);
        adjust(&mut pulse, start, &Heartbeat::default().backoff(S, 2 * S));
        assert!(wait(&mut pulse).unwrap() <= start + 2 * S);
    }

    #[test]
    fn what_cannot_work_is_passed_over_and_the_rest_of_the_link_stays_as_it_was() {
        let start = Instant::now();
        let mut pulse = up(Heartbeat::every(10 * S).jitter(0.0).rounds(2), start);
        let before = wait(&mut pulse);
        adjust(&mut pulse, start, &Heartbeat::every(Duration::ZERO));
        assert_eq!(wait(&mut pulse), before);
        adjust(&mut pulse, start, &Heartbeat::every(S).jitter(0.0));
        let due = wait(&mut pulse).unwrap();
        assert_eq!(due, start + S);
        pulse.handle(due, Input::Tick);
        pulse.handle(due, Input::Ack(Some(2)));
        wait(&mut pulse);
        assert!(pulse.is_done(), "it had two rounds, and has");
        adjust(&mut pulse, due, &Heartbeat::every(S));
        assert!(pulse.is_done());
    }
}
