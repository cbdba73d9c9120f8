//! Whom an inquiry asks beside its own connection: other links, whether they fare alike; and side
//! connections, as long as they harm nobody.

use std::sync::Arc;
use std::time::Instant;

use super::Inquiry;
use crate::cause::Cause;
use crate::diagnose::{Diagnosis, Evidence, Kept, Stage, is_path_alive};
use crate::drive::member::network;
use crate::drive::reporter::Reporter;
use crate::drive::scene::{Allowed, Scene};
use crate::drive::side::Question;
use crate::heartbeat::Heartbeat;

impl Inquiry {
    pub(super) fn count_suspects(
        &mut self,
        evidence: &mut Evidence,
        now: Instant,
        reporter: &mut Reporter,
    ) {
        if is_path_alive(evidence) {
            return;
        }
        let Heartbeat { interval, timeout, fall, .. } = self.heartbeat;
        // Beats are spread over an interval, so that is how far apart links notice.
        let window = interval * 11 / 10 + fall * timeout;
        let silent = evidence.silent_us.unwrap_or_default();
        let Some(count) = self.member.suspect(now, silent, window) else { return };
        (evidence.suspects, evidence.hosts) = (Some(count.suspects), Some(count.hosts));
        evidence.hosts_well = Some(count.well).filter(|well| *well > 0);
        evidence.network = count.network.map(|(host, bits)| network(host, bits));
        if count.is_alarm {
            let all = Evidence {
                word: Some(Cause::AckTimeout),
                stage: Some(Stage::Silence),
                suspects: evidence.suspects,
                hosts: evidence.hosts,
                hosts_well: evidence.hosts_well,
                network: evidence.network.clone(),
                ..Evidence::default()
            };
            reporter.alarm(Arc::new(Diagnosis::of(all)));
        }
    }

    /// Asks for side connections; what becomes of that.
    pub(super) fn ask(&mut self, scene: &mut dyn Scene, evidence: &Evidence, now: Instant) -> Kept {
        let Some(address) = self.case.peer().filter(|_| !self.accepted) else {
            return Kept::Needless;
        };
        let len = evidence.beat_bytes.unwrap_or(0) as usize;
        let connecting = evidence.stage == Some(Stage::Connect);
        // Then nothing is said, and the protocol need not be asked.
        let allowed = if connecting { Ok(Allowed::default()) } else { scene.allowed(len) };
        let allowed = match allowed {
            Ok(allowed) => allowed,
            Err(loss) => {
                self.broken = Some(loss);
                return Kept::Needless;
            }
        };
        let acked = evidence.unacked == Some(0);
        let question = Question {
            link: Arc::clone(&self.handle),
            slot: Arc::clone(&self.slot),
            address,
            allowed,
            heartbeat: self.heartbeat.clone(),
            rtt: evidence
                .beat_rtt_us
                .max(evidence.rtt_us)
                .max(evidence.rtt_lately_us)
                .unwrap_or_default(),
            acked,
            connecting,
            believes: evidence.nonsense.is_none(),
        };
        let kept = match self.shared.sides.ask(question) {
            Ok(()) => Kept::Pending,
            Err(kept) => kept,
        };
        (self.asked, self.asked_acked) = (kept == Kept::Pending, kept == Kept::Pending && acked);
        self.case.on_side_asked(kept, now);
        kept
    }

    /// What a silence leaves behind in which a side connection was made while the peer's kernel
    /// lived. Unless both were served in the end, nobody knows that the second one did no harm:
    /// then it was the last to this peer.
    pub(super) fn spare(&mut self, answered: bool) {
        if !self.asked_acked || self.slot.met().is_none() {
            return;
        }
        if answered && !self.slot.has_stood() {
            self.slot.close_answered(); // its thread knows first
            return;
        }
        let Some(peer) = self.case.peer() else { return };
        // Its thread finds out, or has.
        let both = answered && (self.slot.close_answered() || self.slot.was_served());
        if !both {
            self.shared.sides.spared.add(peer);
        }
    }

    /// Our own side connection was what ended the link's: it was the last, and what it had found is
    /// not believed.
    pub(super) fn leave_alone(&mut self, diagnosis: &Diagnosis) {
        if diagnosis.cause() == Cause::SingleClient {
            self.case.peer().into_iter().for_each(|peer| self.shared.sides.spared.add(peer));
            self.end_silence(false);
        }
    }
}
