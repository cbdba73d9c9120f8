//! DECIDES: why a connection never came to be.

use super::{Verdict, certain, likely, local};
use crate::cause::Cause;
use crate::diagnose::evidence::{Evidence, Fresh};

pub(super) fn decide(evidence: &Evidence, word: Cause) -> Verdict {
    match word {
        // A name is asked of somebody else, whom the own route does not tell about.
        Cause::NameNotResolved | Cause::NameServerSilent => certain(word),
        Cause::ConnectTimeout | Cause::NoLocalRoute | Cause::LocalResources => {
            local(evidence).unwrap_or_else(|| by_itself(evidence, word))
        }
        // The kernel has one number for both.
        Cause::Unreachable => local(evidence).unwrap_or_else(|| likely(word, &[Cause::Prohibited])),
        Cause::Prohibited => local(evidence).unwrap_or(certain(word)),
        Cause::TlsFailed if evidence.tls.as_deref() == Some("silent") => {
            Verdict { alternatives: UNANSWERED.to_vec(), ..certain(word) }
        }
        // Who does not accept refuses. So it was accepted, and reset before a byte was sent; or
        // over the first bytes of TLS.
        Cause::Reset if evidence.tcp_state.is_none() => certain(Cause::DroppedAtOnce),
        Cause::Reset => likely(Cause::DroppedAtOnce, &[Cause::ResetByMiddlebox, word]),
        _ => certain(word),
    }
}

fn by_itself(evidence: &Evidence, word: Cause) -> Verdict {
    if word != Cause::ConnectTimeout {
        return certain(word);
    }
    if let Some(verdict) = many_at_once(evidence) {
        return verdict;
    }
    if evidence.tcp_state.is_some() {
        // The peer took it, and the login on it got no answer: the path is alive.
        return Verdict { alternatives: UNANSWERED.to_vec(), ..certain(Cause::ConnectTimeout) };
    }
    match evidence.closed_port {
        Some(Fresh::Refused) => {
            likely(Cause::PortFiltered, &[Cause::AcceptQueueFull, Cause::SomePathsDead])
        }
        // An own firewall may have kept both: of an attempt the kernel does not tell.
        Some(Fresh::Silent) => {
            likely(Cause::PathDead, &[Cause::SomePathsDead, Cause::NotTransmitted])
        }
        // That nothing answered is certain, and is all that is known.
        _ => {
            let others = [
                Cause::PathDead,
                Cause::PortFiltered,
                Cause::AcceptQueueFull,
                Cause::SomePathsDead,
                Cause::NotTransmitted,
            ];
            Verdict { alternatives: others.to_vec(), ..certain(Cause::ConnectTimeout) }
        }
    }
}

/// What may be behind it where the peer took the connection, and what was said first on it got no
/// answer.
const UNANSWERED: [Cause; 5] = [
    Cause::PeerSilent,
    Cause::AcceptQueueFull,
    Cause::AllPayloadDropped,
    Cause::SizeFiltered,
    Cause::RepliesFiltered,
];

/// Question 7.
pub(super) fn many_at_once(evidence: &Evidence) -> Option<Verdict> {
    let (suspects, hosts) = (evidence.suspects?, evidence.hosts?);
    crate::pulse::is_many(suspects, hosts).then(|| likely(Cause::LocalNetwork, &[Cause::PathDead]))
}
