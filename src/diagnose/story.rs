//! What the evidence says, as a sentence with the numbers.

use std::time::Duration;

use super::decide::Verdict;
use super::evidence::{Carried, Evidence, Fresh, Kept, Stage};
use crate::cause::Cause;
use crate::counted::counted;

/// The detail of a diagnosis: what was seen first, then what speaks for the verdict.
pub(super) fn tell(evidence: &Evidence, verdict: &Verdict) -> String {
    let mut parts: Vec<String> = evidence.detail.iter().cloned().collect();
    match verdict.cause {
        Cause::LocalNetwork => parts.extend(many(evidence)),
        Cause::LinkDown | Cause::LocalAddressGone | Cause::NoLocalRoute => {
            parts.push(own_side(evidence, verdict.cause));
        }
        _ => {
            if let Some(gone) = evidence.suspended_us {
                parts.push(format!("this machine was suspended for {} before", about(gone)));
            }
            parts.extend(manners(evidence));
            parts.extend(kernel(evidence));
            parts.extend(elsewhere(evidence));
            parts.extend(pauses(evidence, verdict.cause));
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
    Some(format!("{suspects} of {hosts} hosts fell silent at the same time"))
}

fn own_side(evidence: &Evidence, cause: Cause) -> String {
    let peer = evidence.peer.as_deref().unwrap_or("the peer");
    match (cause, &evidence.interface) {
        (Cause::LinkDown, Some(name)) => format!("the own interface {name} has no carrier"),
        (Cause::NoLocalRoute, _) => format!("this machine has no route to {peer}"),
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
    let silence = evidence.stage == Some(Stage::Silence);
    let asked = evidence.outstanding != Some(0);
    if silence && asked && evidence.unacked == Some(0) && evidence.unsent_bytes == Some(0) {
        facts.push("the peer's kernel acknowledged it".to_owned());
    }
    if evidence.duplicates.is_some_and(|twice| twice > 0) {
        facts.push("a segment arrived twice, so an acknowledgement was lost".to_owned());
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
            Some(Carried::Answered) => format!("{it} was answered at once"),
            Some(Carried::Acked) => format!("{it} is acknowledged and not answered either"),
            Some(Carried::Unacked) => format!("on {it} the beat is not acknowledged either"),
            Some(Carried::Unanswered) => format!("{it} is not answered either"),
            Some(Carried::Ended) => format!("{it} was ended over the beat"),
            None => format!("{it} was accepted"),
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

fn kept(evidence: &Evidence) -> Option<String> {
    match evidence.side? {
        Kept::Budget => Some("no side connection: their budget is spent".to_owned()),
        Kept::Pending => Some("a side connection is being tried".to_owned()),
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
