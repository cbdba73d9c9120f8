//! The next connection of a link as evidence of why the last one died: it goes the same way, to the
//! same address, and costs nobody anything.

use super::Case;
use crate::cause::{Cause, Loss};
use crate::diagnose::diagnosis::Diagnosis;
use crate::diagnose::evidence::{Carried, Evidence, Fresh};
use crate::tcp_info::TcpInfo;

impl Case {
    /// The link fell by a silence that nothing has explained yet: the next connection may.
    pub(crate) fn keep_open(&mut self, evidence: &Evidence) {
        if self.is_on() && evidence.unacked != Some(0) && evidence.fresh.is_none() {
            self.open = Some(Box::new(evidence.clone()));
        }
    }

    /// An attempt to open the next connection failed.
    pub(crate) fn on_next_failed(&mut self, loss: &Loss) -> Option<Evidence> {
        let open = self.open.as_mut().filter(|open| open.fresh.is_none())?;
        open.fresh = Some(match loss.cause {
            Cause::Refused => Fresh::Refused,
            Cause::ConnectTimeout => Fresh::Silent,
            Cause::Unreachable => Fresh::Unreachable,
            Cause::Prohibited => Fresh::Prohibited,
            Cause::TlsFailed | Cause::LoginRefused => Fresh::Failed,
            _ => return None, // it says nothing of the path
        });
        open.fresh_is_next = Some(true);
        self.open.take().map(|open| *open)
    }

    /// The first beat on the next connection has ended.
    pub(crate) fn on_next_beat(&mut self, acked: bool, info: Option<&TcpInfo>) -> Option<Evidence> {
        let open = self.open.as_mut()?;
        if open.fresh_is_next == Some(true) && open.fresh_beat.is_none() {
            open.fresh_beat = Some(match (acked, info.map(|info| info.unacked)) {
                (true, _) => Carried::Answered,
                (_, Some(0)) => Carried::Acked,
                (_, Some(_)) => Carried::Unacked,
                (_, None) => Carried::Unanswered,
            });
            return self.open.take().map(|open| *open);
        }
        self.open = None;
        None
    }

    /// What became clear of a pause: it is remembered for the next time.
    pub(crate) fn learn(&mut self, diagnosis: &Diagnosis) {
        let Evidence { idle_us, fresh, .. } = diagnosis.evidence();
        if let (Cause::FlowForgotten, Some(idle), Some(_)) = (diagnosis.cause(), idle_us, fresh) {
            // Once for each trouble, however often it is told.
            if !std::mem::replace(&mut self.has_learnt, true) {
                self.history.forgotten(*idle);
            }
        }
    }
}
