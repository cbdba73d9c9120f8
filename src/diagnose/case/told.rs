//! What is told of a trouble: the evidence of a silence, of an end or of an attempt, whether its
//! diagnosis is news, and whether other connections are to tell more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Case;
use super::trouble::OwnSide;
use crate::cause::{Cause, Loss};
use crate::diagnose::decide::decide;
use crate::diagnose::diagnosis::Diagnosis;
use crate::diagnose::evidence::{Evidence, Kept, Stage};
use crate::diagnose::history::PAUSE;
use crate::diagnose::tls;
use crate::tcp_info::{TcpInfo, TcpState};

/// So long what other connections have found is true of the same trouble.
const SIDE_LASTS: Duration = Duration::from_secs(60);

impl Case {
    /// The trouble by silence, as far as it is known: the kernel's look, and our own side's.
    pub(crate) fn silence(
        &mut self,
        loss: &Loss,
        now: Instant,
        info: Option<&TcpInfo>,
        own: Option<OwnSide>,
    ) -> Evidence {
        let info = info.filter(|info| self.believes(info, now));
        info.into_iter().for_each(|info| self.on_look(info, now));
        self.trouble.on_own_side(own.as_ref(), now);
        let mut evidence = self.begin(Stage::Silence, loss, now);
        self.add_contact(&mut evidence);
        self.add_beat(&mut evidence, now);
        self.add_kernel(&mut evidence, info);
        self.add_trouble(&mut evidence, now);
        self.trouble.add_own_side(&mut evidence, own, now);
        evidence.side = Some(Kept::Off).filter(|_| !self.settings.side);
        self.tries.side.iter().for_each(|side| evidence.merge(side));
        evidence
    }

    /// Brings evidence of the silence up to date.
    pub(crate) fn refresh(
        &mut self,
        evidence: &mut Evidence,
        info: Option<&TcpInfo>,
        now: Instant,
    ) {
        let info = info.filter(|info| self.believes(info, now));
        // After the connection is gone, what is known of it stands still.
        if !self.connection.stands || self.trouble.since.is_none() {
            return;
        }
        info.into_iter().for_each(|info| self.on_look(info, now));
        if let Some(last) = &self.connection.last {
            evidence.waited_us = Some(now.saturating_duration_since(last.at));
        }
        evidence.outstanding = Some(self.connection.outstanding);
        self.add_kernel(evidence, info);
        self.add_trouble(evidence, now);
        self.trouble.remember_own_side(evidence, now);
    }

    /// The end of a connection that stood, or of an attempt.
    pub(crate) fn end(
        &mut self,
        loss: &Loss,
        now: Instant,
        info: Option<&TcpInfo>,
        own: Option<OwnSide>,
    ) -> Evidence {
        let stage = if self.connection.stands { Stage::End } else { Stage::Connect };
        let mut evidence = self.begin(stage, loss, now);
        self.trouble.add_own_side(&mut evidence, own, now);
        if stage == Stage::Connect {
            return evidence;
        }
        let info = info.filter(|info| self.believes(info, now));
        self.add_contact(&mut evidence);
        self.add_at_once(&mut evidence, loss, now);
        self.add_beat(&mut evidence, now);
        self.add_trouble(&mut evidence, now);
        evidence.side_age_us = self.connection.intruded.map(|at| now.saturating_duration_since(at));
        if self.connection.outstanding == 0 {
            let idle = now.saturating_duration_since(self.connection.busy);
            evidence.idle_us = Some(idle);
            // The clock of the pause stood still in a suspension.
            let is_pause = idle >= PAUSE && self.suspended.is_none();
            evidence.idle_closes = (is_pause && loss.cause == Cause::ClosedByPeer).then_some(1);
        }
        // After death most of it reads 0: then what was known before is the evidence.
        let alive = info.filter(|info| info.state != TcpState::Closed);
        let before = self.connection.last.as_ref().and_then(|last| last.before.as_ref());
        match alive {
            Some(info) => self.add_kernel(&mut evidence, Some(info)),
            None => evidence.least_rtt_us = before.and_then(|before| before.min_rtt),
        }
        evidence
    }

