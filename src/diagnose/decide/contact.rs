//! DECIDES: what a peer's manners tell, before anything is asked about its health: it hung up at
//! once, it said why it ends, it speaks another protocol.

use super::{Verdict, certain, likely};
use crate::cause::Cause;
use crate::diagnose::confidence::Confidence;
use crate::diagnose::evidence::Evidence;
use crate::diagnose::last_words;
use crate::diagnose::service::Service;

/// So often in a row it is no coincidence of a restart.
const REPEATED: u32 = 2;

/// The connection ended with `word`; `otherwise` is what there is to say where the peer's manners
/// tell nothing.
pub(super) fn ended(evidence: &Evidence, word: Cause, otherwise: Verdict) -> Verdict {
    if let Some(verdict) = at_once(evidence, word) {
        return verdict;
    }
    match reason(evidence) {
        Some(confidence) => with_reason(evidence, word, confidence, &otherwise),
        None => otherwise,
    }
}

/// It ended before a word of the peer.
fn at_once(evidence: &Evidence, word: Cause) -> Option<Verdict> {
    let is_first = evidence.first_contact == Some(true);
    let sent = evidence.outstanding.is_some_and(|beats| beats > 0);
    // The bytes were taken before the end; what is closed with bytes unread is reset.
    let read = word == Cause::ClosedByPeer && evidence.unacked == Some(0);
    let dropped = Cause::DroppedAtOnce;
    Some(match (evidence.drops, is_first) {
        // One that heard nothing of ours speaks for those that did.
        (Some(_), _) if !sent || evidence.drops_unsent.is_some() => certain(dropped),
        (Some(REPEATED..), false) => certain(dropped),
        (Some(_), _) if read => certain(word).or(dropped),
        (Some(_), _) => likely(dropped, &[word]),
        // It stood, and ended over the first bytes that came.
        (None, true) if evidence.upon_beat == Some(true) => certain(word),
        (None, _) => return None,
    })
}

/// How sure it is that the peer said why.
fn reason(evidence: &Evidence) -> Option<Confidence> {
    let (said, age) = evidence.said_kind.zip(evidence.said_age_us)?;
    let times = evidence.said_times.unwrap_or_default();
    last_words::weight(said, age, times, evidence.said_first == Some(true))
}

/// It said why, and behind that may be a limit: one that the words name, or one that the clock
/// tells.
fn with_reason(
    evidence: &Evidence,
    word: Cause,
    confidence: Confidence,
    by_clock: &Verdict,
) -> Verdict {
    let text = evidence.said.as_deref().unwrap_or_default();
    let is_limit = |cause: &Cause| matches!(cause, Cause::IdleClosed | Cause::LifetimeClosed);
    let told = last_words::are_about_idling(text).then_some(Cause::IdleClosed);
    let known = [by_clock.cause].into_iter().chain(by_clock.alternatives.iter().copied());
    let unsure = (confidence < Confidence::Certain).then_some(word);
    let others = told.into_iter().chain(known.filter(is_limit)).chain(unsure);
    let verdict = Verdict { confidence, ..certain(Cause::ClosedWithReason) };
    others.fold(verdict, Verdict::or)
}

