//! How many side connections may be opened in a while, over all links of a coordinator.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// A bucket of tokens: each connection takes one, and they come back at an even pace. It holds a
/// quarter of a minute's worth, so that no minute sees more than five quarters.
#[derive(Debug)]
pub(crate) struct Budget {
    each: Duration,
    most: u32,
    state: Mutex<(u32, Instant)>,
}

impl Budget {
    pub(super) fn new(per_minute: u32, now: Instant) -> Budget {
        let most = (per_minute / 4).max(1);
        let each = MINUTE / per_minute.max(1);
        let tokens = if per_minute == 0 { 0 } else { most };
        Budget {
            each,
            most: if per_minute == 0 { 0 } else { most },
            state: Mutex::new((tokens, now)),
        }
    }

    /// Whether there is one left.
    pub(super) fn has(&self, now: Instant) -> bool {
        self.with(now, |tokens| *tokens > 0)
    }

    /// Takes one, if there is one.
    pub(super) fn take(&self, now: Instant) -> bool {
        self.with(now, |tokens| {
            let had = *tokens > 0;
            *tokens -= u32::from(had);
            had
        })
    }

    /// Held for some nanoseconds.
    fn with<T>(&self, now: Instant, f: impl FnOnce(&mut u32) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, since) = &mut *state;
        let back = now.saturating_duration_since(*since).as_nanos() / self.each.as_nanos().max(1);
        let back = u32::try_from(back).unwrap_or(u32::MAX);
        if back > 0 {
            *tokens = tokens.saturating_add(back).min(self.most);
            // What is left over of a token goes on counting, unless the bucket is full.
            *since = if *tokens == self.most { now } else { *since + self.each * back };
        }
        f(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_sees_more_than_five_quarters_of_it() {
        let start = Instant::now();
        let budget = Budget::new(60, start);
        let ms = Duration::from_millis;
        let taken = (0..60_000).filter(|n| budget.take(start + ms(*n))).count();
        assert!((70..=75).contains(&taken), "{taken}");
        let quiet = start + 10 * MINUTE;
        assert_eq!((0..1000).filter(|_| budget.take(quiet)).count(), 15, "it does not pile up");
        assert!(!budget.has(quiet));
        let none = Budget::new(0, start);
        assert!(!none.take(start + MINUTE));
    }
}
