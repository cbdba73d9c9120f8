//! How long to wait before the next attempt to connect: exponential with full jitter and a cap.
//! Forgotten only after a healthy while, or a peer that accepts and closes would make the link
//! spin.

use std::time::Duration;

use fastrand::Rng;

/// A connection that was Up this long, and at least one interval, has proven itself.
const HEALTHY: Duration = Duration::from_secs(10);

/// Credentials that were refused are tried again at most this often: many servers lock out
/// whoever insists.
const AFTER_REFUSED_LOGIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The wait before the next attempt: `U(0, min(cap, base * 2^n))`.
    pub(super) fn next(&mut self, base: Duration, cap: Duration, rng: &mut Rng) -> Duration {
        let doubled = base.saturating_mul(1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX));
        self.attempts = (self.attempts + 1).min(31);
        let most = doubled.min(cap).as_nanos().min(u128::from(u64::MAX)) as u64;
        Duration::from_nanos(rng.u64(0..=most))
    }

    /// The same, for credentials that were refused.
    pub(super) fn after_refused_login(
        &mut self,
        base: Duration,
        cap: Duration,
        rng: &mut Rng,
    ) -> Duration {
        self.next(base, cap, rng).max(AFTER_REFUSED_LOGIN)
    }

    /// The connection that ended had been Up for so long. True if that was healthy: the count
    /// starts anew, and the next attempt may be immediate.
    pub(super) fn lived(&mut self, up: Duration, interval: Duration) -> bool {
        let healthy = up >= interval.max(HEALTHY);
        if healthy {
            self.attempts = 0;
        }
        healthy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_are_fully_jittered() {
        let (base, cap) = (Duration::from_millis(500), Duration::from_secs(60));
        let mut rng = Rng::with_seed(7);
        let mut highest = [Duration::ZERO; 12];
        for _ in 0..2000 {
            let mut backoff = Backoff::default();
            for high in &mut highest {
                *high = (*high).max(backoff.next(base, cap, &mut rng));
            }
        }
        for (n, high) in highest.iter().enumerate() {
            let limit = (base * 2_u32.pow(n as u32)).min(cap);
            assert!(*high <= limit && *high > limit * 9 / 10, "attempt {n}: {high:?} of {limit:?}");
        }
        let mut backoff = Backoff { attempts: 31 };
        assert!(backoff.next(base, cap, &mut rng) <= cap, "no overflow however often it failed");
    }

    #[test]
    fn only_a_healthy_while_forgets() {
        let mut backoff = Backoff { attempts: 5 };
        let interval = Duration::from_secs(30);
        assert!(!backoff.lived(Duration::from_secs(29), interval));
        assert_eq!(backoff.attempts, 5);
        assert!(backoff.lived(Duration::from_secs(30), interval));
        assert_eq!(backoff.attempts, 0);
        assert!(!backoff.lived(Duration::from_secs(9), Duration::from_secs(1)), "10 s at least");
    }
}
