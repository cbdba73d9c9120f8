//! Core: what all handles, connections and threads of a session share.

use std::io;
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};

use super::buffers::Buffers;
use super::cancel::Canceller;
use super::conn::Line;
use super::dial::Options;
use super::eviction::Eviction;
use super::names::Names;
use super::pipe::{Pipe, Probe};
use super::places::{Checkout, Grant, Key, Opened, SlotId, Taken, Want};
use super::pool::Pool;
use super::proxy::Proxies;
use super::trouble::Trouble;
use super::watcher::Watcher;
use crate::protocol::http::hint::Hint;
use crate::sys;

#[derive(Debug)]
pub(crate) struct Core {
    /// Held for some nanoseconds, never over a call that blocks. ureq calls us with its own lock
    /// held; so nothing of ureq is called under this one.
    pool: Mutex<Pool>,
    pub(crate) requests: AtomicU64,
    pub(crate) names: Names,
    pub(crate) options: Options,
    pub(crate) proxies: Proxies,
    /// What a proxy is told of us.
    pub(crate) user_agent: Option<String>,
    #[cfg(feature = "tls")]
    pub(crate) secure: Secure,
    pub(crate) watcher: Watcher,
    /// As in the pool, for whoever waits elsewhere.
    closed: AtomicBool,
    /// The process that it was made in.
    generation: u64,
}

/// TLS for the connections of the session itself.
#[cfg(feature = "tls")]
pub(crate) struct Secure {
    pub(crate) config: Arc<rustls::ClientConfig>,
    /// How long before its end a certificate is worth a warning; none if never.
    pub(crate) warns_before: Option<Duration>,
    /// How long a handshake may take, within the time for the connection.
    pub(crate) handshake: Option<Duration>,
}

#[cfg(feature = "tls")]
impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secure")
    }
}

/// What a core is made of.
pub(crate) struct Parts {
    pub(crate) pool: Pool,
    pub(crate) names: Names,
    pub(crate) options: Options,
    pub(crate) proxies: Proxies,
    pub(crate) user_agent: Option<String>,
    #[cfg(feature = "tls")]
    pub(crate) secure: Secure,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Core {
        Core {
            pool: Mutex::new(parts.pool),
            requests: AtomicU64::new(0),
            names: parts.names,
            options: parts.options,
            proxies: parts.proxies,
            user_agent: parts.user_agent,
            #[cfg(feature = "tls")]
            secure: parts.secure,
            watcher: Watcher::new(),
            closed: AtomicBool::new(false),
            generation: sys::fork_generation(),
        }
    }

