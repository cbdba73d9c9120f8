//! Of ends: of a connection, of an attempt to open one, and of those that come as regularly as the
//! one before.

use std::sync::Arc;
use std::time::Instant;

use super::Inquiry;
use crate::cause::{Cause, Loss};
use crate::diagnose::{Evidence, OwnSide, Stage};
use crate::drive::own_side::is_about_the_path;
use crate::drive::reporter::Reporter;
use crate::drive::scene::Scene;
use crate::pulse::Regular;
use crate::tcp_info::TcpInfo;

impl Inquiry {
    pub(super) fn on_disconnected(
        &mut self,
        loss: &mut Loss,
        is_attempt: bool,
        now: Instant,
        scene: &mut dyn Scene,
        reporter: &mut Reporter,
    ) {
        let has_fallen = std::mem::take(&mut self.has_fallen);
        if is_attempt {
            self.on_failed_attempt(loss, now, scene, reporter);
        } else if has_fallen {
            self.case.told().into_iter().for_each(|told| told.refine(loss));
        } else {
            self.on_end_while_down(loss, now, scene, reporter);
        }
        if !is_attempt {
            self.end_by_loss();
        }
        self.end_connection();
    }

    /// A connection ended that was opened while the link was Down, and did not raise it: why that
    /// ended is why it is Down now.
    fn on_end_while_down(
        &mut self,
        loss: &mut Loss,
        now: Instant,
        scene: &dyn Scene,
        reporter: &mut Reporter,
    ) {
        if is_no_trouble(loss.cause) {
            return;
        }
        let word = loss.cause;
        if matches!(word, Cause::AckTimeout | Cause::PartialReply) {
            // Its misses were looked at one by one.
            let told = self.case.told().filter(|told| told.evidence().word == Some(word));
            told.iter().for_each(|told| told.refine(loss));
            return reporter.met(word, loss, told);
        }
        let own = is_about_the_path(word).then(|| self.own_side());
        let evidence = self.ended(loss, now, scene.look().as_ref(), own);
        self.meet(loss, evidence, now, reporter);
    }

    /// What the link has met last is why it is Down now.
    fn meet(&mut self, loss: &mut Loss, evidence: Evidence, now: Instant, reporter: &mut Reporter) {
        let word = loss.cause;
        let (diagnosis, news) = self.case.diagnose(evidence, now);
        self.case.learn(&diagnosis);
        self.leave_alone(&diagnosis);
        diagnosis.refine(loss);
        reporter.met(word, loss, Some(Arc::clone(&diagnosis)));
        self.hand_out(diagnosis, news, reporter);
    }

    /// The peer ended the connection as it did before. That is explained once, and counted.
    pub(super) fn on_regular_end(
        &mut self,
        loss: &mut Loss,
        regular: Regular,
        now: Instant,
        scene: &dyn Scene,
        reporter: &mut Reporter,
    ) {
        let mut evidence = self.ended(loss, now, scene.look().as_ref(), None);
        evidence.add_rule(regular);
        let (diagnosis, _) = self.case.diagnose(evidence, now);
        self.leave_alone(&diagnosis);
        diagnosis.refine(loss);
        // Again only when it has become clear which of the two it is.
        if regular.times == 2 || self.rule != Some(regular.rule) {
            reporter.diagnosed(diagnosis);
        }
        self.rule = Some(regular.rule);
        self.end_by_loss();
        self.end_connection();
    }

    fn end_connection(&mut self) {
        self.case.on_disconnected();
        self.looks.stop();
    }

    fn on_failed_attempt(
        &mut self,
        loss: &mut Loss,
        now: Instant,
        scene: &mut dyn Scene,
        reporter: &mut Reporter,
    ) {
        if self.is_of_the_last(loss, now, scene, reporter) || is_no_trouble(loss.cause) {
            return;
        }
        // Where it is clear why it was silent, that it goes on so is no other story.
        let goes_on = loss.cause == Cause::ConnectTimeout;
        if goes_on && self.case.told().is_some_and(|told| told.explains_silence()) {
            return;
        }
        let own_side_matters = is_about_the_path(loss.cause);
        let own = own_side_matters.then(|| self.own_side());
        let mut evidence = self.ended(loss, now, None, own);
        if own_side_matters {
            self.count_suspects(&mut evidence, now, reporter);
        }
        if self.case.wants_side(&evidence, now) {
            evidence.side = Some(self.ask(scene, &evidence, now));
            self.silence = Some(evidence.clone());
        }
        // What is known of this trouble already may be more than the attempt tells.
        if self.case.told().is_some_and(|told| told.is_behind(&evidence)) {
            return;
        }
        self.meet(loss, evidence, now, reporter);
    }

    pub(super) fn ended(
        &mut self,
        loss: &Loss,
        now: Instant,
        info: Option<&TcpInfo>,
        own: Option<OwnSide>,
    ) -> Evidence {
        self.case.set_suspended(self.suspension.since_well());
        self.look_for_intrusion();
        let mut evidence = self.case.end(loss, now, info, own);
        if evidence.stage == Some(Stage::Connect) {
            self.add_attempt(&mut evidence);
        }
        evidence
    }
}

pub(super) fn is_no_trouble(cause: Cause) -> bool {
    matches!(cause, Cause::Stopped | Cause::Renewed | Cause::ClosedByApplication)
}
