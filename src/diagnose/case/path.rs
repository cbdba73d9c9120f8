//! What the last beats say of the path: for which of them packets were lost, arrived twice, or came
//! late. A bit each, so that no beat allocates.

use std::time::Duration;

use crate::tcp_info::TcpInfo;

/// So many beats are looked back on for packets that are lost again and again.
pub(super) const LOOK_BACK: u32 = 8;

/// So many of them with retransmissions are worth a warning.
const LOSSY: u32 = 3;

/// What the kernel adds to two round trips until it sends the last segment again (RFC 8985).
const A_PROBE: Duration = Duration::from_millis(200);

/// The last 32 beats, the latest in the lowest bit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Path {
    lossy: u32,
    doubled: u32,
    late: u32,
    /// How many there were.
    beats: u32,
    /// How long the last two answers took, the latest first.
    took: [Duration; 2],
    /// The round trip of the last opening of a connection.
    opening: Duration,
    /// The last round trip of any kind.
    latest: Option<Duration>,
    /// Loss was told of.
    is_lossy: bool,
}

impl Path {
    /// A beat that was answered in time is over: whether packets were lost for it, and whether some
    /// arrived twice that were sent once. What was sent again was lost, or its acknowledgement was,
    /// unless a round trip takes longer by now than the kernel waits: then the last answers have
    /// taken as long, all of them.
    /// Among an application's own data what had arrived proves nothing.
    pub(super) fn on_round(
        &mut self,
        now: Option<&TcpInfo>,
        before: Option<&TcpInfo>,
        has_data: bool,
    ) {
        self.push();
        let Some((now, before)) = now.zip(before) else { return };
        let resent = now.total_retransmits.saturating_sub(before.total_retransmits);
        let twice = now.dsack_dups.zip(before.dsack_dups);
        let twice = twice.map_or(0, |(now, before)| now.saturating_sub(before));
        // It sends a probe for a lost one after two round trips already.
        let patient = before.rto.min(2 * before.rtt + A_PROBE) * 8 / 10;
        // Of a long round trip the kernel measures an eighth at least into its average.
        let is_slow = self.least() >= patient && now.rtt * 10 >= self.least();
        let least = if has_data { twice } else { 0 };
        self.lossy |= u32::from(resent > least && !is_slow);
        self.doubled |= u32::from(twice > resent);
    }

    /// A beat was answered late.
    pub(super) fn on_late(&mut self) {
        self.push();
        self.late |= 1;
    }

    /// That was because packets were lost.
    pub(super) fn on_lost(&mut self) {
        self.lossy |= 1;
    }

    fn push(&mut self) {
        self.beats = (self.beats + 1).min(u32::BITS);
        (self.late, self.lossy, self.doubled) =
            (self.late << 1, self.lossy << 1, self.doubled << 1);
    }

    /// A beat was answered after so long, and it was not the peer's process that took the time.
    pub(super) fn on_answer(&mut self, took: Duration) {
        self.took = [took, self.took[0]];
        self.latest = Some(took);
    }

    /// A connection was opened.
    pub(super) fn on_opened(&mut self, rtt: Duration) {
        self.opening = rtt;
        self.latest = Some(rtt).filter(|rtt| !rtt.is_zero());
    }

    /// The last round trip that was seen.
    pub(super) fn latest(self) -> Option<Duration> {
        self.latest
    }

    /// The longest round trip that was seen lately.
    pub(super) fn longest(self) -> Duration {
        self.took[0].max(self.took[1]).max(self.opening)
    }

    /// The less of what the last two answers took.
    pub(super) fn least(self) -> Duration {
        self.took[0].min(self.took[1])
    }

    pub(super) fn lossy(self) -> Option<u32> {
        some(self.lossy.count_ones())
    }

    pub(super) fn beats(self) -> u32 {
        self.beats
    }

    pub(super) fn doubled(self) -> Option<u32> {
        some(self.doubled.count_ones())
    }

    pub(super) fn late(self) -> Option<u32> {
        some(self.late.count_ones())
    }

    /// Of the last eight.
    pub(super) fn lossy_lately(self) -> Option<u32> {
        some((self.lossy & ((1 << LOOK_BACK) - 1)).count_ones())
    }

    /// Nothing was lost, doubled or late lately.
    pub(super) fn is_clean(self) -> bool {
        self.lossy | self.doubled | self.late == 0
    }

    /// Packets are lost again and again, and were not before.
    pub(super) fn has_turned_lossy(&mut self) -> bool {
        let (was, beats) = (self.is_lossy, self.lossy_lately().unwrap_or(0));
        self.is_lossy = beats >= LOSSY || was && beats > 0;
        self.is_lossy && !was
    }
}

fn some(beats: u32) -> Option<u32> {
    Some(beats).filter(|beats| *beats > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(resent: u32, twice: u32) -> TcpInfo {
        TcpInfo::calm(|info| (info.total_retransmits, info.dsack_dups) = (resent, Some(twice)))
    }

    #[test]
    fn what_was_sent_again_is_a_lost_packet_unless_round_trips_are_longer_than_the_kernel_waits() {
        let round_of = |rtt, took: Duration, now: TcpInfo| {
            let mut path = Path::default();
            path.on_answer(took);
            path.on_answer(took);
            path.on_round(Some(&TcpInfo { rtt, ..now }), Some(&look(0, 0)), false);
            (path.lossy(), path.doubled())
        };
        let round = |took, now| round_of(took, took, now);
        let (quick, slow) = (Duration::from_millis(10), Duration::from_secs(1));
        assert_eq!(round(quick, look(0, 0)), (None, None));
        assert_eq!(round(quick, look(1, 0)), (Some(1), None));
        assert_eq!(round(quick, look(1, 1)), (Some(1), None), "its acknowledgement was lost");
        assert_eq!(round(slow, look(1, 1)), (None, None));
        assert_eq!(round_of(quick, slow, look(1, 0)), (Some(1), None), "it was held back, or lost");
        assert_eq!(round(quick, look(0, 1)), (None, Some(1)), "the path has doubled it");
    }

    #[test]
    fn three_of_eight_are_worth_a_warning_once_and_old_beats_are_forgotten() {
        let mut path = Path::default();
        let mut warnings = 0;
        for n in 0..8 {
            path.on_round(Some(&look(n + 1, 0)), Some(&look(n, 0)), false);
            warnings += u32::from(path.has_turned_lossy());
        }
        assert_eq!((warnings, path.lossy_lately()), (1, Some(8)));
        path.on_late();
        assert_eq!((path.late(), path.lossy_lately()), (Some(1), Some(7)));
        (0..40).for_each(|_| path.on_round(Some(&look(9, 0)), Some(&look(9, 0)), false));
        assert_eq!((path.lossy(), path.late(), path.beats()), (None, None, 32));
    }
}
