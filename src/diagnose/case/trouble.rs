//! What has gathered since the last answer: when it began, how the path was before, what was seen
//! of our own side, and how often the connection was tried again while others were answered.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::path::Path;
use crate::diagnose::evidence::Evidence;
use crate::tcp_info::TcpInfo;

/// What this machine says of its own side.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnSide {
    pub(crate) address_gone: bool,
    /// Why there is no route.
    pub(crate) route_errno: Option<i32>,
    /// A new connection would leave by another interface, from this address.
    pub(crate) source: Option<IpAddr>,
    pub(crate) interface: Option<(String, bool)>,
    /// Packets that the queue of the interface has thrown away, of all times.
    pub(crate) queue_drops: Option<u64>,
}

impl OwnSide {
    fn is_bad(&self) -> bool {
        let down = self.interface.as_ref().is_some_and(|(_, runs)| !runs);
        self.address_gone || self.route_errno.is_some() || self.source.is_some() || down
    }
}

/// Since when a fresh connection was answered, and how often this one was sent again since then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside {
    base: u32,
    last: u32,
    at: Instant,
}

impl Beside {
    pub(super) fn new(info: &TcpInfo, now: Instant) -> Beside {
        let (base, last) = (info.total_retransmits, info.total_retransmits);
        Beside { base, last, at: now }
    }

    pub(super) fn on_look(&mut self, info: &TcpInfo, now: Instant) {
        if info.total_retransmits > self.last {
            (self.last, self.at) = (info.total_retransmits, now);
        }
    }

    /// Those that would have been acknowledged by now.
    pub(super) fn in_vain(&self, rtt: Duration, now: Instant) -> u32 {
        let due = now.saturating_duration_since(self.at) >= 2 * rtt + Duration::from_millis(50);
        (self.last - self.base).saturating_sub(u32::from(!due))
    }
}

#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// When the first beat was written that was not answered.
    pub(super) since: Option<Instant>,
    /// What the beats before it said of the path.
    pub(super) path: Path,
    /// When it was first seen that the first beat had been acknowledged.
    pub(super) acked: Option<Instant>,
    /// The last look.
    pub(super) seen: Option<Box<TcpInfo>>,
    /// A beat arrived twice while nothing but beats was on its way.
    pub(super) eaten: bool,
    /// How often segments had been sent again in all, and when that was seen to grow last.
    resent: Option<(u32, Instant)>,
    /// How often at first.
    total: Option<u32>,
    /// Our own side, as bad as it was seen, and when.
    own: Option<Box<(OwnSide, Instant)>>,
    /// What the own queue had thrown away when it was first looked at.
    drops: Option<u64>,
    pub(super) beside: Option<Beside>,
}

impl Trouble {
    pub(super) fn since(since: Option<Instant>, path: Path) -> Trouble {
        Trouble { since, path, ..Trouble::default() }
    }

    /// Another connection stands: what was seen of the last one is not of this one.
    pub(super) fn on_connected(&mut self) {
        let Trouble { since, path, own, drops, .. } = std::mem::take(self);
        *self = Trouble { since, path, own, drops, ..Trouble::default() };
    }

    /// `total` says how often segments were sent again before it.
    pub(super) fn on_sent(&mut self, at: Instant, path: Path, total: Option<u32>) {
        if self.since.is_none() {
            *self = Trouble { total, ..Trouble::since(Some(at), path) };
        }
    }

    /// `acked` says that the first beat was acknowledged, `eaten` that one arrived twice.
    pub(super) fn on_look(&mut self, info: &TcpInfo, (acked, eaten): (bool, bool), now: Instant) {
        self.eaten |= eaten;
        match &mut self.seen {
            Some(seen) => **seen = info.clone(),
            None => self.seen = Some(Box::new(info.clone())),
        }
        if acked {
            // Where looks are rare the kernel knows better, unless more was acknowledged since.
            let at = now.checked_sub(info.last_ack_recv).max(self.since);
            self.acked.get_or_insert(at.unwrap_or(now));
        }
        let total = info.total_retransmits;
        let known = self.resent.map_or(self.total.unwrap_or(total), |(known, _)| known);
        if total > known {
            self.resent = Some((total, now));
        }
        self.total.get_or_insert(total);
        self.beside.iter_mut().for_each(|beside| beside.on_look(info, now));
    }

