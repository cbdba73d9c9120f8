//! Core: what all handles, connections and threads of a session share.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::buffers::Buffers;
use super::dial::Options;
use super::eviction::Eviction;
use super::hint::Hint;
use super::names::Names;
use super::pipe::{Pipe, Probe};
use super::places::{Checkout, Grant, Key, Opened, SlotId, Taken, Want};
use super::pool::Pool;
use super::watcher::Watcher;

#[derive(Debug)]
pub(crate) struct Core {
    /// Held for some nanoseconds, never over a call that blocks. ureq calls us with its own lock
    /// held; so nothing of ureq is called under this one.
    pool: Mutex<Pool>,
    pub(crate) requests: AtomicU64,
    pub(crate) names: Names,
    pub(crate) options: Options,
    pub(crate) secure: Secure,
    pub(crate) watcher: Watcher,
}

/// TLS for the connections of the session itself.
#[derive(Clone)]
pub(crate) struct Secure {
    #[cfg(feature = "tls")]
    pub(crate) config: Arc<rustls::ClientConfig>,
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secure")
    }
}

impl Core {
    pub(crate) fn new(pool: Pool, names: Names, options: Options, secure: Secure) -> Core {
        Core {
            pool: Mutex::new(pool),
            requests: AtomicU64::new(0),
            names,
            options,
            secure,
            watcher: Watcher::new(),
        }
    }

    /// A panic under this lock is a bug of ours; the counts are still good enough to go on.
    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// A connection stands in the place it was given.
    ///
    /// # Errors
    ///
    /// `NotConnected` after a shutdown.
    pub(crate) fn opened(&self, id: SlotId, opened: Opened) -> io::Result<()> {
        if let Some(socket) = &opened.socket {
            self.watcher.add(socket, id);
        }
        if self.pool().opened(id, opened, Instant::now()) { Ok(()) } else { Err(closed()) }
    }

    /// A connection comes back clean.
    pub(crate) fn give_back(
        self: &Arc<Core>,
        id: SlotId,
        mut pipe: Box<dyn Pipe>,
        buffers: Buffers,
        since: Instant,
    ) {
        pipe.shed();
        let now = Instant::now();
        let mut pool = self.pool();
        pool.spare.put(buffers);
        let evicted = pool.give_back(id, pipe, since, now);
        let ring = pool.must_ring(now);
        drop(pool);
        self.watcher.start(self);
        if ring {
            self.watcher.ring();
        }
        drop(evicted);
    }

    /// A connection comes back that cannot be used again.
    pub(crate) fn leave(&self, id: SlotId, pipe: Box<dyn Pipe>, buffers: Buffers, why: Eviction) {
        // Before its place is free: the limits count what the server sees.
        drop(pipe);
        let mut pool = self.pool();
        pool.spare.put(buffers);
        pool.leave_used(id, why, Instant::now());
    }

    /// What a response said about keeping its connection.
    pub(crate) fn on_hint(&self, id: SlotId, hint: Hint) {
        let gone = self.pool().on_hint(id, hint, Instant::now());
        drop(gone);
    }

    /// Ends everything: idle connections, and requests that wait on theirs.
    pub(crate) fn close(&self) {
        let (idle, used) = self.pool().close(Instant::now());
        drop(idle);
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

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the agent was shut down")
}
