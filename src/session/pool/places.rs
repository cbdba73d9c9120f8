//! What a pool is made of: places for connections, what a request may be given, and what it gets.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use ureq::http::Uri;
use ureq::http::uri::Authority;

use super::super::authority::Address;
use super::super::idle_limit::lately;

/// What a pool keeps without knowing what it is.
pub(crate) trait Keeps {
    /// A connection.
    type Conn;
    /// By which a connection in use can be ended, and an idle one watched.
    type Socket: Clone;
    /// By which somebody who waits is told.
    type Waiter;
}

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
    /// Of a URL that says no more than it has to: one that was checked before.
    pub(crate) fn of_checked(uri: &Uri) -> Option<Key> {
        let https = uri.scheme_str() == Some("https");
        Some(Key { https, authority: uri.authority()?.clone() })
    }

    /// Of any URL, whose address was read already. User and password are no part of it, nor is the
    /// port that goes without saying.
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

pub(super) struct Slot<K: Keeps> {
    pub(super) generation: u32,
    /// None: the place is free.
    pub(super) taken: Option<Member<K>>,
}

/// A connection that is counted, whoever holds it.
pub(super) struct Member<K: Keeps> {
    pub(super) host: usize,
    pub(super) born: Instant,
    pub(super) dies: Instant,
    pub(super) socket: Option<K::Socket>,
    pub(super) idle: Option<Idle<K::Conn>>,
    /// It was let go, and is about to be closed.
    pub(super) leaving: bool,
    /// The watcher sees its end.
    pub(super) watched: bool,
    /// Bytes wake the watcher.
    pub(super) armed: bool,
    /// It ended while it was in use.
    pub(super) ended: bool,
    /// How long the server says that it keeps it, and when it last said so.
    pub(super) said: Option<(Duration, Instant)>,
}

pub(super) struct Idle<C> {
    /// None while somebody looks at it.
    pub(super) conn: Option<C>,
    pub(super) since: Instant,
}

/// What a look at an idle connection showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing: it can be used.
    Quiet,
    /// Bytes that nobody asked for.
    Bytes,
    /// The peer has closed it in an orderly way.
    Closed,
    /// The kernel has given it up for want of an answer.
    Silent,
    /// It was reset, or is broken otherwise.
    Reset,
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
pub(crate) struct Taken<C> {
    pub(crate) id: SlotId,
    pub(crate) conn: C,
    pub(crate) idle: Duration,
    pub(crate) born: Instant,
}

#[derive(Debug)]
pub(crate) enum Grant<C> {
    Kept(Taken<C>),
    /// Room for a connection to open.
    Open(SlotId),
}

#[derive(Debug)]
pub(crate) enum Checkout<C> {
    Granted(Grant<C>),
    /// All are in use: the waiter with this number is in the queue.
    Wait(u64),
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
    /// What the clock on the wall says.
    pub(crate) wall: SystemTime,
}

impl<K: Keeps> Member<K> {
    /// What the server says of it, and not so long ago.
    pub(super) fn said(&self, now: Instant) -> Option<Duration> {
        lately(now, self.said)
    }

    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        self.idle.as_ref().map_or(Duration::ZERO, |idle| now.saturating_duration_since(idle.since))
    }
}
