//! The end of a link whose rounds are over: side connections that are being made belong to its last
//! verdict, and are waited for within a bound.

use std::thread;
use std::time::{Duration, Instant};

use super::Inquiry;
use crate::diagnose::Saw;
use crate::links::reporter::Reporter;
use crate::links::socket_view::{Quiet, SocketView};

/// A side connection takes three tenths of the ack timeout, 1.3 s at most, and there are eight of
/// them at most.
const LEAST: Duration = Duration::from_secs(3);
const MOST: Duration = Duration::from_secs(10);

impl Inquiry {
    /// Waits until side connections have told all, and tells what they found. A stop does not wait.
    pub(crate) fn hear_out(&mut self, view: &dyn SocketView, reporter: &mut Reporter) {
        if !self.is_open() {
            return;
        }
        let until = Instant::now() + (2 * self.tools.heartbeat.timeout).clamp(LEAST, MOST);
        while self.is_open() && !self.tools.handle.is_stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::park_timeout(left);
        }
        self.see(Saw::Last, Instant::now(), &mut Quiet(view), reporter);
    }

    /// Whether side connections are being made that may tell more.
    pub(crate) fn is_open(&self) -> bool {
        self.policy.is_waiting() && !self.tools.slot.is_finished()
    }
}
