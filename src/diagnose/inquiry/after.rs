//! DECIDES: what is found out after a silence: from the connection that was given up, from the next
//! one and how it came to stand, and from an answer that came late.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Act, Facts, Inquiry};
use crate::cause::{Cause, Loss};
use crate::diagnose::case::Opening;
use crate::diagnose::decide::is_sure;
use crate::tcp_info::TcpInfo;

/// How often the old connection is looked at.
const EVERY: Duration = Duration::from_millis(100);

/// For how long: a path that takes longer to heal is told by other connections.
const AT_MOST: Duration = Duration::from_secs(12);

/// The connection that was given up, which goes on trying.
pub(super) struct Relic {
    due: Instant,
    until: Instant,
}

impl Inquiry {
    /// The connection is given up; whether its socket may tell more, and is to be kept until
    /// [`Act::LetGo`].
    pub(crate) fn keeps_old(&mut self, now: Instant) -> bool {
        let keeps = self.is_on() && self.case.keep_old();
        if keeps {
            self.relic = Some(Relic { due: now, until: now + AT_MOST });
        }
        keeps
    }

    /// When something is to be looked at again, without any beat.
    pub(super) fn due(&self) -> Option<Instant> {
        let relic = self.relic.as_ref().map(|relic| relic.due);
        relic.into_iter().chain(self.case.back_due()).min()
    }

    /// The time for that has come.
    #[cold]
    pub(super) fn on_due(&mut self, now: Instant, facts: &mut dyn Facts) {
        if self.case.back_due().is_some_and(|due| due <= now) {
            let info = facts.look();
            if let Some(diagnosis) = self.case.end_back(info.as_ref(), now) {
                self.acts.push_back(Act::Tell(Arc::new(diagnosis)));
            }
        }
        let Some(relic) = self.relic.as_mut().filter(|relic| relic.due <= now) else { return };
        relic.due = now + EVERY;
        let remains = if now > relic.until { None } else { facts.old() };
        let Some((info, reset)) = remains else { return self.let_go() };
        if let Some(evidence) = self.case.on_old(&info, reset, now) {
            let is_last = evidence.old.is_some();
            // What is not clear yet is looked at again, and nobody need hear of each look.
            let sure = is_sure(&evidence);
            if sure {
                self.explain(evidence, now);
            }
            if is_last || sure && self.case.has_next() {
                self.let_go();
                self.case.close_open();
            }
        }
    }

    fn let_go(&mut self) {
        self.relic = None;
        self.acts.push_back(Act::LetGo);
    }

    /// A connection stands: how long that took is evidence, too.
    pub(super) fn on_opened(&mut self, info: Option<&TcpInfo>, took: Duration) {
        let Some(info) = info.filter(|_| self.connection.is_ours) else { return };
        let (rtt, resent) = (info.rtt, info.total_retransmits);
        self.case.on_opened(Opening { took, rtt, resent });
    }

    /// Whether a failed attempt belongs to the silence before it, and is no story of its own.
    pub(super) fn is_of_the_last(
        &mut self,
        loss: &Loss,
        now: Instant,
        facts: &mut dyn Facts,
    ) -> bool {
        // What has come up while it was tried goes first, unless somebody has said what it is.
        let is_said = matches!(loss.cause, Cause::Unreachable | Cause::Prohibited);
        if !is_said {
            self.collect(now, facts);
            if let Some(relic) = &mut self.relic {
                relic.due = now;
                self.on_due(now, facts);
            }
        }
        let attempt = facts.attempt();
        let Some(mut evidence) = self.case.on_next_failed(loss, attempt.has_stood, now) else {
            return self.case.waits_for_old();
        };
        attempt.add_icmp(&mut evidence);
        self.explain(evidence, now);
        // Nothing is said of it as long as nobody knows more than that it was in vain.
        loss.cause == Cause::ConnectTimeout
    }
}