/// The connection stands, and something came that is no ack.
pub(super) fn answered_otherwise(evidence: &Evidence) -> Option<Verdict> {
    if evidence.service == Some(Service::Echo) {
        return Some(certain(Cause::WrongReply));
    }
    // It greeted as another service does, and never answered a beat: the greeting came before one,
    // where the first beat was held back.
    if evidence.service.is_some() && evidence.first_contact == Some(true) {
        return Some(likely(Cause::WrongReply, &[Cause::PeerSilent]));
    }
    // A part of an ack is told as one.
    let came = evidence.said_since_beat == Some(true) && evidence.partial != Some(true);
    let is_partial = evidence.word == Some(Cause::PartialReply);
    (came && !is_partial).then(|| likely(Cause::WrongReply, &[Cause::PeerSilent]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::diagnose::decide::decide;
    use crate::diagnose::evidence::Stage;
    use crate::diagnose::last_words::Said;

    fn end(word: Cause) -> Evidence {
        let stage = Some(Stage::End);
        Evidence { word: Some(word), stage, outstanding: Some(0), ..Evidence::default() }
    }

    fn told(evidence: &Evidence) -> (Cause, Confidence, Vec<Cause>) {
        let verdict = decide(evidence);
        (verdict.cause, verdict.confidence, verdict.alternatives)
    }

    #[test]
    fn who_hangs_up_before_a_byte_is_a_stand_in_and_who_does_over_our_bytes_may_not_know_them() {
        use Cause::{ClosedByPeer, DroppedAtOnce, Reset};
        use Confidence::{Certain, Likely};
        let first = Some(true);
        for (evidence, right) in [
            (Evidence { drops: Some(1), ..end(ClosedByPeer) }, (DroppedAtOnce, Certain, vec![])),
            (
                Evidence { drops: Some(1), outstanding: Some(1), ..end(Reset) },
                (DroppedAtOnce, Likely, vec![Reset]),
            ),
            (
                Evidence {
                    drops: Some(4),
                    drops_unsent: Some(2),
                    outstanding: Some(1),
                    first_contact: first,
                    upon_beat: first,
                    ..end(Reset)
                },
                (DroppedAtOnce, Certain, vec![]),
            ),
            (
                Evidence { drops: Some(2), outstanding: Some(1), ..end(Reset) },
                (DroppedAtOnce, Certain, vec![]),
            ),
            (
                Evidence {
                    drops: Some(1),
                    outstanding: Some(1),
                    unacked: Some(0),
                    ..end(ClosedByPeer)
                },
                (ClosedByPeer, Certain, vec![DroppedAtOnce]),
            ),
            (
                Evidence {
                    drops: Some(3),
                    outstanding: Some(1),
                    first_contact: first,
                    upon_beat: first,
                    ..end(Reset)
                },
                (DroppedAtOnce, Likely, vec![Reset]),
            ),
            (
                Evidence {
                    drops: Some(1),
                    outstanding: Some(1),
                    unacked: Some(0),
                    first_contact: first,
                    ..end(ClosedByPeer)
                },
                (ClosedByPeer, Certain, vec![DroppedAtOnce]),
            ),
            (
                Evidence {
                    outstanding: Some(1),
                    first_contact: first,
                    upon_beat: first,
                    ..end(Reset)
                },
                (Reset, Certain, vec![]),
            ),
        ] {
            assert_eq!(told(&evidence), right, "{evidence:?}");
        }
    }

    #[test]
    fn what_was_seen_of_it_is_told_in_words() {
        let tell = |evidence| crate::diagnose::Diagnosis::of(evidence).detail().to_owned();
        let dropped = Evidence { drops: Some(3), ..end(Cause::Reset) };
        assert_eq!(tell(dropped), "no byte of the peer came before, for the third time in a row");
        let over = Evidence { upon_beat: Some(true), ..end(Cause::Reset) };
        assert_eq!(tell(over), "it had stood until our first bytes came, and ended over them");
    }

    #[test]
    fn who_resets_a_connect_had_accepted_it() {
        let reset = Evidence { stage: Some(Stage::Connect), ..end(Cause::Reset) };
        assert_eq!(told(&reset), (Cause::DroppedAtOnce, Confidence::Certain, vec![]));
        let in_tls = Evidence { tcp_state: Some("established".to_owned()), ..reset };
        let others = vec![Cause::ResetByMiddlebox, Cause::Reset];
        assert_eq!(told(&in_tls), (Cause::DroppedAtOnce, Confidence::Likely, others));
    }

    #[test]
    fn last_words_are_the_reason_and_name_the_limit_behind_it_where_they_do() {
        let said = |text: &str, kind, age, times| Evidence {
            said: Some(text.to_owned()),
            said_kind: Some(kind),
            said_age_us: Some(Duration::from_millis(age)),
            said_times: Some(times),
            ..end(Cause::ClosedByPeer)
        };
        let with = Cause::ClosedWithReason;
        for (evidence, cause, others) in [
            (said("* BYE Autologout", Said::Closing, 10, 2), with, vec![Cause::IdleClosed]),
            (said("FATAL: shutdown", Said::Closing, 10, 1), with, vec![]),
            (said("see you", Said::Text, 10, 2), with, vec![Cause::ClosedByPeer]),
            (said("220 ready", Said::Greeting, 10, 1), Cause::ClosedByPeer, vec![]),
            (said("see you", Said::Text, 60_000, 2), Cause::ClosedByPeer, vec![]),
        ] {
            let (is, _, alternatives) = told(&evidence);
            assert_eq!((is, alternatives), (cause, others), "{evidence:?}");
        }
        let again = said("421 bye", Said::Closing, 10, 2);
        let again = Evidence { idle_closes: Some(3), ..again };
        assert_eq!(told(&again), (with, Confidence::Certain, vec![Cause::IdleClosed]));
        let reset = Evidence { word: Some(Cause::Reset), ..said("421 bye", Said::Closing, 10, 2) };
        assert_eq!(decide(&reset).cause, with);
    }

    #[test]
    fn bytes_that_are_no_ack_are_no_silence() {
        let silence = |word| Evidence {
            word: Some(word),
            stage: Some(Stage::Silence),
            outstanding: Some(1),
            unacked: Some(0),
            unsent_bytes: Some(0),
            acked_ago_us: Some(Duration::from_secs(1)),
            ..Evidence::default()
        };
        let came = |word| Evidence { said_since_beat: Some(true), ..silence(word) };
        assert_eq!(decide(&silence(Cause::AckTimeout)).cause, Cause::PeerSilent);
        let wrong = (Cause::WrongReply, Confidence::Likely, vec![Cause::PeerSilent]);
        assert_eq!(told(&came(Cause::AckTimeout)), wrong);
        assert_eq!(decide(&came(Cause::PartialReply)).cause, Cause::PartialReply);
        let echo = Evidence { service: Some(Service::Echo), ..came(Cause::PartialReply) };
        assert_eq!(told(&echo), (Cause::WrongReply, Confidence::Certain, vec![]));
    }
}
