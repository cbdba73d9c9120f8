//! DECIDES: why a connection never came to be.

use super::{Verdict, certain, likely, local, possible};
use crate::cause::Cause;
use crate::diagnose::evidence::{Evidence, Fresh};
use crate::pulse::{is_far, is_many};

pub(super) fn decide(evidence: &Evidence, word: Cause) -> Verdict {
    match word {
        // A name is asked of somebody else, whom the own route does not tell about.
        Cause::NameNotResolved | Cause::NameServerSilent => certain(word),
        Cause::ConnectTimeout | Cause::NoLocalRoute | Cause::LocalResources => {
            local(evidence).unwrap_or_else(|| by_itself(evidence, word))
        }
        // The kernel has one number for both, and what a router says has its type and its code.
        Cause::Unreachable if evidence.icmp_type.is_some() => certain(word),
        Cause::Unreachable => {
            local(evidence).unwrap_or_else(|| possible(word, &[Cause::Prohibited]))
        }
        Cause::Prohibited => local(evidence).unwrap_or(certain(word)),
        Cause::TlsFailed if evidence.tls.as_deref() == Some("silent") => handshake(evidence, word),
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
        return handshake(evidence, word);
    }
    match evidence.closed_port {
        Some(Fresh::Refused) => {
            let others = [Cause::AcceptQueueFull, Cause::SomePathsDead, Cause::NotTransmitted];
            likely(Cause::PortFiltered, &others)
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

/// The peer took it, and TLS or the login on it came to no end: the path is alive.
fn handshake(evidence: &Evidence, word: Cause) -> Verdict {
    // The end of what it answered came, and the beginning did not.
    if evidence.out_of_order.is_some_and(|segments| segments > 0) {
        return likely(Cause::SizeFiltered, &[Cause::RepliesFiltered, Cause::LossyPath]);
    }
    Verdict { alternatives: UNANSWERED.to_vec(), ..certain(word) }
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
    let well = evidence.hosts_well.unwrap_or(0);
    if is_many(suspects, hosts, well) {
        return Some(likely(Cause::LocalNetwork, &[Cause::PathDead]));
    }
    let far = evidence.network.is_some() && is_far(suspects, well);
    far.then(|| likely(Cause::FarNetwork, &[Cause::PathDead]))
}

#[cfg(test)]
mod tests {
    use super::super::{Confidence, decide};
    use super::*;
    use crate::diagnose::evidence::Stage;

    fn connect(word: Cause, change: impl FnOnce(&mut Evidence)) -> Verdict {
        let (word, stage) = (Some(word), Some(Stage::Connect));
        let mut evidence = Evidence { word, stage, ..Evidence::default() };
        change(&mut evidence);
        decide(&evidence)
    }

    #[test]
    fn one_number_for_two_words_names_both_unless_type_and_code_were_read() {
        let either = possible(Cause::Unreachable, &[Cause::Prohibited]);
        assert_eq!(connect(Cause::Unreachable, |_| ()), either);
        let read = connect(Cause::Unreachable, |e| (e.icmp_type, e.icmp_code) = (Some(3), Some(1)));
        assert_eq!(read, certain(Cause::Unreachable));
    }

    #[test]
    fn a_handshake_whose_answer_has_a_gap_is_too_long_for_the_path() {
        let gap = |segments| {
            connect(Cause::ConnectTimeout, |e| {
                (e.tcp_state, e.out_of_order) = (Some("established".to_owned()), segments);
            })
        };
        assert_eq!(gap(Some(2)).cause, Cause::SizeFiltered);
        let silent = gap(None);
        assert_eq!((silent.cause, silent.confidence), (Cause::ConnectTimeout, Confidence::Certain));
    }
}
