//! What others hold of a link: its flags, its socket or bell for waking it, its status.
//!
//! Who waits for whom: each lock here is held for some nanoseconds and never while another is taken
//! or a system call may block, so nobody waits for a link that is blocked.

use std::fmt;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread, ThreadId};
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::diagnose::Attempt;
use crate::error::Error;
use crate::event::{Identity, Status};
use crate::heartbeat::Heartbeat;
use crate::sys::{self, Bell};
use crate::tcp_info::TcpInfo;

#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) who: Arc<Identity>,
    stop: AtomicBool,
    /// The connection had ended by itself when the link was first told to end.
    had_ended: AtomicBool,
    closing: AtomicBool,
    paused: AtomicBool,
    resolving: AtomicBool,
    released: AtomicBool,
    left: AtomicBool,
    sending: AtomicBool,
    stood: AtomicBool,
    attempt: Mutex<Attempt>,
    socket: Mutex<Option<Arc<Socket>>>,
    bell: Mutex<Option<Arc<Bell>>>,
    thread: OnceLock<Thread>,
    /// The link's second thread, if it has one.
    sender: OnceLock<ThreadId>,
    waker: OnceLock<Waker>,
    status: Mutex<Status>,
    pace: Option<Pace>,
}

/// The heartbeat of a link, which others may change while it runs.
#[derive(Debug)]
struct Pace {
    heartbeat: Mutex<Heartbeat>,
    changed: AtomicBool,
    /// How much too late its thread may be woken, at most.
    slack: Duration,
}

/// Wakes a link that waits for something else than its socket.
struct Waker(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

impl Handle {
    pub(crate) fn new(who: Identity) -> Handle {
        let status = Mutex::new(Status::new(&who, Instant::now()));
        Handle {
            who: Arc::new(who),
            stop: AtomicBool::new(false),
            had_ended: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            resolving: AtomicBool::new(false),
            released: AtomicBool::new(false),
            left: AtomicBool::new(false),
            sending: AtomicBool::new(false),
            stood: AtomicBool::new(false),
            attempt: Mutex::default(),
            socket: Mutex::new(None),
            bell: Mutex::new(None),
            thread: OnceLock::new(),
            sender: OnceLock::new(),
            waker: OnceLock::new(),
            status,
            pace: None,
        }
    }

    /// The same of a link whose heartbeat can be changed while it runs.
    pub(crate) fn with_pace(who: Identity, heartbeat: Heartbeat, slack: Duration) -> Handle {
        let (heartbeat, changed) = (Mutex::new(heartbeat), AtomicBool::new(false));
        Handle { pace: Some(Pace { heartbeat, changed, slack }), ..Handle::new(who) }
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
                self.had_ended.store(true, Ordering::SeqCst);
            }
        }
        self.stop.store(true, Ordering::SeqCst);
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
        if let Some(Waker(wake)) = self.waker.get() {
            wake();
        }
    }

    /// The link is to be closed, and no frame waits for a connection: one that is being opened is
    /// given up. One that stands is not touched.
    pub(crate) fn give_up_dialing(&self) {
        let socket = self.socket();
        self.closing.store(true, Ordering::SeqCst);
        if let Some(socket) = &*socket {
            let _ = socket.shutdown(Shutdown::Both); // it may not have begun to connect
        }
        drop(socket);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Whether opening a connection is of no use any more.
    pub(crate) fn gives_up_dialing(&self) -> bool {
        self.is_stopping() || self.closing.load(Ordering::SeqCst)
    }

    /// The connection stands: from here on it is not shut down by a close. False if it was already.
    pub(crate) fn keep_socket(&self) -> bool {
        let mut socket = self.socket();
        *socket = None;
        !self.closing.load(Ordering::SeqCst)
    }

    /// Said once by the link's thread, before it first asks whether it is stopping: how to wake it.
    /// Must not block.
    pub(crate) fn set_waker(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.waker.set(Waker(Box::new(wake)));
    }

    /// Said once by the link's second thread.
    pub(crate) fn enter_sender(&self) {
        let _ = self.sender.set(thread::current().id());
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Whether an end of the connection that is met now is our own shutdown, and nobody's doing.
    pub(crate) fn is_shut_by_us(&self) -> bool {
        self.is_stopping() && !self.had_ended.load(Ordering::SeqCst)
    }

    /// In force from the next planned beat on: nobody is woken.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
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
        pace.changed.store(true, Ordering::SeqCst);
        drop(current);
        self.wake();
        Ok(())
    }

    /// For the link's own thread: what its heartbeat was changed to.
    pub(crate) fn take_heartbeat(&self) -> Option<Heartbeat> {
        let pace = self.pace.as_ref()?;
        if !pace.changed.swap(false, Ordering::SeqCst) {
            return None;
        }
        let heartbeat = pace.heartbeat.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sys::set_timer_slack(slack(pace.slack, heartbeat.interval));
        Some(heartbeat)
    }

    /// Whether that would be something.
    pub(crate) fn is_to_adjust(&self) -> bool {
        self.pace.as_ref().is_some_and(|pace| pace.changed.load(Ordering::Relaxed))
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Runs `f`, which cannot be woken, and says so to whoever asks.
    pub(crate) fn resolving<T>(&self, f: impl FnOnce() -> T) -> T {
        self.resolving.store(true, Ordering::SeqCst);
        let result = f();
        self.resolving.store(false, Ordering::SeqCst);
        result
    }

    pub(crate) fn is_resolving(&self) -> bool {
        self.resolving.load(Ordering::SeqCst)
    }

    /// Whether the peer has taken the connection that is being opened, TLS and login not counted.
    pub(crate) fn set_stood(&self, stood: bool) {
        self.stood.store(stood, Ordering::Relaxed);
    }

    /// Whether it took the last one that was tried.
    pub(crate) fn has_stood(&self) -> bool {
        self.stood.load(Ordering::Relaxed)
    }

    /// What became of the last attempt to connect; the link's thread alone writes it.
    pub(crate) fn attempt(&self) -> MutexGuard<'_, Attempt> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, by `f`, for the application's `send`, which cannot be woken; says so to whoever asks.
    pub(crate) fn waiting_for_send<T>(&self, f: impl FnOnce() -> T) -> T {
        self.sending.store(true, Ordering::SeqCst);
        let result = f();
        self.sending.store(false, Ordering::SeqCst);
        result
    }

    pub(crate) fn is_waiting_for_send(&self) -> bool {
        self.sending.load(Ordering::SeqCst)
    }

    /// The last word of the link's thread: from here on a join takes no time.
    pub(crate) fn leave(&self) {
        // Whoever still holds the link holds no descriptor by it.
        *self.socket() = None;
        *self.bell() = None;
        self.left.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    /// The application has let go of what it held of this link: its status goes with its thread.
    pub(crate) fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Ordering::SeqCst)
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

    /// The bell that `stop` rings, for a link that waits in poll or epoll, or whose socket must not
    /// be shut down. Look at the flag after it.
    pub(crate) fn set_bell(&self, bell: Arc<Bell>) {
        *self.bell() = Some(bell);
    }

    fn bell(&self) -> MutexGuard<'_, Option<Arc<Bell>>> {
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
