//! Our own side of a connection that fails: its address, its interface, the route. Nothing is sent.
//!
//! Who waits for whom: the list of interfaces, and its counts, are asked for by one link at a time;
//! those that fail with it wait for its answer, some milliseconds on a machine with thousands of
//! them.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::diagnose::OwnSide;
use crate::sys::{self, Interface};

/// So long the list is true: a thousand links that fail at once ask for it once or twice.
const LASTS: Duration = Duration::from_millis(100);

/// What was asked, when, and the answer.
type Known<T> = Mutex<Option<(Instant, T)>>;

/// The interfaces of this machine as they were a moment ago, and what the queue of one of them has
/// thrown away.
#[derive(Debug, Default)]
pub(crate) struct Interfaces {
    all: Known<Vec<Interface>>,
    drops: Known<(String, Option<u64>)>,
}

impl Interfaces {
    /// The one with this address.
    fn of(&self, address: IpAddr) -> Option<Interface> {
        let mut known = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|(at, _)| at.elapsed() > LASTS) {
            *known = Some((Instant::now(), sys::interfaces()));
        }
        let (_, all) = known.as_ref()?;
        all.iter().find(|one| one.address == address).cloned()
    }

    fn queue_drops(&self, name: &str) -> Option<u64> {
        let mut known = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |(at, (of, _)): &&(Instant, (String, _))| at.elapsed() <= LASTS && of == name;
        if let Some((_, (_, drops))) = known.as_ref().filter(fresh) {
            return *drops;
        }
        let drops = sys::interface_index(name).and_then(sys::queue_drops);
        *known = Some((Instant::now(), (name.to_owned(), drops)));
        drops
    }

    /// What is to be said of a connection between these two; `ours` says that keepbeat opened it,
    /// and so left the choice of its own address to the kernel. Some tens of microseconds.
    pub(crate) fn look(
        &self,
        local: Option<SocketAddr>,
        peer: Option<SocketAddr>,
        ours: bool,
    ) -> OwnSide {
        let address = local.map(|local| local.ip());
        let interface = address.and_then(|address| self.of(address));
        let source = peer.filter(|_| ours).and_then(sys::source);
        // A second address on the same interface is no other way.
        let elsewhere = source.filter(|source| {
            let theirs = self.of(*source).map(|one| one.name);
            interface.as_ref().zip(theirs).is_some_and(|(one, theirs)| one.name != theirs)
        });
        OwnSide {
            address_gone: address.is_some_and(sys::is_gone),
            route_errno: peer.and_then(|peer| sys::route_error(local, peer)),
            source: elsewhere,
            queue_drops: interface.as_ref().and_then(|one| self.queue_drops(&one.name)),
            interface: interface.map(|one| (one.name, one.runs)),
        }
    }
}