    /// How often segments were sent again in all.
    pub(super) fn resent(&self) -> Option<u32> {
        self.resent.map(|(total, _)| total).or(self.total)
    }

    /// When something was seen to be sent again last.
    pub(super) fn resent_at(&self) -> Option<Instant> {
        self.resent.map(|(_, at)| at)
    }

    /// A fresh connection was answered.
    pub(super) fn begin_beside(&mut self, info: Option<&TcpInfo>, now: Instant) {
        if let Some(info) = info.filter(|info| info.unacked > 0) {
            self.beside.get_or_insert(Beside::new(info, now));
        }
    }

    pub(super) fn on_own_side(&mut self, own: Option<&OwnSide>, now: Instant) {
        let Some(own) = own else { return };
        self.drops = self.drops.or(own.queue_drops);
        if own.is_bad() {
            self.own = Some(Box::new((own.clone(), now)));
        }
    }

    /// As it is now, or as it was when it was bad.
    pub(super) fn add_own_side(&self, evidence: &mut Evidence, own: Option<OwnSide>, now: Instant) {
        let Some(own) = own else { return };
        let drops = own.queue_drops.zip(self.drops).map(|(now, then)| now.saturating_sub(then));
        evidence.queue_drops = drops.filter(|drops| *drops > 0);
        if self.own.is_some() && !own.is_bad() {
            return self.remember_own_side(evidence, now);
        }
        evidence.own_side_back_us = None;
        write_down(evidence, own);
    }

    /// Our own side was bad at some moment of the silence.
    pub(super) fn remember_own_side(&self, evidence: &mut Evidence, now: Instant) {
        if let Some((own, at)) = self.own.as_deref() {
            evidence.own_side_back_us = Some(now.saturating_duration_since(*at));
            write_down(evidence, own.clone());
        }
    }
}

fn write_down(evidence: &mut Evidence, own: OwnSide) {
    evidence.address_gone = Some(own.address_gone);
    evidence.no_route = Some(own.route_errno.is_some());
    evidence.route_errno = own.route_errno.and_then(|errno| u32::try_from(errno).ok());
    evidence.source = own.source.map(|source| source.to_string());
    if let Some((name, carrier)) = own.interface {
        (evidence.interface, evidence.carrier) = (Some(name), Some(carrier));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn resent(times: u32) -> TcpInfo {
        TcpInfo::calm(|info| (info.unacked, info.total_retransmits) = (1, times))
    }

    #[test]
    fn what_was_just_sent_again_is_not_in_vain_yet() {
        let start = Instant::now();
        let mut beside = Beside::new(&resent(3), start);
        beside.on_look(&resent(5), start + S);
        assert_eq!(beside.in_vain(S / 10, start + S), 1);
        assert_eq!(beside.in_vain(S / 10, start + 2 * S), 2);
    }

    #[test]
    fn what_was_bad_on_our_own_side_is_told_though_it_is_well_again() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        trouble.on_sent(start, Path::default(), None);
        let gone = OwnSide { address_gone: true, queue_drops: Some(7), ..OwnSide::default() };
        trouble.on_own_side(Some(&gone), start);
        let well = OwnSide { queue_drops: Some(9), ..OwnSide::default() };
        trouble.on_own_side(Some(&well), start + S);
        let mut evidence = Evidence::default();
        trouble.add_own_side(&mut evidence, Some(well), start + 3 * S);
        let told = (evidence.address_gone, evidence.own_side_back_us, evidence.queue_drops);
        assert_eq!(told, (Some(true), Some(3 * S), Some(2)));
    }
}
