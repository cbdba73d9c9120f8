//! DECIDES: whom an inquiry asks beside its own connection: other links, whether they fare alike;
//! and side connections, once in a trouble, as long as they harm nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Act, Facts, Inquiry};
use crate::cause::Cause;
use crate::diagnose::decide::is_path_alive;
use crate::diagnose::diagnosis::Diagnosis;
use crate::diagnose::evidence::{Evidence, Kept, Stage};

/// What a link wants to know of the address that is silent.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) address: SocketAddr,
    /// How long the beat is that was not answered.
    pub(crate) beat_bytes: usize,
    /// The longest round trip that was seen lately.
    pub(crate) rtt: Duration,
    /// Whether the kernel of the peer acknowledged the live beat.
    pub(crate) acked: bool,
    /// The connection never came to be: only another port can tell more, and nothing is said on it.
    pub(crate) connecting: bool,
    /// Whether what the kernel here tells is believed.
    pub(crate) believes: bool,
}

/// Hosts that fell silent at about the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suspects {
    pub(crate) suspects: u32,
    pub(crate) hosts: u32,
    /// Those that have answered since the first of them fell silent.
    pub(crate) well: u32,
    /// What the silent ones have in common, and no other host has.
    pub(crate) network: Option<String>,
    /// It is many, or a network, for the first time.
    pub(crate) is_alarm: bool,
}

impl Inquiry {
    pub(super) fn count_suspects(
        &mut self,
        evidence: &mut Evidence,
        now: Instant,
        facts: &mut dyn Facts,
    ) {
        if is_path_alive(evidence) {
            return;
        }
        let silent = evidence.silent_us.unwrap_or_default();
        let Some(count) = facts.suspects(now, silent, self.window) else { return };
        (evidence.suspects, evidence.hosts) = (Some(count.suspects), Some(count.hosts));
        evidence.hosts_well = Some(count.well).filter(|well| *well > 0);
        evidence.network = count.network;
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
            self.acts.push_back(Act::Alarm(Arc::new(Diagnosis::of(all))));
        }
    }

    /// Asks for side connections where they may tell more; whether it did.
    pub(super) fn ask_if_wanted(
        &mut self,
        evidence: &mut Evidence,
        now: Instant,
        facts: &mut dyn Facts,
    ) -> bool {
        let wanted = self.case.wants_side(evidence, now);
        if wanted {
            evidence.side = Some(self.ask(evidence, now, facts));
        }
        wanted
    }

    /// What becomes of the request.
    fn ask(&mut self, evidence: &Evidence, now: Instant, facts: &mut dyn Facts) -> Kept {
        let Some(address) = self.case.peer().filter(|_| !self.connection.accepted) else {
            return Kept::Needless;
        };
        let acked = evidence.unacked == Some(0);
        let Evidence { beat_rtt_us, rtt_us, rtt_lately_us, .. } = evidence;
        let asked = facts.ask(Question {
            address,
            beat_bytes: evidence.beat_bytes.unwrap_or(0) as usize,
            rtt: (*beat_rtt_us).max(*rtt_us).max(*rtt_lately_us).unwrap_or_default(),
            acked,
            connecting: evidence.stage == Some(Stage::Connect),
            believes: evidence.nonsense.is_none(),
        });
        let Some(kept) = asked else { return Kept::Needless };
        let is_pending = kept == Kept::Pending;
        (self.trouble.asked, self.trouble.acked) = (is_pending, is_pending && acked);
        self.case.on_side_asked(kept, now);
        kept
    }

    /// The evidence of silence with what was found since the last time, if there is some.
    pub(super) fn take_found(&mut self, now: Instant, facts: &mut dyn Facts) -> Option<Evidence> {
        if !self.trouble.asked {
            return None;
        }
        self.look_for_intrusion(facts);
        let found = facts.found()?;
        let info = facts.look();
        self.case.on_side(&found, info.as_ref(), now);
        let silence = self.trouble.silence.as_mut()?;
        let evidence = &mut silence.evidence;
        evidence.merge(&found);
        if evidence.side == Some(Kept::Pending) {
            evidence.side = found.side;
        }
        if !silence.is_gone {
            self.case.refresh(evidence, info.as_ref(), now);
        } else if let Some(open) = self.case.open_evidence() {
            **evidence = open;
        } else {
            // It goes on.
            evidence.silent_us = self.case.silent(now);
        }
        Some((**evidence).clone())
    }

    /// Whether a side connection was accepted while the peer's kernel lived.
    pub(super) fn look_for_intrusion(&mut self, facts: &mut dyn Facts) {
        if let Some(met) = facts.met(self.trouble.acked) {
            self.case.on_intruded(met);
        }
    }

    /// Our own side connection was what ended the link's: it was the last, and what it had found is
    /// not believed.
    pub(super) fn leave_alone(&mut self, diagnosis: &Diagnosis) {
        if diagnosis.cause() == Cause::SingleClient {
            self.acts.extend(self.case.peer().map(Act::Spare));
            self.end_trouble(false);
        }
    }
}
