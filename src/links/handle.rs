//! What others hold of a link: its flags, its socket or bell for waking it, its status.
//!
//! Who waits for whom: each lock here is held for some nanoseconds and never while another is taken
//! or a system call may block, so nobody waits for a link that is blocked.

use std::net::Shutdown;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread, ThreadId};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use socket2::Socket;

use crate::diagnose::Attempt;
use crate::error::Error;
use crate::event::{Identity, Status};
use crate::heartbeat::Heartbeat;
use crate::sys::{self, Bell};
use crate::tcp_info::TcpInfo;

/// What is true of a link now, each a bit of its own: some are said by its thread and some to it.
#[derive(Debug, Default)]
struct Flags(AtomicU16);

/// To the link: it is to end.
const STOP: u16 = 1;
/// The connection had ended by itself when the link was first told to end.
const HAD_ENDED: u16 = 1 << 1;
/// To the link: it is to be closed, so a connection that is being opened is of no use any more.
const CLOSING: u16 = 1 << 2;
/// To the link: no beats.
const PAUSED: u16 = 1 << 3;
/// To the link: its heartbeat was changed.
const ADJUSTED: u16 = 1 << 4;
/// The application holds nothing of the link any more.
const RELEASED: u16 = 1 << 5;
/// By the link: it looks a name up, which nobody can wake.
const RESOLVING: u16 = 1 << 6;
/// By the link: it waits for the application's `send`, which nobody can wake.
const SENDING: u16 = 1 << 7;
/// By the link: the peer has accepted the last connection that was tried.
const STOOD: u16 = 1 << 8;
/// By the link: its thread is in its last instructions.
const LEFT: u16 = 1 << 9;

impl Flags {
    fn set(&self, flag: u16) {
        self.0.fetch_or(flag, Ordering::SeqCst);
    }

    /// Whether it was set before.
    fn clear(&self, flag: u16) -> bool {
        self.0.fetch_and(!flag, Ordering::SeqCst) & flag != 0
    }

    fn turn(&self, flag: u16, on: bool) {
        if on {
            self.set(flag);
        } else {
            self.clear(flag);
        }
    }

    /// Whether one of these is set.
    fn has(&self, flags: u16) -> bool {
        self.0.load(Ordering::SeqCst) & flags != 0
    }
}

#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) who: Arc<Identity>,
    flags: Flags,
    attempt: Mutex<Attempt>,
    socket: Mutex<Option<Arc<Socket>>>,
    /// What the link waits at beside its socket; without one it is parked.
    bell: Mutex<Option<Wake>>,
    thread: OnceLock<Thread>,
    /// The link's second thread, if it has one.
    sender: OnceLock<ThreadId>,
    status: Mutex<Status>,
    pace: Option<Pace>,
}

/// What wakes a link that waits at it. Neither blocks, and one ring is enough.
#[derive(Clone, Debug)]
pub(crate) enum Wake {
    /// In poll or epoll.
    Bell(Arc<Bell>),
    /// At a channel.
    Channel(Sender<()>),
}

impl Wake {
    fn ring(&self) {
        match self {
            Wake::Bell(bell) => bell.ring(),
            Wake::Channel(bell) => drop(bell.try_send(())),
        }
    }
}

/// The heartbeat of a link, which others may change while it runs.
#[derive(Debug)]
struct Pace {
    heartbeat: Mutex<Heartbeat>,
    /// How much too late its thread may be woken, at most.
    slack: Duration,
}

impl Handle {
    pub(crate) fn new(who: Identity) -> Handle {
        let status = Mutex::new(Status::new(&who, Instant::now()));
        Handle {
            who: Arc::new(who),
            flags: Flags::default(),
            attempt: Mutex::default(),
            socket: Mutex::new(None),
            bell: Mutex::new(None),
            thread: OnceLock::new(),
            sender: OnceLock::new(),
            status,
            pace: None,
        }
    }

    /// The same of a link whose heartbeat can be changed while it runs.
    pub(crate) fn with_pace(who: Identity, heartbeat: Heartbeat, slack: Duration) -> Handle {
        let heartbeat = Mutex::new(heartbeat);
        Handle { pace: Some(Pace { heartbeat, slack }), ..Handle::new(who) }
    }

    /// Said once by the link's thread, before anything else.
    pub(crate) fn enter(&self) {
        // It is set by this thread alone.
        let _ = self.thread.set(thread::current());
    }

