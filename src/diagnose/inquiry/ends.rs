//! DECIDES: what an end is worth: of a connection, of an attempt to open one, and those that come
//! as regularly as the one before.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Act, Facts, Inquiry};
use crate::cause::{Cause, Loss};
use crate::diagnose::case::OwnSide;
use crate::diagnose::evidence::{Evidence, Stage};
use crate::pulse::{Regular, Rule};
use crate::tcp_info::{TcpInfo, TcpState};

/// What became of the last attempt to connect, beside its loss.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempt {
    /// Whom it was made to; of several addresses, the last.
    pub(crate) address: Option<SocketAddr>,
    /// What a router or firewall said: type and code.
    pub(crate) icmp: Option<(u8, u8)>,
    /// The peer had taken the connection.
    pub(crate) has_stood: bool,
    /// The kernel's last look, where it stood and came to nothing.
    pub(crate) info: Option<TcpInfo>,
}

impl Attempt {
    pub(crate) fn add_icmp(&self, evidence: &mut Evidence) {
        if let Some((kind, code)) = self.icmp {
            (evidence.icmp_type, evidence.icmp_code) = (Some(kind.into()), Some(code.into()));
        }
    }

    /// All that is known of an attempt that failed.
    fn add(&self, evidence: &mut Evidence) {
        self.add_icmp(evidence);
        if let Some(address) = self.address {
            evidence.peer = Some(address.to_string());
        }
        if self.has_stood {
            evidence.tcp_state = Some(TcpState::Established.word().to_owned());
        }
        if let Some(info) = &self.info {
            evidence.unacked = Some(info.unacked);
            evidence.out_of_order = info.rcv_ooopack.filter(|segments| *segments > 0);
            evidence.received_bytes = info.bytes_received.filter(|bytes| *bytes > 0);
        }
    }
}

impl Inquiry {
    #[cold]
    #[inline(never)]
    pub(super) fn on_disconnected(
        &mut self,
        loss: &mut Loss,
        is_attempt: bool,
        now: Instant,
        facts: &mut dyn Facts,
    ) {
        let has_fallen = std::mem::take(&mut self.connection.has_fallen);
        if is_attempt {
            self.on_failed_attempt(loss, now, facts);
        } else if has_fallen {
            self.refine_as_told(loss);
        } else {
            self.on_end_while_down(loss, now, facts);
        }
        if !is_attempt {
            self.part();
        }
        self.end_connection();
    }

    /// A connection ended that was opened while the link was Down, and did not raise it: why that
    /// ended is why it is Down now.
    fn on_end_while_down(&mut self, loss: &mut Loss, now: Instant, facts: &mut dyn Facts) {
        if is_no_trouble(loss.cause) {
            return;
        }
        let word = loss.cause;
        if matches!(word, Cause::AckTimeout | Cause::PartialReply) {
            // Its misses were looked at one by one.
            let told = self.case.told().filter(|told| told.evidence().word == Some(word));
            told.iter().for_each(|told| told.refine(loss));
            return self.met(word, loss, told);
        }
        let own = is_about_the_path(word).then(|| facts.own_side(self.case.peer()));
        let info = facts.look();
        let evidence = self.ended(loss, now, info.as_ref(), own, facts);
        self.meet(loss, evidence, now);
    }

    /// The peer ended the connection as it did before. That is explained once, and counted.
    #[cold]
    #[inline(never)]
    pub(super) fn on_regular_end(
        &mut self,
        loss: &mut Loss,
        regular: Regular,
        now: Instant,
        facts: &mut dyn Facts,
    ) {
        let info = facts.look();
        let mut evidence = self.ended(loss, now, info.as_ref(), None, facts);
        evidence.add_rule(regular);
        let (diagnosis, _) = self.case.diagnose(evidence, now);
        self.leave_alone(&diagnosis);
        diagnosis.refine(loss);
        // Again only when it has become clear which of the two it is. That this is open again,
        // after ends that show both, is nothing to tell.
        let is_open = regular.rule == Rule::Either && !self.rules.is_empty();
        if !is_open && !self.rules.contains(&regular.rule) {
            self.acts.push_back(Act::Tell(diagnosis));
            self.rules.push(regular.rule);
        }
        self.part();
        self.end_connection();
    }

    fn on_failed_attempt(&mut self, loss: &mut Loss, now: Instant, facts: &mut dyn Facts) {
        if self.is_of_the_last(loss, now, facts) || is_no_trouble(loss.cause) {
            return;
        }
        // Where it is clear why it was silent, that it goes on so is no other story.
        let goes_on = loss.cause == Cause::ConnectTimeout;
        if goes_on && self.case.told().is_some_and(|told| told.explains_silence()) {
            return;
        }
        let own_side_matters = is_about_the_path(loss.cause);
        let own = own_side_matters.then(|| facts.own_side(self.case.peer()));
        let mut evidence = self.ended(loss, now, None, own, facts);
        if own_side_matters {
            self.count_suspects(&mut evidence, now, facts);
        }
        if self.ask_if_wanted(&mut evidence, now, facts) {
            self.set_silence(evidence.clone(), true);
        }
        // What is known of this trouble already may be more than the attempt tells.
        if self.case.told().is_some_and(|told| told.is_behind(&evidence)) {
            return;
        }
        self.meet(loss, evidence, now);
    }

    pub(super) fn ended(
        &mut self,
        loss: &Loss,
        now: Instant,
        info: Option<&TcpInfo>,
        own: Option<OwnSide>,
        facts: &mut dyn Facts,
    ) -> Evidence {
        self.case.set_suspended(facts.suspended());
        self.look_for_intrusion(facts);
        let mut evidence = self.case.end(loss, now, info, own);
        if evidence.stage == Some(Stage::Connect) {
            facts.attempt().add(&mut evidence);
        }
        evidence
    }

    fn end_connection(&mut self) {
        self.case.on_disconnected();
        self.looks.stop();
    }

    /// The connection is over: a silence on it has ended without an answer.
    fn part(&mut self) {
        let acked = std::mem::take(&mut self.trouble.acked);
        self.acts.push_back(Act::Part { lived: self.case.peer().filter(|_| acked) });
        if let Some(silence) = &mut self.trouble.silence {
            silence.is_gone = true;
        }
    }
}

/// Ends that nobody needs to have explained.
pub(super) fn is_no_trouble(cause: Cause) -> bool {
    matches!(cause, Cause::Stopped | Cause::Renewed | Cause::ClosedByApplication)
}

/// Whether our own side may be what is behind it.
pub(super) fn is_about_the_path(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::ConnectTimeout
            | Cause::Unreachable
            | Cause::Prohibited
            | Cause::NoLocalRoute
            | Cause::LocalResources
            | Cause::KernelGaveUp
    )
}
