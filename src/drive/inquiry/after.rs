//! What is found out after a silence: from the connection that was given up, from the next one and
//! how it came to stand, and from an answer that came late.

use std::sync::Arc;
use std::time::Instant;

use socket2::Socket;

use super::Inquiry;
use crate::cause::{Cause, Loss};
use crate::diagnose::{Evidence, Opening, is_sure};
use crate::drive::relic::Relic;
use crate::drive::reporter::Reporter;
use crate::drive::scene::Scene;
use crate::tcp_info::{TcpInfo, TcpState};

impl Inquiry {
    /// When something is to be looked at again, without any beat.
    pub(crate) fn due(&self) -> Option<Instant> {
        let relic = self.relic.as_ref().map(Relic::due);
        relic.into_iter().chain(self.case.back_due()).min()
    }

    /// The time for that has come.
    pub(super) fn on_due(&mut self, scene: &dyn Scene, reporter: &mut Reporter) {
        let now = Instant::now();
        if self.case.back_due().is_some_and(|due| due <= now) {
            if let Some(diagnosis) = self.case.end_back(scene.look().as_ref(), now) {
                reporter.diagnosed(Arc::new(diagnosis));
            }
        }
        let Some(relic) = self.relic.as_mut().filter(|relic| relic.due() <= now) else { return };
        let Some(remains) = relic.look(now) else {
            self.relic = None;
            return;
        };
        if let Some(evidence) = self.case.on_old(&remains.info, remains.reset, now) {
            let is_last = evidence.old.is_some();
            // What is not clear yet is looked at again, and nobody need hear of each look.
            let sure = is_sure(&evidence);
            if sure {
                self.explain(evidence, now, reporter);
            }
            if is_last || sure && self.case.has_next() {
                self.relic = None;
                self.case.close_open();
            }
        }
    }

    /// The connection is given up after a silence: its socket may tell more.
    pub(crate) fn keep(&mut self, socket: &Arc<Socket>) {
        if self.is_on() && self.case.keep_old() {
            self.relic = Some(Relic::new(Arc::clone(socket), Instant::now()));
        }
    }

    /// The beat in flight was looked at, and nobody has said anything. A thorough look takes our
    /// own side in, and after a miss what is known by now is told.
    pub(crate) fn on_quiet(
        &mut self,
        info: Option<TcpInfo>,
        thorough: bool,
        scene: &mut dyn Scene,
        reporter: &mut Reporter,
    ) {
        let now = Instant::now();
        let Some(info) = info.filter(|info| self.case.believes(info, now)) else { return };
        self.case.on_look(&info, now);
        if !thorough {
            return;
        }
        let own = (info.unacked > 0 || info.unsent() > 0).then(|| self.own_side());
        self.case.on_own_side(own.as_ref(), now);
        let Some(mut evidence) = self.silence.take_if(|_| !self.is_gone) else { return };
        self.case.refresh(&mut evidence, Some(&info), now);
        if self.case.wants_side(&evidence, now) {
            evidence.side = Some(self.ask(scene, &evidence, now));
        }
        self.tell(evidence.clone(), now, reporter);
        self.silence = Some(evidence);
    }

    /// A connection stands: how long that took is evidence, too.
    pub(super) fn on_opened(&mut self, info: Option<&TcpInfo>, reporter: &Reporter) {
        let Some(info) = info.filter(|_| self.is_ours) else { return };
        let (took, rtt, resent) = (reporter.took(), info.rtt, info.total_retransmits);
        self.case.on_opened(Opening { took, rtt, resent });
    }

    /// Whether a failed attempt belongs to the silence before it, and is no story of its own.
    pub(super) fn is_of_the_last(
        &mut self,
        loss: &Loss,
        now: Instant,
        scene: &dyn Scene,
        reporter: &mut Reporter,
    ) -> bool {
        // What has come up while it was tried goes first, unless somebody has said what it is.
        let is_said = matches!(loss.cause, Cause::Unreachable | Cause::Prohibited);
        if !is_said {
            self.collect(scene, reporter);
            if let Some(relic) = &mut self.relic {
                relic.hurry(now);
                self.on_due(scene, reporter);
            }
        }
        let stood = self.handle.has_stood();
        let Some(evidence) = self.case.on_next_failed(loss, stood, now) else {
            return self.case.waits_for_old();
        };
        self.explain(self.with_attempt(evidence), now, reporter);
        // Nothing is said of it as long as nobody knows more than that it was in vain.
        loss.cause == Cause::ConnectTimeout
    }

    /// What is known of the attempt that failed.
    pub(super) fn add_attempt(&self, evidence: &mut Evidence) {
        let attempt = self.handle.attempt();
        if let Some(address) = attempt.address {
            evidence.peer = Some(address.to_string());
        }
        if let Some(icmp) = attempt.icmp {
            evidence.icmp_type = Some(icmp.kind.into());
            evidence.icmp_code = Some(icmp.code.into());
        }
        if self.handle.has_stood() {
            evidence.tcp_state = Some(TcpState::Established.word().to_owned());
        }
        if let Some(info) = &attempt.info {
            evidence.unacked = Some(info.unacked);
            evidence.out_of_order = info.rcv_ooopack.filter(|segments| *segments > 0);
            evidence.received_bytes = info.bytes_received.filter(|bytes| *bytes > 0);
        }
    }

    fn with_attempt(&self, mut evidence: Evidence) -> Evidence {
        if let Some(icmp) = self.handle.attempt().icmp {
            evidence.icmp_type = Some(icmp.kind.into());
            evidence.icmp_code = Some(icmp.code.into());
        }
        evidence
    }

    /// The connection is over: a silence on it has ended without an answer.
    pub(super) fn end_by_loss(&mut self) {
        self.spare(false);
        self.slot.part();
        (self.asked_acked, self.is_gone) = (false, true);
    }
}
