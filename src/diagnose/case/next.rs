//! What the link's own next connection tells of the silence that ended the last one, and what
//! becomes of the last one meanwhile: its socket is kept for a while, and goes on trying.

use std::time::{Duration, Instant};

use super::back::grace;
use super::measure::{add_info, add_since};
use super::trouble::Beside;
use super::{Case, is_answered};
use crate::cause::{Cause, Loss};
use crate::diagnose::confidence::Confidence;
use crate::diagnose::diagnosis::Diagnosis;
use crate::diagnose::evidence::{Carried, Evidence, Fresh, Old};
use crate::tcp_info::{TcpInfo, TcpState};

/// Later a path that was dead may have healed.
const NEXT_LASTS: Duration = Duration::from_secs(15);

/// So long after the first the kernel sends a SYN again.
const A_SYN: Duration = Duration::from_secs(1);

/// A death by silence that the next connection may explain.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) evidence: Box<Evidence>,
    since: Instant,
    /// When the first beat was written that was not answered, and what the kernel knew before it.
    first: Option<(Instant, Option<TcpInfo>)>,
    /// The old connection is looked at.
    is_kept: bool,
    /// Another one was answered: from the next look on it is known what this one does meanwhile.
    is_beside: bool,
    beside: Option<Beside>,
    /// When what the old connection had sent was acknowledged after all, and that may be told.
    acked: Option<Instant>,
}

/// How a connection came to stand, as far as it tells of the path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opening {
    pub(crate) took: Duration,
    pub(crate) rtt: Duration,
    pub(crate) resent: u32,
}

impl Opening {
    /// The round trip. Of one that was sent again the kernel may have measured the pause as well.
    pub(super) fn measured(self) -> Duration {
        let late = self.resent == 1 && self.took > A_SYN * 11 / 10;
        if self.resent == 0 || late { self.rtt } else { Duration::ZERO }
    }
}

impl Case {
    /// The link fell by a silence that nothing has explained yet: the next connection may.
    pub(crate) fn keep_open(&mut self, evidence: &Evidence, now: Instant) {
        if self.is_on() && evidence.unacked != Some(0) {
            let first = self.connection.first.as_ref();
            let before = first.and_then(|first| first.before.clone());
            let first = self.trouble.since.or(first.map(|first| first.at));
            self.open = Some(Box::new(Open {
                evidence: Box::new(evidence.clone()),
                since: now,
                first: first.map(|first| (first, before)),
                is_kept: false,
                is_beside: false,
                beside: self.trouble.beside,
                acked: None,
            }));
        }
    }

    /// The old connection is kept, if it has something to tell.
    pub(crate) fn keep_old(&mut self) -> bool {
        let unacked = |open: &&mut Box<Open>| open.evidence.unacked.is_some_and(|n| n > 0);
        let Some(open) = self.open.as_mut().filter(unacked) else { return false };
        open.evidence.resent_beside.get_or_insert(0);
        true
    }

    /// The next connection stands.
    pub(super) fn on_next_connected(&mut self, now: Instant) {
        let is_old = |open: &mut Box<Open>| now.saturating_duration_since(open.since) > NEXT_LASTS;
        self.open.take_if(is_old);
        if let Some(Open { evidence, .. }) = self.open.as_deref_mut() {
            match evidence.fresh {
                None => {
                    (evidence.fresh, evidence.fresh_is_next) = (Some(Fresh::Connected), Some(true));
                }
                Some(Fresh::Silent) => evidence.path_back = Some(true),
                _ => {}
            }
        }
        self.begin_old_beside();
    }

    /// How it came to stand.
    pub(crate) fn on_opened(&mut self, opening: Opening) {
        self.connection.opening = opening;
        self.path.on_opened(opening.measured());
        let Some(Open { evidence, .. }) = self.open.as_deref_mut() else { return };
        let is_next = evidence.fresh_is_next == Some(true) || evidence.path_back == Some(true);
        if is_next {
            evidence.fresh_took_us = Some(opening.took);
            evidence.fresh_rtt_us = Some(opening.rtt);
            evidence.fresh_resent = Some(opening.resent).filter(|resent| *resent > 0);
        }
    }

