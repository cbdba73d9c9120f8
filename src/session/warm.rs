//! Warm: a heartbeat on idle connections, so that the next request finds one that stands. Opt-in,
//! because it is traffic that nobody else asked for.

use std::fmt;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{debug, warn};
use ureq::http::Method;

use super::body::Body;
use super::call::Order;
use super::eviction::Eviction;
use super::failure::Asked;
use super::limits::Limits;
use super::pipe::Probe;
use super::places::{Key, Taken, Want};
use super::pool::Pool;
use super::replay::Replay;
use super::request::{Inner, Parts};
use crate::drive::spawn;
use crate::sys;

/// Where no limit is known, a connection is asked this often: firewalls forget after some minutes.
const UNKNOWN: Duration = Duration::from_secs(30);

/// A heartbeat that takes longer has found a dead connection.
const ANSWER: Duration = Duration::from_secs(5);

/// Connections are looked at this often at least: what was learnt may have changed.
const LOOK: Duration = Duration::from_millis(500);

/// It runs what a request runs.
const STACK: usize = 512 * 1024;

/// A heartbeat on idle connections.
///
/// One connection of each host, the one used last, is sent a small request before it has been idle
/// for three quarters of what the server allows (30 s where that is not known). That goes on until
/// nobody has sent a request to the host for [`at_most`](Warm::at_most); then it may idle out. It
/// costs one thread, and requests that the server logs.
///
/// # Examples
///
/// ```
/// use keepbeat::{Session, Warm};
///
/// let session = Session::builder().warm(Warm::head("/health")).build()?;
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[derive(Clone)]
pub struct Warm {
    method: Method,
    path: String,
    at_most: Duration,
}

impl fmt::Debug for Warm {
    /// Without the query, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{} {path} for {:?}", self.method, self.at_most)
    }
}

impl Warm {
    /// `HEAD` on this path: one that costs the server little. Its status does not matter.
    pub fn head(path: impl Into<String>) -> Warm {
        Warm { method: Method::HEAD, path: path.into(), at_most: Duration::from_secs(600) }
    }

    /// `OPTIONS` on this path.
    pub fn options(path: impl Into<String>) -> Warm {
        Warm { method: Method::OPTIONS, ..Warm::head(path) }
    }

    /// For how long after the last request to a host: ten minutes unless set.
    pub fn at_most(mut self, time: Duration) -> Warm {
        self.at_most = time;
        self
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.path.starts_with('/') && self.path.parse::<ureq::http::uri::PathAndQuery>().is_ok()
    }
}

/// The thread that keeps connections warm: there from the first request on.
#[derive(Debug)]
pub(crate) struct Warmer {
    warm: Warm,
    /// Dropping it ends the thread.
    stop: Mutex<Option<Sender<()>>>,
    /// The process that it was made in.
    generation: u64,
}

impl Warmer {
    pub(crate) fn new(warm: Warm) -> Warmer {
        Warmer { warm, stop: Mutex::new(None), generation: sys::fork_generation() }
    }

    pub(crate) fn start(&self, inner: Weak<Inner>) {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        if stop.is_some() {
            return;
        }
        let (sender, receiver) = bounded(0);
        let warm = self.warm.clone();
        let body = move || run(&warm, &inner, &receiver);
        if let Err(error) = spawn::spawn("keepbeat-warm", STACK, body) {
            warn!("connections are not kept warm: {error}");
        }
        *stop = Some(sender);
    }
}

impl Drop for Warmer {
    fn drop(&mut self) {
        // In a forked child there is no thread to end, and its locks may be held for ever.
        if self.generation != sys::fork_generation() {
            std::mem::forget(std::mem::take(&mut self.stop));
        }
    }
}

fn run(warm: &Warm, inner: &Weak<Inner>, stop: &Receiver<()>) {
    let mut wait = Duration::ZERO;
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(wait) {
        let Some(inner) = inner.upgrade() else { return };
        let now = Instant::now();
        let (due, next) = inner.core.pool().due(warm.at_most, now);
        if let Some((key, taken)) = due {
            beat(warm, &inner, &key, taken);
            wait = Duration::ZERO;
        } else {
            wait = next.map_or(LOOK, |next| next.saturating_duration_since(now).min(LOOK));
        }
    }
}

/// One small request on this very connection. What comes of it shows in the pool: the connection
/// returns to it, or not.
fn beat(warm: &Warm, inner: &Inner, key: &Key, mut taken: Taken) {
    // Whatever lies there already is no answer to this.
    if !matches!(taken.pipe.probe(), Probe::Quiet) {
        return inner.core.leave_unused(taken, Eviction::UnexpectedBytes);
    }
    let scheme = if key.https { "https" } else { "http" };
    let Ok(uri) = format!("{scheme}://{}{}", key.authority, warm.path).parse() else {
        return inner.core.leave_unused(taken, Eviction::NotReusable);
    };
    let parts = Parts::new(Asked { method: warm.method.clone(), uri }, Replay::Never);
    let deadline = Some(Instant::now() + ANSWER);
    let limits = Limits { deadline, connect: ANSWER, first_byte: None, silence: None };
    let want = Want { fresh: false, to_the_last: false, idle_at_most: Duration::ZERO };
    let mut body = Body::empty();
    let order = Order { pinned: Some(taken), ..inner.order(&parts, &body, limits, want) };
    match inner.once(&parts, &mut body, order) {
        Ok((_, mut conn)) => {
            conn.drain();
            inner.core.pool().stats.warmed += 1;
        }
        Err(failed) => {
            let error = failed.told(&parts.asked);
            debug!("a heartbeat failed: {error}");
        }
    }
}

impl Pool {
    /// A connection that should be asked now, taken out; else when to look again.
    fn due(&mut self, at_most: Duration, now: Instant) -> (Option<(Key, Taken)>, Option<Instant>) {
        let mut next: Option<Instant> = None;
        for index in 0..self.hosts.len() {
            let wanted = self.bounds.idle_timeout;
            let host = &self.hosts[index];
            let Some(newest) = host.idle.last().copied() else { continue };
            if now.saturating_duration_since(host.asked) >= at_most {
                continue;
            }
            let (at, key) = (host.idle.len() - 1, host.key.clone());
            let said = self.member(newest).said(now);
            let limit = self.hosts[index].limit.usable(now, wanted, false, said);
            let beat = (limit * 3 / 4).min(UNKNOWN);
            let due = now + beat.saturating_sub(self.member(newest).idle_for(now));
            // What is beyond its limit is not used any more, not even for this.
            if self.member(newest).idle_for(now) >= limit {
                continue;
            }
            if due <= now {
                return (Some((key, self.take(index, at, now))), None);
            }
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        (None, next)
    }
}
