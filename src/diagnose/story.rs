//! What the evidence says, as a sentence with the numbers.

use std::time::Duration;

use super::decide::Verdict;
use super::evidence::{Carried, Evidence, Fresh, Kept, Old, Stage};
use crate::cause::Cause;
use crate::counted::counted;

/// The detail of a diagnosis: what was seen first, then what speaks for the verdict.
pub(super) fn tell(evidence: &Evidence, verdict: &Verdict) -> String {
    let mut parts: Vec<String> = evidence.detail.iter().cloned().collect();
    match verdict.cause {
        Cause::LocalNetwork | Cause::FarNetwork => parts.extend(many(evidence)),
        Cause::LinkDown | Cause::LocalAddressGone | Cause::NoLocalRoute => {
            parts.push(own_side(evidence, verdict.cause));
            parts.extend(
                evidence
                    .own_side_back_us
                    .map(|ago| format!("that was {} ago, and it is well again", about(ago))),
            );
        }
        _ => {
            if let Some(gone) = evidence.suspended_us {
                parts.push(format!("this machine was suspended for {} before", about(gone)));
            }
            parts.extend(manners(evidence));
            parts.extend(kernel(evidence));
            parts.extend(elsewhere(evidence));
            parts.extend(beside(evidence));
            parts.extend(path(evidence));
            parts.extend(pauses(evidence, verdict.cause));
            parts.extend(evidence.nonsense.as_ref().map(|what| {
                format!("the kernel's figures are not believed, since one cannot be true ({what})")
            }));
        }
    }
    if parts.is_empty() {
        parts.push(verdict.cause.sentence().to_owned());
    }
    parts.join("; ")
}

/// How the peer ended a connection on which it had said nothing.
fn manners(evidence: &Evidence) -> Option<String> {
    match (evidence.drops, evidence.upon_beat) {
        (Some(1), _) => Some("no byte of the peer came before".to_owned()),
        (Some(times), _) => {
            Some(format!("no byte of the peer came before, for the {} time in a row", nth(times)))
        }
        (None, Some(true)) => {
            Some("it had stood until our first bytes came, and ended over them".to_owned())
        }
        _ => None,
    }
}

fn many(evidence: &Evidence) -> Option<String> {
    let (suspects, hosts) = (evidence.suspects?, evidence.hosts?);
    let mut text = format!("{suspects} of {hosts} hosts fell silent at the same time");
    if let Some(network) = &evidence.network {
        text += &format!(", all of them in {network}");
    }
    if let Some(well) = evidence.hosts_well {
        text += &format!("; {well} others answer");
    }
    Some(text)
}

fn own_side(evidence: &Evidence, cause: Cause) -> String {
    let peer = evidence.peer.as_deref().unwrap_or("the peer");
    match (cause, &evidence.interface) {
        (Cause::LinkDown, Some(name)) => format!("the own interface {name} has no carrier"),
        (Cause::NoLocalRoute, _) => match evidence.route_errno.map(|errno| errno as i32) {
            Some(libc::EACCES) => format!("a rule or route of this machine prohibits {peer}"),
            Some(libc::EINVAL) => {
                format!("a rule or route of this machine makes a black hole of {peer}")
            }
            _ => format!("this machine has no route to {peer}"),
        },
        (Cause::LocalAddressGone, _) if evidence.source.is_some() => {
            let source = evidence.source.as_deref().unwrap_or_default();
            format!("the route to {peer} has changed: a new connection would leave from {source}")
        }
        _ => cause.sentence().to_owned(),
    }
}

