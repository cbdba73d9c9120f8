//! Core: what all handles, connections and threads of a session share.

use std::io;
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::buffers::Buffers;
use super::dial::Options;
use super::eviction::Eviction;
use super::lease::Line;
use super::names::Names;
use super::pipe::{Pipe, Probe};
use super::places::{Checkout, Grant, Key, Opened, SlotId, Taken, Want};
use super::pool::Pool;
use super::watcher::Watcher;
use crate::protocol::http::hint::Hint;

#[derive(Debug)]
pub(crate) struct Core {
    /// Held for some nanoseconds, never over a call that blocks. ureq calls us with its own lock
    /// held; so nothing of ureq is called under this one.
    pool: Mutex<Pool>,
    pub(crate) requests: AtomicU64,
    pub(crate) names: Names,
    pub(crate) options: Options,
    #[cfg(feature = "tls")]
    pub(crate) secure: Secure,
    pub(crate) watcher: Watcher,
}

/// TLS for the connections of the session itself.
#[cfg(feature = "tls")]
pub(crate) struct Secure {
    pub(crate) config: Arc<rustls::ClientConfig>,
    /// How long before its end a certificate is worth a warning; none if never.
    pub(crate) warns_before: Option<Duration>,
}

#[cfg(feature = "tls")]
impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secure")
    }
}

impl Core {
    pub(crate) fn new(
        pool: Pool,
        names: Names,
        options: Options,
        #[cfg(feature = "tls")] secure: Secure,
    ) -> Core {
        Core {
            pool: Mutex::new(pool),
            requests: AtomicU64::new(0),
            names,
            options,
            #[cfg(feature = "tls")]
            secure,
            watcher: Watcher::new(),
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
    /// `TimedOut` if all stay in use until then, `NotConnected` after a shutdown.
    pub(crate) fn checkout(&self, key: &Key, want: Want, until: Instant) -> io::Result<Grant> {
        let checkout = self.pool().checkout(key, want, Instant::now());
        let mut grant = match checkout {
            Checkout::Granted(grant) => grant,
            Checkout::Wait(number, receiver) => match receiver.recv_deadline(until) {
                Ok(grant) => grant,
                Err(_) if self.pool().give_up(number) => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                // It was given in the last moment, or the pool was closed.
                Err(_) => receiver.try_recv().map_err(|_| closed())?,
            },
            Checkout::Closed => return Err(closed()),
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
            grant = next.ok_or_else(closed)?;
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
    pub(crate) fn give_back(
        self: &Arc<Core>,
        id: SlotId,
        line: Line,
        since: Instant,
        hint: Option<Hint>,
    ) {
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

    /// Ends everything: idle connections, and requests that wait on theirs.
    pub(crate) fn close(&self) {
        let used = self.pool().close(Instant::now());
        for socket in used {
            // An error means that it is closed already.
            let _ = TcpStream::shutdown(&socket, std::net::Shutdown::Both);
        }
    }

    pub(crate) fn stats(&self) -> super::SessionStats {
        let mut stats = self.pool().stats(Instant::now());
        stats.requests = self.requests.load(Ordering::Relaxed);
        stats.lookups = self.names.lookups();
        stats
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

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the agent was shut down")
}
