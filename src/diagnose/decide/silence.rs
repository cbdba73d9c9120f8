//! DECIDES: the connection stands, and what was due did not come.

use std::net::SocketAddr;
use std::time::Duration;

use super::beyond::LONG;
use super::connect::many_at_once;
use super::patience::{
    is_answer_overdue, is_eaten, is_eaten_again, is_hard, lost, open, opening, silent,
};
use super::{Verdict, beyond, certain, contact, likely, local, possible};
use crate::cause::Cause;
use crate::diagnose::evidence::{Carried, Evidence, Fresh};
use crate::transport::Transport;

/// So many timeouts in a row are no chance, unless half of the packets are lost.
const IN_VAIN: u8 = 4;

/// So long an answer may take where others are answered at once.
const A_TURN: Duration = Duration::from_millis(1500);

/// The word of the kernel for a connection whose peer has closed.
const CLOSE_WAIT: &str = "close-wait";

pub(super) fn decide(evidence: &Evidence, word: Cause) -> Verdict {
    if evidence.tcp_state.as_deref() == Some(CLOSE_WAIT) {
        return certain(Cause::ClosedByPeer);
    }
    if let Some(verdict) = contact::answered_otherwise(evidence) {
        return verdict;
    }
    if word == Cause::PartialReply || evidence.partial == Some(true) {
        return certain(Cause::PartialReply);
    }
    if word == Cause::WriteStalled {
        return certain(Cause::WriteStalled);
    }
    let questions = [
        own_side,
        rejected,
        held_up,
        not_transmitted,
        own_queue,
        too_large,
        slow,
        not_answered,
        many_at_once,
        unseen,
    ];
    let answer = questions.iter().find_map(|question| question(evidence));
    answer.unwrap_or_else(|| beyond::decide(evidence))
}

/// Nothing is seen of a followed connection, and where there is no network none is to blame.
fn unseen(evidence: &Evidence) -> Option<Verdict> {
    let others = [Cause::PeerSilent, Cause::PathDead, Cause::FlowForgotten];
    Some(match evidence.transport? {
        Transport::Tcp | Transport::Tls => possible(Cause::AckTimeout, &others),
        Transport::Serial | Transport::Pipe | Transport::Other => possible(Cause::AckTimeout, &[]),
    })
}

/// Question 4. What the peer's kernel has acknowledged went out and came back, whatever our own
/// side looks like: an address may stand on an interface that its packets do not take, and the
/// route may be one that only this socket has.
fn own_side(evidence: &Evidence) -> Option<Verdict> {
    if is_acked(evidence) && evidence.outstanding != Some(0) { None } else { local(evidence) }
}

/// All that was written was acknowledged, or the beat and all before it.
pub(super) fn is_acked(evidence: &Evidence) -> bool {
    let all = evidence.unacked == Some(0) && evidence.unsent_bytes == Some(0);
    all || evidence.beat_acked == Some(true) && !has_died_since(evidence)
}

/// What was written behind the beat is sent again in vain: the path died between the beat and its
/// answer, and a living kernel acknowledges all that comes.
pub(super) fn has_died_since(evidence: &Evidence) -> bool {
    evidence.unacked.is_some_and(|segments| segments > 0)
        && evidence.retransmits.is_some_and(|times| times >= IN_VAIN)
}

/// Question 5. The kernel has one number for a router that cannot reach a host, one that forbids to
/// and packets that go in circles. What a connect has read of type and code tells; without it, only
/// that the kernel takes its doubled timeout back for the first (RFC 6069).
pub(super) fn rejected(evidence: &Evidence) -> Option<Verdict> {
    let errno = i32::try_from(evidence.icmp_errno?).ok()?;
    let (sent_again, backoff) = (evidence.retransmits.unwrap_or(0), evidence.backoff.unwrap_or(0));
    // The count of timeouts ends at 255 and begins anew: after a minute in which each doubling was
    // taken back. What was sent as a loss probe doubles nothing, either.
    let sent_in_all = evidence.resent.unwrap_or(0);
    let taken_back = backoff < sent_again || u32::from(backoff) + 2 < sent_in_all;
    Some(match (errno, evidence.fresh) {
        (_, Some(Fresh::Prohibited)) => certain(Cause::Prohibited),
        (libc::ECONNREFUSED | libc::EACCES | libc::EPERM, _) => certain(Cause::Prohibited),
        (_, Some(Fresh::Unreachable)) if evidence.icmp_type.is_some() => {
            certain(Cause::Unreachable)
        }
        _ if taken_back && evidence.icmp_again == Some(true) => certain(Cause::Unreachable),
        _ if taken_back => likely(Cause::Unreachable, &[Cause::Prohibited]),
        // There a prohibition has an error of its own. What is left is a router that reaches no
        // further; and of its words the kernel takes only `no route` for a reason to undo.
        _ if is_over_v6(evidence) => certain(Cause::Unreachable),
        _ => possible(Cause::Unreachable, &[Cause::Prohibited]),
    })
}

