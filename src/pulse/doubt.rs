//! Doubt yourself first. A thread that wakes late has learnt something about its own machine, not
//! about the peer. After Lifeguard (A. Dadgar, J. Phillips, J. Currey, *Lifeguard: Local Health
//! Awareness for More Accurate Failure Detection*, 2018).

use std::time::{Duration, Instant};

/// The worst a machine can think of itself: timeouts are five times as long.
const MOST_DOUBT: u8 = 8;

/// Fresh timeouts in a row that our own lateness buys a peer. Three: a dead peer must not be
/// protected by our own overload for ever.
const MOST_GRANTS: u8 = 3;

/// Timers are late by some milliseconds at any time; below this, lateness means nothing.
const ORDINARY: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Doubt {
    score: u8,
    grants: u8,
}

impl Doubt {
    pub(super) fn score(&self) -> u8 {
        self.score
    }

    /// By how much we are late for `deadline`, if that is a stall of our own.
    pub(super) fn stall(now: Instant, deadline: Instant, timeout: Duration) -> Option<Duration> {
        let late = now.saturating_duration_since(deadline);
        (late > ORDINARY.max(timeout / 4)).then_some(late)
    }

    pub(super) fn on_stall(&mut self) {
        self.score = (self.score + 1).min(MOST_DOUBT);
    }

    /// One fresh timeout for a beat that could not be judged, if there is one left.
    pub(super) fn grant(&mut self) -> bool {
        let granted = self.grants < MOST_GRANTS;
        self.grants += u8::from(granted);
        granted
    }

    /// We woke in time: the next stall is no longer the same one.
    pub(super) fn on_time(&mut self) {
        self.grants = 0;
    }

    /// A whole round went well.
    pub(super) fn on_clean_round(&mut self) {
        self.score = self.score.saturating_sub(1);
        self.grants = 0;
    }

    /// Timeouts stretch by `1 + score/2`.
    pub(super) fn stretch(&self, timeout: Duration) -> Duration {
        timeout * u32::from(2 + self.score) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_counts_over_a_quarter_of_the_timeout_and_a_tenth_of_a_second() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        assert_eq!(Doubt::stall(now + ms(100), now, ms(80)), None);
        assert_eq!(Doubt::stall(now + ms(101), now, ms(80)), Some(ms(101)));
        assert_eq!(Doubt::stall(now + ms(1250), now, ms(5000)), None);
        assert_eq!(Doubt::stall(now + ms(1251), now, ms(5000)), Some(ms(1251)));
        assert_eq!(Doubt::stall(now, now + ms(5), ms(1)), None);
    }

    #[test]
    fn the_score_stretches_timeouts_and_grants_run_out() {
        let mut doubt = Doubt::default();
        for _ in 0..20 {
            doubt.on_stall();
        }
        assert_eq!(doubt.stretch(Duration::from_secs(2)), Duration::from_secs(10));
        let granted = (0..10).filter(|_| doubt.grant()).count();
        assert_eq!(granted, 3);
        doubt.on_clean_round();
        assert!(doubt.grant());
        assert_eq!(doubt.score(), 7);
    }
}
