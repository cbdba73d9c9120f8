//! DECIDES: how much silence, and how many tries in vain, it takes until they say something. On a
//! path that loses packets, or whose round trips have grown, everything looks like something else
//! for a while.

use std::time::Duration;

use super::{Verdict, possible};
use crate::cause::Cause;
use crate::diagnose::evidence::{Carried, Evidence, Fresh};

/// So long after the first the kernel sends a SYN again.
const A_SYN: Duration = Duration::from_secs(1);

/// What the peer's kernel waits at least before it sends an answer again. It is not told to us.
const THEIR_TIMEOUT: Duration = Duration::from_millis(200);

/// A path that has lost packets for so many of the last beats loses more.
const LOSSY: u32 = 2;

/// One that has for a fifth of them, three at least, makes everything look like everything.
const VERY_LOSSY: u32 = 3;
const A_FIFTH: u32 = 5;

/// So many fresh connections show how a path is.
const SOME: u32 = 3;

/// One acknowledgement is lost now and then.
const TWICE: u32 = 2;

/// Busy servers pause for some hundred milliseconds now and then.
const A_PAUSE: Duration = Duration::from_millis(450);

/// A step of the round-trip time to two seconds is not rare where queues are long.
const LONGEST_STEP: Duration = Duration::from_millis(2400);

/// So long nobody can tell an outage from some lost packets.
const LEAST_DEAD: Duration = Duration::from_millis(1200);

/// For how long nothing was answered.
pub(super) fn silent(evidence: &Evidence) -> Duration {
    let Evidence { silent_us, waited_us, timeout_us, misses, .. } = evidence;
    silent_us.unwrap_or_else(|| {
        let before = misses.unwrap_or(0).saturating_sub(1);
        waited_us.unwrap_or_default() + timeout_us.unwrap_or_default() * before
    })
}

/// The path has lost packets for some beats, or they came late: what comes now is first of all more
/// of the same.
pub(super) fn is_known(evidence: &Evidence) -> bool {
    evidence.lossy_beats.unwrap_or(0) >= LOSSY || evidence.late_beats.unwrap_or(0) >= LOSSY
}

/// Some beat before this trouble lost packets, or came late: it takes more until anything is said.
pub(super) fn is_hard(evidence: &Evidence) -> bool {
    evidence.lossy_beats.unwrap_or(0) > 0 || evidence.late_beats.unwrap_or(0) > 0
}

/// The path loses so much that nobody is to be blamed for anything on it.
pub(super) fn is_hopeless(evidence: &Evidence) -> bool {
    let lossy = evidence.lossy_beats.unwrap_or(0);
    lossy >= VERY_LOSSY && lossy * A_FIFTH >= evidence.beats_before.unwrap_or(u32::BITS)
}

/// Some packet was lost, on this connection or on another one, or may have been.
fn is_unclean(evidence: &Evidence) -> bool {
    let resent = evidence.fresh_resent.or(evidence.opening_resent).unwrap_or(0) > 0;
    resent || is_hard(evidence) || lost(evidence) > 0 || is_eaten(evidence)
}

/// Segments that were sent again and had not arrived before.
pub(super) fn lost(evidence: &Evidence) -> u32 {
    evidence.resent.unwrap_or(0).saturating_sub(needless(evidence))
}

/// Segments that were sent again although they had arrived. Where the path itself doubles packets,
/// nobody can count those.
pub(super) fn needless(evidence: &Evidence) -> u32 {
    let doubles = evidence.doubled_beats.unwrap_or(0) > 0;
    if doubles { 0 } else { evidence.duplicates.unwrap_or(0) }
}

/// The beat arrived twice, so its first acknowledgement was lost with the answer that it rode on.
/// With more than one segment on the way, a probe for lost ones looks the same.
pub(super) fn is_eaten(evidence: &Evidence) -> bool {
    needless(evidence) > 0 && evidence.alone != Some(false)
}