    /// An attempt to open the next connection failed; `stood` says that the peer had taken it, and
    /// it was TLS or the login that failed. One that says nothing of the path ends the matter: what
    /// comes after it comes too late.
    pub(crate) fn on_next_failed(
        &mut self,
        loss: &Loss,
        stood: bool,
        now: Instant,
    ) -> Option<Evidence> {
        let mut open = self.open.take()?;
        if open.acked.is_some() && loss.cause == Cause::ConnectTimeout {
            // What was sent has arrived meanwhile: it is not dead, and is to be explained.
            self.open = Some(open);
            return None;
        }
        let fresh = match loss.cause {
            Cause::Refused => Fresh::Refused,
            Cause::ConnectTimeout if stood => Fresh::Failed,
            Cause::ConnectTimeout => Fresh::Silent,
            Cause::Unreachable => Fresh::Unreachable,
            Cause::Prohibited => Fresh::Prohibited,
            Cause::TlsFailed | Cause::LoginRefused => Fresh::Failed,
            _ => return None,
        };
        let evidence = &mut open.evidence;
        if let Some((first, _)) = &open.first {
            evidence.silent_us = Some(now.saturating_duration_since(*first));
        }
        if fresh == Fresh::Silent {
            evidence.next_silent = Some(evidence.next_silent.unwrap_or(0) + 1);
        }
        if matches!(evidence.fresh, None | Some(Fresh::Silent)) {
            (evidence.fresh, evidence.fresh_is_next) = (Some(fresh), Some(true));
        }
        let told = (**evidence).clone();
        // Whatever was said ends it; silence goes on.
        self.open = Some(open).filter(|_| fresh == Fresh::Silent);
        Some(told)
    }

    /// Whether a death by silence waits to be explained by the next connection.
    pub(crate) fn has_open(&self) -> bool {
        self.open.is_some()
    }

    /// The first beat on the next connection has ended.
    pub(crate) fn on_next_beat(&mut self, acked: bool, info: Option<&TcpInfo>) -> Option<Evidence> {
        let mut open = self.open.take()?;
        let evidence = &mut open.evidence;
        evidence.next_missed = evidence.next_missed.or((!acked).then_some(true));
        let is_next = evidence.fresh_is_next == Some(true) && evidence.fresh != Some(Fresh::Silent);
        let is_news = is_next && evidence.fresh_beat.is_none();
        // Until the kernel has sent it again nobody knows that it was lost.
        let early = evidence.fresh_resent.unwrap_or(0) + 2;
        let is_early = info.is_some_and(|info| info.unacked > 0 && info.total_retransmits < early);
        let is_news = is_news && (acked || !is_early);
        if is_news {
            evidence.fresh_beat = Some(match (acked, info.map(|info| info.unacked)) {
                (true, _) => Carried::Answered,
                (_, Some(0)) => Carried::Acked,
                (_, Some(_)) => Carried::Unacked,
                (_, None) => Carried::Unanswered,
            });
        }
        let is_back = acked && evidence.path_back.is_some() && !open.is_kept;
        let told = (is_news || is_back).then(|| (**evidence).clone());
        // The old connection may still have a word in it.
        self.open = Some(open).filter(|open| open.is_kept || told.is_none() && !acked);
        told
    }

    /// A look at the old connection; `reset` says that it has ended by the peer's reset. What that
    /// tells, if it does.
    pub(crate) fn on_old(&mut self, info: &TcpInfo, reset: bool, now: Instant) -> Option<Evidence> {
        let open = self.open.as_mut()?;
        let Some((first, Some(before))) = &open.first else { return None };
        let evidence = &mut open.evidence;
        open.is_kept = true;
        if let Some(acked) = open.acked {
            if now < acked {
                return None;
            }
            // The kernel keeps less of a connection that is over.
            let known = (evidence.resent, evidence.duplicates);
            add_since(evidence, info, before);
            evidence.resent = evidence.resent.max(known.0);
            evidence.duplicates = evidence.duplicates.max(known.1);
            evidence.rtt_us = Some(info.rtt);
            // How long a round trip takes by now, on the next connection.
            evidence.rtt_after_us = self.path.latest().filter(|_| self.connection.stands);
            evidence.old = Some(Old::Acked);
            return Some((**evidence).clone());
        }
        let silent = now.saturating_duration_since(*first);
        evidence.silent_us = Some(silent);
        if info.bytes_acked.zip(before.bytes_acked).is_some_and(|(now, then)| now > then) {
            // When that was the kernel knows better: this thread may have been connecting.
            evidence.silent_us = Some(silent.saturating_sub(info.last_ack_recv));
            let since = info.last_data_sent.saturating_sub(info.last_ack_recv);
            evidence.since_resent_us = Some(since);
            open.acked = Some(now + grace(silent));
            return None;
        }
        if info.state == TcpState::Closed {
            evidence.old = reset.then_some(Old::Reset);
            return reset.then(|| (**evidence).clone());
        }
        // Its end is on its way as well.
        let known = (evidence.tcp_state.take(), evidence.unsent_bytes);
        add_info(evidence, info);
        add_since(evidence, info, before);
        (evidence.tcp_state, evidence.unsent_bytes) = known;
        let answers =
            u32::try_from(self.connection.ledger.answers).ok().filter(|answers| *answers > 0);
        evidence.next_beats =
            answers.filter(|_| self.connection.stands && evidence.fresh_beat.is_some());
        if let Some(beside) = &mut open.beside {
            beside.on_look(info, now);
            evidence.resent_beside = Some(beside.in_vain(info.rtt, now));
        } else if open.is_beside {
            open.beside = Some(Beside::new(info, now));
        }
        Some((**evidence).clone())
    }

