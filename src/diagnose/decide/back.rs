//! DECIDES: it was silent and answers again, on the connection on which it was asked. How long the
//! answer took and what had to be sent again meanwhile tell loss, slowness and an outage apart.

use std::time::Duration;

use super::patience::{is_eaten, is_hard, is_known, lost, needless, silent};
use super::{Verdict, likely, possible};
use crate::cause::Cause;
use crate::diagnose::evidence::Evidence;

/// So many segments in a row are not lost by chance on a path that loses one now and then.
const IN_A_ROW: u32 = 3;

/// What was acknowledged so long before the answer came apart from it.
const LATER: Duration = Duration::from_millis(100);

/// A process that takes less may be any that was busy for a moment.
const LONG: Duration = Duration::from_secs(1);

/// And so long no queue throws away everything.
const AN_OUTAGE: Duration = Duration::from_millis(900);

/// What makes one answer late, besides.
const ONCE: [Cause; 3] = [Cause::SlowPath, Cause::PassingOutage, Cause::PeerSilent];

pub(super) fn decide(evidence: &Evidence) -> Verdict {
    let lost = lost(evidence);
    let acked = evidence.acked_ago_us.is_some_and(|ago| ago >= LATER);
    if acked {
        // Its kernel had the beat: it was the answer that took its time, or was lost.
        let by_loss = is_eaten(evidence) || is_hard(evidence) || lost > 0;
        // Hardly late is no reason to accuse anybody.
        let late = evidence.timeout_us.unwrap_or_default() * 3 / 2;
        let by_far = silent(evidence) >= late.max(LONG);
        return match (by_loss, by_far) {
            // An acknowledgement was lost, and then the answer came after all.
            _ if is_eaten(evidence) => likely(Cause::LossyPath, &[Cause::PeerSilent]),
            (true, _) => possible(Cause::LossyPath, &[Cause::PeerSilent]),
            (_, false) => possible(Cause::PeerSilent, &[Cause::LossyPath]),
            (_, true) => likely(Cause::PeerSilent, &[Cause::LossyPath]),
        };
    }
    let lossy = likely(Cause::LossyPath, &[Cause::PassingOutage]);
    // Nothing is known of what was sent again.
    let Some(resent) = evidence.resent else {
        return possible(Cause::SlowPath, &[Cause::LossyPath, Cause::PeerSilent]);
    };
    // It had arrived, or would have been sent again: it was not the path that took its time.
    let rto = evidence.rto_us.is_some_and(|rto| rto < silent(evidence));
    if resent == 0 && rto && !is_measured(evidence) {
        return possible(Cause::PeerSilent, &[Cause::SlowPath, Cause::LossyPath]);
    }
    // What was sent again had arrived before, and it goes on to take as long. Answers alone that
    // were lost for a while look the same, until they come.
    let needless = needless(evidence);
    let by_itself = resent == 0 || needless > 0 && needless * 2 >= resent || is_measured(evidence);
    let goes_on = evidence.rtt_after_us.is_none_or(|after| after >= silent(evidence) / 3);
    if by_itself && goes_on {
        return likely(Cause::SlowPath, &[Cause::LossyPath]);
    }
    if is_known(evidence) {
        return lossy;
    }
    if resent >= IN_A_ROW && silent(evidence) >= AN_OUTAGE {
        return likely(Cause::PassingOutage, &[Cause::LossyPath]);
    }
    // All that was sent arrived: it was late once, or answers alone were lost.
    if by_itself { possible(Cause::LossyPath, &ONCE) } else { lossy }
}

/// The kernel itself has measured a round trip of that length.
fn is_measured(evidence: &Evidence) -> bool {
    evidence.rtt_us.is_some_and(|rtt| rtt >= silent(evidence) / 2)
}

#[cfg(test)]
mod tests {
    use super::super::Confidence;
    use super::*;
    use crate::diagnose::evidence::Stage;

    const MS: Duration = Duration::from_millis(1);

    /// An answer after two seconds, four of a segment that was sent again and not needlessly.
    fn back(change: impl FnOnce(&mut Evidence)) -> (Cause, Confidence) {
        let mut evidence = Evidence {
            word: Some(Cause::AckTimeout),
            stage: Some(Stage::Back),
            timeout_us: Some(1000 * MS),
            silent_us: Some(2000 * MS),
            rtt_us: Some(20 * MS),
            rtt_after_us: Some(21 * MS),
            alone: Some(true),
            resent: Some(4),
            duplicates: Some(0),
            ..Evidence::default()
        };
        change(&mut evidence);
        let verdict = super::super::decide(&evidence);
        (verdict.cause, verdict.confidence)
    }

    #[test]
    fn an_outage_loss_and_slowness_are_told_apart_by_what_was_sent_again() {
        assert_eq!(back(|_| ()), (Cause::PassingOutage, Confidence::Likely));
        assert_eq!(back(|e| e.resent = Some(1)), (Cause::LossyPath, Confidence::Likely));
        assert_eq!(back(|e| e.lossy_beats = Some(3)).0, Cause::LossyPath, "as before");
        let slow = |e: &mut Evidence| (e.duplicates, e.rtt_after_us) = (Some(4), Some(1900 * MS));
        assert_eq!(back(slow), (Cause::SlowPath, Confidence::Likely));
        let quick_again = |e: &mut Evidence| e.duplicates = Some(4);
        assert_ne!(back(quick_again).0, Cause::SlowPath, "the next answer came at once");
        assert_eq!(back(|e| e.resent = None).1, Confidence::Possible, "nobody counted");
    }

    #[test]
    fn what_was_never_sent_again_had_arrived_and_no_path_took_its_time() {
        let hardly = |e: &mut Evidence| {
            (e.resent, e.silent_us, e.rto_us) = (Some(0), Some(1003 * MS), Some(200 * MS));
        };
        assert_eq!(back(hardly), (Cause::PeerSilent, Confidence::Possible));
        let patient = |e: &mut Evidence| {
            hardly(e);
            (e.rto_us, e.rtt_after_us) = (Some(1500 * MS), Some(1000 * MS));
        };
        assert_eq!(back(patient), (Cause::SlowPath, Confidence::Likely), "it would have waited");
    }

    #[test]
    fn a_process_that_paused_is_named_only_if_its_kernel_had_the_beat_and_nothing_was_lost() {
        let paused = |e: &mut Evidence| {
            (e.acked_ago_us, e.resent, e.silent_us) = (Some(1900 * MS), Some(0), Some(1900 * MS));
        };
        assert_eq!(back(paused), (Cause::PeerSilent, Confidence::Likely));
        let hardly = |e: &mut Evidence| {
            paused(e);
            e.silent_us = Some(1100 * MS);
        };
        assert_eq!(back(hardly).1, Confidence::Possible, "hardly late");
        let lossy = |e: &mut Evidence| {
            paused(e);
            e.lossy_beats = Some(1);
        };
        assert_eq!(back(lossy), (Cause::LossyPath, Confidence::Possible), "an answer may be lost");
    }
}
