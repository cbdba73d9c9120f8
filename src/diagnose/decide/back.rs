//! DECIDES: it was silent and answers again, on the connection on which it was asked. How long the
//! answer took and what had to be sent again meanwhile tell loss, slowness and an outage apart.

use std::time::Duration;

use super::patience::{is_eaten, is_hard, lost, needless, silent};
use super::{Verdict, likely, possible};
use crate::cause::Cause;
use crate::diagnose::evidence::Evidence;

/// So many segments in a row are not lost by chance on a path that loses one now and then.
const IN_A_ROW: u32 = 3;

/// And so long no queue throws away everything.
const AN_OUTAGE: Duration = Duration::from_millis(900);

pub(super) fn decide(evidence: &Evidence) -> Verdict {
    let (lost, needless) = (lost(evidence), needless(evidence));
    if evidence.was_acked == Some(true) {
        // Its kernel had the beat: it was the answer that took its time, or was lost.
        return match is_eaten(evidence) || evidence.lossy_beats.unwrap_or(0) > 0 || lost > 0 {
            true => possible(Cause::LossyPath, &[Cause::PeerSilent]),
            false => likely(Cause::PeerSilent, &[Cause::LossyPath]),
        };
    }
    let lossy = likely(Cause::LossyPath, &[Cause::PassingOutage]);
    // Nothing is known of what was sent again.
    let Some(resent) = evidence.resent else {
        return possible(Cause::SlowPath, &[Cause::LossyPath, Cause::PeerSilent]);
    };
    // Whatever was sent again had arrived, the last of them perhaps after this; and the kernel has
    // learnt from it how long a round trip takes now.
    if resent == 0 || needless > 0 && lost <= 1 && has_grown(evidence) {
        return likely(Cause::SlowPath, &[Cause::LossyPath]);
    }
    if is_hard(evidence) {
        return lossy;
    }
    if lost >= IN_A_ROW && silent(evidence) >= AN_OUTAGE {
        return likely(Cause::PassingOutage, &[Cause::LossyPath]);
    }
    lossy
}

/// The kernel's timeout covers the round trip that this answer took.
fn has_grown(evidence: &Evidence) -> bool {
    let rto = evidence.rto_us.unwrap_or_default();
    rto >= silent(evidence) * 7 / 10
}
