//! Who should act, and how: the remedy of the cause, with what this evidence knows.

mod contact;
mod server_line;

use std::time::Duration;

use super::confidence::Confidence;
use super::decide::Verdict;
use super::evidence::{Carried, Evidence, Kept, Stage};
use super::story::about;
use super::tls;
use crate::cause::Cause;
use crate::transport::Transport;

pub(super) fn advise(evidence: &Evidence, verdict: &Verdict) -> String {
    let peer = evidence.peer.as_deref().unwrap_or("the peer");
    if let Some(advice) = contact::advise(evidence, verdict, peer) {
        return advice;
    }
    if let Some(advice) = evidence.transport.and_then(|transport| unseen(transport, verdict)) {
        return advice.to_owned();
    }
    match verdict.cause {
        Cause::PayloadFiltered => payload(evidence, peer),
        Cause::SizeFiltered if is_of_replies(evidence) => format!(
            "ask whoever runs the network: long packets from {peer} are dropped, short ones pass; \
             a wrong MTU on the way, and nobody hears of it (ICMP)"
        ),
        Cause::SizeFiltered => size(evidence, peer),
        Cause::FlowForgotten => forgotten(evidence, peer),
        Cause::IdleClosed => idle_closed(evidence, peer),
        Cause::SlowPath => slow(evidence, peer),
        Cause::FarNetwork => far(evidence),
        Cause::SingleClient => format!(
            "make no side connections to {peer}: it serves one client at a time, and a second \
             connection of ours disturbed it; none is made to it any more"
        ),
        Cause::Unreachable if evidence.icmp_type.is_none() && is_possible(verdict) => format!(
            "ask whoever runs the network: a router says that {peer} cannot be reached, or may not \
             be; `tcpdump icmp` shows which"
        ),
        Cause::NoLocalRoute
            if evidence.route_errno.is_some_and(|errno| errno as i32 != libc::ENETUNREACH) =>
        {
            "look at the own rules and routes: `ip rule`, `ip route get ADDRESS`".to_owned()
        }
        Cause::LocalAddressGone if evidence.source.is_some() => {
            "look at the own routes: the way to the peer has changed, and this connection still \
             leaves from the old address; a new connection takes the new way"
                .to_owned()
        }
        Cause::LifetimeClosed => lifetime_closed(evidence, peer),
        Cause::ClosedByPeer | Cause::Reset if evidence.lifetime_closes.is_some() => {
            closed_regularly(evidence, peer)
        }
        Cause::ClosedByPeer if evidence.beat_bytes.is_none() => {
            format!("look at the log of {peer}: a restart, or a limit of its own")
        }
        Cause::AckTimeout => not_known(evidence),
        Cause::CertificateExpiring => tls::renew(peer),
        Cause::TlsFailed => {
            tls::advise(evidence, peer).unwrap_or_else(|| of_this_side(Cause::TlsFailed))
        }
        cause => of_the_network(cause, peer)
            .or_else(|| of_the_peer(cause, peer))
            .unwrap_or_else(|| of_this_side(cause)),
    }
}

/// Where nothing is seen of the connection but what carries it.
fn unseen(transport: Transport, verdict: &Verdict) -> Option<&'static str> {
    let silent = verdict.cause == Cause::AckTimeout;
    let broken = matches!(verdict.cause, Cause::Reset | Cause::ClosedByPeer);
    Some(match transport {
        Transport::Serial if silent => {
            "look at the line and the device: is it plugged in, powered and not busy, and do \
             speed, parity and flow control agree on both ends?"
        }
        Transport::Serial if broken => {
            "look at the cable, the adapter and the device: the line is gone; the kernel's log \
             (`dmesg`) says when"
        }
        Transport::Pipe if silent => "look at the process at the other end: it hangs",
        Transport::Pipe if broken => {
            "look at the process at the other end: it has ended, or closed its end"
        }
        Transport::Other if silent => "look at the peer, and at what carries the connection",
        _ => return None,
    })
}

