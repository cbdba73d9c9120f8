//! DECIDES: it was silent and answers again, on the connection on which it was asked. How long the
//! answer took and what had to be sent again meanwhile tell loss, slowness and an outage apart.

use std::time::Duration;

use super::patience::{is_eaten, is_hard, lost, silent};
use super::{Verdict, likely, possible};
use crate::cause::Cause;
use crate::diagnose::evidence::Evidence;

/// So many segments in a row are not lost by chance on a path that loses one now and then.
const IN_A_ROW: u32 = 3;

/// And so long no queue throws away everything.
const AN_OUTAGE: Duration = Duration::from_millis(900);

pub(super) fn decide(evidence: &Evidence) -> Verdict {
    let lost = lost(evidence);
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
    // Whatever was sent again had arrived: the kernel has measured how long that took.
    if resent == 0 || has_grown(evidence) {
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

/// Whether a round trip takes about as long now as this answer took. An eighth of each measurement
/// goes into the kernel's average; of what was lost and sent again it measures the last try.
fn has_grown(evidence: &Evidence) -> bool {
    let Some((now, before)) = evidence.rtt_us.zip(evidence.rtt_before_us) else { return false };
    now.saturating_sub(before) * 8 >= silent(evidence) * 6 / 10
}