    /// Whether this is a child of the process that made it. Its connections are the parent's then,
    /// its threads are not here, and its locks may be held by them for ever.
    pub(crate) fn is_forked(&self) -> bool {
        self.generation != sys::fork_generation()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether a shutdown, or its canceller, has ended a request: no end is the server's then.
    pub(crate) fn ended(&self, cancel: Option<&Canceller>) -> Option<Trouble> {
        match cancel.is_some_and(Canceller::has_cancelled) {
            true => Some(Trouble::Cancelled),
            false => self.is_closed().then_some(Trouble::Shut),
        }
    }

    /// How long before its end a certificate is worth a warning; none if never.
    pub(crate) fn warns_before(&self) -> Option<Duration> {
        #[cfg(feature = "tls")]
        let before = self.secure.warns_before;
        #[cfg(not(feature = "tls"))]
        let before = None;
        before
    }

    /// A panic under this lock is a bug of ours; the counts are still good enough to go on.
    pub(crate) fn pool(&self) -> Held<'_> {
        Held(Some(self.pool.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// A kept connection that was looked at just now, or room for a new one.
    ///
    /// # Errors
    ///
    /// All stay in use until then, or there was a shutdown.
    pub(crate) fn checkout(
        &self,
        key: &Key,
        want: Want,
        until: Instant,
        cancel: Option<&Canceller>,
    ) -> Result<Grant, Trouble> {
        let checkout = self.pool().checkout(key, want, Instant::now());
        let mut grant = match checkout {
            Checkout::Granted(grant) => grant,
            Checkout::Wait(number, receiver) => match granted(&receiver, until, cancel) {
                Some(grant) => grant,
                None if self.pool().give_up(number) => {
                    let cancelled = cancel.is_some_and(Canceller::has_cancelled);
                    return Err(if cancelled { Trouble::Cancelled } else { Trouble::Full });
                }
                // It was given in the last moment, or the pool was closed.
                None => receiver.try_recv().map_err(|_| Trouble::Shut)?,
            },
            Checkout::Closed => return Err(Trouble::Shut),
        };
        loop {
            let Grant::Kept(mut taken) = grant else { return Ok(grant) };
            let probe = taken.pipe.probe();
            if matches!(probe, Probe::Quiet) {
                self.pool().reused(&taken, Instant::now());
                return Ok(Grant::Kept(taken));
            }
            let Taken { id, pipe, idle, .. } = taken;
            drop(pipe);
            let next = self.pool().judge_taken(id, idle, &probe, want, Instant::now());
            // The watcher settles what that teaches.
            self.watcher.ring();
            grant = next.ok_or(Trouble::Shut)?;
        }
    }

    /// A socket is connected, and on its way to become a connection in this place.
    ///
    /// # Errors
    ///
    /// `NotConnected` after a shutdown.
    pub(crate) fn opening(&self, id: SlotId, socket: &Arc<TcpStream>) -> io::Result<()> {
        let watched = self.watcher.add(socket, id);
        if self.pool().opening(id, socket, watched) { Ok(()) } else { Err(closed()) }
    }

    /// A connection stands in the place it was given.
    ///
    /// # Errors
    ///
    /// `NotConnected` after a shutdown.
    pub(crate) fn opened(&self, id: SlotId, opened: Opened) -> io::Result<()> {
        if self.pool().opened(id, opened, Instant::now()) { Ok(()) } else { Err(closed()) }
    }

    /// A connection comes back clean.
    pub(crate) fn give_back(self: &Arc<Core>, id: SlotId, line: Line, since: Instant, hint: Hint) {
        let Line { mut pipe, buffers } = line;
        pipe.shed();
        let now = Instant::now();
        let mut pool = self.pool();
        pool.spare.put(buffers);
        pool.give_back(id, pipe, since, hint, now);
        let ring = pool.must_ring(now);
        drop(pool);
        self.watcher.start(self);
        if ring {
            self.watcher.ring();
        }
    }

    /// A connection comes back that cannot be used again.
    pub(crate) fn leave(&self, id: SlotId, pipe: Box<dyn Pipe>, buffers: Buffers, why: Eviction) {
        // Before its place is free: the limits count what the server sees.
        drop(pipe);
        let mut pool = self.pool();
        pool.spare.put(buffers);
        pool.leave_used(id, why, Instant::now());
    }

    /// A kept connection was taken, and nothing was done with it.
    pub(crate) fn leave_unused(&self, taken: Taken, why: Eviction) {
        let Taken { id, pipe, .. } = taken;
        self.leave(id, pipe, Buffers::default(), why);
    }

    /// Ends everything: idle connections, and requests that wait on theirs.
    pub(crate) fn close(&self) {
        if self.is_forked() {
            return; // they are the parent's
        }
        self.closed.store(true, Ordering::Release);
        let used = self.pool().close(Instant::now());
        for socket in used {
            // An error means that it is closed already.
            let _ = TcpStream::shutdown(&socket, std::net::Shutdown::Both);
        }
    }

    pub(crate) fn stats(&self) -> super::SessionStats {
        if self.is_forked() {
            return super::SessionStats::default();
        }
        let mut stats = self.pool().stats(Instant::now());
        stats.requests = self.requests.load(Ordering::Relaxed);
        stats.lookups = self.names.lookups();
        stats
    }
}

/// Waits for a turn, until then, or until it is cancelled.
fn granted(turn: &Receiver<Grant>, until: Instant, cancel: Option<&Canceller>) -> Option<Grant> {
    let Some(cancel) = cancel else { return turn.recv_deadline(until).ok() };
    let left = until.saturating_duration_since(Instant::now());
    select! {
        recv(turn) -> grant => grant.ok(),
        recv(cancel.bell()) -> _ => None,
        default(left) => None,
    }
}

/// The pool under its lock. What it has to say to the log is said when the lock is free.
pub(crate) struct Held<'a>(Option<MutexGuard<'a, Pool>>);

impl Deref for Held<'_> {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        self.0.as_ref().expect("it is let go by the drop alone")
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Pool {
        self.0.as_mut().expect("it is let go by the drop alone")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        self.0 = None;
        for (level, line) in lines {
            log::log!(level, "{line}");
        }
    }
}

pub(crate) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the agent was shut down")
}

/// A place in the pool that becomes free again unless a connection comes to stand in it.
pub(crate) struct Place<'a> {
    core: &'a Core,
    pub(crate) id: SlotId,
    taken: bool,
    /// Nobody answered there.
    pub(crate) unreachable: bool,
}

impl<'a> Place<'a> {
    pub(crate) fn new(core: &'a Core, id: SlotId) -> Place<'a> {
        Place { core, id, taken: false, unreachable: false }
    }

    pub(crate) fn keep(mut self) {
        self.taken = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.taken {
            self.core.pool().not_opened(self.id, self.unreachable, Instant::now());
        }
    }
}
