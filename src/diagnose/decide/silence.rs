//! DECIDES: the connection stands, and what was due did not come.

use std::net::SocketAddr;
use std::time::Duration;

use super::connect::many_at_once;
use super::{Verdict, beyond, certain, contact, likely, local, possible};
use crate::cause::Cause;
use crate::diagnose::diagnosis::Confidence;
use crate::diagnose::evidence::{Carried, Evidence, Fresh};
use crate::transport::Transport;

/// The word of the kernel for a connection whose peer has closed.
const CLOSE_WAIT: &str = "close-wait";

/// Who rejects does so at once. A router that asks for a host in vain gives it up after three
/// seconds.
const A_SILENCE: Duration = Duration::from_secs(1);

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
    let questions = [own_side, rejected, held_up, not_transmitted, not_answered, many_at_once];
    if let Some(verdict) = questions.iter().find_map(|question| question(evidence)) {
        return verdict;
    }
    if let Some(transport) = evidence.transport {
        return unseen(transport);
    }
    let verdict = beyond::decide(evidence);
    if is_early(evidence) { less_sure(verdict) } else { verdict }
}

/// Nothing is seen of a followed connection, and where there is no network none is to blame.
fn unseen(transport: Transport) -> Verdict {
    match transport {
        Transport::Tcp | Transport::Tls => {
            let others = [Cause::PeerSilent, Cause::PathDead, Cause::FlowForgotten];
            possible(Cause::AckTimeout, &others)
        }
        Transport::Serial | Transport::Pipe | Transport::Other => possible(Cause::AckTimeout, &[]),
    }
}

/// Question 4. What the peer's kernel has acknowledged went out and came back, whatever our own
/// side looks like: an address may stand on an interface that its packets do not take, and the
/// route may be one that only this socket has.
fn own_side(evidence: &Evidence) -> Option<Verdict> {
    if is_acked(evidence) && evidence.outstanding != Some(0) { None } else { local(evidence) }
}

/// All that was written was acknowledged.
fn is_acked(evidence: &Evidence) -> bool {
    evidence.unacked == Some(0) && evidence.unsent_bytes == Some(0)
}

/// Question 5. What a router says of an address that it cannot reach makes the kernel take its
/// doubled timeout back (RFC 6069), what a firewall says does not.
pub(super) fn rejected(evidence: &Evidence) -> Option<Verdict> {
    let errno = i32::try_from(evidence.icmp_errno?).ok()?;
    let (sent_again, backoff) = (evidence.retransmits.unwrap_or(0), evidence.backoff.unwrap_or(0));
    // The count of timeouts ends at 255 and begins anew: after a minute in which each doubling was
    // taken back. What was sent as a loss probe doubles nothing, either.
    let sent_in_all = evidence.resent.unwrap_or(0);
    let taken_back = backoff < sent_again || u32::from(backoff) + 2 < sent_in_all;
    Some(match errno {
        libc::ECONNREFUSED | libc::EACCES | libc::EPERM => certain(Cause::Prohibited),
        _ if taken_back => certain(Cause::Unreachable),
        // There a prohibition has an error of its own. What is left is a router that reaches no
        // further; and of its words the kernel takes only `no route` for a reason to undo.
        _ if is_over_v6(evidence) => certain(Cause::Unreachable),
        // Said once is not enough: routers say so once a second, and the timeouts in between pass
        // without a word. Nor is it certain then: packets that go in circles look the same.
        _ if evidence.icmp_again == Some(true) => likely(Cause::Prohibited, &[Cause::Unreachable]),
        // First it was silent: that is how a host vanishes whose router gives it up later.
        _ if evidence.icmp_after_us.is_some_and(|after| after >= A_SILENCE) => {
            likely(Cause::Unreachable, &[Cause::Prohibited])
        }
        libc::ENETUNREACH => likely(Cause::Unreachable, &[Cause::Prohibited]),
        _ => likely(Cause::Prohibited, &[Cause::Unreachable]),
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
    // A segment that arrived twice: its first acknowledgement went with the answer it rode on.
    let eaten = evidence.duplicates.unwrap_or(0) > 0;
    Some(match (evidence.fresh, evidence.fresh_beat) {
        (_, Some(Carried::Answered)) if eaten => {
            likely(Cause::ConversationSilent, &[Cause::RepliesFiltered])
        }
        (_, Some(Carried::Answered)) => likely(Cause::ConversationSilent, &[]),
        _ if eaten => likely(Cause::RepliesFiltered, &[Cause::PeerSilent]),
        // Nor does another port answer: it died after the acknowledgement.
        (Some(Fresh::Silent), _) if evidence.closed_port == Some(Fresh::Silent) => {
            likely(Cause::PathDead, &[])
        }
        (Some(Fresh::Silent), _) if evidence.closed_port.is_none() => {
            likely(Cause::AcceptQueueFull, &[Cause::PeerSilent, Cause::PathDead])
        }
        (Some(Fresh::Silent), _) => likely(Cause::AcceptQueueFull, &[Cause::PeerSilent]),
        (Some(Fresh::Refused), _) => likely(Cause::PeerSilent, &[]),
        (_, Some(Carried::Acked | Carried::Unanswered)) => {
            likely(Cause::PeerSilent, &[Cause::RepliesFiltered])
        }
        _ => likely(
            Cause::PeerSilent,
            &[Cause::RepliesFiltered, Cause::ConversationSilent, Cause::AcceptQueueFull],
        ),
    })
}

/// Looked at before the kernel could show much: it sends again after one timeout, then two, and
/// the third is a fact.
fn is_early(evidence: &Evidence) -> bool {
    let (Some(waited), Some(rto)) = (evidence.waited_us, evidence.rto_us) else { return false };
    let rtt = evidence.rtt_us.unwrap_or_default();
    let spoken = (3 * rto).max(4 * rtt + Duration::from_millis(200));
    waited < spoken && evidence.misses.unwrap_or(0) <= 1
}

fn less_sure(verdict: Verdict) -> Verdict {
    let confidence = match verdict.confidence {
        Confidence::Likely => Confidence::Possible,
        same => same,
    };
    Verdict { confidence, ..verdict }
}
