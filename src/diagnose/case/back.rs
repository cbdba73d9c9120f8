//! A silence that has ended on the connection that was silent. What was sent again needlessly is
//! told by the peer a round trip later: only then is it explained.

use std::time::{Duration, Instant};

use super::Case;
use super::connection::Connection;
use super::measure::{add_info, add_since};
use crate::cause::{Cause, Loss};
use crate::diagnose::confidence::Confidence;
use crate::diagnose::decide::accuses;
use crate::diagnose::diagnosis::Diagnosis;
use crate::diagnose::evidence::{Evidence, Stage};
use crate::tcp_info::TcpInfo;

/// How long until the peer has told what arrived twice: as long as the answer took, within limits.
pub(super) fn grace(silent: Duration) -> Duration {
    (silent * 3 / 2).clamp(Duration::from_millis(100), Duration::from_secs(3))
}

/// The same is told once in such a while.
const AGAIN: Duration = Duration::from_secs(60);

/// So long the next answer is waited for, to see how long answers take by now.
const CONFIRM: Duration = Duration::from_secs(6);

#[derive(Debug)]
pub(super) struct Back {
    since: Instant,
    due: Instant,
    /// It is put off until that is known.
    waits: bool,
    /// How long an answer took to a beat that was written after it.
    after: Option<Duration>,
    evidence: Box<Evidence>,
    before: Option<TcpInfo>,
}

impl Case {
    /// An answer: the first after a silence begins a story.
    pub(super) fn begin_back(&mut self, now: Instant) {
        if self.connection.missed.misses > 0 {
            self.begin_back_after_silence(now);
        }
    }

    #[cold]
    #[inline(never)]
    fn begin_back_after_silence(&mut self, now: Instant) {
        let told = self.story.told.as_ref().filter(|told| !told.is_warning());
        // A silence that ended a connection before this one did not end here.
        let Connection { first, back, .. } = &self.connection;
        let (Some(first), None) = (first, back) else { return };
        // What was told and may well have ended so needs no other story.
        let sure = told.filter(|told| told.confidence() >= Confidence::Likely);
        if sure.is_some_and(|told| !accuses(told.cause())) {
            return;
        }
        let silent = self.silent(now).unwrap_or_default();
        let detail = format!("the answer came after {silent:.1?}");
        let mut evidence = self.begin(Stage::Back, &Loss::new(Cause::AckTimeout, detail), now);
        self.add_beat(&mut evidence, now);
        self.add_trouble(&mut evidence, now);
        let resent = self.trouble.resent_at();
        evidence.since_resent_us = resent.map(|at| now.saturating_duration_since(at));
        let before = first.before.clone();
        evidence.alone = self.trouble.eaten.then_some(true);
        evidence.resent = self
            .trouble
            .resent()
            .zip(before.as_ref())
            .map(|(total, before)| total.saturating_sub(before.total_retransmits));
        let (evidence, due) = (Box::new(evidence), now + grace(silent));
        let back = Back { since: now, due, waits: false, after: None, evidence, before };
        self.connection.back = Some(Box::new(back));
    }

    /// A beat was answered that had been written then.
    pub(super) fn confirm_back(&mut self, sent: Instant, now: Instant) {
        if let Some(back) = self.connection.back.as_mut().filter(|back| sent > back.since) {
            back.after.get_or_insert(now.saturating_duration_since(sent));
            if back.waits {
                back.due = now;
            }
        }
    }

    /// When it is to be explained.
    pub(crate) fn back_due(&self) -> Option<Instant> {
        self.connection.back.as_ref().map(|back| back.due)
    }

    /// Why it was silent, from what the kernel knows by now; none where that was told lately.
    pub(crate) fn end_back(&mut self, info: Option<&TcpInfo>, now: Instant) -> Option<Diagnosis> {
        let mut back = self.connection.back.take()?;
        let mut evidence = back.evidence.clone();
        evidence.rtt_after_us = back.after;
        let info = info.filter(|info| self.believes(info, now));
        if let Some((info, before)) = info.zip(back.before.as_ref()) {
            let (alone, resent) = (evidence.alone, evidence.resent);
            add_info(&mut evidence, info);
            add_since(&mut evidence, info, before);
            (evidence.alone, evidence.resent) = (alone, evidence.resent.max(resent));
        }
        let diagnosis = Diagnosis::of(*evidence);
        // Whether it is slow, or answers alone had been lost, the next one tells.
        if diagnosis.cause() == Cause::SlowPath && back.after.is_none() && !back.waits {
            (back.waits, back.due) = (true, back.since + CONFIRM);
            self.connection.back = Some(back);
            return None;
        }
        if diagnosis.cause() == Cause::LossyPath {
            self.path.on_lost();
        }
        self.lately(diagnosis, now)
    }

    /// Unless the same was told of this link a while ago.
    fn lately(&mut self, diagnosis: Diagnosis, now: Instant) -> Option<Diagnosis> {
        let sure = diagnosis.confidence() >= Confidence::Likely;
        (sure && self.is_news(&diagnosis, now)).then_some(diagnosis)
    }

    /// Whether this may be told. A bad path makes one trouble after another, and is told of once in
    /// a while.
    pub(crate) fn is_news(&mut self, diagnosis: &Diagnosis, now: Instant) -> bool {
        let cause = diagnosis.cause();
        if !matches!(cause, Cause::LossyPath | Cause::SlowPath | Cause::PassingOutage) {
            return true;
        }
        let is_same = |(told, at): (Cause, Instant)| {
            told == cause && now.saturating_duration_since(at) < AGAIN
        };
        if self.warned.is_some_and(is_same) {
            return false;
        }
        self.warned = Some((cause, now)).filter(|_| diagnosis.confidence() >= Confidence::Likely);
        true
    }
}
