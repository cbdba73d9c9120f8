//! What the link's own next connection tells of the silence that ended the last one.

use std::time::{Duration, Instant};

use super::Case;
use crate::cause::{Cause, Loss};
use crate::diagnose::diagnosis::Diagnosis;
use crate::diagnose::evidence::{Carried, Evidence, Fresh};
use crate::tcp_info::TcpInfo;

/// Later a path that was dead may have healed.
const NEXT_LASTS: Duration = Duration::from_secs(15);

/// A death by silence that the next connection may explain.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) evidence: Box<Evidence>,
    since: Instant,
}

impl Case {
    /// The link fell by a silence that nothing has explained yet: the next connection may.
    pub(crate) fn keep_open(&mut self, evidence: &Evidence, now: Instant) {
        if self.is_on() && evidence.unacked != Some(0) && evidence.fresh.is_none() {
            self.open = Some(Open { evidence: Box::new(evidence.clone()), since: now });
        }
    }

    /// The next connection stands.
    pub(super) fn on_next_connected(&mut self, now: Instant) {
        let is_old = |open: &mut Open| now.saturating_duration_since(open.since) > NEXT_LASTS;
        self.open.take_if(is_old);
        if let Some(Open { evidence, .. }) = &mut self.open {
            (evidence.fresh, evidence.fresh_is_next) = (Some(Fresh::Connected), Some(true));
        }
    }

    /// An attempt to open the next connection failed; `stood` says that the peer had taken it, and
    /// it was TLS or the login that failed. One that says nothing of the path ends the matter: what
    /// comes after it comes too late.
    pub(crate) fn on_next_failed(&mut self, loss: &Loss, stood: bool) -> Option<Evidence> {
        let mut evidence = self.open.take_if(|open| open.evidence.fresh.is_none())?.evidence;
        evidence.fresh = Some(match loss.cause {
            Cause::Refused => Fresh::Refused,
            Cause::ConnectTimeout if stood => Fresh::Failed,
            Cause::ConnectTimeout => Fresh::Silent,
            Cause::Unreachable => Fresh::Unreachable,
            Cause::Prohibited => Fresh::Prohibited,
            Cause::TlsFailed | Cause::LoginRefused => Fresh::Failed,
            _ => return None,
        });
        evidence.fresh_is_next = Some(true);
        Some(*evidence)
    }

    /// The first beat on the next connection has ended.
    pub(crate) fn on_next_beat(&mut self, acked: bool, info: Option<&TcpInfo>) -> Option<Evidence> {
        let mut evidence = self.open.take()?.evidence;
        if evidence.fresh_is_next != Some(true) || evidence.fresh_beat.is_some() {
            return None;
        }
        evidence.fresh_beat = Some(match (acked, info.map(|info| info.unacked)) {
            (true, _) => Carried::Answered,
            (_, Some(0)) => Carried::Acked,
            (_, Some(_)) => Carried::Unacked,
            (_, None) => Carried::Unanswered,
        });
        Some(*evidence)
    }

    /// What became clear of a pause: it is remembered for the next time, once for each trouble,
    /// however often it is told.
    pub(crate) fn learn(&mut self, diagnosis: &Diagnosis) {
        let Evidence { idle_us, fresh, fresh_beat, .. } = diagnosis.evidence();
        let (Some(idle), Some(_)) = (idle_us, fresh) else { return };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Diagnose;

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
            case.on_connected(None, now + later);
            let told = case.on_next_beat(true, None);
            assert_eq!(told.and_then(|told| told.fresh_beat), known, "{later:?}");
        }
    }

    #[test]
    fn an_attempt_that_never_left_says_nothing_and_nor_does_what_comes_after_it() {
        let now = Instant::now();
        let mut case = fallen(now);
        assert_eq!(case.on_next_failed(&Cause::NameServerSilent.into(), false), None);
        case.on_connected(None, now + S);
        assert_eq!(case.on_next_beat(true, None), None, "name server and path came back together");
    }

    #[test]
    fn a_peer_that_took_the_connection_is_no_dead_path() {
        let loss = Loss::from(Cause::ConnectTimeout);
        let failed = |stood| fallen(Instant::now()).on_next_failed(&loss, stood);
        assert_eq!(failed(false).and_then(|told| told.fresh), Some(Fresh::Silent));
        assert_eq!(failed(true).and_then(|told| told.fresh), Some(Fresh::Failed));
    }
}
