//! What is known of a connection: its beats in flight and what the kernel knew as each was written.
//! The next connection begins anew.

use std::time::{Duration, Instant};

use super::back::Back;
use super::next::Opening;
use super::path::Path;
use crate::diagnose::belief::Ledger;
use crate::tcp_info::TcpInfo;

/// As long as all is well the kernel is asked before each so many beats alone.
const ASK_EVERY: u32 = 20;

/// So many beats of a connection are asked about before any is left out.
const ASK_AT_FIRST: u64 = 4;

/// A beat on its way, or the first of those that were not answered.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) seq: u64,
    pub(super) at: Instant,
    pub(super) bytes: u32,
    /// For how long nothing had gone either way before it.
    pub(super) idle: Duration,
    /// What the kernel knew before it, as it was asked or can be worked out.
    pub(super) before: Option<TcpInfo>,
    /// Bytes before it that were not acknowledged, beats not counted.
    pub(super) ahead: Option<u64>,
    /// How many bytes the kernel will have seen acknowledged once this one is.
    pub(super) acked_at: Option<u64>,
    /// The bytes of all beats without an ack up to it.
    pub(super) beats_out: u32,
}

/// What a router or firewall said of the live connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) errno: u32,
    /// How long the beat had waited when it was first said.
    pub(super) after: Duration,
    /// How often the kernel had sent again when it was last said.
    pub(super) last: u32,
    /// ICMP errors received since the first one, each after something was sent again.
    pub(super) words: u32,
}

/// Beats in a row that were not answered, and what came in place of an answer.
#[derive(Debug, Default)]
pub(super) struct Missed {
    pub(super) misses: u32,
    /// One of them had a part of an answer.
    pub(super) partial: bool,
    pub(super) icmp: Option<Said>,
}

#[derive(Debug)]
pub(super) struct Connection {
    /// Since when it stands, or when the attempt began.
    pub(super) since: Instant,
    pub(super) stands: bool,
    /// When bytes last went either way.
    pub(super) busy: Instant,
    /// The beats without an ack: how many, the first, the last. An answered last one stays.
    pub(super) outstanding: u32,
    pub(super) first: Option<Sent>,
    pub(super) last: Option<Sent>,
    /// The last beat was answered in time, and none before it waits.
    pub(super) in_time: bool,
    /// So soon that nothing can have been sent again meanwhile.
    pub(super) quick: bool,
    /// More came since the last beat than an answer in one piece.
    pub(super) more_came: bool,
    /// Beats since the kernel was asked.
    pub(super) unasked: u32,
    pub(super) missed: Missed,
    /// What this process knows of it without asking the kernel.
    pub(super) ledger: Ledger,
    /// How it came to stand.
    pub(super) opening: Opening,
    /// A silence on it that has ended, and is still to be explained.
    pub(super) back: Option<Box<Back>>,
    /// When a side connection of ours was accepted last, while the peer's kernel lived.
    pub(super) intruded: Option<Instant>,
}

impl Connection {
    /// There is none yet.
    pub(super) fn none(now: Instant) -> Connection {
        Connection { stands: false, ..Connection::new(Ledger::default(), now) }
    }

    pub(super) fn new(ledger: Ledger, now: Instant) -> Connection {
        Connection {
            since: now,
            stands: true,
            busy: now,
            outstanding: 0,
            first: None,
            last: None,
            in_time: false,
            quick: false,
            more_came: false,
            unasked: 0,
            missed: Missed::default(),
            ledger,
            opening: Opening::default(),
            back: None,
            intruded: None,
        }
    }

    /// Whether the kernel is to be asked before the next beat.
    ///
    /// What it would say can be worked out from what it said last, where since then each beat was
    /// answered sooner than the kernel sends again, in one small segment, and nothing else went
    /// either way: then nothing was sent again, doubled, lost or out of order. A path on which that
    /// has happened lately is asked about each time, and so is a young connection.
    pub(super) fn asks(&self, path: Path) -> bool {
        let is_known = self.last.as_ref().is_some_and(|last| last.before.is_some());
        let is_clean = self.quick && !self.more_came && self.outstanding == 0 && path.is_clean();
        let is_young = self.ledger.wrote.is_none() || self.ledger.answers < ASK_AT_FIRST;
        is_young || !is_known || !is_clean || self.unasked + 1 >= ASK_EVERY
    }

