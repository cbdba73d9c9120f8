//! The way to a peer and the peer itself, by the faults that are on at a moment.

use std::time::{Duration, Instant};

use crate::cause::Cause;
use crate::diagnose::OwnSide;

use super::fate::{Fault, Kind};
use super::kernel::Flow;

/// What a new connection meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    Dead,
    Refused,
    /// A router's word, with its type and code.
    Said(Cause, (u8, u8)),
    /// It is accepted, and not answered.
    Hung,
    Well,
}

#[derive(Clone, Debug)]
pub struct Path {
    pub rtt: Duration,
    /// The share of segments that is lost.
    pub loss: f64,
    pub faults: Vec<Fault>,
    /// The peer's process is stopped until then.
    pub hung_until: Option<Instant>,
}

impl Path {
    fn on(&self, at: Instant, is_it: impl Fn(Kind) -> bool) -> Option<&Fault> {
        self.faults.iter().find(|fault| fault.is_on(at) && is_it(fault.kind))
    }

    /// Whether packets pass, both ways.
    pub fn is_clear(&self, at: Instant) -> bool {
        let cuts = |kind| {
            matches!(
                kind,
                Kind::PathDead
                    | Kind::HostDown
                    | Kind::LinkDown
                    | Kind::AddressGone
                    | Kind::NoRoute
                    | Kind::Unreachable
                    | Kind::Prohibited
            )
        };
        self.on(at, cuts).is_none()
    }

    pub fn carries(&self, flow: &Flow, at: Instant) -> bool {
        self.is_clear(at) && !flow.is_forgotten
    }

    /// A firewall sees it pass, or has forgotten it.
    pub fn pass(&self, flow: &mut Flow, at: Instant) {
        let idle = at.saturating_duration_since(flow.crossed);
        let forgets = |kind| matches!(kind, Kind::Nat(limit) if idle > limit);
        flow.is_forgotten |= self.on(at, forgets).is_some();
        flow.crossed = at;
    }

    pub fn hung(&self, at: Instant) -> bool {
        self.on(at, |kind| kind == Kind::Hung).is_some()
    }

    /// What a router says of what is sent now.
    pub fn said(&self, at: Instant) -> Option<i32> {
        let unreachable = self.on(at, |kind| kind == Kind::Unreachable).map(|_| libc::EHOSTUNREACH);
        unreachable.or(self.on(at, |kind| kind == Kind::Prohibited).map(|_| libc::EACCES))
    }

    pub fn reach(&self, at: Instant) -> Reach {
        if self.on(at, |kind| kind == Kind::Unreachable).is_some() {
            Reach::Said(Cause::Unreachable, (3, 1))
        } else if self.on(at, |kind| kind == Kind::Prohibited).is_some() {
            Reach::Said(Cause::Prohibited, (3, 13))
        } else if !self.is_clear(at) {
            Reach::Dead
        } else if self.on(at, |kind| kind == Kind::Killed).is_some() {
            Reach::Refused
        } else if self.hung(at) {
            Reach::Hung
        } else {
            Reach::Well
        }
    }

    /// Why no packet leaves, where this machine knows.
    pub fn no_way_out(&self, at: Instant) -> Option<Cause> {
        self.on(at, |kind| kind == Kind::NoRoute).map(|_| Cause::NoLocalRoute)
    }

    pub fn own_side(&self, at: Instant) -> OwnSide {
        let is = |kind| self.on(at, |one| one == kind).is_some();
        OwnSide {
            address_gone: is(Kind::AddressGone),
            route_errno: is(Kind::NoRoute).then_some(libc::ENETUNREACH),
            source: None,
            interface: Some(("eth0".into(), !is(Kind::LinkDown))),
            queue_drops: Some(0),
        }
    }

    /// When this process runs, at that time or later.
    pub fn awake(&self, at: Instant) -> Instant {
        self.on(at, |kind| kind == Kind::Stall).map_or(at, |stall| stall.until)
    }
}
