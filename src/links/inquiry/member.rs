//! A link's place in the roster: joined by the host that it is connected to, left with the link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::links::seat::Shared;
use crate::pulse::{Count, Heard, Host, Roster};

impl Host for IpAddr {
    fn bits(self) -> (u32, u128) {
        match self.to_canonical() {
            IpAddr::V4(v4) => (Ipv4Addr::BITS, v4.to_bits().into()),
            IpAddr::V6(v6) => (Ipv6Addr::BITS, v6.to_bits()),
        }
    }
}

/// A network in the usual notation: one of its hosts, and how many bits all of them share.
pub(crate) fn network(host: IpAddr, bits: u32) -> String {
    let (family, address) = host.bits();
    let kept = address & (u128::MAX << (family - bits).min(127));
    match host.to_canonical() {
        IpAddr::V4(_) => format!("{}/{bits}", Ipv4Addr::from_bits(kept as u32)),
        IpAddr::V6(_) => format!("{}/{bits}", Ipv6Addr::from_bits(kept)),
    }
}

pub(crate) struct Member {
    shared: Arc<Shared>,
    /// By which the roster knows it.
    host: Option<IpAddr>,
    /// The roster knows that it is not answered.
    is_suspect: bool,
    /// Where it says that it was heard.
    heard: Option<Arc<Heard>>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.move_to(None);
    }
}

impl Member {
    pub(crate) fn new(shared: Arc<Shared>) -> Member {
        Member { shared, host: None, is_suspect: false, heard: None }
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
        let heard = host.map(|host| roster.join(host, Instant::now()));
        drop(roster);
        self.heard = heard;
    }

    /// It has answered: one store, for whoever asks how the others are.
    pub(crate) fn on_heard(&self, now: Instant) {
        self.heard.iter().for_each(|heard| heard.now(now));
    }

    /// It is not answered, for so long. How many hosts are silent, if this one answers on none of
    /// its links.
    pub(crate) fn suspect(
        &mut self,
        now: Instant,
        silent: Duration,
        window: Duration,
    ) -> Option<Count<IpAddr>> {
        let host = self.host?;
        let is_news = !std::mem::replace(&mut self.is_suspect, true);
        let mut roster = self.roster();
        if is_news && silent > window {
            return roster.suspect_late(host, now.checked_sub(silent)?, window);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_written_with_its_length() {
        let v4 = |bits| network(IpAddr::from([192, 0, 2, 67]), bits);
        assert_eq!(
            (v4(28), v4(32), v4(0)),
            ("192.0.2.64/28".into(), "192.0.2.67/32".into(), "0.0.0.0/0".into())
        );
        assert_eq!(network("2001:db8:3::2".parse().unwrap(), 64), "2001:db8:3::/64");
    }
}
