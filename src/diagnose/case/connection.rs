//! What is known of a connection: its beats in flight and what the kernel knew as each was written.
//! The next connection begins anew.

use std::time::{Duration, Instant};

use super::back::Back;
use super::next::Opening;
use crate::diagnose::belief::Ledger;
use crate::tcp_info::TcpInfo;

/// A beat on its way, or the first of those that were not answered.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) seq: u64,
    pub(super) at: Instant,
    pub(super) bytes: u32,
    /// For how long nothing had gone either way before it.
    pub(super) idle: Duration,
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
    pub(super) missed: Missed,
    /// What this process knows of it without asking the kernel.
    pub(super) ledger: Ledger,
    /// How it came to stand.
    pub(super) opening: Opening,
    /// A silence on it that has ended, and is still to be explained.
    pub(super) back: Option<Back>,
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
            missed: Missed::default(),
            ledger,
            opening: Opening::default(),
            back: None,
            intruded: None,
        }
    }

    /// A beat was written; `before` is what the kernel knew just before it.
    pub(super) fn on_sent(&mut self, seq: u64, at: Instant, bytes: usize, before: Option<TcpInfo>) {
        let idle = at.saturating_duration_since(self.busy);
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