/// For whoever runs what lies between.
fn of_the_network(cause: Cause, peer: &str) -> Option<String> {
    let firewall = |what: &str| format!("ask whoever runs the firewall: {what}");
    let network = |what: &str| format!("ask whoever runs the network: {what}");
    Some(match cause {
        Cause::AllPayloadDropped => firewall(&format!(
            "connections to {peer} are opened, and packets with data are dropped"
        )),
        Cause::RateLimited => {
            firewall(&format!("which rate to {peer} does it let pass? Or beat less often"))
        }
        Cause::PortFiltered => firewall(&format!("packets to {peer} are dropped, the host lives")),
        Cause::FlowDropped => firewall(&format!(
            "the packets of this one connection to {peer} are dropped, a fresh one passes"
        )),
        Cause::Prohibited => firewall(&format!("it says that {peer} is forbidden")),
        Cause::RepliesFiltered => {
            firewall(&format!("the beats reach {peer}, and its answers are dropped"))
        }
        Cause::ResetByMiddlebox => firewall(&format!(
            "the connection to {peer} was reset nearer than {peer}, which may not know of it"
        )),
        Cause::Unreachable => network(&format!("a router cannot reach {peer}")),
        Cause::PathDead => {
            network(&format!("nothing comes back from {peer}; the host itself may be off"))
        }
        Cause::SomePathsDead => network(&format!(
            "of several paths to {peer} one is dead, a link of a bundle or a router among several"
        )),
        Cause::LossyPath => network(&format!("packets to {peer} are lost on the way")),
        Cause::PassingOutage => network(&format!(
            "the path to {peer} was dead for a while, and is alive again; look at what happened \
             there at that time"
        )),
        Cause::ConnectTimeout => network(&format!(
            "nothing answers at {peer}: the host may be off, the route wrong, or a firewall drops"
        )),
        Cause::KernelGaveUp => network(&format!("packets to {peer} were sent again in vain")),
        _ => return None,
    })
}

/// For whoever runs the peer.
fn of_the_peer(cause: Cause, peer: &str) -> Option<String> {
    Some(match cause {
        Cause::PeerSilent => format!(
            "look at the process behind {peer}: it hangs or is overloaded, while its kernel answers"
        ),
        Cause::ConversationSilent => format!(
            "look at the process behind {peer}: it answers others, and this session of it hangs"
        ),
        Cause::AcceptQueueFull => format!(
            "look at the process behind {peer}: it accepts nobody; it hangs, or its backlog is too \
             short"
        ),
        Cause::PeerNotReading => format!("look at the process behind {peer}: it does not read"),
        Cause::ClosedByPeer => format!(
            "look at the log of {peer}: a restart, a limit of its own; where the connection was \
             idle, beat more often"
        ),
        Cause::Reset => format!(
            "look at the log of {peer}: it crashed or restarted; or ask whoever runs the firewall \
             before it"
        ),
        Cause::Refused => format!("start what should listen on {peer}, or correct the address"),
        Cause::WrongReply | Cause::UnaskedBytes => {
            format!("check what listens on {peer}: it speaks another protocol, or is not in step")
        }
        Cause::PartialReply => {
            format!("look at the process behind {peer}: it stopped in the middle of an answer")
        }
        Cause::WriteStalled => format!("look at the process behind {peer}: it does not read"),
        _ => return None,
    })
}

/// For whoever runs this program, and whatever else is the same for everybody.
fn of_this_side(cause: Cause) -> String {
    match cause {
        Cause::LinkDown => "look at the own interface, its cable or its switch".to_owned(),
        Cause::LocalAddressGone => {
            "look at the own network settings: the address of this connection was taken away; a \
             new connection has another"
                .to_owned()
        }
        Cause::NoLocalRoute => "look at the own routes: `ip route get ADDRESS`".to_owned(),
        Cause::NotTransmitted => {
            "look at this machine's own firewall (`nft list ruleset`) and queues (`tc -s qdisc`)"
                .to_owned()
        }
        Cause::LocalNetwork => {
            "look at the own uplink, or at what all these connections share; the peers are not to \
             blame"
                .to_owned()
        }
        Cause::LocalStall => {
            "give this process more room: it was stopped, starved or swapped out".to_owned()
        }
        Cause::NameNotResolved
        | Cause::NameServerSilent
        | Cause::TlsFailed
        | Cause::ProxyFailed
        | Cause::BadStatus
        | Cause::LoginRefused
        | Cause::PermissionMissing
        | Cause::LocalResources
        | Cause::ProtocolPanicked => format!("check {}", cause.remedy()),
        other => other.remedy().to_owned(),
    }
}

fn is_possible(verdict: &Verdict) -> bool {
    verdict.confidence == Confidence::Possible
}

/// Whether it is the answers that are too long.
fn is_of_replies(evidence: &Evidence) -> bool {
    evidence.out_of_order.is_some_and(|segments| segments > 0)
}

