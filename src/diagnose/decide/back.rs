//! DECIDES: it was silent and answers again, on the connection on which it was asked. How long the
//! answer took and what had to be sent again meanwhile tell loss, slowness and an outage apart.

use std::time::Duration;

use super::patience::{is_eaten, is_known, lost, needless, silent};
use super::{Verdict, likely, possible};
use crate::cause::Cause;
use crate::diagnose::evidence::Evidence;

/// So many segments in a row are not lost by chance on a path that loses one now and then.
const IN_A_ROW: u32 = 3;

/// A process that takes less may be any that was busy for a moment.
const LONG: Duration = Duration::from_secs(1);

/// And so long no queue throws away everything.
const AN_OUTAGE: Duration = Duration::from_millis(900);

pub(super) fn decide(evidence: &Evidence) -> Verdict {
    let lost = lost(evidence);
    if evidence.acked_ago_us.is_some() {
        // Its kernel had the beat: it was the answer that took its time, or was lost.
        let by_loss = is_eaten(evidence) || evidence.lossy_beats.unwrap_or(0) > 0 || lost > 0;
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
    // What was sent again had arrived before, and it goes on to take as long. Answers alone that were
    // lost for a while look the same, until they come.
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
    lossy
}

/// The kernel itself has measured a round trip of that length.
fn is_measured(evidence: &Evidence) -> bool {
    evidence.rtt_us.is_some_and(|rtt| rtt >= silent(evidence) / 2)
}
