//! DECIDES: what was sent is not acknowledged by anybody. Where it is lost, other connections to
//! the same address tell; without them, only what was learnt from earlier pauses.

use std::time::Duration;

use super::patience::{Dead, as_sure, is_dead, is_dropped, is_hard, is_swallowed, open};
use super::{Verdict, certain, likely, possible};
use crate::cause::Cause;
use crate::diagnose::evidence::{Carried, Evidence, Fresh, Old};

/// With fewer fresh connections from different ports, one dead path among several can look like
/// anything by luck.
const ENOUGH_FRESH: u32 = 4;

/// So many rounds in a row a rate limit would not have swallowed every beat.
const NO_RATE_LIMIT: u32 = 3;

/// What breaks, or heals, changes once. What goes one way or the other changes back.
const A_MIX: u32 = 2;

/// No firewall forgets sooner, unless it was seen to more than once.
const A_MEMORY: Duration = Duration::from_millis(1500);

/// So many connections in a row do not stand by chance while nothing else passes.
const ENOUGH_SWALLOWED: u32 = 3;

/// Longer beats may be too long for a path, shorter ones hardly.
pub(super) const LONG: u32 = 500;

pub(super) fn decide(evidence: &Evidence) -> Verdict {
    if let Some(verdict) = healed(evidence).or_else(|| mixed(evidence)) {
        return verdict;
    }
    let verdict = match evidence.fresh {
        Some(Fresh::Silent) => silent(evidence),
        Some(Fresh::Refused) => likely(Cause::Refused, &[Cause::FlowDropped, Cause::PortFiltered]),
        // The kernel has one number for both.
        Some(Fresh::Unreachable) => likely(Cause::Unreachable, &[Cause::Prohibited]),
        Some(Fresh::Prohibited) => certain(Cause::Prohibited),
        Some(Fresh::Connected) => connected(evidence),
        // The address answers. What is sent on it may be lost there as well.
        Some(Fresh::Failed) => possible(
            Cause::FlowDropped,
            &[Cause::FlowForgotten, Cause::AllPayloadDropped, Cause::SizeFiltered],
        ),
        // One that never left this machine says nothing of the peer.
        Some(Fresh::Local) | None => alone(evidence),
    };
    // That all of them are silent is no luck. That all are answered may be, where one path of many
    // is dead.
    let all_silent = evidence.more_answered == Some(0);
    let enough = all_silent && evidence.more_fresh.is_some_and(|more| more >= ENOUGH_FRESH);
    if enough { verdict } else { verdict.or(Cause::SomePathsDead) }
}

/// What the old connection had sent was acknowledged once the path was back, or the peer did not
/// know it any more: it was the path that had been away, not the connection.
fn healed(evidence: &Evidence) -> Option<Verdict> {
    match evidence.old {
        Some(Old::Acked) => Some(super::back::decide(evidence)),
        Some(Old::Reset) => {
            let others = [Cause::PathDead, Cause::Reset, Cause::FlowForgotten];
            Some(match is_dead(evidence) {
                Dead::No => possible(Cause::PassingOutage, &others),
                _ => likely(Cause::PassingOutage, &others),
            })
        }
        // Nobody answered, and then somebody did: what was dead was the path, or the host.
        None if evidence.path_back == Some(true) && evidence.more_answered.unwrap_or(0) == 0 => {
            let sure = is_dead(evidence);
            let verdict = likely(Cause::PassingOutage, &[Cause::PathDead, Cause::LossyPath]);
            Some(if sure == Dead::No { open(evidence, &verdict) } else { verdict })
        }
        None => None,
    }
}

/// Some of the fresh connections were answered, and some were not.
fn mixed(evidence: &Evidence) -> Option<Verdict> {
    let (more, answered) = (evidence.more_fresh?, evidence.more_answered?);
    let first_answered = evidence.fresh == Some(Fresh::Connected);
    let some_answered = answered > 0 || first_answered;
    let some_lost = more > answered || evidence.fresh == Some(Fresh::Silent);
    if !some_answered || !some_lost {
        return None;
    }
    let others = [Cause::LossyPath, Cause::PassingOutage];
    // Earlier recordings do not tell the order.
    let changes = evidence.more_changes.unwrap_or(A_MIX);
    Some(if changes >= A_MIX && !is_hard(evidence) && is_dropped(evidence) >= Dead::Perhaps {
        likely(Cause::SomePathsDead, &others)
    } else if changes < A_MIX && !first_answered {
        // First nobody answered, then everybody: it has healed, and what was sent before may come
        // through yet.
        let outage = possible(Cause::PassingOutage, &[Cause::PathDead, Cause::FlowDropped]);
        outage.or(Cause::SomePathsDead).or(Cause::LossyPath)
    } else {
        open(evidence, &possible(Cause::SomePathsDead, &[Cause::PathDead, Cause::FlowDropped]))
    })
}

fn silent(evidence: &Evidence) -> Verdict {
    let dead = is_dead(evidence);
    match evidence.closed_port {
        Some(Fresh::Refused | Fresh::Connected) => {
            let verdict = likely(Cause::PortFiltered, &[]);
            as_sure(evidence, dead, verdict)
        }
        Some(Fresh::Silent) => as_sure(evidence, dead, likely(Cause::PathDead, &[])),
        _ => as_sure(evidence, dead, likely(Cause::PathDead, &[Cause::PortFiltered])),
    }
}