    /// Tells the link to end and wakes it wherever it is: parked, or blocked in connect, read,
    /// write, poll or epoll. One call is enough: a parked thread keeps the wake-up, a socket its
    /// shutdown, a bell its ring, and the link looks at the flag after each connect has begun and
    /// after it has set its bell. Only name resolution cannot be woken.
    pub(crate) fn stop(&self) {
        let socket = self.socket();
        if let Some(socket) = &*socket {
            // Asked first: after the shutdown nobody can tell whose end it was.
            if !self.is_stopping() && self.has_stood() && TcpInfo::has_ended(socket) {
                self.flags.set(HAD_ENDED);
            }
        }
        self.flags.set(STOP);
        if let Some(socket) = &*socket {
            // NotConnected: it has not begun to connect, or is over; then there is nothing to wake.
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(socket);
        self.wake();
    }

    /// Wakes the link where it waits for something else than its socket, and changes nothing.
    pub(crate) fn wake(&self) {
        let bell = self.bell().clone();
        if let Some(bell) = bell {
            bell.ring();
        }
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// The link is to be closed, and no frame waits for a connection: one that is being opened is
    /// given up. One that stands is not touched.
    pub(crate) fn give_up_dialing(&self) {
        let socket = self.socket();
        self.flags.set(CLOSING);
        if let Some(socket) = &*socket {
            let _ = socket.shutdown(Shutdown::Both); // it may not have begun to connect
        }
        drop(socket);
        self.wake();
    }

    /// Whether opening a connection is of no use any more.
    pub(crate) fn gives_up_dialing(&self) -> bool {
        self.flags.has(STOP | CLOSING)
    }

    /// The connection stands: from here on it is not shut down by a close. False if it was already.
    pub(crate) fn keep_socket(&self) -> bool {
        let mut socket = self.socket();
        *socket = None;
        !self.flags.has(CLOSING)
    }

    /// Said once by the link's second thread.
    pub(crate) fn enter_sender(&self) {
        let _ = self.sender.set(thread::current().id());
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.flags.has(STOP)
    }

    /// Whether an end of the connection that is met now is our own shutdown, and nobody's doing.
    pub(crate) fn is_shut_by_us(&self) -> bool {
        self.is_stopping() && !self.flags.has(HAD_ENDED)
    }

    /// In force from the next planned beat on: nobody is woken.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.flags.turn(PAUSED, paused);
        self.status().paused = paused;
    }

    /// Changes the pace of the link, in force as soon as its thread looks.
    ///
    /// # Errors
    ///
    /// What cannot work with the settings that stay; or the pace of this kind of link is fixed.
    pub(crate) fn set_heartbeat(&self, heartbeat: &Heartbeat) -> Result<(), Error> {
        let Some(pace) = &self.pace else {
            return Err(Error::invalid(
                "the pace of an observation is set in the kernel: end it and observe again",
            ));
        };
        let mut current = pace.heartbeat.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = current.at_pace_of(heartbeat);
        wanted.check()?;
        *current = wanted;
        self.flags.set(ADJUSTED);
        drop(current);
        self.wake();
        Ok(())
    }

    /// For the link's own thread: what its heartbeat was changed to.
    pub(crate) fn take_heartbeat(&self) -> Option<Heartbeat> {
        let pace = self.pace.as_ref()?;
        if !self.flags.clear(ADJUSTED) {
            return None;
        }
        let heartbeat = pace.heartbeat.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sys::set_timer_slack(slack(pace.slack, heartbeat.interval));
        Some(heartbeat)
    }

    /// Whether it was changed since that was last taken.
    pub(crate) fn is_to_adjust(&self) -> bool {
        self.flags.has(ADJUSTED)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.flags.has(PAUSED)
    }

    /// Runs `f`, which cannot be woken, and says so to whoever asks.
    pub(crate) fn resolving<T>(&self, f: impl FnOnce() -> T) -> T {
        self.flags.set(RESOLVING);
        let result = f();
        self.flags.clear(RESOLVING);
        result
    }

    pub(crate) fn is_resolving(&self) -> bool {
        self.flags.has(RESOLVING)
    }

    /// Whether the peer has taken the connection that is being opened, TLS and login not counted.
    pub(crate) fn set_stood(&self, stood: bool) {
        self.flags.turn(STOOD, stood);
    }

    /// Whether the peer accepted the last TCP connect.
    pub(crate) fn has_stood(&self) -> bool {
        self.flags.has(STOOD)
    }

    /// What became of the last attempt to connect; the link's thread alone writes it.
    pub(crate) fn attempt(&self) -> MutexGuard<'_, Attempt> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, by `f`, for the application's `send`, which cannot be woken; says so to whoever asks.
    pub(crate) fn waiting_for_send<T>(&self, f: impl FnOnce() -> T) -> T {
        self.flags.set(SENDING);
        let result = f();
        self.flags.clear(SENDING);
        result
    }

    pub(crate) fn is_waiting_for_send(&self) -> bool {
        self.flags.has(SENDING)
    }

    /// The last word of the link's thread: from here on a join takes no time.
    pub(crate) fn leave(&self) {
        // Whoever still holds the link holds no descriptor by it.
        *self.socket() = None;
        *self.bell() = None;
        self.flags.set(LEFT);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.flags.has(LEFT)
    }

    /// The application has let go of what it held of this link: its status goes with its thread.
    pub(crate) fn release(&self) {
        self.flags.set(RELEASED);
    }

    pub(crate) fn is_released(&self) -> bool {
        self.flags.has(RELEASED)
    }

    /// Whether the caller is a thread of this link, which must not wait for itself.
    pub(crate) fn is_current_thread(&self) -> bool {
        let own = [self.thread.get().map(Thread::id), self.sender.get().copied()];
        own.contains(&Some(thread::current().id()))
    }

    /// The socket that `stop` shuts down.
    pub(crate) fn set_socket(&self, socket: Option<Arc<Socket>>) {
        *self.socket() = socket;
    }

    fn socket(&self) -> MutexGuard<'_, Option<Arc<Socket>>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bell that `wake` rings, for a link that waits in poll, in epoll or at a channel. Said by
    /// the link's thread before it first asks whether it is stopping.
    pub(crate) fn set_bell(&self, bell: Wake) {
        *self.bell() = Some(bell);
    }

    fn bell(&self) -> MutexGuard<'_, Option<Wake>> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status of this moment. In a forked child the lock may be held by a thread that is not
    /// there: then it is that of a link that has just been made.
    pub(crate) fn snapshot(&self, forked: bool) -> Status {
        if !forked {
            return self.status().clone();
        }
        let status = self.status.try_lock().map(|status| status.clone());
        status.unwrap_or_else(|_| Status::new(&self.who, Instant::now()))
    }

    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most 1/200 of the interval: what lateness costs must not show beside the jitter.
pub(crate) fn slack(most: Duration, interval: Duration) -> Duration {
    most.min(interval / 200)
}
