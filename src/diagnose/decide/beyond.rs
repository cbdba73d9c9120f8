//! DECIDES: what was sent is not acknowledged by anybody. Where it is lost, other connections to
//! the same address tell; without them, only what was learnt from earlier pauses.

use super::{Verdict, certain, likely, possible};
use crate::cause::Cause;
use crate::diagnose::evidence::{Carried, Evidence, Fresh};
use crate::diagnose::history::PAUSE;

/// With fewer fresh connections from different ports, one dead path among several can look like
/// anything by luck.
const ENOUGH_FRESH: u32 = 4;

/// So many rounds in a row a rate limit would not have swallowed every beat.
const NO_RATE_LIMIT: u32 = 3;

pub(super) fn decide(evidence: &Evidence) -> Verdict {
    if is_mixed(evidence) {
        // One lost SYN in a handful makes a mix as well.
        return likely(Cause::SomePathsDead, &[Cause::LossyPath]);
    }
    let verdict = match evidence.fresh {
        Some(Fresh::Silent) => silent(evidence),
        Some(Fresh::Refused) => likely(Cause::Refused, &[Cause::FlowDropped, Cause::PortFiltered]),
        // The kernel has one number for both.
        Some(Fresh::Unreachable) => likely(Cause::Unreachable, &[Cause::Prohibited]),
        Some(Fresh::Prohibited) => certain(Cause::Prohibited),
        Some(Fresh::Local) => likely(Cause::LocalNetwork, &[Cause::PathDead]),
        Some(Fresh::Connected) => connected(evidence),
        // The address answers. What is sent on it may be lost there as well.
        Some(Fresh::Failed) => possible(
            Cause::FlowDropped,
            &[Cause::FlowForgotten, Cause::AllPayloadDropped, Cause::SizeFiltered],
        ),
        None => alone(evidence),
    };
    // That all of them are silent is no luck. That all are answered may be, where one path of many
    // is dead.
    let all_silent = evidence.more_answered == Some(0);
    let enough = all_silent && evidence.more_fresh.is_some_and(|more| more >= ENOUGH_FRESH);
    if enough { verdict } else { verdict.or(Cause::SomePathsDead) }
}

/// Some of the fresh connections were answered, and some were not.
fn is_mixed(evidence: &Evidence) -> bool {
    let (Some(more), Some(answered)) = (evidence.more_fresh, evidence.more_answered) else {
        return false;
    };
    let some_answered = answered > 0 || evidence.fresh == Some(Fresh::Connected);
    let some_lost = more > answered || evidence.fresh == Some(Fresh::Silent);
    some_answered && some_lost
}

fn silent(evidence: &Evidence) -> Verdict {
    match evidence.closed_port {
        Some(Fresh::Refused | Fresh::Connected) => likely(Cause::PortFiltered, &[]),
        Some(Fresh::Silent) => likely(Cause::PathDead, &[]),
        _ => likely(Cause::PathDead, &[Cause::PortFiltered]),
    }
}

fn connected(evidence: &Evidence) -> Verdict {
    match evidence.fresh_beat {
        Some(Carried::Answered) => only_this(evidence),
        Some(Carried::Unacked) => swallowed(evidence),
        Some(Carried::Acked) => {
            possible(Cause::FlowDropped, &[Cause::PeerSilent, Cause::RepliesFiltered])
        }
        Some(Carried::Unanswered) => possible(
            Cause::PayloadFiltered,
            &[Cause::PeerSilent, Cause::RepliesFiltered, Cause::FlowDropped],
        ),
        Some(Carried::Ended) | None => possible(
            flow(evidence).0,
            &[
                flow(evidence).1,
                Cause::PayloadFiltered,
                Cause::SizeFiltered,
                Cause::AllPayloadDropped,
            ],
        ),
    }
}

/// A fresh connection is answered: a rule against this one, or a firewall that forgot it.
fn only_this(evidence: &Evidence) -> Verdict {
    let (cause, other) = flow(evidence);
    likely(cause, &[other])
}

/// Which of the two is likelier, and the other one. They differ by the pause alone: one that was
/// survived before is no reason to forget.
fn flow(evidence: &Evidence) -> (Cause, Cause) {
    let idle = evidence.idle_us.unwrap_or_default();
    // Beats are jittered by some percent, and so are the pauses between them.
    let survived = evidence.idle_survived_us.is_some_and(|survived| idle <= survived * 11 / 10);
    if survived || idle < PAUSE {
        (Cause::FlowDropped, Cause::FlowForgotten)
    } else {
        (Cause::FlowForgotten, Cause::FlowDropped)
    }
}

/// The beat is lost on a fresh connection as well: what else passes?
fn swallowed(evidence: &Evidence) -> Verdict {
    use Carried::{Acked, Answered, Ended, Unacked};
    match (evidence.fresh_same_length, evidence.fresh_tiny) {
        (Some(Acked | Answered | Ended), _) => {
            let verdict = likely(Cause::PayloadFiltered, &[]);
            let repeated = evidence.misses.is_some_and(|misses| misses >= NO_RATE_LIMIT);
            if repeated { verdict } else { verdict.or(Cause::RateLimited) }
        }
        (Some(Unacked), Some(Acked | Answered | Ended)) => likely(Cause::SizeFiltered, &[]),
        (Some(Unacked), Some(Unacked)) => likely(Cause::AllPayloadDropped, &[]),
        (None, Some(Unacked)) => likely(Cause::AllPayloadDropped, &[]),
        (None, Some(Acked | Answered | Ended)) => {
            likely(Cause::PayloadFiltered, &[Cause::SizeFiltered, Cause::RateLimited])
        }
        _ => possible(
            Cause::PayloadFiltered,
            &[Cause::SizeFiltered, Cause::AllPayloadDropped, Cause::RateLimited],
        ),
    }
}

/// No other connection was made.
fn alone(evidence: &Evidence) -> Verdict {
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
    possible(Cause::AckTimeout, &others)
}