    /// What the kernel would have said before this beat, where it was not asked.
    pub(super) fn work_out(&self) -> Option<TcpInfo> {
        let last = self.last.as_ref()?;
        let bytes = u64::from(last.bytes);
        let before = last.before.clone()?;
        Some(TcpInfo {
            // The answer to the last beat has acknowledged it.
            unacked: 0,
            notsent_bytes: before.notsent_bytes.map(|_| 0),
            bytes_acked: before.bytes_acked.map(|acked| acked + bytes),
            bytes_sent: before.bytes_sent.map(|sent| sent + bytes),
            // Of these nobody here knows.
            bytes_received: None,
            segs_in: None,
            data_segs_in: None,
            rwnd_limited: None,
            ..before
        })
    }

    /// That beat was answered after so long.
    pub(super) fn on_quick(&mut self, rtt: Option<Duration>) {
        let before = self.last.as_ref().and_then(|last| last.before.as_ref());
        let quick = rtt.zip(before).is_some_and(|(rtt, before)| 2 * rtt < before.rto);
        self.quick = quick && self.in_time;
    }

    /// A beat was written; `before` is what the kernel knew just before it.
    pub(super) fn on_sent(&mut self, seq: u64, at: Instant, bytes: usize, before: Option<TcpInfo>) {
        let idle = at.saturating_duration_since(self.busy);
        (self.quick, self.more_came) = (false, false);
        // A link of our own carries nothing else.
        let has_data = self.ledger.wrote.is_none();
        self.ledger.wrote = self.ledger.wrote.map(|wrote| wrote + bytes as u64);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // Our own beats before it are no data that it waits behind.
        let beats = self.last.as_ref().map_or(0, |last| last.beats_out);
        let ahead = before.as_ref().filter(|_| has_data).and_then(TcpInfo::bytes_ahead);
        // The kernel's count is off by one at most.
        let ahead = ahead.map(|ahead| ahead.saturating_sub(u64::from(beats) + 1));
        let ahead = if has_data { ahead } else { before.as_ref().map(|_| 0) };
        let beats_out = beats.saturating_add(bytes);
        let acked_at = before.as_ref().filter(|_| bytes > 0).and_then(|before| {
            let all = before.bytes_ahead()?.saturating_sub(1) + u64::from(bytes);
            Some(before.bytes_acked? + all)
        });
        let sent = Sent { seq, at, bytes, idle, before, ahead, acked_at, beats_out };
        self.first.get_or_insert_with(|| sent.clone());
        self.last = Some(sent);
        self.outstanding += 1;
        self.busy = at;
    }

    /// That beat was answered.
    pub(super) fn on_answered(&mut self, seq: u64) {
        // What an ack of the latest leaves behind was given up, or overtaken: no trouble of now.
        let is_latest = self.last.as_ref().is_none_or(|last| last.seq <= seq);
        self.outstanding = if is_latest { 0 } else { self.outstanding.saturating_sub(1) };
        self.first = if self.outstanding > 0 { self.last.clone() } else { None };
        if let Some(last) = self.last.as_mut().filter(|_| is_latest) {
            last.beats_out = 0;
        }
    }

    /// How often segments were sent again since the first beat that was not answered.
    pub(super) fn sent_again(&self, info: &TcpInfo) -> u32 {
        let first = self.first.as_ref().or(self.last.as_ref());
        let before = first.and_then(|sent| sent.before.as_ref());
        let before = before.map_or(info.total_retransmits, |before| before.total_retransmits);
        info.total_retransmits.saturating_sub(before)
    }

    /// Whether the first beat without an answer was acknowledged, and all that was before it.
    pub(super) fn is_beat_acked(&self, info: &TcpInfo) -> bool {
        let Some(first) = &self.first else { return false };
        if info.unacked == 0 && info.notsent_bytes == Some(0) {
            return true;
        }
        info.bytes_acked.zip(first.acked_at).is_some_and(|(acked, all)| acked >= all)
    }

    /// Whether a beat arrived twice while nothing but beats was on its way.
    pub(super) fn is_eaten(&self, info: &TcpInfo) -> bool {
        let before = self.first.as_ref().and_then(|first| first.before.as_ref());
        let Some(before) = before else { return false };
        let twice = info.dsack_dups.zip(before.dsack_dups).is_some_and(|(now, then)| now > then);
        twice && self.is_alone(info, before) == Some(true)
    }

