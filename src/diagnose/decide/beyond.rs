//! DECIDES: what was sent is not acknowledged by anybody. Where it is lost, other connections to
//! the same address tell; without them, only what was learnt from earlier pauses.

use std::time::Duration;

use super::patience::{Dead, as_sure, is_dead, is_dropped, is_hard, is_swallowed, open, opening};
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

/// Others are given up after no more than that.
const A_SLOW_OPENING: Duration = Duration::from_millis(300);

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
            // The others may have been given up too soon; or this one has waited for the path.
            let usual = evidence.beat_rtt_us.unwrap_or_default();
            let long = A_SLOW_OPENING.max(4 * usual);
            if opening(evidence).is_some_and(|round| round >= long) {
                let others = [Cause::PassingOutage, Cause::PathDead, Cause::LossyPath];
                return Some(possible(Cause::SlowPath, &others));
            }
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
        // It was lost once, by chance.
        Some(Carried::Unacked) if evidence.fresh_beat_again == Some(Carried::Answered) => {
            only_this(evidence)
        }
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

#[cfg(test)]
mod tests {
    use super::super::tests::{fresh, of, silence};
    use super::super::{Confidence, decide};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_old_connection_that_came_through_after_all_was_not_dropped() {
        let old = |old, silent: u32| {
            let verdict = decide(&Evidence {
                old: Some(old),
                silent_us: Some(silent * MS),
                ..fresh(Fresh::Connected, Some(Carried::Answered))
            });
            (verdict.cause, verdict.confidence)
        };
        assert_eq!(old(Old::Acked, 3000), (Cause::PassingOutage, Confidence::Likely));
        assert_eq!(old(Old::Reset, 3000), (Cause::PassingOutage, Confidence::Likely));
        assert_eq!(old(Old::Reset, 900), (Cause::PassingOutage, Confidence::Possible));
    }

    #[test]
    fn nobody_answered_and_then_somebody_did() {
        let back = |silent: u32, more| {
            of(|e| {
                (e.fresh, e.path_back) = (Some(Fresh::Silent), Some(true));
                (e.silent_us, e.more_fresh, e.more_answered) = (Some(silent * MS), Some(4), more);
            })
        };
        assert_eq!(back(3000, Some(0)).cause, Cause::PassingOutage);
        assert_eq!(back(3000, Some(0)).confidence, Confidence::Likely);
        assert_eq!(back(900, Some(0)).cause, Cause::AckTimeout, "some lost packets look the same");
        assert_eq!(back(3000, Some(2)).cause, Cause::SomePathsDead, "some were answered before");
    }

    #[test]
    fn a_beat_whose_beginning_passes_is_too_long() {
        let cut = |carried| {
            decide(&Evidence {
                beat_bytes: Some(1200),
                fresh_beat_again: Some(Carried::Unacked),
                fresh_cut: Some(carried),
                ..fresh(Fresh::Connected, Some(Carried::Unacked))
            })
        };
        assert_eq!(
            cut(Carried::Acked),
            likely(Cause::SizeFiltered, &[Cause::PayloadFiltered]).or(Cause::SomePathsDead)
        );
        assert_eq!(cut(Carried::Unacked).confidence, Confidence::Possible);
        assert!(cut(Carried::Unacked).alternatives.contains(&Cause::AllPayloadDropped));
    }

    #[test]
    fn connections_that_stand_one_after_another_and_carry_no_beat_are_filtered_not_dead() {
        let swallowed = |times, rtt: u32| {
            of(|e| {
                (e.next_swallowed, e.opening_rtt_us) = (Some(times), Some(rtt * MS));
            })
        };
        assert_eq!(swallowed(3, 20).cause, Cause::PayloadFiltered);
        assert_eq!(swallowed(3, 20).confidence, Confidence::Possible);
        assert_eq!(swallowed(2, 20).cause, Cause::AckTimeout);
        assert_eq!(swallowed(3, 800).cause, Cause::SlowPath, "no answer can come in time");
    }

    #[test]
    fn a_short_memory_is_believed_once_it_was_seen_twice() {
        let flow = |idle: u32, times| {
            let idle_us = Some(idle * MS);
            let answered = fresh(Fresh::Connected, Some(Carried::Answered));
            let (idle_survived_us, idle_forgotten) = (None, times);
            decide(&Evidence { idle_us, idle_survived_us, idle_forgotten, ..answered }).cause
        };
        assert_eq!(flow(404, None), Cause::FlowDropped);
        assert_eq!(flow(404, Some(2)), Cause::FlowForgotten);
        assert_eq!(flow(5000, None), Cause::FlowForgotten);
        let refused = decide(&Evidence { fresh: Some(Fresh::Refused), ..silence() });
        assert_eq!(refused.cause, Cause::Refused);
    }
}
