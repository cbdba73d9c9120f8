//! A link's place in the roster: joined by the host that it is connected to, left with the link.

use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::drive::Shared;
use crate::pulse::{Count, Roster};

pub(crate) struct Member {
    shared: Arc<Shared>,
    /// By which the roster knows it.
    host: Option<IpAddr>,
    /// The roster knows that it is not answered.
    is_suspect: bool,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.move_to(None);
    }
}

impl Member {
    pub(crate) fn new(shared: Arc<Shared>) -> Member {
        Member { shared, host: None, is_suspect: false }
    }

    /// It is connected to this host.
    pub(crate) fn move_to(&mut self, host: Option<IpAddr>) {
        if self.host == host {
            return;
        }
        let (old, suspect) = (self.host, self.is_suspect);
        (self.host, self.is_suspect) = (host, false);
        let mut roster = self.roster();
        old.into_iter().for_each(|host| roster.leave(host, suspect));
        host.into_iter().for_each(|host| roster.join(host));
    }

    /// It is not answered. How many hosts fare alike, if this one answers on none of its links.
    pub(crate) fn suspect(&mut self, now: Instant, window: Duration) -> Option<Count> {
        let host = self.host?;
        let is_news = !std::mem::replace(&mut self.is_suspect, true);
        let mut roster = self.roster();
        if is_news {
            roster.suspect(host, now, window);
        }
        roster.count(host, now, window)
    }

    /// It is answered.
    pub(crate) fn well(&mut self) {
        if let Some(host) = self.host.filter(|_| std::mem::take(&mut self.is_suspect)) {
            self.roster().well(host);
        }
    }

    /// Held for some nanoseconds.
    fn roster(&self) -> MutexGuard<'_, Roster<IpAddr>> {
        self.shared.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
