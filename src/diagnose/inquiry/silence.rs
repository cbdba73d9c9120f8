//! DECIDES: what is looked at while an answer is missing, beside the misses: after a word of a
//! router, in a quiet moment, and once side connections have found something.

use std::time::Instant;

use super::{Facts, Inquiry, Silence};
use crate::cause::Cause;
use crate::diagnose::evidence::Evidence;
use crate::tcp_info::TcpInfo;

impl Inquiry {
    pub(super) fn set_silence(&mut self, evidence: Evidence, is_gone: bool) {
        self.trouble.silence = Some(Silence { evidence: Box::new(evidence), is_gone });
    }

    /// A router or firewall said something of the live connection.
    #[cold]
    #[inline(never)]
    pub(super) fn on_icmp(&mut self, errno: i32, now: Instant, facts: &mut dyn Facts) {
        let info = facts.look();
        if !self.case.on_icmp(errno, now, info.as_ref()) {
            return;
        }
        self.case.set_suspended(facts.suspended());
        // A local failure leaves the same error behind.
        let own = Some(facts.own_side(self.case.peer()));
        let mut evidence = self.case.silence(&Cause::AckTimeout.into(), now, info.as_ref(), own);
        evidence.detail = None;
        self.ask_if_wanted(&mut evidence, now, facts);
        self.tell(evidence.clone(), now);
        if self.trouble.silence.is_none() {
            self.set_silence(evidence, false);
        }
    }

    /// The beat in flight was looked at, and nobody has said anything.
    #[cold]
    #[inline(never)]
    pub(super) fn on_quiet(
        &mut self,
        info: Option<TcpInfo>,
        thorough: bool,
        now: Instant,
        facts: &mut dyn Facts,
    ) {
        let Some(info) = info.filter(|info| self.case.believes(info, now)) else { return };
        self.case.on_look(&info, now);
        if !thorough {
            return;
        }
        let own = info.is_outstanding().then(|| facts.own_side(self.case.peer()));
        self.case.on_own_side(own.as_ref(), now);
        let Some(silence) = self.trouble.silence.take_if(|silence| !silence.is_gone) else {
            return;
        };
        let mut evidence = *silence.evidence;
        self.case.refresh(&mut evidence, Some(&info), now);
        self.ask_if_wanted(&mut evidence, now, facts);
        self.tell(evidence.clone(), now);
        self.set_silence(evidence, false);
    }

    /// No ack in time, and no miss: where the beat is held up by what the peer does not read, that
    /// is worth a word.
    #[cold]
    #[inline(never)]
    pub(super) fn on_alive(&mut self, now: Instant, facts: &mut dyn Facts) {
        self.case.on_alive();
        let info = facts.look();
        if info.as_ref().is_some_and(TcpInfo::is_asking) {
            let evidence = self.case.warning(Cause::QueuedBehindData, now, info.as_ref());
            // What has arrived waits for nothing.
            if evidence.beat_acked.is_none() {
                self.tell(evidence, now);
            }
        }
    }

    /// What side connections have found since the last time goes into the diagnosis, with what the
    /// kernel knows of the connection by now.
    #[cold]
    #[inline(never)]
    pub(super) fn collect(&mut self, now: Instant, facts: &mut dyn Facts) {
        self.flush();
        if let Some(evidence) = self.take_found(now, facts) {
            self.tell(evidence, now);
        }
    }

    /// The last verdict of a link whose rounds are over: it is news also where it leaves cause and
    /// confidence as they were.
    #[cold]
    #[inline(never)]
    pub(super) fn on_last(&mut self, now: Instant, facts: &mut dyn Facts) {
        self.flush();
        if let Some(evidence) = self.take_found(now, facts) {
            let (diagnosis, _) = self.case.diagnose(evidence, now);
            self.case.learn(&diagnosis);
            self.hand_out(diagnosis, true);
        }
    }
}
