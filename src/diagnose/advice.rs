//! Who should act, and how: the remedy of the cause, with what this evidence knows.

use std::time::Duration;

use super::decide::Verdict;
use super::evidence::{Carried, Evidence};
use super::story::about;
use crate::cause::Cause;

pub(super) fn advise(evidence: &Evidence, verdict: &Verdict) -> String {
    let peer = evidence.peer.as_deref().unwrap_or("the peer");

    match verdict.cause {
        Cause::PayloadFiltered => payload(evidence, peer),
        Cause::SizeFiltered => {
            let size = evidence.beat_bytes.map(|n| format!("{n} bytes")).unwrap_or_default();
            format!(
                "ask whoever runs the network to {peer}: packets with {size} of data are dropped, \
                 tiny ones pass; a wrong MTU, or a firewall that drops by length"
            )
        }
        Cause::AllPayloadDropped => format!(
            "ask whoever runs the firewall: connections to {peer} are opened, and packets with \
             data are dropped"
        ),
        Cause::RateLimited => format!(
            "beat less often, or ask whoever runs the firewall which rate to {peer} it lets pass"
        ),
        Cause::PortFiltered => {
            format!("ask whoever runs the firewall: packets to {peer} are dropped, the host lives")
        }
        Cause::FlowDropped => format!(
            "ask whoever runs the firewall: the packets of this one connection to {peer} are \
             dropped, a fresh one passes"
        ),
        Cause::FlowForgotten => forgotten(evidence, peer),
        Cause::IdleClosed => idle_closed(evidence, peer),
        Cause::Prohibited => {
            format!("ask whoever runs the firewall: it says that {peer} is forbidden")
        }
        Cause::Unreachable => format!("ask whoever runs the network: a router cannot reach {peer}"),
        Cause::RepliesFiltered => format!(
            "ask whoever runs the firewall: the beats reach {peer}, and its answers are dropped"
        ),
        Cause::PeerSilent => format!(
            "look at the process behind {peer}: it hangs or is overloaded, while its kernel answers"
        ),
        Cause::PathDead => format!(
            "ask whoever runs the network: nothing comes back from {peer}; the host itself may be \
             off"
        ),
        Cause::SomePathsDead => format!(
            "ask whoever runs the network: of several paths to {peer} one is dead, a link of a \
             bundle or a router among several"
        ),
        Cause::Refused => {
            format!("start what should listen on {peer}, or correct the address")
        }
        other => other.remedy().to_owned(),
    }
}

fn payload(evidence: &Evidence, peer: &str) -> String {
    let what = match &evidence.beat {
        Some(beat) => format!("the bytes `{beat}`"),
        None => "the bytes of the beat".to_owned(),
    };
    let others = match evidence.fresh_same_length {
        Some(Carried::Acked | Carried::Answered | Carried::Ended) => {
            ", other payloads of the same length pass"
        }
        _ => "",
    };
    format!("ask whoever runs the firewall: packets with {what} to {peer} are dropped{others}")
}

/// Of a limit that was seen at `limit` or sooner, eight tenths are safe.
fn safe(limit: Duration) -> Duration {
    let millis = limit.as_millis() as u64 * 8 / 10;
    if millis < 2000 { Duration::from_millis(millis) } else { Duration::from_secs(millis / 1000) }
}

fn forgotten(evidence: &Evidence, peer: &str) -> String {
    let idle = evidence.forgotten_after_us.or(evidence.idle_us).unwrap_or_default();
    // The moment between connecting and the first beat is no pause.
    let tells = |survived: &Duration| *survived < idle && *survived >= idle / 10;
    let survived = evidence.idle_survived_us.filter(tells);
    let between = match survived {
        Some(survived) => format!("between {} and {} idle", about(survived), about(idle)),
        None => format!("{} idle or less", about(idle)),
    };
    let beat = survived.map_or(safe(idle), |survived| safe(survived).max(safe(idle) / 2));
    format!(
        "beat more often, every {} say: a firewall or NAT before {peer} forgets connections after \
         {between}; or have its memory made longer",
        about(beat)
    )
}

fn idle_closed(evidence: &Evidence, peer: &str) -> String {
    let idle = evidence.idle_us.unwrap_or_default();
    format!(
        "beat more often, every {} say: {peer} closes connections that are idle for {}; or raise \
         its idle limit",
        about(safe(idle)),
        about(idle)
    )
}
