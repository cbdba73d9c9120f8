//! Round-trip times: the last, the least, the mean, and the smoothed estimate with its deviation of
//! RFC 6298, section 2.

use std::time::Duration;

/// What is known of the round-trip time of a link: from a beat written to its ack read.
///
/// Only acks in time count. A late one says when it was read, not how long the path took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rtt {
    samples: u32,
    last: Duration,
    min: Duration,
    max: Duration,
    sum: Duration,
    smoothed: Duration,
    deviation: Duration,
}

impl Rtt {
    pub(super) fn sample(&mut self, rtt: Duration) {
        if self.samples == 0 {
            (self.min, self.max) = (rtt, rtt);
            (self.smoothed, self.deviation) = (rtt, rtt / 2);
        } else {
            let error = self.smoothed.abs_diff(rtt);
            self.deviation = (self.deviation * 3 + error) / 4;
            self.smoothed = (self.smoothed * 7 + rtt) / 8;
        }
        self.last = rtt;
        self.min = self.min.min(rtt);
        self.max = self.max.max(rtt);
        self.sum += rtt;
        self.samples = self.samples.saturating_add(1);
    }

    fn known(&self, value: Duration) -> Option<Duration> {
        (self.samples > 0).then_some(value)
    }

    /// The latest sample.
    pub fn last(&self) -> Option<Duration> {
        self.known(self.last)
    }

    /// The shortest sample.
    pub fn min(&self) -> Option<Duration> {
        self.known(self.min)
    }

    /// The longest sample.
    pub fn max(&self) -> Option<Duration> {
        self.known(self.max)
    }

    /// The mean of all samples.
    pub fn avg(&self) -> Option<Duration> {
        self.known(self.sum.checked_div(self.samples).unwrap_or_default())
    }

    /// The smoothed round-trip time (SRTT of RFC 6298).
    pub fn smoothed(&self) -> Option<Duration> {
        self.known(self.smoothed)
    }

    /// The smoothed mean deviation (RTTVAR of RFC 6298).
    pub fn deviation(&self) -> Option<Duration> {
        self.known(self.deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_rfc_6298_by_hand() {
        let ms = Duration::from_millis;
        let mut rtt = Rtt::default();
        assert_eq!((rtt.last(), rtt.avg()), (None, None));
        rtt.sample(ms(80));
        assert_eq!((rtt.smoothed(), rtt.deviation()), (Some(ms(80)), Some(ms(40))));
        rtt.sample(ms(160));
        assert_eq!((rtt.smoothed(), rtt.deviation()), (Some(ms(90)), Some(ms(50))));
        assert_eq!((rtt.min(), rtt.avg(), rtt.max()), (Some(ms(80)), Some(ms(120)), Some(ms(160))));
    }
}
