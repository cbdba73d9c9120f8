//! What the pool keeps of one host: its connections, and what is known of its idle limit.

use std::sync::Arc;
use std::time::Instant;

use super::super::authority::Address;
use super::super::event::HostStats;
use super::super::idle_limit::IdleLimit;
use super::super::proxy::at;
use super::places::Key;
use crate::links::certificate::Certificate;

#[derive(Debug)]
pub(crate) struct Host {
    /// For people: never user or password.
    pub(crate) name: Arc<str>,
    pub(super) key: Key,
    /// The last request of the user's.
    pub(super) asked: Instant,
    pub(crate) limit: IdleLimit,
    pub(super) certificate: Certificate,
    /// Places of the idle connections, the newest last.
    pub(super) idle: Vec<u32>,
    /// Open connections, idle or in use, and those about to be opened.
    pub(super) open: usize,
    /// Those that were let go, and may not be closed yet.
    pub(super) leaving: usize,
}

impl Host {
    pub(super) fn new(key: &Key, now: Instant) -> Host {
        let scheme = if key.https { "https" } else { "http" };
        let name = match Address::read(key.authority.as_str()) {
            Ok(address) => {
                let host = address.host.to_ascii_lowercase();
                format!("{scheme}://{}", at(&host, address.port_for(key.https)))
            }
            Err(_) => format!("{scheme}://?"), // a key is of an authority that was read
        };
        Host {
            name: name.into(),
            key: key.clone(),
            asked: now,
            limit: IdleLimit::default(),
            certificate: Certificate::default(),
            idle: Vec::new(),
            open: 0,
            leaving: 0,
        }
    }

    pub(super) fn stats(&self, now: Instant) -> HostStats {
        HostStats {
            name: Arc::clone(&self.name),
            open: self.open,
            idle: self.idle.len(),
            learnt: self.limit.learnt(now),
            hinted: self.limit.hinted(now),
            certificate_expires: self.certificate.expires,
        }
    }
}
