//! What is written down of a trouble: the beat, the kernel's figures against those before it, the
//! path, and what has gathered since.

use std::time::Instant;

use super::Case;
use super::path::LOOK_BACK;
use crate::cause::{Cause, Loss};
use crate::diagnose::confidence::Confidence;
use crate::diagnose::evidence::{Evidence, Stage};
use crate::tcp_info::TcpInfo;

impl Case {
    /// It is well, but not quite.
    pub(crate) fn warning(
        &mut self,
        cause: Cause,
        now: Instant,
        info: Option<&TcpInfo>,
    ) -> Evidence {
        let info = info.filter(|info| self.believes(info, now));
        let loss = Loss::new(cause, String::new());
        let mut evidence = self.begin(Stage::Warning, &loss, now);
        evidence.detail = None;
        self.add_beat(&mut evidence, now);
        self.add_kernel(&mut evidence, info);
        evidence
    }

    /// Packets are lost again and again, and were not before.
    pub(crate) fn has_turned_lossy(&mut self) -> bool {
        self.path.has_turned_lossy()
    }

    pub(crate) fn lossy(&mut self, now: Instant, info: Option<&TcpInfo>) -> Evidence {
        let beats = self.path.lossy_lately().unwrap_or(0);
        let text =
            format!("segments had to be sent again for {beats} of the last {LOOK_BACK} beats");
        let evidence = self.warning(Cause::LossyPath, now, info);
        Evidence { detail: Some(text), ..evidence }
    }

    pub(super) fn add_beat(&self, evidence: &mut Evidence, now: Instant) {
        evidence.outstanding = Some(self.connection.outstanding);
        evidence.misses = Some(self.connection.missed.misses);
        evidence.partial = self.connection.missed.partial.then_some(true);
        evidence.good = Some(self.good);
        evidence.beat_rtt_us = self.least_rtt;
        evidence.idle_survived_us = self.history.longest();
        if let Some(last) = &self.connection.last {
            evidence.beat_bytes = Some(last.bytes);
            evidence.beat.clone_from(&self.beat);
            evidence.waited_us = Some(now.saturating_duration_since(last.at));
        }
        if let Some(first) = &self.connection.first {
            evidence.idle_us = Some(first.idle);
            let (times, least) = self.history.forgets(first.idle);
            if times > 0 {
                // This one is among them already, once it was learnt.
                evidence.idle_forgotten = Some(times + u32::from(!self.has_learnt));
                evidence.forgotten_after_us = least.into_iter().chain([first.idle]).min();
            }
        }
    }

    /// What has gathered since the last answer, and how the path was before it.
    pub(super) fn add_trouble(&self, evidence: &mut Evidence, now: Instant) {
        let trouble = &self.trouble;
        evidence.silent_us = self.silent(now);
        evidence.beats_before = Some(trouble.path.beats());
        evidence.next_swallowed = Some(self.tries.swallowed).filter(|swallowed| *swallowed > 0);
        evidence.next_unanswered = Some(self.tries.unanswered).filter(|unanswered| *unanswered > 0);
        evidence.late_beats = trouble.path.late();
        evidence.rtt_lately_us = Some(self.path.longest()).filter(|rtt| !rtt.is_zero());
        evidence.answers_us = Some(trouble.path.least()).filter(|took| !took.is_zero());
        evidence.lossy_beats = trouble.path.lossy();
        evidence.doubled_beats = trouble.path.doubled();
        evidence.alone = evidence.alone.map(|alone| alone || trouble.eaten);
        evidence.acked_ago_us = trouble.acked.map(|acked| now.saturating_duration_since(acked));
        let rtt = evidence.rtt_us.unwrap_or_default();
        evidence.resent_beside = trouble.beside.map(|beside| beside.in_vain(rtt, now));
        let told = self.story.told.as_ref().filter(|told| told.confidence() >= Confidence::Likely);
        evidence.told_before = told.map(|told| told.cause());
    }

    /// What the kernel knows now, against what it knew before the first beat that was not answered.
    pub(super) fn add_kernel(&self, evidence: &mut Evidence, info: Option<&TcpInfo>) {
        if let Some(said) = self.connection.missed.icmp {
            evidence.icmp_errno = Some(said.errno);
            // One alone may be the answer to what went out before, a loss probe say.
            evidence.icmp_again = Some(said.words >= 3);
            evidence.icmp_after_us = Some(said.after);
        }
        evidence.nonsense.clone_from(&self.nonsense);
        let Some(info) = info else { return };
        add_info(evidence, info);
        evidence.resent_beats = self.path.lossy_lately();
        evidence.opening_rtt_us =
            Some(self.connection.opening.measured()).filter(|rtt| !rtt.is_zero());
        evidence.opening_resent = Some(self.connection.opening.resent).filter(|resent| *resent > 0);
        let first = self.connection.first.as_ref().or(self.connection.last.as_ref());
        let Some(first) = first else { return };
        evidence.ahead_bytes = first.ahead;
        let Some(before) = &first.before else { return };
        add_since(evidence, info, before);
        evidence.alone = self.connection.is_alone(info, before);
        evidence.beat_acked = self.connection.is_beat_acked(info).then_some(true);
    }
}

/// What the kernel knows now.
pub(super) fn add_info(evidence: &mut Evidence, info: &TcpInfo) {
    evidence.tcp_state = Some(info.state.word().to_owned());
    evidence.unacked = Some(info.unacked);
    evidence.sacked = Some(info.sacked).filter(|sacked| *sacked > 0);
    evidence.unsent_bytes = info.notsent_bytes;
    evidence.window_bytes = info.snd_wnd;
    evidence.retransmits = Some(info.retransmits);
    evidence.backoff = Some(info.backoff);
    evidence.probes = Some(info.probes);
    evidence.rto_us = Some(info.rto);
    evidence.rtt_us = Some(info.rtt);
    evidence.least_rtt_us = info.min_rtt;
    evidence.ack_age_us = Some(info.last_ack_recv);
}

/// What has changed since `before`.
pub(super) fn add_since(evidence: &mut Evidence, info: &TcpInfo, before: &TcpInfo) {
    evidence.rtt_before_us = Some(before.rtt);
    let since = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
    let since32 = |now: Option<u32>, then: Option<u32>| Some(now?.saturating_sub(then?));
    evidence.segments_in = since32(info.segs_in, before.segs_in);
    evidence.acked_bytes = since(info.bytes_acked, before.bytes_acked);
    let received = since(info.bytes_received, before.bytes_received);
    evidence.received_bytes = received.filter(|bytes| *bytes > 0);
    evidence.resent = Some(info.total_retransmits.saturating_sub(before.total_retransmits));
    evidence.duplicates = since32(info.dsack_dups, before.dsack_dups);
    let gaps = since32(info.rcv_ooopack, before.rcv_ooopack);
    evidence.out_of_order = gaps.filter(|segments| *segments > 0);
    let held = info.rwnd_limited.zip(before.rwnd_limited);
    evidence.window_closed_us = held.map(|(now, then)| now.saturating_sub(then));
}