    pub(super) fn begin(&self, stage: Stage, loss: &Loss, now: Instant) -> Evidence {
        let waited =
            self.connection.last.as_ref().map(|sent| now.saturating_duration_since(sent.at));
        Evidence {
            word: Some(loss.cause),
            stage: Some(stage),
            detail: Some(loss.detail.clone()),
            tls: tls::word(loss),
            peer: self.peer.map(|peer| peer.to_string()).or_else(|| self.target.clone()),
            timeout_us: Some(self.timeout),
            transport: self.transport(),
            waited_us: waited,
            suspended_us: self.suspended.filter(|_| matches!(stage, Stage::Silence | Stage::End)),
            ..Evidence::default()
        }
    }

    /// The diagnosis of this evidence, with the last beats; and whether it is news: another cause
    /// than the last, or the same more surely than ever in this trouble. What was likely once is
    /// taken back by new evidence alone.
    pub(crate) fn diagnose(&mut self, evidence: Evidence, now: Instant) -> (Arc<Diagnosis>, bool) {
        let diagnosis = Diagnosis::recorded(evidence, self.recorder.beats(now));
        if let Some(told) = self.story.told.as_ref().filter(|told| told.holds_against(&diagnosis)) {
            return (Arc::clone(told), false);
        }
        let diagnosis = Arc::new(diagnosis);
        let before = self.story.told.replace(Arc::clone(&diagnosis));
        let same = before.is_some_and(|before| before.cause() == diagnosis.cause());
        let surest = self.story.surest.filter(|_| same);
        self.story.surest = surest.max(Some(diagnosis.confidence()));
        self.explained = Some(diagnosis.cause()).zip(self.story.surest);
        (diagnosis, self.story.surest > surest)
    }

    /// The same of a silence that is over: what stands now is another matter. What was told of it
    /// while it lasted is no news.
    pub(crate) fn diagnose_past(
        &mut self,
        evidence: Evidence,
        now: Instant,
    ) -> (Arc<Diagnosis>, bool) {
        if !self.connection.stands || self.connection.missed.misses > 0 {
            return self.diagnose(evidence, now);
        }
        let diagnosis = Diagnosis::recorded(evidence, self.recorder.beats(now));
        let (cause, sure) = (diagnosis.cause(), diagnosis.confidence());
        let is_known = |(known, as_sure)| known == cause && as_sure >= sure;
        let news = !self.explained.is_some_and(is_known);
        if news {
            self.explained = Some((cause, sure));
        }
        (Arc::new(diagnosis), news)
    }

    /// Whether other connections are to be made to tell more of this evidence: once in a trouble,
    /// and again when what they found is old.
    pub(crate) fn wants_side(&mut self, evidence: &Evidence, now: Instant) -> bool {
        if !self.settings.side || self.peer.is_none() {
            return false;
        }
        self.tries.side_at.take_if(|at| now.saturating_duration_since(*at) > SIDE_LASTS);
        if self.tries.side_at.is_some() {
            return false;
        }
        // What they have found before is no reason not to look again.
        let alone = evidence.without_side();
        match decide(&alone).cause {
            Cause::AckTimeout
            | Cause::LossyPath
            | Cause::PeerSilent
            | Cause::RepliesFiltered
            | Cause::FlowForgotten => true,
            // Whose word it is they can read.
            Cause::Unreachable => evidence.stage == Some(Stage::Silence),
            // Only another port can tell more.
            Cause::ConnectTimeout => self.settings.closed_port && evidence.tcp_state.is_none(),
            _ => false,
        }
    }

    /// They have been asked for, or refused; a budget that was spent may have more the next time.
    pub(crate) fn on_side_asked(&mut self, kept: Kept, now: Instant) {
        self.tries.side_at = Some(now).filter(|_| kept != Kept::Budget);
        if kept == Kept::Budget {
            self.tries.side = None; // what it was before is old by now
        }
    }

    /// What was told last of this trouble.
    pub(crate) fn told(&self) -> Option<Arc<Diagnosis>> {
        self.story.told.clone()
    }
}
