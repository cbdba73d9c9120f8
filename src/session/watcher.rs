//! The watcher: one thread per session that sees idle connections end, and time pass over them. It
//! is started when something idles for the first time and ends with the session.
//!
//! Sockets are registered once, when they connect, for their end alone: what a request causes on
//! its connection wakes nobody. Bytes on an idle connection are watched for once it has been idle
//! for a moment, so that connections in steady use cost no system call here.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use log::{debug, warn};

use super::pool::places::SlotId;
use crate::base::spawn::{self, Thread};
use crate::sys::{self, Epoll, Happened, Interest};

/// The watcher calls nothing of the user's.
const STACK: usize = 128 * 1024;

#[derive(Debug)]
pub(crate) struct Watcher {
    epoll: Option<Arc<Epoll>>,
    stop: Arc<AtomicBool>,
    started: AtomicBool,
    thread: Mutex<Option<Thread>>,
    /// The process that it was made in.
    generation: u64,
}

impl Watcher {
    /// Where there is no epoll, connections are looked at when they are used, and not before.
    pub(crate) fn new() -> Watcher {
        let epoll = Epoll::new().map(Arc::new);
        if let Err(error) = &epoll {
            warn!("idle connections are not watched: {error}");
        }
        Watcher {
            epoll: epoll.ok(),
            stop: Arc::default(),
            started: AtomicBool::new(false),
            thread: Mutex::default(),
            generation: sys::fork_generation(),
        }
    }

    /// Begins to watch a connection. False if that is not possible here.
    pub(crate) fn add(&self, socket: &TcpStream, id: SlotId) -> bool {
        let Some(epoll) = &self.epoll else { return false };
        let added = epoll.watch(socket, id.token(), Interest::End);
        if let Err(error) = &added {
            warn!("a connection is not watched while idle: {error}");
        }
        added.is_ok()
    }

    pub(crate) fn has_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Something is idle: the thread is there from now on. It looks at what happened, is told how
    /// long to sleep then, and ends when nobody is left to look for.
    pub(crate) fn start(
        &self,
        look: impl Fn(&[Happened]) -> Option<Option<Duration>> + Send + 'static,
    ) {
        let Some(epoll) = &self.epoll else { return };
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let (epoll, stop) = (Arc::clone(epoll), Arc::clone(&self.stop));
        let body = move || run(&epoll, &stop, look);
        match spawn::spawn("keepbeat-idle", STACK, body) {
            Ok(thread) => {
                *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
            }
            Err(error) => warn!("idle connections are not watched: {error}"),
        }
    }

    /// Watches for something else on a socket.
    pub(crate) fn change(&self, socket: &TcpStream, id: SlotId, what: Interest) {
        // It fails for a socket that was never watched, and then changes nothing.
        let _ = self.epoll.as_ref().map(|epoll| epoll.change(socket, id.token(), what));
    }

    pub(crate) fn ring(&self) {
        if let Some(epoll) = &self.epoll {
            epoll.ring();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // In a forked child the thread does not exist, its bell is the parent's, and the lock may
        // be held for ever.
        if self.generation != sys::fork_generation() {
            return std::mem::forget(std::mem::take(&mut self.thread));
        }
        self.stop.store(true, Ordering::Release);
        self.ring();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The watcher itself may have dropped the last handle of the session.
            if !thread.is_current() && thread.join().is_err() {
                warn!("the watcher of idle connections had panicked");
            }
        }
    }
}

fn run(epoll: &Epoll, stop: &AtomicBool, look: impl Fn(&[Happened]) -> Option<Option<Duration>>) {
    debug!("the watcher of idle connections begins");
    let mut wait = Some(Duration::ZERO);
    while !stop.load(Ordering::Acquire) {
        let happened = match epoll.wait(wait) {
            Ok(happened) => happened,
            Err(error) => return warn!("idle connections are not watched any more: {error}"),
        };
        let Some(next) = look(&happened) else { return };
        wait = next;
    }
}
