//! For how long this machine was suspended: clocks stood still meanwhile, and peers did not.

use std::time::Duration;

use crate::sys;

/// Less is none: the two clocks are read one after the other.
const LEAST: Duration = Duration::from_millis(500);

/// How long the machine had been suspended in all, at two moments.
pub(crate) struct Suspension {
    /// As all was well last.
    well: Duration,
    /// As a stall was told last, or all was well since.
    told: Duration,
}

impl Suspension {
    pub(crate) fn new() -> Suspension {
        let now = sys::suspended();
        Suspension { well: now, told: now }
    }

    pub(crate) fn on_well(&mut self) {
        *self = Suspension::new();
    }

    /// Since all was well.
    pub(crate) fn since_well(&self) -> Option<Duration> {
        long(sys::suspended().saturating_sub(self.well))
    }

    /// Since a stall was told.
    pub(crate) fn on_stall(&mut self) -> Option<Duration> {
        let now = sys::suspended();
        long(now.saturating_sub(std::mem::replace(&mut self.told, now)))
    }
}

fn long(gone: Duration) -> Option<Duration> {
    Some(gone).filter(|gone| *gone > LEAST)
}
