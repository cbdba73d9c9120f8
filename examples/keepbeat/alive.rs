//! Signs of life while nothing happens, at growing intervals. Times are arguments.

use std::time::{Duration, Instant};

/// The longest pause: twice a day.
const SELDOMEST: Duration = Duration::from_secs(12 * 3600);

pub struct Alive {
    /// The first pause. None if no sign of life is wanted.
    first: Option<Duration>,
    pause: Duration,
    last: Instant,
}

impl Alive {
    pub fn new(first: Option<Duration>, now: Instant) -> Alive {
        Alive { first, pause: first.unwrap_or_default(), last: now }
    }

    /// A line was shown, so the first pause begins again.
    pub fn on_told(&mut self, now: Instant) {
        (self.pause, self.last) = (self.first.unwrap_or_default(), now);
    }

    /// When the next sign of life is due.
    pub fn due(&self) -> Option<Instant> {
        self.first.and_then(|_| self.last.checked_add(self.pause))
    }

    /// Whether one is due now. The pause before the next one is twice as long.
    pub fn take(&mut self, now: Instant) -> bool {
        if self.due().is_none_or(|due| now < due) {
            return false;
        }
        self.last = now;
        self.pause = (self.pause * 2).min(SELDOMEST.max(self.first.unwrap_or_default()));
        true
    }
}

/// `1 234 567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