/// What the kernel knows, where something of ours waits.
fn kernel(evidence: &Evidence) -> Option<String> {
    if evidence.stage == Some(Stage::Connect) {
        return None;
    }
    let mut facts = Vec::new();
    if let Some(unacked) = evidence.unacked.filter(|unacked| *unacked > 0) {
        facts.push(counted(unacked.into(), "segment unacked", "segments unacked"));
    }
    if let Some(resent) = evidence.resent.filter(|resent| *resent > 0) {
        facts.push(format!("sent again {}", counted(resent.into(), "time", "times")));
    }
    if let Some(unsent) = evidence.unsent_bytes.filter(|unsent| *unsent > 0) {
        facts.push(counted(unsent.into(), "byte unsent", "bytes unsent"));
    }
    if evidence.window_bytes == Some(0) && evidence.unsent_bytes.is_some_and(|n| n > 0) {
        facts.push("the peer's window is closed".to_owned());
    }
    if evidence.sacked.is_some_and(|segments| segments > 0) {
        facts.push("a later one has arrived".to_owned());
    }
    if evidence.out_of_order.is_some_and(|segments| segments > 0) {
        facts.push("the end of an answer came without its beginning".to_owned());
    }
    if let Some(drops) = evidence.queue_drops {
        facts.push(format!("the own queue threw away {}", counted(drops, "packet", "packets")));
    }
    let silence = evidence.stage == Some(Stage::Silence);
    let asked = evidence.outstanding != Some(0);
    if silence && asked && evidence.unacked == Some(0) && evidence.unsent_bytes == Some(0) {
        facts.push("the peer's kernel acknowledged it".to_owned());
    }
    if evidence.duplicates.is_some_and(|twice| twice > 0) {
        facts.push("a segment arrived twice".to_owned());
    }
    if let Some(errno) = evidence.icmp_errno.and_then(|errno| i32::try_from(errno).ok()) {
        let said = std::io::Error::from_raw_os_error(errno).to_string();
        let said = said.split(" (os error").next().unwrap_or(&said).to_owned();
        facts.push(format!("a router or firewall said `{said}`"));
    }
    if let Some(stuck) = evidence.send_stuck_us {
        facts.push(format!("`send` has not come back for {stuck:.1?}"));
    }
    (!facts.is_empty()).then(|| facts.join(", "))
}

/// What became of other connections.
fn elsewhere(evidence: &Evidence) -> Option<String> {
    let next = evidence.fresh_is_next == Some(true);
    let it = if next { "the next connection" } else { "a fresh connection" };
    let mut text = match evidence.fresh {
        Some(Fresh::Connected) => match evidence.fresh_beat {
            Some(Carried::Answered) => format!("{it} was answered{}", how_soon(evidence)),
            Some(Carried::Acked) => format!("{it} is acknowledged and not answered either"),
            Some(Carried::Unacked) => format!("on {it} the beat is not acknowledged either"),
            Some(Carried::Unanswered) => format!("{it} is not answered either"),
            Some(Carried::Ended) => format!("{it} was ended over the beat"),
            None => format!("{it} was accepted{}", how_soon(evidence)),
        },
        Some(Fresh::Refused) => format!("{it} was refused"),
        Some(Fresh::Silent) => format!("{it} got no answer"),
        Some(Fresh::Unreachable) => format!("{it} is said to be unreachable"),
        Some(Fresh::Prohibited) => format!("{it} is said to be prohibited"),
        Some(Fresh::Local) => format!("{it} did not leave this machine"),
        Some(Fresh::Failed) => format!("{it} stands, and its opening failed"),
        None => return kept(evidence),
    };
    let mut more = |carried: Option<Carried>, what: &str| match carried {
        Some(Carried::Unacked) => text += &format!(", {what} neither"),
        Some(_) => text += &format!(", but {what} passes"),
        None => {}
    };
    more(evidence.fresh_same_length, "another payload of the same length");
    more(evidence.fresh_tiny, "a tiny one");
    more(evidence.fresh_cut, "its beginning alone");
    if evidence.fresh_beat_again == Some(Carried::Unacked) {
        text += ", and the beat is lost again on another one";
    }
    if evidence.fresh_again == Some(Fresh::Silent) {
        text += ", nor did another one";
    }
    if let (Some(more), Some(answered)) = (evidence.more_fresh, evidence.more_answered) {
        text += &format!(", and {answered} of {more} more");
    }
    match evidence.closed_port {
        Some(Fresh::Refused) => text += "; another port of the host refuses, so it lives",
        Some(Fresh::Silent) => text += "; another port of the host is silent, too",
        _ => {}
    }
    Some(text)
}

