//! How long threads that have been told to end are waited for.

use std::time::{Duration, Instant};

/// Every thread ends within milliseconds of being told, but for one inside name resolution or in a
/// protocol that blocks, which nothing can wake.
pub(crate) const AT_STOP: Duration = Duration::from_millis(900);

/// Threads that go on ending are waited for longer, because it takes thousands of them on a busy
/// machine more than that: until none has ended for so long, or until the last bound.
const LULL: Duration = Duration::from_millis(400);
const MOST: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    until: Instant,
    most: Instant,
}

impl Patience {
    pub(crate) fn new(now: Instant) -> Patience {
        Patience { until: now + AT_STOP, most: now + MOST }
    }

    /// No longer than until then, whoever goes on ending.
    pub(crate) fn until(deadline: Instant) -> Patience {
        Patience { until: deadline, most: deadline }
    }

    /// One has ended by now.
    pub(crate) fn renew(&mut self, now: Instant) {
        self.until = self.until.max(now + LULL).min(self.most);
    }

    pub(crate) fn ends(&self) -> Instant {
        self.until
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_while_threads_go_on_ending_and_has_a_bound() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        patience.renew(start);
        assert_eq!(patience.ends(), start + AT_STOP, "the first ones change nothing");
        let mut now = start;
        while !patience.is_over(now) {
            patience.renew(now);
            now += LULL / 2;
        }
        assert_eq!(patience.ends(), start + MOST);
        let mut patience = Patience::new(start);
        patience.renew(start + AT_STOP);
        assert!(!patience.is_over(start + AT_STOP) && patience.is_over(start + AT_STOP + LULL));
        let mut strict = Patience::until(start + AT_STOP);
        strict.renew(start + AT_STOP);
        assert!(strict.is_over(start + AT_STOP));
    }
}