    /// Whether beats were all that was on its way since the first one without an answer.
    pub(super) fn is_alone(&self, info: &TcpInfo, before: &TcpInfo) -> Option<bool> {
        let (first, last) = (self.first.as_ref()?, self.last.as_ref()?);
        let unique = |info: &TcpInfo| Some(info.bytes_sent?.saturating_sub(info.bytes_retrans?));
        let sent = unique(info)?.saturating_sub(unique(before)?);
        let beats = last.beats_out.saturating_sub(first.beats_out) + first.bytes;
        Some(sent <= beats.into() && !before.is_outstanding())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Case;
    use super::*;
    use crate::diagnose::settings::Diagnose;

    const S: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    /// What the kernel says of a connection on which so many beats of nine bytes were answered.
    fn told(beats: u64) -> TcpInfo {
        TcpInfo::calm(|info| {
            (info.bytes_acked, info.bytes_sent) = (Some(1 + 9 * beats), Some(9 * beats));
            (info.bytes_retrans, info.notsent_bytes) = (Some(0), Some(0));
            (info.rto, info.bytes_received, info.segs_in) = (200 * MS, Some(13), Some(2));
        })
    }

    struct Beats {
        case: Case,
        start: Instant,
        beats: u64,
        asked: u64,
    }

    impl Beats {
        fn new() -> Beats {
            let start = Instant::now();
            let mut case = Case::new(Diagnose::kernel(), S, "tcp://10.0.0.5:7000", start);
            let ledger = Ledger { opened: true, wrote: Some(0), ..Ledger::default() };
            case.on_connected(None, ledger, start);
            Beats { case, start, beats: 0, asked: 0 }
        }

        /// One more beat; whether the kernel was asked before it.
        fn send(&mut self) -> bool {
            let asks = self.case.asks_kernel();
            self.asked += u64::from(asks);
            let before = asks.then(|| told(self.beats));
            self.beats += 1;
            self.case.on_sent(self.beats, self.start + self.beats as u32 * S, 9, before);
            asks
        }

        fn answer(&mut self, took: Duration) {
            let at = self.start + self.beats as u32 * S + took;
            self.case.on_ack(self.beats, Some(took), false, at);
        }

        fn rounds(&mut self, count: u32) {
            for _ in 0..count {
                self.send();
                self.answer(MS);
            }
        }
    }

    #[test]
    fn as_long_as_all_is_well_the_kernel_is_asked_now_and_then_alone() {
        let mut link = Beats::new();
        link.rounds(1000);
        assert!(link.asked >= 50 && link.asked <= 56, "asked {} times", link.asked);
    }

    #[test]
    fn what_it_would_have_said_before_a_beat_is_worked_out() {
        let mut link = Beats::new();
        link.rounds(10);
        assert!(!link.send());
        let sent = link.case.connection.last.clone().unwrap();
        let before = sent.before.unwrap();
        let known = |info: &TcpInfo| (info.bytes_acked, info.bytes_sent, info.total_retransmits);
        assert_eq!(known(&before), known(&told(10)));
        assert_eq!((before.segs_in, sent.acked_at), (None, Some(1 + 9 * 11)));
        let lost = TcpInfo { unacked: 1, total_retransmits: 3, ..told(10) };
        assert_eq!(link.case.connection.sent_again(&lost), 3);
        assert!(!link.case.connection.is_beat_acked(&lost));
        assert!(link.case.connection.is_beat_acked(&told(11)));
    }

    #[test]
    fn whatever_is_not_as_usual_has_the_kernel_asked_before_the_next_beat() {
        let unusual: [fn(&mut Beats); 5] = [
            |link| {
                link.send();
                link.answer(150 * MS); // it may have been sent again
            },
            |link| {
                link.send();
                link.case.on_more();
                link.answer(MS);
            },
            |link| {
                link.send(); // and no answer
            },
            |link| {
                link.send();
                link.case.on_missed(link.beats, 1, crate::cause::Cause::AckTimeout);
                link.answer(MS);
            },
            |link| {
                link.rounds(10);
                while !link.case.asks_kernel() {
                    link.rounds(1);
                }
                let lossy = TcpInfo { total_retransmits: 1, ..told(link.beats) };
                link.beats += 1;
                let at = link.start + link.beats as u32 * S;
                link.case.on_sent(link.beats, at, 9, Some(lossy));
                link.answer(MS);
            },
        ];
        for (n, happens) in unusual.into_iter().enumerate() {
            let mut link = Beats::new();
            link.rounds(10);
            assert!(!link.case.asks_kernel());
            happens(&mut link);
            assert!(link.case.asks_kernel(), "case {n}");
        }
    }
}
