//! Limits: how long one request may take in all, and each wait in it. One for all hops, replays and
//! waits.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::trouble::{Trouble, Way};

/// Waits that nobody limits end some time, so that sums of times do not overflow.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

/// A shutdown is looked for this often while nothing else happens.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// What a time may be: sums of longer ones overflow.
pub(crate) const TIMES: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(365 * 24 * 60 * 60);

/// Without a `timeout`, a server that is silent for so long in the middle of an exchange has
/// failed.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// The times of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// When all of it has to be over.
    pub(crate) deadline: Option<Instant>,
    /// How long a connection may take to come to be.
    pub(crate) connect: Duration,
    /// How long it may take to say its first byte.
    pub(crate) first_byte: Option<Duration>,
    /// How long the server may be silent.
    pub(crate) silence: Option<Duration>,
}

impl Limits {
    /// Until when a connection has to stand.
    pub(crate) fn connect_until(&self) -> Instant {
        let until = Instant::now() + self.connect.min(FOR_EVER);
        self.deadline.map_or(until, |deadline| deadline.min(until))
    }

    /// How long the next wait may be.
    ///
    /// # Errors
    ///
    /// The time is up.
    pub(crate) fn wait(&self) -> Result<Option<Duration>, Trouble> {
        let Some(deadline) = self.deadline else { return Ok(self.silence) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Trouble::Late);
        }
        Ok(Some(self.silence.map_or(left, |silence| silence.min(left))))
    }

    /// What a wait that ended by time was.
    pub(crate) fn passed(&self, way: Way) -> Trouble {
        match self.is_over() {
            true => Trouble::Late,
            false => Trouble::Silent(way),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}