    /// A fresh connection was answered while the old one is kept.
    pub(super) fn begin_old_beside(&mut self) {
        let Some(open) = &mut self.open else { return };
        open.is_beside |= is_answered(&open.evidence) || open.evidence.path_back == Some(true);
    }

    /// What is known of the silence that ended the last connection.
    pub(crate) fn open_evidence(&self) -> Option<Evidence> {
        self.open.as_ref().map(|open| (*open.evidence).clone())
    }

    /// What the old connection had sent was acknowledged, and that is to be explained yet.
    pub(crate) fn waits_for_old(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.acked.is_some())
    }

    /// Whether another connection was answered since.
    pub(crate) fn has_next(&self) -> bool {
        let answered = |open: &Open| open.is_beside || open.evidence.fresh_beat.is_some();
        self.open.as_deref().is_none_or(answered)
    }

    /// Nothing more will be known of it.
    pub(crate) fn close_open(&mut self) {
        self.open = None;
    }

    /// What became clear of a pause: it is remembered for the next time, once for each trouble,
    /// however often it is told.
    pub(crate) fn learn(&mut self, diagnosis: &Diagnosis) {
        let Evidence { idle_us, fresh, fresh_beat, .. } = diagnosis.evidence();
        let (Some(idle), Some(_)) = (idle_us, fresh) else { return };
        if diagnosis.confidence() < Confidence::Likely {
            return;
        }
        match diagnosis.cause() {
            Cause::FlowForgotten if !std::mem::replace(&mut self.has_learnt, true) => {
                self.history.forgotten(*idle);
            }
            Cause::FlowDropped if *fresh_beat == Some(Carried::Answered) => {
                self.dropped = Some(*idle);
            }
            _ => {}
        }
    }
}

/// Others were not answered, and the link's own next one was, later: how it came to stand is kept.
pub(super) fn keep_next(evidence: &mut Evidence, before: &Evidence) {
    let was_next = before.fresh_is_next == Some(true) && before.fresh == Some(Fresh::Connected);
    if evidence.fresh == Some(Fresh::Silent) && (was_next || before.path_back == Some(true)) {
        evidence.path_back = Some(true);
        evidence.fresh_rtt_us = before.fresh_rtt_us;
        evidence.fresh_resent = before.fresh_resent;
        evidence.fresh_took_us = before.fresh_took_us.max(evidence.fresh_took_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Diagnose;
    use crate::diagnose::belief::Ledger;

    const S: Duration = Duration::from_secs(1);

    fn fallen(now: Instant) -> Case {
        let mut case = Case::new(Diagnose::kernel(), S, "tcp://10.0.0.5:7000", now);
        case.keep_open(&Evidence::default(), now);
        case
    }

    #[test]
    fn the_next_connection_explains_a_death_at_once_and_not_hours_later() {
        let now = Instant::now();
        for (later, known) in [(S, Some(Carried::Answered)), (3600 * S, None)] {
            let mut case = fallen(now);
            case.on_connected(None, Ledger::default(), now + later);
            let told = case.on_next_beat(true, None);
            assert_eq!(told.and_then(|told| told.fresh_beat), known, "{later:?}");
        }
    }

    #[test]
    fn an_attempt_that_never_left_says_nothing_and_nor_does_what_comes_after_it() {
        let now = Instant::now();
        let mut case = fallen(now);
        assert_eq!(case.on_next_failed(&Cause::NameServerSilent.into(), false, now), None);
        case.on_connected(None, Ledger::default(), now + S);
        assert_eq!(case.on_next_beat(true, None), None, "name server and path came back together");
    }

    #[test]
    fn a_peer_that_took_the_connection_is_no_dead_path() {
        let loss = Loss::from(Cause::ConnectTimeout);
        let failed = |stood| fallen(Instant::now()).on_next_failed(&loss, stood, Instant::now());
        assert_eq!(failed(false).and_then(|told| told.fresh), Some(Fresh::Silent));
        assert_eq!(failed(true).and_then(|told| told.fresh), Some(Fresh::Failed));
    }
}