fn is_over_v6(evidence: &Evidence) -> bool {
    let peer = evidence.peer.as_deref().and_then(|peer| peer.parse::<SocketAddr>().ok());
    peer.is_some_and(|peer| peer.ip().to_canonical().is_ipv6())
}

/// Question 6: nothing is wrong with the path, the beat waits its turn.
pub(super) fn held_up(evidence: &Evidence) -> Option<Verdict> {
    let (unsent, window) = (evidence.unsent_bytes?, evidence.window_bytes);
    if unsent > 0 && window == Some(0) {
        return Some(certain(Cause::PeerNotReading));
    }
    if evidence.beat_acked == Some(true) {
        return None;
    }
    let ahead = evidence.ahead_bytes.unwrap_or(0);
    let acked = evidence.acked_bytes.unwrap_or(0);
    let moves = acked > 0 && (unsent > 0 || evidence.unacked.unwrap_or(0) > 0);
    (ahead > 0 && moves).then(|| likely(Cause::QueuedBehindData, &[Cause::PeerNotReading]))
}

/// Bytes were written, and none is on its way.
fn not_transmitted(evidence: &Evidence) -> Option<Verdict> {
    let nothing_left = evidence.unacked == Some(0) && evidence.unsent_bytes? > 0;
    if !nothing_left {
        return None;
    }
    // The kernel tries again, as with a closed window, though the window is open.
    Some(match evidence.probes {
        Some(1..) => certain(Cause::NotTransmitted),
        _ => possible(Cause::NotTransmitted, &[Cause::PathDead]),
    })
}

/// It left the connection, and a queue of this machine throws packets away.
fn own_queue(evidence: &Evidence) -> Option<Verdict> {
    let drops = evidence.queue_drops.is_some_and(|drops| drops > 0);
    let waits = drops && !is_acked(evidence);
    waits.then(|| likely(Cause::NotTransmitted, &[Cause::LossyPath, Cause::SlowPath]))
}

/// Segments came, or arrived, while one before them was missing, again and again: the missing one
/// is longer than they are.
fn too_large(evidence: &Evidence) -> Option<Verdict> {
    let gap_in_answer = evidence.out_of_order.is_some_and(|n| n > 0) && is_acked(evidence);
    let long = evidence.beat_bytes.is_some_and(|bytes| bytes > LONG);
    let behind = long && evidence.sacked.is_some_and(|segments| segments > 0);
    let gap_in_beat = behind && evidence.resent.unwrap_or(0) >= 2;
    if !gap_in_answer && !gap_in_beat {
        return None;
    }
    let verdict = likely(Cause::SizeFiltered, &[Cause::LossyPath, Cause::RepliesFiltered]);
    // One that was lost by chance is sent again some times within that.
    Some(if is_gap_lasting(evidence) { verdict } else { open(evidence, &verdict) })
}

fn is_gap_lasting(evidence: &Evidence) -> bool {
    let rtt = evidence.rtt_us.unwrap_or_default();
    let long = if is_hard(evidence) { 3 } else { 1 } * Duration::from_millis(1400) + 4 * rtt;
    silent(evidence) >= long
}

/// The round trip is as long as the timeout, or longer: no answer can come in time.
fn slow(evidence: &Evidence) -> Option<Verdict> {
    let timeout = evidence.timeout_us.filter(|_| !is_acked(evidence))?;
    // Where its own opening was sent again the kernel's average is wrong from the start.
    let late = evidence.late_beats.unwrap_or(0) > 0 && evidence.opening_resent.is_none();
    let average = evidence.rtt_us.filter(|_| late);
    // That of this connection's own opening counts where its first answer does not come, either.
    let own = evidence.opening_rtt_us;
    // Answers may have been late for another reason: of a long round trip the kernel measures an
    // eighth at least into its average.
    let is_measured = |took: &Duration| evidence.rtt_us.is_none_or(|rtt| rtt * 10 >= *took);
    let answers = evidence.answers_us.filter(is_measured);
    let round = handshake(evidence).or(answers.max(average).max(own))?;
    (round >= timeout * 3 / 4).then(|| likely(Cause::SlowPath, &[Cause::LossyPath]))
}

