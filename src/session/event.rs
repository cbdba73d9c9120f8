//! What a session tells: events while they happen, statistics at any time.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use ureq::http::Method;

use super::eviction::Eviction;

/// Events that wait for a reader. One that comes for every request and finds no room is counted.
const WAITING: usize = 4096;

/// Something that happened to the connections of a [`Session`](crate::Session).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionEvent {
    /// When.
    pub time: SystemTime,
    /// The host as `scheme://host:port`; never user or password.
    pub host: Arc<str>,
    /// What.
    pub kind: SessionEventKind,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SessionEventKind {
    /// A connection was opened.
    Opened {
        /// The address that answered; none of a Unix socket.
        peer: Option<SocketAddr>,
        /// How long it took, name and TLS included.
        took: Duration,
    },
    /// A request goes out on a kept connection.
    Reused {
        /// How long the connection had been idle.
        idle: Duration,
        /// How long ago it was opened.
        age: Duration,
    },
    /// The server closed the kept connection as the request went out; it is sent again on a fresh
    /// one.
    Replayed {
        /// The request's method.
        method: Method,
        /// How long the connection had been idle.
        idle: Duration,
    },
    /// A connection was let go.
    Evicted {
        /// Why.
        cause: Eviction,
        /// How long it had been idle.
        idle: Duration,
        /// How long ago it was opened.
        age: Duration,
    },
    /// The server's idle limit is known now, or better.
    LimitLearnt {
        /// How long the server keeps an idle connection.
        limit: Duration,
    },
    /// A connection lived on for twice the learnt limit: it does not hold any more.
    LimitForgotten,
    /// The server's certificate expires soon
    /// ([`Tls::expiry_warning`](crate::Tls::expiry_warning)). Told once a day for each host.
    CertificateExpiring {
        /// How soon.
        left: Duration,
    },
}

impl fmt::Display for SessionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.host)?;
        match &self.kind {
            SessionEventKind::Opened { peer: Some(peer), took } => {
                write!(f, "opened to {peer} in {took:.1?}")
            }
            SessionEventKind::Opened { peer: None, took } => write!(f, "opened in {took:.1?}"),
            SessionEventKind::Reused { idle, age } => {
                write!(f, "reused after {idle:.1?} idle, {age:.1?} old")
            }
            SessionEventKind::Replayed { method, idle } => {
                write!(f, "{method} sent again: the connection, {idle:.1?} idle, was just closed")
            }
            SessionEventKind::Evicted { cause, idle, age } => {
                write!(f, "{cause}: let go after {idle:.1?} idle, {age:.1?} old")
            }
            SessionEventKind::LimitLearnt { limit } => {
                write!(f, "closes idle connections after {limit:.1?}")
            }
            SessionEventKind::LimitForgotten => {
                f.write_str("keeps idle connections longer than it did")
            }
            SessionEventKind::CertificateExpiring { left } => {
                let days = left.as_secs() / (24 * 3600);
                let unit = if days == 1 { "day" } else { "days" };
                write!(f, "its certificate expires in {days} {unit}: renew it")
            }
        }
    }
}

/// The queue of events.
#[derive(Debug)]
pub(crate) struct Teller {
    sender: Sender<SessionEvent>,
    receiver: Receiver<SessionEvent>,
    pub(crate) lost: u64,
}

impl Teller {
    pub(crate) fn new() -> Teller {
        let (sender, receiver) = bounded(WAITING);
        Teller { sender, receiver, lost: 0 }
    }

    pub(crate) fn events(&self) -> Receiver<SessionEvent> {
        self.receiver.clone()
    }

    pub(crate) fn tell(&mut self, host: Arc<str>, kind: SessionEventKind) {
        let event = SessionEvent { time: SystemTime::now(), host, kind };
        if self.sender.try_send(event).is_err() {
            self.lost += 1;
        }
    }
}

/// The state of a session, at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SessionStats {
    /// Requests that were sent, each once however often it was replayed or redirected.
    pub requests: u64,
    /// Connections opened.
    pub opened: u64,
    /// Times that a kept connection was used again.
    pub reused: u64,
    /// Requests sent a second time.
    pub replayed: u64,
    /// Heartbeats on idle connections that were answered.
    pub warmed: u64,
    /// Names looked up; what the cache knew does not count.
    pub lookups: u64,
    /// Connections open now.
    pub open: usize,
    /// Those of them that are idle.
    pub idle: usize,
    /// Requests that wait for a connection.
    pub waiting: usize,
    /// Events that found no room in the queue.
    pub events_lost: u64,
    /// What is known of each host, by name.
    pub hosts: Vec<HostStats>,
    pub(crate) evicted: Counts,
}

impl SessionStats {
    /// Connections let go for this reason.
    pub fn evicted(&self, cause: Eviction) -> u64 {
        self.evicted.0[cause as usize]
    }

    /// What is known of a host, by its name as in events: `http://host:port`.
    pub fn host(&self, name: &str) -> Option<&HostStats> {
        self.hosts.iter().find(|host| &*host.name == name)
    }
}

/// A count for each reason.
#[derive(Clone, Default)]
pub(crate) struct Counts(pub(crate) [u64; Eviction::ALL.len()]);

impl fmt::Debug for Counts {
    /// Those that happened.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = Eviction::ALL.iter().map(|cause| (cause.word(), self.0[*cause as usize]));
        f.debug_map().entries(counts.filter(|(_, count)| *count > 0)).finish()
    }
}

/// What a session knows of one host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostStats {
    /// `scheme://host:port`.
    pub name: Arc<str>,
    /// Connections open now.
    pub open: usize,
    /// Those of them that are idle.
    pub idle: usize,
    /// The server's idle limit, as learnt from its closes.
    pub learnt: Option<Duration>,
    /// The server's idle limit, as it says in `Keep-Alive: timeout=`.
    pub hinted: Option<Duration>,
    /// When the certificate expires that the server showed last. A TLS session that is resumed
    /// shows none: it is that of its first connection.
    pub certificate_expires: Option<SystemTime>,
}