fn connected(evidence: &Evidence) -> Verdict {
    let dropped = is_dropped(evidence);
    match evidence.fresh_beat {
        Some(Carried::Answered) => only_this(evidence),
        Some(Carried::Unacked) => swallowed(evidence),
        Some(Carried::Acked) => {
            let hung = [Cause::PeerSilent, Cause::RepliesFiltered];
            as_sure(evidence, dropped, possible(Cause::FlowDropped, &hung))
        }
        Some(Carried::Unanswered) => possible(
            Cause::PayloadFiltered,
            &[Cause::PeerSilent, Cause::RepliesFiltered, Cause::FlowDropped],
        ),
        Some(Carried::Ended) | None => {
            let (first, second) = flow(evidence);
            let others =
                [second, Cause::PayloadFiltered, Cause::SizeFiltered, Cause::AllPayloadDropped];
            as_sure(evidence, dropped, possible(first, &others))
        }
    }
}

/// A fresh connection is answered: a rule against this one, or a firewall that forgot it; or the
/// path was back when the fresh one was made, and the old one has not tried again since.
fn only_this(evidence: &Evidence) -> Verdict {
    let (cause, other) = flow(evidence);
    as_sure(evidence, is_dropped(evidence), likely(cause, &[other]))
}

/// Which of the two is likelier, and the other one. They differ by the pause alone: one that was
/// survived before is no reason to forget.
fn flow(evidence: &Evidence) -> (Cause, Cause) {
    let idle = evidence.idle_us.unwrap_or_default();
    // Beats are jittered by some percent, and so are the pauses between them.
    let survived = evidence.idle_survived_us.is_some_and(|survived| idle <= survived * 11 / 10);
    let repeated = evidence.idle_forgotten.is_some_and(|times| times >= 2);
    if survived || idle < A_MEMORY && !repeated {
        (Cause::FlowDropped, Cause::FlowForgotten)
    } else {
        (Cause::FlowForgotten, Cause::FlowDropped)
    }
}

/// The beat is lost on a fresh connection as well: what else passes?
fn swallowed(evidence: &Evidence) -> Verdict {
    use Carried::{Acked, Answered, Ended, Unacked};
    let passes = |carried| matches!(carried, Some(Acked | Answered | Ended));
    let long = evidence.beat_bytes.is_some_and(|bytes| bytes > LONG);
    let verdict = match (evidence.fresh_same_length, evidence.fresh_tiny) {
        (same, _) if passes(same) => {
            let verdict = likely(Cause::PayloadFiltered, &[]);
            let repeated = evidence.misses.is_some_and(|misses| misses >= NO_RATE_LIMIT);
            if repeated { verdict } else { verdict.or(Cause::RateLimited) }
        }
        // Its own beginning passes, so it is not the bytes.
        _ if passes(evidence.fresh_cut) => likely(Cause::SizeFiltered, &[Cause::PayloadFiltered]),
        (Some(Unacked), tiny) if passes(tiny) => likely(Cause::SizeFiltered, &[]),
        (Some(Unacked), Some(Unacked)) | (None, Some(Unacked)) => {
            likely(Cause::AllPayloadDropped, &[])
        }
        (None, tiny) if passes(tiny) && long => {
            likely(Cause::SizeFiltered, &[Cause::PayloadFiltered])
        }
        (None, tiny) if passes(tiny) => {
            likely(Cause::PayloadFiltered, &[Cause::SizeFiltered, Cause::RateLimited])
        }
        _ => what_is_lost(evidence),
    };
    as_sure(evidence, is_swallowed(evidence), verdict)
}

/// Beats are lost, and nothing else was tried.
fn what_is_lost(evidence: &Evidence) -> Verdict {
    let long = evidence.beat_bytes.is_some_and(|bytes| bytes > LONG);
    let (first, second) = match long {
        true => (Cause::SizeFiltered, Cause::PayloadFiltered),
        false => (Cause::PayloadFiltered, Cause::SizeFiltered),
    };
    possible(first, &[second, Cause::AllPayloadDropped, Cause::RateLimited])
}

/// No other connection was made.
fn alone(evidence: &Evidence) -> Verdict {
    // Connection after connection stood, and the beat was lost on each.
    let timeout = evidence.timeout_us.unwrap_or_default();
    let quick = evidence.opening_rtt_us.is_some_and(|rtt| 2 * rtt < timeout);
    if quick && evidence.next_swallowed.is_some_and(|n| n >= ENOUGH_SWALLOWED) {
        return what_is_lost(evidence);
    }
    // It went the same way after the same pause before.
    if evidence.idle_forgotten.is_some_and(|times| times >= 2) {
        return likely(Cause::FlowForgotten, &[Cause::FlowDropped, Cause::PathDead]);
    }
    let known = evidence.unacked.is_some();
    let mut others = vec![Cause::PathDead, Cause::PortFiltered];
    let (first, second) = flow(evidence);
    others.extend([first, second]);
    others.extend([Cause::PayloadFiltered, Cause::SizeFiltered, Cause::AllPayloadDropped]);
    if !known {
        // Nor does the kernel say whether it arrived.
        others.insert(0, Cause::PeerSilent);
        others.extend([Cause::RepliesFiltered, Cause::NotTransmitted]);
    }
    open(evidence, &possible(others[0], &others[1..]))
}
