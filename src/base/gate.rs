//! The pace of connecting: thousands of links started together, or lost together, connect at a
//! bounded rate, so that neither the peers nor the own network are flooded.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far behind the rate may be caught up at once: a tenth of a second's worth, so that a few
/// links never wait and lateness of threads does not lower the rate.
const CATCH_UP: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Gate {
    step: Duration,
    next: Mutex<Instant>,
}

impl Gate {
    pub(crate) fn new(per_second: u32, now: Instant) -> Gate {
        let next = Mutex::new(now.checked_sub(CATCH_UP).unwrap_or(now));
        Gate { step: Duration::from_secs(1) / per_second, next }
    }

    /// When the caller may connect. Held for some nanoseconds, by no one who waits for another.
    pub(crate) fn turn(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(now.checked_sub(CATCH_UP).unwrap_or(now));
        *next = turn + self.step;
        turn.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_and_a_few_never_wait() {
        let now = Instant::now();
        let gate = Gate::new(1000, now);
        let turns: Vec<_> = (0..2100).map(|_| gate.turn(now)).collect();
        assert_eq!(turns[99], now, "the first hundred at once");
        let whole = turns[2099] - now;
        assert!(whole >= Duration::from_millis(1990) && whole <= Duration::from_secs(2));
        assert_eq!(gate.turn(now + Duration::from_secs(60)), now + Duration::from_secs(60));
    }
}
