//! The flight recorder: the last beats of a link, each with what the kernel knew as it was
//! written. Its room is made at once, so that no beat allocates.

use std::time::{Duration, Instant};

use super::fact::{Fact, Value};
use crate::tcp_info::TcpInfo;

/// So many beats are kept: enough to see when it began, 1.2 KiB a link.
const KEPT: usize = 16;

/// What became of one beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BeatEnd {
    /// It still waits for its ack.
    Waiting,
    /// Acked in time, after so long.
    Acked(Duration),
    /// Acked after its timeout.
    Late,
    /// Not acked in time.
    Missed,
}

/// One beat in the flight recorder.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BeatRecord {
    /// Its number.
    pub seq: u64,
    /// How long before the diagnosis it was written.
    pub age: Duration,
    /// What became of it.
    pub end: BeatEnd,
    /// What the kernel knew as it was written, where it was asked and tells.
    kernel: Option<Kernel>,
}

/// The part of a snapshot that a record keeps. Times are in microseconds: a link keeps sixteen.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kernel {
    unacked: u32,
    unsent: u32,
    window: u32,
    total_resent: u32,
    rto: u32,
    rtt: u32,
    ack_age_ms: u32,
}

impl BeatRecord {
    /// What is known of it, as the JSON lines have it: `seq`, `age_us`, `end` (`waiting`, `acked`,
    /// `late`, `missed`), `beat_rtt_us`; and of the kernel, as the beat was written: `unacked`,
    /// `unsent_bytes`, `window_bytes`, `resent_in_all`, `rto_us`, `rtt_us`, `ack_age_us`. As long
    /// as all is well the kernel of a watched link is asked before every twentieth beat alone.
    pub fn facts(&self) -> Vec<(&'static str, Fact)> {
        let (end, rtt) = match self.end {
            BeatEnd::Waiting => ("waiting", None),
            BeatEnd::Acked(rtt) => ("acked", Some(rtt)),
            BeatEnd::Late => ("late", None),
            BeatEnd::Missed => ("missed", None),
        };
        let mut facts = vec![
            ("seq", self.seq.to_fact()),
            ("age_us", self.age.to_fact()),
            ("end", Fact::Text(end.to_owned())),
        ];
        facts.extend(rtt.map(|rtt| ("beat_rtt_us", rtt.to_fact())));
        if let Some(kernel) = &self.kernel {
            facts.extend([
                ("unacked", kernel.unacked.to_fact()),
                ("unsent_bytes", kernel.unsent.to_fact()),
                ("window_bytes", kernel.window.to_fact()),
                ("resent_in_all", kernel.total_resent.to_fact()),
                ("rto_us", Duration::from_micros(kernel.rto.into()).to_fact()),
                ("rtt_us", Duration::from_micros(kernel.rtt.into()).to_fact()),
                ("ack_age_us", Duration::from_millis(kernel.ack_age_ms.into()).to_fact()),
            ]);
        }
        facts
    }
}

impl From<&TcpInfo> for Kernel {
    fn from(info: &TcpInfo) -> Kernel {
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let ack_age = info.last_ack_recv.as_millis();
        Kernel {
            unacked: info.unacked,
            unsent: info.unsent(),
            window: info.snd_wnd.unwrap_or_default(),
            total_resent: info.total_retransmits,
            rto: micros(info.rto),
            rtt: micros(info.rtt),
            ack_age_ms: u32::try_from(ack_age).unwrap_or(u32::MAX),
        }
    }
}

#[derive(Debug)]
struct Kept {
    seq: u64,
    at: Instant,
    end: BeatEnd,
    kernel: Option<Kernel>,
}

/// A ring of beats.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    beats: Vec<Kept>,
    /// Where the next goes, once the room is full.
    next: usize,
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        Recorder { beats: Vec::with_capacity(KEPT), next: 0 }
    }

    pub(crate) fn on_sent(&mut self, seq: u64, at: Instant, info: Option<&TcpInfo>) {
        let beat = Kept { seq, at, end: BeatEnd::Waiting, kernel: info.map(Kernel::from) };
        if self.beats.len() < KEPT {
            self.beats.push(beat);
        } else {
            self.beats[self.next] = beat;
            self.next = (self.next + 1) % KEPT;
        }
    }

    /// When it was written, if that is known still.
    pub(crate) fn on_end(&mut self, seq: u64, end: BeatEnd) -> Option<Instant> {
        let beat = self.beats.iter_mut().find(|beat| beat.seq == seq)?;
        beat.end = end;
        Some(beat.at)
    }

    /// The oldest first.
    pub(crate) fn beats(&self, now: Instant) -> Vec<BeatRecord> {
        let (young, old) = self.beats.split_at(self.next);
        let record = |kept: &Kept| BeatRecord {
            seq: kept.seq,
            age: now.saturating_duration_since(kept.at),
            end: kept.end,
            kernel: kept.kernel,
        };
        old.iter().chain(young).map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_beats_are_kept_in_order_and_the_room_is_made_once() {
        let start = Instant::now();
        let mut recorder = Recorder::new();
        let room = recorder.beats.capacity();
        for seq in 1..=40 {
            recorder.on_sent(seq, start, None);
            recorder.on_end(seq, BeatEnd::Acked(Duration::from_millis(seq)));
        }
        recorder.on_end(40, BeatEnd::Missed);
        let beats = recorder.beats(start + Duration::from_secs(1));
        let seqs: Vec<_> = beats.iter().map(|beat| beat.seq).collect();
        assert_eq!(seqs, (25..=40).collect::<Vec<_>>());
        assert_eq!(beats[15].end, BeatEnd::Missed);
        assert_eq!(beats[0].end, BeatEnd::Acked(Duration::from_millis(25)));
        assert_eq!(recorder.beats.capacity(), room);
    }
}
