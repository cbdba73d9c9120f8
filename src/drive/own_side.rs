//! Our own side of a connection that fails: its address, its interface, the route. Nothing is sent.
//!
//! Who waits for whom: the list of interfaces is asked for by one link at a time, and those that
//! fail with it wait for its answer, some milliseconds on a machine with thousands of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cause::Cause;
use crate::diagnose::OwnSide;
use crate::sys::{self, Interface};

/// So long the list is true: a thousand links that fail at once ask for it once or twice.
const LASTS: Duration = Duration::from_millis(100);

/// The interfaces of this machine as they were a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Interfaces(Mutex<Option<(Instant, Vec<Interface>)>>);

impl Interfaces {
    /// The name of the one with this address, and whether it runs.
    pub(crate) fn of(&self, address: IpAddr) -> Option<(String, bool)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|(at, _)| at.elapsed() > LASTS) {
            *known = Some((Instant::now(), sys::interfaces()));
        }
        let (_, all) = known.as_ref()?;
        let found = all.iter().find(|one| one.address == address)?;
        Some((found.name.clone(), found.runs))
    }

    /// What is to be said of a connection between these two. Some tens of microseconds.
    pub(crate) fn look(&self, local: Option<SocketAddr>, peer: Option<SocketAddr>) -> OwnSide {
        let address = local.map(|local| local.ip());
        OwnSide {
            address_gone: address.is_some_and(sys::is_gone),
            no_route: peer.is_some_and(|peer| !sys::has_route(local, peer)),
            interface: address.and_then(|address| self.of(address)),
        }
    }
}

/// Whether our own side may be what is behind it.
pub(super) fn is_about_the_path(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::ConnectTimeout
            | Cause::Unreachable
            | Cause::Prohibited
            | Cause::NoLocalRoute
            | Cause::LocalResources
            | Cause::KernelGaveUp
    )
}
