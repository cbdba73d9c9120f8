//! DECIDES: why a connection that stood has ended. The word of the end is certain; what made it
//! can be more.

use std::time::Duration;

use super::{Verdict, certain, contact, likely, local, silence};
use crate::cause::Cause;
use crate::diagnose::confidence::Confidence;
use crate::diagnose::evidence::{Evidence, Fresh};

/// So often the peer closes after the same pause until that is its rule.
const TWICE: u32 = 2;
const THRICE: u32 = 3;

/// So soon after a side connection of ours was accepted an end is our own doing: some round trips,
/// and what a small device needs to turn from one client to the next.
const OUR_DOING: Duration = Duration::from_millis(300);

pub(super) fn decide(evidence: &Evidence, word: Cause) -> Verdict {
    if let Some(verdict) = own_doing(evidence, word) {
        return verdict;
    }
    match word {
        Cause::ClosedByPeer => contact::ended(evidence, word, closed(evidence)),
        Cause::ClosedWithReason => with_reason(evidence),
        Cause::Reset => contact::ended(evidence, word, reset(evidence)),
        Cause::KernelGaveUp => gave_up(evidence),
        // A soft error that became the last word: our own side leaves the same.
        Cause::Unreachable | Cause::Prohibited => {
            local(evidence).unwrap_or_else(|| silence::rejected(evidence).unwrap_or(certain(word)))
        }
        Cause::WriteStalled => match silence::held_up(evidence) {
            Some(held) => Verdict { alternatives: vec![held.cause], ..certain(word) },
            None => certain(word),
        },
        _ => certain(word),
    }
}

/// The peer's kernel lived, we opened a second connection, and the first one ended.
fn own_doing(evidence: &Evidence, word: Cause) -> Option<Verdict> {
    let age = evidence.side_age_us?;
    let soon = age <= OUR_DOING + 8 * evidence.rtt_us.unwrap_or_default();
    let ended = matches!(word, Cause::ClosedByPeer | Cause::Reset);
    (soon && ended).then(|| likely(Cause::SingleClient, &[word]))
}

fn closed(evidence: &Evidence) -> Verdict {
    if let Some(verdict) = regular(evidence, Cause::ClosedByPeer) {
        return verdict;
    }
    match (evidence.idle_closes, evidence.outstanding) {
        (Some(1), Some(0)) => certain(Cause::ClosedByPeer).or(Cause::IdleClosed),
        _ => certain(Cause::ClosedByPeer),
    }
}

/// The reason that the peer gives is the word. What it may mean stands beside it.
fn with_reason(evidence: &Evidence) -> Verdict {
    let word = Cause::ClosedWithReason;
    regular(evidence, word).map_or(certain(word), |regular| match regular.cause {
        Cause::ClosedWithReason => regular,
        rule => certain(word).or(rule),
    })
}

/// It ended as the ones before, after the same pause or at the same age.
fn regular(evidence: &Evidence, word: Cause) -> Option<Verdict> {
    let by_idle = evidence.idle_closes.filter(|times| *times >= TWICE);
    let by_age = evidence.lifetime_closes.filter(|times| *times >= TWICE);
    let (cause, times) = match (by_idle, by_age) {
        // Nothing tells which of the two it is.
        (Some(_), Some(_)) => {
            return Some(certain(word).or(Cause::IdleClosed).or(Cause::LifetimeClosed));
        }
        (Some(times), None) => (Cause::IdleClosed, times),
        (None, Some(times)) => (Cause::LifetimeClosed, times),
        (None, None) => return None,
    };
    let mut verdict = if times >= THRICE { certain(cause) } else { likely(cause, &[word]) };
    if word == Cause::Reset {
        // Who forgets a connection may say so by a reset, and need not be the peer.
        verdict.confidence = Confidence::Likely;
        verdict = verdict.or(Cause::ResetByMiddlebox);
    }
    Some(verdict)
}

fn reset(evidence: &Evidence) -> Verdict {
    if let Some(verdict) = regular(evidence, Cause::Reset) {
        return verdict;
    }
    // Nothing that the peer does can be here before half a round trip is over.
    let sooner = evidence
        .waited_us
        .zip(evidence.least_rtt_us)
        .is_some_and(|(waited, least)| waited < least / 2);
    let outstanding = evidence.outstanding.is_some_and(|beats| beats > 0);
    // With more of them it may answer an earlier one.
    if evidence.outstanding == Some(1) && sooner {
        return likely(Cause::ResetByMiddlebox, &[Cause::Reset]);
    }
    let reset = certain(Cause::Reset);
    // Where there is no network nobody stands between.
    if evidence.transport.is_some_and(|transport| !transport.is_network()) {
        return reset;
    }
    // It answered a beat after a pause, and the peer still accepts: somebody forgot the flow.
    let after_pause = outstanding && evidence.misses.unwrap_or(0) == 0;
    match evidence.fresh {
        Some(Fresh::Connected) if after_pause => {
            reset.or(Cause::ResetByMiddlebox).or(Cause::FlowForgotten)
        }
        Some(Fresh::Refused) => reset,
        _ => reset.or(Cause::ResetByMiddlebox),
    }
}

/// The kernel sent in vain until it had enough: what a silence would have been, if it is known.
fn gave_up(evidence: &Evidence) -> Verdict {
    let silence = silence::decide(evidence, Cause::AckTimeout);
    if silence.cause == Cause::AckTimeout || silence.confidence == Confidence::Possible {
        return Verdict { cause: Cause::KernelGaveUp, ..silence };
    }
    silence
}

#[cfg(test)]
mod tests {
    use super::super::decide;
    use super::*;
    use crate::diagnose::evidence::Stage;

    #[test]
    fn an_end_right_after_our_own_second_connection_is_our_own_doing() {
        let ended = |word, age: Option<u64>| {
            decide(&Evidence {
                word: Some(word),
                stage: Some(Stage::End),
                side_age_us: age.map(Duration::from_millis),
                rtt_us: Some(Duration::from_millis(10)),
                ..Evidence::default()
            })
        };
        for word in [Cause::ClosedByPeer, Cause::Reset] {
            assert_eq!(ended(word, Some(40)), likely(Cause::SingleClient, &[word]));
            assert_eq!(ended(word, Some(900)).cause, word, "long after it");
            assert_eq!(ended(word, None).cause, word);
        }
        assert_eq!(ended(Cause::WrongReply, Some(40)).cause, Cause::WrongReply);
    }
}
