//! How long to wait for an ack, before doubts about ourselves stretch it.

use std::time::Duration;

use crate::heartbeat::Patience;

use super::rtt::Rtt;

/// The kernel's retransmission timeout until it told its own: 200 ms is Linux's least, and what a
/// fast path gets.
const USUAL_RTO: Duration = Duration::from_millis(200);

/// Three retransmissions, each after twice the wait of the one before: `2^(3+1) - 1`.
const THREE_RETRANSMISSIONS: u32 = 15;

/// The G of RFC 6298: timers of a blocked read fire a few milliseconds late.
const GRANULARITY: Duration = Duration::from_millis(10);

impl Patience {
    pub(super) fn timeout(self, most: Duration, rtt: &Rtt, rto: Option<Duration>) -> Duration {
        let (Patience::FromRtt, Some(smoothed), Some(deviation)) =
            (self, rtt.smoothed(), rtt.deviation())
        else {
            return most;
        };
        let floor = rto.unwrap_or(USUAL_RTO) * THREE_RETRANSMISSIONS;
        (smoothed + GRANULARITY.max(deviation * 4)).max(floor).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_rtt_stays_between_the_kernels_patience_and_the_timeout() {
        let ms = Duration::from_millis;
        let mut rtt = Rtt::default();
        let wait = |rtt: &Rtt, most, rto| Patience::FromRtt.timeout(ms(most), rtt, rto);
        assert_eq!(wait(&rtt, 5000, None), ms(5000), "nothing known yet");
        rtt.sample(ms(1));
        assert_eq!(wait(&rtt, 5000, None), ms(3000));
        assert_eq!(wait(&rtt, 5000, Some(ms(204))), ms(3060));
        assert_eq!(wait(&rtt, 2000, None), ms(2000), "the timeout caps it");
        rtt = Rtt::default();
        rtt.sample(ms(2000));
        assert_eq!(wait(&rtt, 60_000, None), ms(6000), "SRTT + 4 x SRTT/2");
        assert_eq!(Patience::Fixed.timeout(ms(700), &rtt, None), ms(700));
    }
}