/// The round trip of another connection's opening, made to find that out.
fn handshake(evidence: &Evidence) -> Option<Duration> {
    // After an outage the first one may have waited for the path.
    if evidence.fresh != Some(Fresh::Connected) || evidence.fresh_is_next == Some(true) {
        return None;
    }
    opening(evidence)
}

/// All was acknowledged, and nobody answered.
fn not_answered(evidence: &Evidence) -> Option<Verdict> {
    // Probes of the keepalive are no bytes, and count nowhere else. Where a beat was acknowledged
    // one of them may just be out.
    let asked = evidence.outstanding != Some(0);
    if !is_acked(evidence) || evidence.probes.is_some_and(|probes| probes > u8::from(asked)) {
        return None;
    }
    if !asked {
        // Nothing was asked, so nothing was answered.
        let others = [Cause::PeerSilent, Cause::PathDead, Cause::FlowForgotten];
        return Some(possible(Cause::AckTimeout, &others));
    }
    let verdict = whose_silence(evidence);
    let turn = verdict.cause != Cause::ConversationSilent || silent(evidence) >= A_TURN;
    Some(if turn && is_answer_overdue(evidence) { verdict } else { open(evidence, &verdict) })
}

/// Whose doing it is that a beat was acknowledged and not answered.
fn whose_silence(evidence: &Evidence) -> Verdict {
    let eaten = is_eaten(evidence) && lost(evidence) == 0;
    match (evidence.fresh, evidence.fresh_beat) {
        (_, Some(Carried::Answered)) if eaten => {
            likely(Cause::ConversationSilent, &[Cause::RepliesFiltered])
        }
        // Both were waited for, and one of them came.
        (_, Some(Carried::Answered)) if evidence.fresh_beat_us.is_some() => {
            likely(Cause::SingleClient, &[Cause::ConversationSilent, Cause::PeerSilent])
        }
        // A device for one client may have turned to ours.
        (_, Some(Carried::Answered)) => likely(Cause::ConversationSilent, &[Cause::SingleClient]),
        _ if eaten && is_eaten_again(evidence) => {
            likely(Cause::RepliesFiltered, &[Cause::PeerSilent])
        }
        _ if eaten => possible(Cause::RepliesFiltered, &[Cause::PeerSilent, Cause::LossyPath]),
        (Some(Fresh::Silent), _) if evidence.fresh_again == Some(Fresh::Silent) => {
            likely(Cause::AcceptQueueFull, &[Cause::PeerSilent])
        }
        // One lost packet looks the same.
        (Some(Fresh::Silent), _) => {
            possible(Cause::AcceptQueueFull, &[Cause::PeerSilent, Cause::LossyPath])
        }
        (Some(Fresh::Refused), _) => likely(Cause::PeerSilent, &[]),
        (_, Some(Carried::Acked | Carried::Unanswered)) => {
            likely(Cause::PeerSilent, &[Cause::RepliesFiltered])
        }
        _ => likely(
            Cause::PeerSilent,
            &[Cause::RepliesFiltered, Cause::ConversationSilent, Cause::AcceptQueueFull],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{acked, of};
    use super::super::{Confidence, decide};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn acked_and(change: impl FnOnce(&mut Evidence)) -> (Cause, Confidence) {
        let mut evidence = acked();
        change(&mut evidence);
        let verdict = decide(&evidence);
        (verdict.cause, verdict.confidence)
    }

    #[test]
    fn a_round_trip_as_long_as_the_timeout_is_slow_and_not_dead() {
        let slow = |change: fn(&mut Evidence)| {
            let verdict = of(|e| {
                (e.fresh, e.beat_rtt_us) = (Some(Fresh::Connected), Some(20 * MS));
                change(e);
            });
            (verdict.cause, verdict.confidence)
        };
        let likely = (Cause::SlowPath, Confidence::Likely);
        let handshake = |e: &mut Evidence| {
            (e.fresh_rtt_us, e.fresh_took_us) = (Some(900 * MS), Some(900 * MS));
        };
        assert_eq!(slow(handshake), likely);
        let lost_syn = |e: &mut Evidence| {
            (e.fresh_rtt_us, e.fresh_took_us) = (Some(1020 * MS), Some(1020 * MS));
            e.fresh_resent = Some(1);
        };
        assert_ne!(slow(lost_syn).0, Cause::SlowPath, "a lost SYN is sent again after a second");
        assert_eq!(slow(|e| (e.late_beats, e.rtt_us) = (Some(2), Some(800 * MS))), likely);
        assert_ne!(slow(|e| e.rtt_us = Some(800 * MS)).0, Cause::SlowPath, "no answer was late");
        let measured = |e: &mut Evidence| {
            (e.answers_us, e.rtt_us) = (Some(900 * MS), Some(200 * MS));
        };
        assert_eq!(slow(measured), likely);
        assert_ne!(
            slow(|e| e.answers_us = Some(900 * MS)).0,
            Cause::SlowPath,
            "it was dead before"
        );
        assert_ne!(slow(|e| e.answers_us = Some(600 * MS)).0, Cause::SlowPath);
    }

    #[test]
    fn a_gap_that_lasts_is_a_segment_that_is_too_long() {
        let gap = |silent: u32| {
            acked_and(|e| (e.out_of_order, e.silent_us) = (Some(2), Some(silent * MS)))
        };
        assert_eq!(gap(3000), (Cause::SizeFiltered, Confidence::Likely), "the answer is too long");
        assert_eq!(gap(900), (Cause::AckTimeout, Confidence::Possible), "or one was lost");
        let beat = |bytes| {
            of(|e| (e.beat_bytes, e.sacked, e.resent) = (Some(bytes), Some(1), Some(4))).cause
        };
        assert_eq!(beat(3000), Cause::SizeFiltered);
        assert_ne!(beat(9), Cause::SizeFiltered, "no short beat is too long");
    }

    #[test]
    fn an_unserved_connection_says_little_until_a_second_one_is_not_accepted_either() {
        let silent = |again| acked_and(|e| (e.fresh, e.fresh_again) = (Some(Fresh::Silent), again));
        assert_eq!(silent(None), (Cause::AcceptQueueFull, Confidence::Possible));
        assert_eq!(silent(Some(Fresh::Connected)).1, Confidence::Possible);
        let twice = silent(Some(Fresh::Silent));
        assert_eq!(twice, (Cause::AcceptQueueFull, Confidence::Likely));
    }

    #[test]
    fn a_conversation_is_not_stuck_before_its_turn_and_may_be_our_own_doing() {
        let answered = |silent: u32| {
            let mut evidence = acked();
            (evidence.fresh, evidence.fresh_beat) =
                (Some(Fresh::Connected), Some(Carried::Answered));
            evidence.silent_us = Some(silent * MS);
            decide(&evidence)
        };
        let stuck = answered(3000);
        assert_eq!(stuck, likely(Cause::ConversationSilent, &[Cause::SingleClient]));
        assert_eq!(answered(1200).confidence, Confidence::Possible);
    }

    #[test]
    fn what_arrived_waits_for_nothing_and_our_own_queue_is_no_path() {
        let behind = |acked: Option<bool>| {
            of(|e| {
                (e.ahead_bytes, e.acked_bytes) = (Some(90_000), Some(4_000));
                e.beat_acked = acked;
            })
            .cause
        };
        assert_eq!(behind(None), Cause::QueuedBehindData);
        assert_eq!(behind(Some(true)), Cause::PeerSilent);
        let dropped = of(|e| e.queue_drops = Some(12));
        assert_eq!(dropped.cause, Cause::NotTransmitted);
        assert!(dropped.alternatives.contains(&Cause::LossyPath));
        assert_eq!(acked_and(|e| e.queue_drops = Some(12)).0, Cause::PeerSilent, "it left");
    }

    #[test]
    fn a_path_that_dies_between_a_beat_and_its_answer_is_no_silent_peer() {
        let behind = |retransmits: u8| {
            acked_and(|e| {
                (e.unacked, e.unsent_bytes) = (Some(1), Some(162));
                (e.beat_acked, e.acked_ago_us) = (Some(true), Some(12_500 * MS));
                (e.silent_us, e.misses, e.outstanding) = (Some(12_500 * MS), Some(20), Some(20));
                (e.retransmits, e.backoff) = (Some(retransmits), Some(retransmits));
                e.resent = Some(retransmits.into());
            })
            .0
        };
        assert_eq!(behind(0), Cause::PeerSilent, "the next one has only just gone out");
        assert!(
            ![Cause::PeerSilent, Cause::RepliesFiltered].contains(&behind(17)),
            "{}",
            behind(17)
        );
    }

    #[test]
    fn a_device_that_was_busy_and_then_turned_to_our_second_connection_serves_one() {
        let served = |after: Option<Duration>| {
            acked_and(|e| {
                (e.fresh, e.fresh_beat) = (Some(Fresh::Connected), Some(Carried::Answered));
                (e.fresh_beat_us, e.silent_us) = (after, Some(3000 * MS));
            })
        };
        assert_eq!(served(None), (Cause::ConversationSilent, Confidence::Likely));
        assert_eq!(served(Some(900 * MS)), (Cause::SingleClient, Confidence::Likely));
    }
}
