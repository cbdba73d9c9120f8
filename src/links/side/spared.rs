//! Peers to which no side connection is made any more: they may serve one client at a time, and the
//! one is ours. Known to all links of a coordinator, and never forgotten.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many can be remembered; then all others are spared as well.
const MOST: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct Spared(Mutex<HashSet<SocketAddr>>);

impl Spared {
    pub(crate) fn has(&self, peer: SocketAddr) -> bool {
        let all = self.all();
        all.contains(&peer) || all.len() >= MOST
    }

    pub(crate) fn add(&self, peer: SocketAddr) {
        let mut all = self.all();
        if all.len() < MOST {
            all.insert(peer);
        }
    }

    /// Held for some nanoseconds.
    fn all(&self) -> MutexGuard<'_, HashSet<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