/// With the timeout that would do.
fn slow(evidence: &Evidence, peer: &str) -> String {
    let round = [evidence.fresh_rtt_us, evidence.rtt_us].into_iter().flatten().max();
    let late = evidence.silent_us.filter(|_| evidence.stage == Some(Stage::Back));
    let seen = late.into_iter().chain(round).max().unwrap_or_default();
    let wanted = (2 * seen).max(evidence.timeout_us.unwrap_or_default() * 3 / 2);
    format!(
        "wait longer, {} say: an answer of {peer} takes {}; or look at what fills or lengthens the \
         path",
        about(Duration::from_millis(wanted.as_millis() as u64 / 100 * 100 + 100)),
        about(seen)
    )
}

fn far(evidence: &Evidence) -> String {
    let network = evidence.network.as_deref().unwrap_or("their network");
    format!(
        "look at what these hosts share, a router or a switch before {network}: others answer, so \
         it is not the own uplink"
    )
}

/// Nothing tells the alternatives apart.
fn not_known(evidence: &Evidence) -> String {
    let allow = match evidence.side {
        Some(Kept::Off) => "allow side connections, or ",
        _ => "",
    };
    format!(
        "{allow}look at the path and the peer by hand: `ss -tino` shows whether the beat was \
         acknowledged"
    )
}

fn size(evidence: &Evidence, peer: &str) -> String {
    let size = evidence.beat_bytes.map_or_else(String::new, |n| format!(" with {n} bytes of data"));
    format!(
        "ask whoever runs the network: packets to {peer}{size} are dropped, tiny ones pass; a \
         wrong MTU, or a firewall that drops by length"
    )
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

/// A limit below that is rare, and is believed when it was seen twice.
const A_SHORT_MEMORY: Duration = Duration::from_millis(2500);

fn forgotten(evidence: &Evidence, peer: &str) -> String {
    let idle = evidence.forgotten_after_us.or(evidence.idle_us).unwrap_or_default();
    // Between two beats in a row there is hardly a pause.
    let pause = Duration::from_millis(100)..idle;
    let survived = evidence.idle_survived_us.filter(|survived| pause.contains(survived));
    let once = evidence.idle_forgotten.unwrap_or(1) < 2 && idle < A_SHORT_MEMORY;
    let between = match survived {
        Some(survived) => format!("between {} and {} idle", about(survived), about(idle)),
        None => format!("{} idle or less", about(idle)),
    };
    if once {
        return format!(
            "beat more often than every {}: a firewall or NAT before {peer} may forget connections \
             as soon; it was seen once, and what it forgets by a restart looks the same",
            about(idle)
        );
    }
    let beat = survived.map_or(safe(idle), |survived| safe(survived).max(safe(idle) / 2));
    format!(
        "beat more often, every {} say: a firewall or NAT before {peer} forgets connections after \
         {between}; or have its memory made longer",
        about(beat)
    )
}

fn lifetime_closed(evidence: &Evidence, peer: &str) -> String {
    format!(
        "nothing is lost: another connection is opened at once; to keep one longer, look for a \
         lifetime of {} in the settings of {peer}, or of a proxy before it",
        about(evidence.lived_us.unwrap_or_default())
    )
}

/// By a pause or an age, whichever it is.
fn closed_regularly(evidence: &Evidence, peer: &str) -> String {
    let after = about(evidence.idle_us.unwrap_or_default());
    if evidence.beat_bytes.is_none() {
        return silent_client(peer, &after);
    }
    format!(
        "nothing is lost: another connection is opened at once; look for an idle limit or a \
         lifetime of {after} in the settings of {peer}, or of a proxy before it"
    )
}

/// Where no byte is ever sent, no shorter interval helps.
fn silent_client(peer: &str, after: &str) -> String {
    format!(
        "{peer} ends connections of clients that say nothing for {after}, as many servers do \
         before a login: watch it by a protocol that says something, or let it be; another \
         connection is opened at once"
    )
}

fn idle_closed(evidence: &Evidence, peer: &str) -> String {
    let idle = evidence.idle_us.unwrap_or_default();
    if evidence.beat_bytes.is_none() {
        return silent_client(peer, &about(idle));
    }
    format!(
        "beat more often, every {} say: {peer} closes connections that are idle for {}; or raise \
         its idle limit",
        about(safe(idle)),
        about(idle)
    )
}
