//! What the pool keeps of one host: its connections, and what is known of its idle limit.

use std::sync::Arc;
use std::time::Instant;

use super::event::HostStats;
use super::idle_limit::IdleLimit;
use super::places::Key;
use crate::drive::certificate::Certificate;

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
}

impl Host {
    pub(super) fn new(key: &Key, now: Instant) -> Host {
        let scheme = if key.https { "https" } else { "http" };
        let port = key.authority.port_u16().unwrap_or(if key.https { 443 } else { 80 });
        let name = format!("{scheme}://{}:{port}", key.authority.host().to_ascii_lowercase());
        Host {
            name: name.into(),
            key: key.clone(),
            asked: now,
            limit: IdleLimit::default(),
            certificate: Certificate::default(),
            idle: Vec::new(),
            open: 0,
        }
    }

    pub(super) fn stats(&self, now: Instant) -> HostStats {
        HostStats {
            name: Arc::clone(&self.name),
            open: self.open,
            idle: self.idle.len(),
            learnt: self.limit.learnt(now),
            hinted: self.limit.hinted(),
            certificate_expires: self.certificate.expires,
        }
    }
}