/// So many times that it is no acknowledgement lost by chance.
pub(super) fn is_eaten_again(evidence: &Evidence) -> bool {
    let beside = evidence.fresh_duplicates.is_some_and(|twice| twice > 0);
    // On a path that has lost nothing yet, and where nothing was answered since, once will do.
    let nothing = evidence.misses.is_some_and(|misses| misses > TWICE)
        && matches!(evidence.fresh_beat, Some(Carried::Acked | Carried::Unanswered))
        && !is_hard(evidence);
    is_eaten(evidence) && (needless(evidence) >= TWICE || beside || nothing)
}

/// The beat was acknowledged: whether an answer that was lost would have been sent again by now,
/// and on a path that loses packets, again and again.
pub(super) fn is_answer_overdue(evidence: &Evidence) -> bool {
    let rto = evidence.rto_us.unwrap_or_default().max(THEIR_TIMEOUT);
    let rtt = evidence.rtt_us.unwrap_or_default();
    if !is_unclean(evidence) {
        // One connection after another was not answered: it is the same pause all the time.
        let goes_on = evidence.next_unanswered.is_some()
            || matches!(evidence.fresh_beat, Some(Carried::Acked | Carried::Unanswered));
        let acked = evidence.acked_ago_us.filter(|_| !goes_on).unwrap_or(silent(evidence));
        return acked >= (rto + 2 * rtt).max(A_PAUSE);
    }
    // One timeout, then two, then four. Where the path was dead for a while, theirs has grown as
    // ours has, and their next try may come as late again.
    let long = match (is_hopeless(evidence), is_hard(evidence)) {
        (true, _) => 63 * rto,
        (_, true) => 15 * rto,
        _ => 7 * rto,
    };
    let acked = evidence.acked_ago_us.unwrap_or(silent(evidence));
    acked >= long.max(silent(evidence).saturating_sub(acked)) + 2 * rtt
}

/// Segments and connections that nobody answered.
fn tries(evidence: &Evidence) -> u32 {
    let Evidence { more_fresh, more_answered, next_silent, .. } = evidence;
    let first = u32::from(evidence.fresh == Some(Fresh::Silent));
    let more = more_fresh.unwrap_or(0).saturating_sub(more_answered.unwrap_or(0));
    // An attempt of the link's own waits for as long as two of the others.
    evidence.resent.unwrap_or(0) + first + more + 2 * next_silent.unwrap_or(0)
}

/// How sure it is that nothing passes at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dead {
    No,
    Perhaps,
    Yes,
}

pub(super) fn is_dead(evidence: &Evidence) -> Dead {
    let (tries, silent) = (tries(evidence), silent(evidence));
    let (enough, long) = match (is_hopeless(evidence), is_hard(evidence)) {
        (true, _) => (16, 4 * LONGEST_STEP),
        (_, true) => (8, 2 * LONGEST_STEP),
        _ => (5, LONGEST_STEP),
    };
    let rtt = evidence.rtt_us.max(evidence.rtt_lately_us).unwrap_or_default();
    // Those that were given up sooner than they could be answered are none.
    if evidence.fresh_took_us.is_some_and(|took| took < rtt * 6 / 5) {
        return Dead::No;
    }
    if tries >= enough && silent >= long.max(4 * rtt) {
        Dead::Yes
    } else if tries >= enough - 1 && silent >= long.max(4 * rtt) / 2 && silent >= LEAST_DEAD {
        Dead::Perhaps
    } else {
        Dead::No
    }
}

/// How sure it is that this connection alone is dead: it was sent again on it while fresh ones were
/// answered. One retransmission may be lost, or still on its way.
pub(super) fn is_dropped(evidence: &Evidence) -> Dead {
    let lost_beside = evidence.fresh_beat == Some(Carried::Unacked);
    let enough = match (is_hopeless(evidence), is_hard(evidence) || lost_beside) {
        (true, _) => 8,
        (_, true) if is_clean_beside(evidence) => 3,
        (_, true) => 4,
        _ if is_clean_beside(evidence) && silent(evidence) >= LONGEST_STEP => 1,
        _ => 2,
    };
    match evidence.resent_beside {
        None => Dead::Perhaps, // it is not told here
        Some(resent) if resent >= enough => Dead::Yes,
        Some(resent) if resent >= (enough / 2).max(1) => Dead::Perhaps,
        Some(_) => Dead::No,
    }
}

