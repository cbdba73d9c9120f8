//! What the last beats say of the path: for which of them packets were lost, arrived twice, or came
//! late. A bit each, so that no beat allocates.

use std::time::Duration;

use crate::tcp_info::TcpInfo;

/// So many beats are looked back on for packets that are lost again and again.
pub(super) const LOOK_BACK: u32 = 8;

/// So many of them with retransmissions are worth a warning.
const LOSSY: u32 = 3;

/// Less is no growth of a round trip.
const NO_GROWTH: Duration = Duration::from_millis(20);

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
    /// Loss was told of.
    is_lossy: bool,
}

impl Path {
    /// Between two beats: whether packets were lost, and whether some arrived twice that were sent
    /// once. What was sent again was lost, or its acknowledgement was, unless a round trip takes
    /// longer by now than the kernel waits: then the last answers have taken as long, all of them,
    /// or the kernel's average has grown, into which an eighth of each measurement goes.
    pub(super) fn on_sent(&mut self, now: Option<&TcpInfo>, before: Option<&TcpInfo>) {
        self.late <<= 1;
        self.beats = (self.beats + 1).min(u32::BITS);
        let Some((now, before)) = now.zip(before) else { return };
        let resent = now.total_retransmits.saturating_sub(before.total_retransmits);
        let twice = now.dsack_dups.zip(before.dsack_dups);
        let twice = twice.map_or(0, |(now, before)| now.saturating_sub(before));
        let has_grown = now.rtt.saturating_sub(before.rtt) * 8 >= now.rtt.max(NO_GROWTH);
        let is_slow = self.least() >= before.rto * 8 / 10;
        let lossy = resent > 0 && !has_grown && !is_slow;
        self.lossy = self.lossy << 1 | u32::from(lossy);
        self.doubled = self.doubled << 1 | u32::from(twice > resent);
    }

    /// The latest beat was answered, after so long, and it was not its process that took the time.
    pub(super) fn on_answer(&mut self, took: Option<Duration>, late: bool) {
        self.late |= u32::from(late);
        if let Some(took) = took {
            self.took = [took, self.took[0]];
        }
    }

    /// A connection was opened.
    pub(super) fn on_opened(&mut self, rtt: Duration) {
        self.opening = rtt;
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
    fn what_was_sent_again_needlessly_is_a_lost_answer_or_a_longer_round_trip() {
        let slower = TcpInfo { rtt: Duration::from_millis(100), ..look(1, 1) };
        for (now, lossy, doubled) in [
            (look(0, 0), None, None),
            (look(1, 0), Some(1), None),
            (look(1, 1), Some(1), None),
            (slower, None, None),
            (look(0, 1), None, Some(1)),
        ] {
            let mut path = Path::default();
            path.on_sent(Some(&now), Some(&look(0, 0)));
            assert_eq!((path.lossy(), path.doubled()), (lossy, doubled), "{now:?}");
        }
        let mut path = Path::default();
        let second = Some(Duration::from_secs(1));
        (path.on_answer(second, false), path.on_answer(second, false));
        path.on_sent(Some(&look(1, 1)), Some(&look(0, 0)));
        assert_eq!(path.lossy(), None, "the kernel waits for less than a round trip takes");
    }

    #[test]
    fn three_of_eight_are_worth_a_warning_once_and_old_beats_are_forgotten() {
        let mut path = Path::default();
        let mut warnings = 0;
        for n in 0..8 {
            path.on_sent(Some(&look(n + 1, 0)), Some(&look(n, 0)));
            warnings += u32::from(path.has_turned_lossy());
        }
        assert_eq!((warnings, path.lossy_lately()), (1, Some(8)));
        path.on_answer(None, true);
        (0..40).for_each(|_| path.on_sent(Some(&look(9, 0)), Some(&look(9, 0))));
        assert_eq!((path.lossy(), path.late()), (None, None));
    }
}
