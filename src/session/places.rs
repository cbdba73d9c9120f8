//! What a pool is made of: places for connections, what a request may be given, and what it gets.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Receiver;
use ureq::http::Uri;
use ureq::http::uri::Authority;

use super::authority::Address;
use super::idle_limit::lately;
use super::pipe::Pipe;

/// How many connections, and how long.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) idle_timeout: Duration,
    pub(crate) max_lifetime: Duration,
    pub(crate) max_idle_per_host: usize,
    pub(crate) max_per_host: usize,
    pub(crate) max_total: usize,
}

/// What connections may serve each other's requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) https: bool,
    pub(crate) authority: Authority,
}

impl Key {
    /// None without a host, or where it is none. User and password are no part of it, nor is the
    /// port that goes without saying.
    pub(crate) fn of(uri: &Uri) -> Option<Key> {
        let https = uri.scheme_str() == Some("https");
        Key::at(uri, &Address::of(uri).ok()?, https)
    }

    /// The same, where the address was read already.
    pub(crate) fn at(uri: &Uri, address: &Address, https: bool) -> Option<Key> {
        let authority = match address.is_bare(https) {
            true => uri.authority()?.clone(),
            false => address.bare(https),
        };
        Some(Key { https, authority })
    }
}

/// A connection's place in the pool; never the same for two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl SlotId {
    pub(crate) fn token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn of_token(token: u64) -> SlotId {
        SlotId { index: token as u32, generation: (token >> 32) as u32 }
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) generation: u32,
    /// None: the place is free.
    pub(super) taken: Option<Member>,
}

/// A connection that is counted, whoever holds it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) host: usize,
    pub(super) born: Instant,
    pub(super) dies: Instant,
    pub(super) socket: Option<Arc<TcpStream>>,
    pub(super) idle: Option<Idle>,
    /// The watcher sees its end.
    pub(super) watched: bool,
    /// Bytes wake the watcher.
    pub(super) armed: bool,
    /// It ended while it was in use.
    pub(super) ended: bool,
    /// How long the server says that it keeps it, and when it last said so.
    pub(super) said: Option<(Duration, Instant)>,
}

#[derive(Debug)]
pub(super) struct Idle {
    pub(super) pipe: Box<dyn Pipe>,
    pub(super) since: Instant,
}

/// What a request may be given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    /// No kept connection.
    pub(crate) fresh: bool,
    /// A kept connection may be used up to the last moment: the request is sent again if that was
    /// too late.
    pub(crate) to_the_last: bool,
    /// No connection that was idle for longer.
    pub(crate) idle_at_most: Duration,
}

/// A kept connection for a request.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) id: SlotId,
    pub(crate) pipe: Box<dyn Pipe>,
    pub(crate) idle: Duration,
    pub(crate) born: Instant,
}

#[derive(Debug)]
pub(crate) enum Grant {
    Kept(Taken),
    /// Room for a connection to open.
    Open(SlotId),
}

pub(crate) enum Checkout {
    Granted(Grant),
    /// All are in use: wait here.
    Wait(u64, Receiver<Grant>),
    Closed,
}

/// What is known of a connection that was just opened.
pub(crate) struct Opened {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) took: Duration,
    pub(crate) rtt: Option<Duration>,
    /// When the certificate of the server expires.
    pub(crate) expires: Option<SystemTime>,
    /// How long before that a warning is worth it.
    pub(crate) warns_before: Option<Duration>,
}

impl Member {
    /// What the server says of it, and not so long ago.
    pub(super) fn said(&self, now: Instant) -> Option<Duration> {
        lately(now, self.said)
    }

    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        self.idle.as_ref().map_or(Duration::ZERO, |idle| now.saturating_duration_since(idle.since))
    }
}