/// Connection after connection was answered, or beat after beat on the next one, and none had to be
/// begun again.
fn is_clean_beside(evidence: &Evidence) -> bool {
    let Evidence { more_fresh, more_answered, fresh, fresh_resent, .. } = evidence;
    let all = more_fresh.is_some_and(|more| more >= SOME && *more_answered == Some(more));
    let beats = evidence.next_beats.is_some_and(|beats| beats >= TWICE);
    let well = (all || beats) && evidence.next_missed.is_none();
    well && *fresh == Some(Fresh::Connected) && fresh_resent.is_none()
}

/// The beat was lost on a fresh connection as well: how sure it is that this is no chance.
pub(super) fn is_swallowed(evidence: &Evidence) -> Dead {
    let again = evidence.fresh_beat_again;
    let resent = evidence.resent.unwrap_or(0);
    let enough = if is_hard(evidence) { 8 } else { 3 };
    let passed = evidence.fresh_passed_again != Some(Carried::Unacked);
    match again {
        Some(Carried::Unacked) if resent >= enough && passed => Dead::Yes,
        Some(Carried::Unacked) if silent(evidence) >= LEAST_DEAD => Dead::Perhaps,
        None if silent(evidence) >= LEAST_DEAD && !is_hard(evidence) => Dead::Perhaps,
        _ => Dead::No,
    }
}

/// It is too early for this verdict: what it accuses stands among what may be.
pub(super) fn open(evidence: &Evidence, verdict: &Verdict) -> Verdict {
    let headline = if is_known(evidence) { Cause::LossyPath } else { Cause::AckTimeout };
    let mut others: Vec<_> =
        [verdict.cause].into_iter().chain(verdict.alternatives.clone()).collect();
    others.extend([Cause::LossyPath, Cause::SlowPath, Cause::PassingOutage]);
    let mut seen = Vec::new();
    others.retain(|cause| {
        let is_new = *cause != headline && !seen.contains(cause);
        seen.push(*cause);
        is_new
    });
    possible(headline, &others)
}

/// As sure as that.
pub(super) fn as_sure(evidence: &Evidence, sure: Dead, verdict: Verdict) -> Verdict {
    match sure {
        Dead::Yes => verdict,
        Dead::Perhaps => possible(verdict.cause, &verdict.alternatives).or(Cause::PassingOutage),
        Dead::No => open(evidence, &verdict),
    }
}

