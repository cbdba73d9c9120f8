//! What an inquiry can find out at once, and how: looks at the socket and at this machine, at other
//! links, at what side connections have found; and the request for those.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cause::Loss;
use crate::diagnose::{Attempt, Evidence, Facts, Kept, OwnSide, Question, Suspects};
use crate::heartbeat::Heartbeat;
use crate::links::handle::Handle;
use crate::links::inquiry::member::{Member, network};
use crate::links::inquiry::relic::Relic;
use crate::links::inquiry::suspension::Suspension;
use crate::links::seat::Seat;
use crate::links::seat::Shared;
use crate::links::side::{Asked, Slot};
use crate::links::socket_view::{Allowed, SocketView};
use crate::pulse::Report;
use crate::state::State;
use crate::tcp_info::TcpInfo;

/// What the inquiry of a link has to do with.
pub(super) struct Tools {
    pub(super) handle: Arc<Handle>,
    pub(super) shared: Arc<Shared>,
    pub(super) heartbeat: Heartbeat,
    /// The side connections of this trouble.
    pub(super) slot: Arc<Slot>,
    /// Those of a silence that is over: one of them may have been on its way.
    past: Option<Arc<Slot>>,
    member: Member,
    /// The own address of the connection, and whether keepbeat opened it.
    local: Option<SocketAddr>,
    is_ours: bool,
    /// The connection before, while it may have something to tell.
    pub(super) relic: Option<Relic>,
    suspension: Suspension,
    /// The protocol panicked as it was asked.
    pub(super) broken: Option<Loss>,
}

impl Drop for Tools {
    /// Nobody wants to know any more what side connections find.
    fn drop(&mut self) {
        self.slot.close();
    }
}

impl Tools {
    fn ask(&self, question: Question, allowed: Allowed) -> Kept {
        let asked = Asked {
            link: Arc::clone(&self.handle),
            slot: Arc::clone(&self.slot),
            heartbeat: self.heartbeat.clone(),
            question,
            allowed,
        };
        self.shared.sides.ask(asked).map_or_else(|kept| kept, |()| Kept::Pending)
    }

    pub(super) fn new(seat: &Seat, heartbeat: &Heartbeat) -> Tools {
        Tools {
            handle: Arc::clone(&seat.handle),
            shared: Arc::clone(&seat.shared),
            heartbeat: heartbeat.clone(),
            slot: Arc::default(),
            past: None,
            member: Member::new(Arc::clone(&seat.shared)),
            local: None,
            is_ours: false,
            relic: None,
            suspension: Suspension::new(),
            broken: None,
        }
    }

    pub(super) fn on_connected(&mut self, peer: Option<SocketAddr>, view: &dyn SocketView) {
        self.suspension.on_well();
        self.past = None;
        (self.local, self.is_ours) = (view.local(), view.is_ours());
        self.member.move_to(peer.map(|peer| peer.ip()));
    }

    /// The link is well: told to all others, and remembered by the clock of suspensions.
    pub(super) fn on_report(&mut self, report: &Report, now: Instant) {
        match report {
            Report::Beat { .. } => {
                self.suspension.on_well();
                self.member.on_heard(now);
            }
            Report::State { to: State::Up, .. } => self.member.well(),
            _ => {}
        }
    }

    /// The trouble is over. What side connections still find is about nothing any more, unless the
    /// next end is their doing.
    pub(super) fn on_over(&mut self, answered: bool, lived: Option<SocketAddr>) {
        self.spare(answered, lived);
        self.slot.close();
        let slot = std::mem::take(&mut self.slot);
        self.past = Some(slot).filter(|_| lived.is_some());
    }

    /// The connection is gone, without an answer.
    pub(super) fn on_parted(&mut self, lived: Option<SocketAddr>) {
        self.spare(false, lived);
        self.slot.part();
    }

    /// What a silence leaves behind in which a side connection was made while the peer's kernel
    /// lived. Unless both were served in the end, nobody knows that the second one did no harm:
    /// then it was the last to this peer.
    fn spare(&mut self, answered: bool, lived: Option<SocketAddr>) {
        let Some(peer) = lived.filter(|_| self.slot.met().is_some()) else { return };
        if answered && !self.slot.has_stood() {
            self.slot.close_answered(); // its thread knows first
            return;
        }
        // Its thread finds out, or has.
        let both = answered && (self.slot.close_answered() || self.slot.was_served());
        if !both {
            self.shared.sides.spared.add(peer);
        }
    }
}

/// What can be seen of a link now.
pub(super) struct LinkFacts<'a> {
    pub(super) tools: &'a mut Tools,
    pub(super) view: &'a mut dyn SocketView,
}

impl Facts for LinkFacts<'_> {
    fn look(&mut self) -> Option<TcpInfo> {
        self.view.look()
    }

    fn own_side(&mut self, peer: Option<SocketAddr>) -> OwnSide {
        let Tools { shared, local, is_ours, .. } = &*self.tools;
        shared.interfaces.look(*local, peer, *is_ours)
    }

    fn suspended(&mut self) -> Option<Duration> {
        self.tools.suspension.since_well()
    }

    fn suspended_since_stall(&mut self) -> Option<Duration> {
        self.tools.suspension.on_stall()
    }

    fn attempt(&mut self) -> Attempt {
        self.tools.handle.attempt().clone()
    }

    fn suspects(&mut self, now: Instant, silent: Duration, window: Duration) -> Option<Suspects> {
        let count = self.tools.member.suspect(now, silent, window)?;
        Some(Suspects {
            suspects: count.suspects,
            hosts: count.hosts,
            well: count.well,
            network: count.network.map(|(host, bits)| network(host, bits)),
            is_alarm: count.is_alarm,
        })
    }

    fn ask(&mut self, question: Question) -> Option<Kept> {
        let LinkFacts { tools, view } = self;
        // Where no beat is sent, the protocol need not be asked.
        let allowed = match question.connecting {
            true => Ok(Allowed::default()),
            false => view.allowed(question.beat_bytes),
        };
        match allowed {
            Ok(allowed) => Some(tools.ask(question, allowed)),
            Err(loss) => {
                tools.broken = Some(loss);
                None
            }
        }
    }

    fn found(&mut self) -> Option<Evidence> {
        self.tools.slot.take()
    }

    fn met(&mut self, acked: bool) -> Option<Instant> {
        let Tools { slot, past, .. } = &*self.tools;
        Some(slot).filter(|_| acked).or(past.as_ref()).and_then(|slot| slot.met())
    }

    fn old(&mut self) -> Option<(TcpInfo, bool)> {
        self.tools.relic.as_ref()?.look()
    }
}