/// Whether the other connection came to stand as fast as usual.
fn how_soon(evidence: &Evidence) -> String {
    let Some(took) = evidence.fresh_took_us else { return " at once".to_owned() };
    match (took >= Duration::from_millis(300), evidence.fresh_resent) {
        (true, Some(resent)) => {
            format!(
                ", {} after it was begun and sent again {}",
                about(took),
                counted(resent.into(), "time", "times")
            )
        }
        (true, None) => format!(", {} after it was begun", about(took)),
        (false, _) => " at once".to_owned(),
    }
}

/// What became of the old connection while others were answered.
fn beside(evidence: &Evidence) -> Option<String> {
    if evidence.side_age_us.is_some() && evidence.stage == Some(Stage::End) {
        let age = evidence.side_age_us.map(about)?;
        return Some(format!("it ended {age} after a second connection of ours was accepted"));
    }
    match (evidence.old, evidence.resent_beside) {
        (Some(Old::Acked), _) => {
            Some("what the old connection had sent was acknowledged after all".to_owned())
        }
        (Some(Old::Reset), _) => Some("the old connection was reset then".to_owned()),
        (None, Some(resent @ 1..)) => Some(format!(
            "since then the old one was sent again {} in vain",
            counted(resent.into(), "time", "times")
        )),
        _ if evidence.path_back == Some(true) => Some("a later one was answered".to_owned()),
        _ => None,
    }
}

/// How the path was before.
fn path(evidence: &Evidence) -> Option<String> {
    let beats = |n: Option<u32>, what: &str| {
        n.filter(|n| *n >= 2).map(|n| format!("{n} of the last 32 beats {what}"))
    };
    let all = [
        beats(evidence.lossy_beats, "had lost packets before"),
        beats(evidence.late_beats, "had come late before"),
    ];
    let all: Vec<_> = all.into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn kept(evidence: &Evidence) -> Option<String> {
    match evidence.side? {
        Kept::Budget => Some("no side connection: their budget is spent".to_owned()),
        Kept::Pending => Some("a side connection is being tried".to_owned()),
        Kept::Full => Some(
            "no side connection: this machine has no descriptor or port left for one".to_owned(),
        ),
        Kept::Single => {
            Some("no side connection: this peer may serve one client at a time".to_owned())
        }
        Kept::Off | Kept::Needless => None,
    }
}

/// The pause before it, where that may matter.
fn pauses(evidence: &Evidence, cause: Cause) -> Option<String> {
    let times = |n: Option<u32>| match n {
        Some(n @ 2..) => format!(", for the {} time", nth(n)),
        _ => String::new(),
    };
    if cause == Cause::LifetimeClosed {
        let age = about(evidence.lived_us?);
        return Some(format!("it was {age} old{}", times(evidence.lifetime_closes)));
    }
    let idle = evidence.idle_us.filter(|idle| *idle >= Duration::from_millis(100))?;
    match cause {
        Cause::FlowForgotten | Cause::FlowDropped => Some(format!(
            "it had been idle for {} before{}",
            about(idle),
            times(evidence.idle_forgotten)
        )),
        Cause::IdleClosed => {
            Some(format!("it had been idle for {}{}", about(idle), times(evidence.idle_closes)))
        }
        Cause::ClosedByPeer | Cause::Reset if evidence.lifetime_closes.is_some() => Some(format!(
            "{} after it was opened, and after the last byte{}: nothing tells yet whether that is \
             an idle limit or a lifetime",
            about(idle),
            times(evidence.idle_closes)
        )),
        Cause::ClosedByPeer if evidence.outstanding == Some(0) => {
            Some(format!("it had been idle for {}", about(idle)))
        }
        _ => None,
    }
}

fn nth(n: u32) -> String {
    match n {
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        n => format!("{n}th"),
    }
}

/// A time for people: two or three digits.
pub(super) fn about(time: Duration) -> String {
    if time < Duration::from_secs(120) { format!("{time:.1?}") } else { minutes(time) }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 60, seconds % 60) {
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}
