//! DECIDES: what is told, and what only goes into the status. Each cause of a trouble is told once,
//! and again only when it is surer; what a miss shows waits for the state that may turn with it.

use std::sync::Arc;
use std::time::Instant;

use super::ends::{is_about_the_path, is_no_trouble};
use super::{Act, Facts, Inquiry};
use crate::cause::{Cause, Loss};
use crate::diagnose::diagnosis::Diagnosis;
use crate::diagnose::evidence::Evidence;

impl Inquiry {
    /// The state turns for the worse: what is told with that.
    #[cold]
    pub(super) fn on_trouble(
        &mut self,
        loss: &mut Loss,
        is_down: bool,
        now: Instant,
        facts: &mut dyn Facts,
    ) -> Option<Arc<Diagnosis>> {
        self.connection.has_fallen = is_down;
        if is_down {
            self.rules.clear(); // ends that come regularly after this are told anew
        }
        let silence = matches!(loss.cause, Cause::AckTimeout | Cause::PartialReply);
        if let Some((diagnosis, _)) = self.held.take().filter(|_| silence) {
            diagnosis.refine(loss);
            if let Some(silence) = self.trouble.silence.as_ref().filter(|_| is_down) {
                self.case.keep_open(&silence.evidence, now);
            }
            return Some(diagnosis);
        }
        if is_no_trouble(loss.cause) {
            return None;
        }
        let own = is_about_the_path(loss.cause).then(|| facts.own_side(self.case.peer()));
        let info = facts.look();
        let evidence = self.ended(loss, now, info.as_ref(), own, facts);
        let (diagnosis, _) = self.case.diagnose(evidence, now);
        self.leave_alone(&diagnosis);
        diagnosis.refine(loss);
        Some(diagnosis)
    }

    /// What was silent is explained by what came after it.
    #[cold]
    pub(super) fn explain(&mut self, evidence: Evidence, now: Instant) {
        let (diagnosis, news) = self.case.diagnose_past(evidence, now);
        self.case.learn(&diagnosis);
        // That nothing is known is no explanation.
        let news = news && diagnosis.cause() != Cause::AckTimeout;
        if news && self.case.is_news(&diagnosis, now) {
            self.acts.push_back(Act::Tell(diagnosis));
        }
    }

    #[cold]
    pub(super) fn tell(&mut self, evidence: Evidence, now: Instant) {
        let (diagnosis, news) = self.case.diagnose(evidence, now);
        self.case.learn(&diagnosis);
        let news = news && self.case.is_news(&diagnosis, now);
        self.hand_out(diagnosis, news);
    }

    /// What the link has met last is why it is Down now.
    pub(super) fn meet(&mut self, loss: &mut Loss, evidence: Evidence, now: Instant) {
        let word = loss.cause;
        let (diagnosis, news) = self.case.diagnose(evidence, now);
        self.case.learn(&diagnosis);
        self.leave_alone(&diagnosis);
        diagnosis.refine(loss);
        self.met(word, loss, Some(Arc::clone(&diagnosis)));
        self.hand_out(diagnosis, news);
    }

    pub(super) fn met(&mut self, word: Cause, loss: &Loss, why: Option<Arc<Diagnosis>>) {
        self.acts.push_back(Act::Met(word, Box::new((loss.clone(), why))));
    }

    /// One alarm for all links is enough.
    pub(super) fn hand_out(&mut self, diagnosis: Arc<Diagnosis>, news: bool) {
        let is_told = news && diagnosis.cause() != Cause::LocalNetwork;
        self.acts.push_back(if is_told { Act::Tell(diagnosis) } else { Act::Note(diagnosis) });
    }

    /// A miss that turned no state, and yet is news.
    pub(super) fn flush(&mut self) {
        if let Some((diagnosis, news)) = self.held.take() {
            self.hand_out(diagnosis, news);
        }
    }

    /// The headline is what was told last.
    pub(super) fn refine_as_told(&self, loss: &mut Loss) {
        if let Some(told) = self.case.told() {
            told.refine(loss);
        }
    }
}
