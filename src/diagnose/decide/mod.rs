//! DECIDES: from evidence to a verdict, by questions in a fixed order; the first that is answered
//! wins. Pure: the same evidence gives the same verdict, here and now or elsewhere and later.
//!
//! 1. Was this process, or the machine, away? Then nobody is convicted.
//! 2. Did the connection ever stand ([`connect`])? Has it ended ([`end`]), at once or with a word
//!    ([`contact`])? Does it answer again ([`back`])?
//! 3. Did something come, and was not the ack?
//! 4. Is it our own address, interface, route? That sends nothing and comes before what follows,
//!    because a local failure leaves the same errors behind as a router's word.
//! 5. Did a router or firewall say so?
//! 6. What does the kernel know: a closed window, bytes that never left, bytes that were
//!    acknowledged and not answered ([`silence`])?
//! 7. Are many links silent at once?
//! 8. What became of other connections to the same address ([`beyond`])?
//!
//! An answer that accuses somebody needs a silence of some length, and some tries in vain
//! ([`patience`]); until then it stands among what may be.

mod back;
mod beyond;
mod connect;
mod contact;
mod end;
mod patience;
mod silence;
#[cfg(test)]
mod tests;

use super::confidence::Confidence;
use super::evidence::{Evidence, Stage};
use crate::cause::Cause;

/// What the evidence says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) cause: Cause,
    pub(crate) confidence: Confidence,
    pub(crate) alternatives: Vec<Cause>,
}

fn certain(cause: Cause) -> Verdict {
    Verdict { cause, confidence: Confidence::Certain, alternatives: Vec::new() }
}

fn likely(cause: Cause, alternatives: &[Cause]) -> Verdict {
    Verdict { cause, confidence: Confidence::Likely, alternatives: alternatives.to_vec() }
}

fn possible(cause: Cause, alternatives: &[Cause]) -> Verdict {
    Verdict { cause, confidence: Confidence::Possible, alternatives: alternatives.to_vec() }
}

impl Verdict {
    fn or(mut self, alternative: Cause) -> Verdict {
        if !self.alternatives.contains(&alternative) {
            self.alternatives.push(alternative);
        }
        self
    }
}

pub(super) fn decide(evidence: &Evidence) -> Verdict {
    let word = evidence.word.unwrap_or(Cause::AckTimeout);
    if let Some(verdict) = away(evidence) {
        return verdict;
    }
    match evidence.stage.unwrap_or(Stage::Silence) {
        Stage::Connect => connect::decide(evidence, word),
        Stage::End => end::decide(evidence, word),
        Stage::Silence => silence::decide(evidence, word),
        Stage::Warning => warning(evidence, word),
        Stage::Back => back::decide(evidence),
        Stage::Away => certain(word),
    }
}

/// Question 1.
fn away(evidence: &Evidence) -> Option<Verdict> {
    if evidence.suspended_us.is_some() {
        // An end or a silence may have come by itself; one of another word says why it came.
        return match evidence.word {
            _ if evidence.late_us.is_some() => Some(certain(Cause::ResumedFromSleep)),
            Some(
                word @ (Cause::AckTimeout
                | Cause::ClosedByPeer
                | Cause::Reset
                | Cause::KernelGaveUp),
            ) => Some(likely(Cause::ResumedFromSleep, &[word])),
            _ => None,
        };
    }
    evidence.late_us.is_some().then(|| certain(Cause::LocalStall))
}

/// Question 4.
fn local(evidence: &Evidence) -> Option<Verdict> {
    // Without a carrier the address may be gone and the route as well: the root comes first.
    if evidence.carrier == Some(false) {
        return Some(certain(Cause::LinkDown));
    }
    if evidence.address_gone == Some(true) {
        return Some(certain(Cause::LocalAddressGone));
    }
    (evidence.no_route == Some(true)).then(|| certain(Cause::NoLocalRoute))
}

/// It answers, but packets are lost: a warning.
fn warning(evidence: &Evidence, word: Cause) -> Verdict {
    match word {
        // Every beat being hit is a rule; some of them are chance.
        Cause::LossyPath if evidence.resent_beats.is_some_and(|beats| beats >= 6) => {
            possible(Cause::RateLimited, &[Cause::LossyPath])
        }
        Cause::LossyPath => likely(Cause::LossyPath, &[Cause::RateLimited]),
        Cause::Prohibited | Cause::Unreachable => {
            silence::rejected(evidence).unwrap_or(certain(word))
        }
        Cause::PeerNotReading | Cause::QueuedBehindData => {
            // Bytes are on their way, and the window is open.
            let queued = likely(Cause::QueuedBehindData, &[Cause::PeerNotReading]);
            silence::held_up(evidence).unwrap_or(queued)
        }
        _ => certain(word),
    }
}

/// Whether what this evidence shows has been to the peer and back: then it is no trouble of a
/// network that many hosts share.
pub(crate) fn is_path_alive(evidence: &Evidence) -> bool {
    let has_arrived = silence::is_acked(evidence) && evidence.outstanding != Some(0);
    has_arrived
        || matches!(
            decide(evidence).cause,
            Cause::PeerSilent
                | Cause::RepliesFiltered
                | Cause::ConversationSilent
                | Cause::AcceptQueueFull
                | Cause::PeerNotReading
                | Cause::QueuedBehindData
                | Cause::PartialReply
                | Cause::WrongReply
                | Cause::ClosedByPeer
        )
}

/// Whether the later evidence takes back that the earlier had arrived: what is sent behind it is
/// sent again in vain since.
pub(crate) fn is_dead_since(earlier: &Evidence, later: &Evidence) -> bool {
    silence::is_acked(earlier) && silence::has_died_since(later)
}

/// Whether this cause blames somebody for more than a bad path or a slow process: it must not have
/// been so, if the connection is well again by itself.
pub(crate) fn accuses(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::FlowDropped
            | Cause::FlowForgotten
            | Cause::RepliesFiltered
            | Cause::PayloadFiltered
            | Cause::SizeFiltered
            | Cause::AllPayloadDropped
            | Cause::PortFiltered
            | Cause::SomePathsDead
            | Cause::ConversationSilent
            | Cause::AcceptQueueFull
            | Cause::Prohibited
    )
}

/// Whether the evidence says more than what may be.
pub(crate) fn is_sure(evidence: &Evidence) -> bool {
    decide(evidence).confidence >= Confidence::Likely
}
