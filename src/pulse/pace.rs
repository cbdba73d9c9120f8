//! When the next beat is due. Counted from planned times, never from when a thread woke, so that
//! lateness does not add up; what was slept over is skipped, never sent in a burst.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::heartbeat::Pace;

impl Pace {
    fn interval(self, interval: Duration) -> Duration {
        match self {
            Pace::Fixed => interval,
        }
    }
}

#[derive(Debug)]
pub(super) struct Schedule {
    planned: Instant,
    spread: bool,
}

impl Schedule {
    pub(super) fn new(now: Instant) -> Schedule {
        Schedule { planned: now, spread: true }
    }

    /// A beat goes out at once: a new connection's first, or the one after a miss.
    pub(super) fn at_once(&mut self, now: Instant, first: bool) {
        self.planned = now;
        self.spread |= first;
    }

    /// The beat is due then instead: other traffic makes it needless so long, or it is wanted
    /// sooner.
    pub(super) fn move_to(&mut self, due: Instant) {
        self.planned = due;
    }

    /// While the link is not Up, the ack timeout paces the beats.
    pub(super) fn hurry(&mut self, now: Instant, timeout: Duration, interval: Duration) -> Instant {
        self.step(now, timeout.min(interval))
    }

    /// The next beat of a link that is Up: spread over one interval once, then jittered.
    pub(super) fn next(
        &mut self,
        now: Instant,
        pace: Pace,
        interval: Duration,
        jitter: f64,
        rng: &mut Rng,
    ) -> Instant {
        let interval = pace.interval(interval);
        if std::mem::take(&mut self.spread) {
            self.planned = now + interval.mul_f64(rng.f64());
            return self.planned;
        }
        let factor = 1.0 + jitter * (2.0 * rng.f64() - 1.0);
        self.step(now, interval.mul_f64(factor))
    }

    fn step(&mut self, now: Instant, interval: Duration) -> Instant {
        self.planned += interval;
        if self.planned < now {
            let behind = now - self.planned;
            let rounds = behind.as_nanos() / interval.as_nanos().max(1) + 1;
            // More rounds than a u32 holds were slept over: plan anew from here.
            self.planned = u32::try_from(rounds).map_or(now, |n| self.planned + interval * n);
        }
        self.planned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn lateness_does_not_add_up() {
        let start = Instant::now();
        let mut rng = Rng::with_seed(1);
        let mut schedule = Schedule { planned: start, spread: false };
        let mut due = start;
        for _ in 0..1000 {
            due = schedule.next(due + S / 10, Pace::Fixed, S, 0.0, &mut rng);
        }
        assert_eq!(due, start + 1000 * S);
    }

    #[test]
    fn jitter_stays_within_its_fraction_and_the_second_beat_is_spread() {
        let start = Instant::now();
        let mut rng = Rng::with_seed(2);
        let mut schedule = Schedule::new(start);
        let mut last = schedule.next(start, Pace::Fixed, S, 0.05, &mut rng);
        assert!(last - start <= S);
        for _ in 0..1000 {
            let due = schedule.next(last, Pace::Fixed, S, 0.05, &mut rng);
            assert!(due - last >= S.mul_f64(0.95) && due - last <= S.mul_f64(1.05));
            last = due;
        }
    }

    #[test]
    fn slept_over_rounds_are_skipped() {
        let start = Instant::now();
        let mut rng = Rng::with_seed(3);
        let mut schedule = Schedule { planned: start, spread: false };
        let woke = start + 10 * S + S / 2;
        let due = schedule.next(woke, Pace::Fixed, S, 0.0, &mut rng);
        assert!(due >= woke && due <= woke + S, "{:?}", due - woke);
    }
}
