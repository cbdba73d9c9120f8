//! Core: what all handles, connections and threads of a session share.

use std::io;
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::buffers::{Buffers, Line, Spare};
use super::cancel::Canceller;

use super::dial::Options;
use super::event::{SessionEvent, SessionStats, Teller};
use super::eviction::Eviction;
use super::names::Names;
use super::pipe::{Pipe, closed};
use super::pool::act::{Acts, Look};
use super::pool::places::{self, Checkout, Keeps, Key, Opened, Seen, SlotId, Want};
use super::proxy::Proxies;
use super::trouble::Trouble;
use super::watcher::Watcher;
use crate::protocol::http::hint::Hint;
use crate::sys::{self, Happened};

/// What the pool of a session keeps.
pub(crate) struct Kept;

impl Keeps for Kept {
    type Conn = Box<dyn Pipe>;
    type Socket = Arc<TcpStream>;
    type Waiter = Sender<Grant>;
}

pub(crate) type Pool = super::pool::Pool<Kept>;
pub(crate) type Grant = places::Grant<Box<dyn Pipe>>;
pub(crate) type Taken = places::Taken<Box<dyn Pipe>>;

/// What stands under the lock.
struct State {
    pool: Pool,
    spare: Spare,
    teller: Teller,
}

pub(crate) struct Core {
    /// Held for some nanoseconds, never over a call that blocks. ureq calls us with its own lock
    /// held; so nothing of ureq is called under this one.
    state: Mutex<State>,
    pub(crate) requests: AtomicU64,
    pub(crate) names: Names,
    pub(crate) options: Options,
    pub(crate) proxies: Proxies,
    /// The `User-Agent` that a proxy is sent with CONNECT.
    pub(crate) user_agent: Option<String>,
    #[cfg(feature = "tls")]
    pub(crate) secure: Secure,
    pub(crate) watcher: Watcher,
    /// The same as in the pool, for threads that wait without its lock.
    closed: AtomicBool,
    /// The fork generation of the process that made it.
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

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Core");
        shown.field("names", &self.names).field("proxies", &self.proxies).finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Core {
        let state = State { pool: parts.pool, spare: Spare::default(), teller: Teller::new() };
        Core {
            state: Mutex::new(state),
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

    /// A panic under this lock is our own bug, and the counts are still good enough to continue.
    pub(crate) fn pool(&self) -> Held<'_> {
        Held { core: self, state: Some(self.lock()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens from now on.
    pub(crate) fn events(&self) -> Receiver<SessionEvent> {
        let mut state = self.lock();
        state.pool.has_listener = true;
        state.teller.events()
    }

    /// Returns a kept connection that was just probed, or room for a new one.
    ///
    /// # Errors
    ///
    /// All connections stayed in use until `until`, or the session was shut down.
    pub(crate) fn checkout(
        &self,
        key: &Key,
        want: Want,
        until: Instant,
        cancel: Option<&Canceller>,
    ) -> Result<Grant, Trouble> {
        let mut turn = None;
        let checkout = self.pool().checkout(key, want, Instant::now(), || {
            let (sender, receiver) = bounded(1);
            turn = Some(receiver);
            sender
        });
        let mut grant = match (checkout, turn) {
            (Checkout::Granted(grant), _) => grant,
            (Checkout::Wait(number), Some(turn)) => match granted(&turn, until, cancel) {
                Some(grant) => grant,
                None if self.pool().give_up(number) => {
                    let cancelled = cancel.is_some_and(Canceller::has_cancelled);
                    return Err(if cancelled { Trouble::Cancelled } else { Trouble::Full });
                }
                // It was decided in the last moment and is on its way, or the pool was closed.
                None => turn.recv().map_err(|_| Trouble::Shut)?,
            },
            _ => return Err(Trouble::Shut),
        };
        loop {
            let Grant::Kept(mut taken) = grant else { return Ok(grant) };
            let seen = taken.conn.probe().seen();
            if seen == Seen::Quiet {
                self.pool().reused(&taken, Instant::now());
                return Ok(Grant::Kept(taken));
            }
            let Taken { id, conn, idle, .. } = taken;
            drop(conn);
            let next = self.pool().judge_taken(id, idle, seen, want, Instant::now());
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
        if self.pool().opening(id, Arc::clone(socket), watched) { Ok(()) } else { Err(closed()) }
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
        pool.spare().put(buffers);
        pool.give_back(id, pipe, since, hint, now);
        let ring = pool.must_ring(now);
        drop(pool);
        if !self.watcher.has_started() {
            let core = Arc::downgrade(self);
            self.watcher.start(move |happened| Some(core.upgrade()?.look(happened)));
        }
        if ring {
            self.watcher.ring();
        }
    }

    /// The watcher's look at what ended, and at what time has done. How long it may sleep then.
    fn look(&self, happened: &[Happened]) -> Option<Duration> {
        // An end is as old as it was when the kernel told it, however long the look takes.
        let told = Instant::now();
        let looks = match happened.is_empty() {
            true => Vec::new(),
            false => self.pool().happened(happened, told),
        };
        for Look { id, mut conn, ended } in looks {
            let seen = match conn.probe().seen() {
                // The kernel has told an end: it is there, whatever hides it.
                Seen::Quiet if ended => Seen::Closed,
                seen => seen,
            };
            self.pool().looked(id, conn, seen, told);
        }
        self.pool().look(Instant::now())
    }

    /// A connection comes back that cannot be used again.
    pub(crate) fn leave(&self, id: SlotId, pipe: Box<dyn Pipe>, buffers: Buffers, why: Eviction) {
        // Before its place is free: the limits count what the server sees.
        drop(pipe);
        let mut pool = self.pool();
        pool.spare().put(buffers);
        pool.leave_used(id, why, Instant::now());
    }

    /// A kept connection was taken, and nothing was done with it.
    pub(crate) fn leave_unused(&self, taken: Taken, why: Eviction) {
        let Taken { id, conn, .. } = taken;
        self.leave(id, conn, Buffers::default(), why);
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

    pub(crate) fn stats(&self) -> SessionStats {
        if self.is_forked() {
            return SessionStats::default();
        }
        let state = self.lock();
        let mut stats = state.pool.stats(Instant::now());
        stats.events_lost = state.teller.lost;
        drop(state);
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

/// The pool under its lock. What it wants done is done when the lock is free.
pub(crate) struct Held<'a> {
    core: &'a Core,
    /// None only while it is let go.
    state: Option<MutexGuard<'a, State>>,
}

impl Held<'_> {
    fn state(&mut self) -> &mut State {
        self.state.as_mut().expect("it is let go by the drop alone")
    }

    pub(crate) fn spare(&mut self) -> &mut Spare {
        &mut self.state().spare
    }

    /// Unlocks, and does what is to be done. Whatever was closed makes room, which may be for
    /// somebody who waits: so there may be more to do.
    fn let_go(&mut self) {
        let mut lines = Vec::new();
        while let Some(mut state) = self.state.take() {
            let Some(mut acts) = state.pool.acts() else { break };
            for (host, kind) in acts.tells.drain(..) {
                state.teller.tell(host, kind);
            }
            drop(state);
            lines.append(&mut acts.lines);
            let left = self.core.act(acts);
            if !left.is_empty() {
                let mut state = self.core.lock();
                state.pool.left(&left, Instant::now());
                self.state = Some(state);
            }
        }
        for (level, line) in lines {
            log::log!(level, "{line}");
        }
    }
}

impl Core {
    /// Does what the pool has decided. Returns what is closed now, and has left room.
    fn act(&self, acts: Acts<Kept>) -> Vec<SlotId> {
        for (id, socket, interest) in acts.watches {
            self.watcher.change(&socket, id, interest);
        }
        let mut left = Vec::new();
        for close in acts.closes {
            drop(close.conn); // that does not block
            if !close.has_heir {
                left.push(close.id);
            }
        }
        for (waiter, grant) in acts.grants {
            waiter.try_send(grant).expect("one grant, room for one, and a receiver");
        }
        left
    }
}

impl Deref for Held<'_> {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.state.as_ref().expect("it is let go by the drop alone").pool
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Pool {
        &mut self.state().pool
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
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