/// The round trip of the opening that was measured. Where that was sent again, the kernel cannot
/// tell the answer to the first from that to the second: only the time between them does.
pub(super) fn opening(evidence: &Evidence) -> Option<Duration> {
    let (round, took) = (evidence.fresh_rtt_us?, evidence.fresh_took_us?);
    let usual = 2 * evidence.beat_rtt_us.unwrap_or_default() + Duration::from_millis(100);
    match evidence.fresh_resent.unwrap_or(0) {
        0 => Some(round),
        1 => (took > A_SYN + usual).then_some(round),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{acked, fresh, silence};
    use super::super::{Confidence, decide};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn cause(evidence: &Evidence) -> (Cause, Confidence) {
        let verdict = decide(evidence);
        (verdict.cause, verdict.confidence)
    }

    #[test]
    fn an_answered_connection_beside_late_beats_is_no_filter_until_the_old_one_tried_in_vain() {
        let answered = || fresh(Fresh::Connected, Some(Carried::Answered));
        let beside = |resent| cause(&Evidence { resent_beside: Some(resent), ..answered() });
        assert_eq!(beside(0), (Cause::AckTimeout, Confidence::Possible));
        assert_eq!(beside(1), (Cause::FlowDropped, Confidence::Possible));
        assert_eq!(beside(2), (Cause::FlowDropped, Confidence::Likely));
        let lively = |beats, resent| {
            let (next_beats, resent_beside) = (Some(beats), Some(resent));
            cause(&Evidence { next_beats, resent_beside, ..answered() })
        };
        assert_eq!(lively(1, 1), (Cause::FlowDropped, Confidence::Possible));
        assert_eq!(lively(2, 1), (Cause::FlowDropped, Confidence::Likely), "beat after beat");
        assert_eq!(lively(9, 0).1, Confidence::Possible, "and it has not tried again");
        let limited = |missed| {
            let (next_beats, resent_beside) = (Some(2), Some(1));
            cause(&Evidence { next_beats, resent_beside, next_missed: missed, ..answered() })
        };
        assert_eq!(limited(Some(true)).1, Confidence::Possible, "the next one lost a beat, too");
        let lossy = |lossy, resent| {
            let (lossy_beats, resent_beside) = (Some(lossy), Some(resent));
            cause(&Evidence { lossy_beats, resent_beside, ..answered() })
        };
        assert_eq!(lossy(2, 1), (Cause::LossyPath, Confidence::Possible), "it is known to lose");
        assert_eq!(lossy(2, 2).1, Confidence::Possible);
        assert_eq!(lossy(2, 4), (Cause::FlowDropped, Confidence::Likely));
        assert_eq!(lossy(9, 4).1, Confidence::Possible, "and to lose much");
        assert_eq!(lossy(9, 8), (Cause::FlowDropped, Confidence::Likely));
    }

    #[test]
    fn a_dead_path_takes_time_and_tries_and_more_of_both_where_packets_were_lost_before() {
        let dead = |change: &dyn Fn(&mut Evidence)| {
            let mut evidence = fresh(Fresh::Silent, None);
            change(&mut evidence);
            cause(&evidence)
        };
        assert_eq!(dead(&|_| ()), (Cause::PathDead, Confidence::Likely));
        let brief = dead(&|e| e.silent_us = Some(2000 * MS));
        assert_eq!(brief, (Cause::PathDead, Confidence::Possible), "it may heal");
        let sooner = dead(&|e| e.silent_us = Some(900 * MS));
        assert_eq!(sooner, (Cause::AckTimeout, Confidence::Possible), "round trips may have grown");
        let few = dead(&|e| e.resent = Some(2));
        assert_eq!(few.1, Confidence::Possible, "two segments and a connection");
        let attempts = dead(&|e| (e.resent, e.next_silent) = (Some(2), Some(1)));
        assert_eq!(attempts, (Cause::PathDead, Confidence::Likely), "and the link's own next one");
        let slow = dead(&|e| e.rtt_lately_us = Some(2000 * MS));
        assert_eq!(slow.1, Confidence::Possible, "less than two of its round trips");
        let lossy = |silent: u32, resent| {
            dead(&move |e: &mut Evidence| {
                (e.lossy_beats, e.late_beats) = (Some(1), Some(1));
                (e.silent_us, e.resent) = (Some(silent * MS), Some(resent));
            })
        };
        assert_eq!(lossy(3000, 4).1, Confidence::Possible);
        assert_eq!(lossy(5000, 7), (Cause::PathDead, Confidence::Likely));
        let hasty = dead(&|e| (e.fresh_took_us, e.rtt_us) = (Some(300 * MS), Some(400 * MS)));
        assert_eq!(hasty.1, Confidence::Possible, "it was given up before it could be answered");
    }

    #[test]
    fn a_lost_answer_is_sent_again_before_the_process_is_blamed() {
        let late = |silent: u32, change: &dyn Fn(&mut Evidence)| {
            let mut evidence = Evidence {
                silent_us: Some(silent * MS),
                acked_ago_us: Some(silent * MS),
                fresh: Some(Fresh::Refused),
                ..acked()
            };
            change(&mut evidence);
            cause(&evidence)
        };
        assert_eq!(late(600, &|_| ()), (Cause::PeerSilent, Confidence::Likely));
        assert_eq!(late(400, &|_| ()).1, Confidence::Possible, "busy servers pause as long");
        let lossy = |e: &mut Evidence| e.lossy_beats = Some(1);
        assert_eq!(late(2000, &lossy).1, Confidence::Possible);
        assert_eq!(late(3200, &lossy), (Cause::PeerSilent, Confidence::Likely));
        let again = |change: fn(&mut Evidence)| {
            let brief = |e: &mut Evidence| {
                (e.acked_ago_us, e.fresh) = (Some(100 * MS), None);
                change(e);
            };
            late(600, &brief)
        };
        assert_eq!(again(|_| ()).1, Confidence::Possible, "what was before may have been lost");
        let likely = (Cause::PeerSilent, Confidence::Likely);
        assert_eq!(again(|e| e.next_unanswered = Some(1)), likely, "on one after another");
        let beside =
            again(|e| (e.fresh, e.fresh_beat) = (Some(Fresh::Connected), Some(Carried::Acked)));
        assert_eq!(beside, likely);
        let slow = |e: &mut Evidence| (e.rto_us, e.rtt_us) = (Some(900 * MS), Some(600 * MS));
        assert_eq!(late(1500, &slow).1, Confidence::Possible);
        assert_eq!(late(2200, &slow), (Cause::PeerSilent, Confidence::Likely));
    }

    #[test]
    fn duplicates_prove_a_lost_answer_where_one_segment_was_out_and_the_path_doubles_none() {
        let twice = |change: &dyn Fn(&mut Evidence)| {
            let mut evidence =
                Evidence { duplicates: Some(2), resent: Some(2), alone: Some(true), ..acked() };
            change(&mut evidence);
            cause(&evidence)
        };
        assert_eq!(twice(&|_| ()), (Cause::RepliesFiltered, Confidence::Likely));
        assert_eq!(twice(&|e| e.alone = Some(false)).0, Cause::PeerSilent, "among other data");
        assert_eq!(twice(&|e| e.doubled_beats = Some(1)).0, Cause::PeerSilent, "the path doubles");
        let once = twice(&|e| (e.duplicates, e.resent) = (Some(1), Some(1)));
        assert_eq!(once, (Cause::RepliesFiltered, Confidence::Possible), "lost by chance");
        let beside = twice(&|e| {
            (e.duplicates, e.resent, e.fresh_duplicates) = (Some(1), Some(1), Some(1));
        });
        assert_eq!(beside, (Cause::RepliesFiltered, Confidence::Likely), "on another one as well");
        let nothing = |lossy| {
            twice(&|e| {
                (e.duplicates, e.resent, e.misses) = (Some(1), Some(1), Some(3));
                (e.fresh, e.fresh_beat) = (Some(Fresh::Connected), Some(Carried::Acked));
                e.lossy_beats = lossy;
            })
        };
        assert_eq!(nothing(None), (Cause::RepliesFiltered, Confidence::Likely));
        assert_eq!(nothing(Some(1)).1, Confidence::Possible, "the path loses packets");
        let early = twice(&|e| e.acked_ago_us = Some(700 * MS));
        assert_eq!(early, (Cause::AckTimeout, Confidence::Possible), "or loses");
    }

    #[test]
    fn what_a_path_swallows_it_swallows_again() {
        let again = |beat, passed| {
            cause(&Evidence {
                fresh_same_length: Some(Carried::Acked),
                fresh_beat_again: Some(beat),
                fresh_passed_again: passed,
                ..fresh(Fresh::Connected, Some(Carried::Unacked))
            })
        };
        let likely = (Cause::PayloadFiltered, Confidence::Likely);
        assert_eq!(again(Carried::Unacked, Some(Carried::Acked)), likely);
        assert_eq!(again(Carried::Unacked, None), likely);
        assert_eq!(again(Carried::Unacked, Some(Carried::Unacked)).1, Confidence::Possible);
        let passes = again(Carried::Answered, None);
        assert_eq!(passes, (Cause::FlowDropped, Confidence::Possible), "it was lost by chance");
        assert_eq!(lost(&silence()), 4);
    }
}
