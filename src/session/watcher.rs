//! The watcher: one thread per session that sees idle connections end, and time pass over them. It
//! is started when something idles for the first time and ends with the session.
//!
//! Sockets are registered once, when they connect, for their end alone: what a request causes on
//! its connection wakes nobody. Bytes on an idle connection are watched for once it has been idle
//! for a moment, so that connections in steady use cost no system call here.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use log::{debug, warn};

use super::core::Core;
use super::event::SessionEventKind;
use super::eviction::Eviction;
use super::pipe::Probe;
use super::places::SlotId;
use super::pool::Pool;
use crate::drive::spawn::{self, Thread};
use crate::sys::{self, Epoll, Happened, Interest};

/// An idle connection is in steady use until it has been idle for so long.
const STEADY: Duration = Duration::from_millis(50);

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

    /// Something is idle: the thread is there from now on.
    pub(crate) fn start(&self, core: &Arc<Core>) {
        let Some(epoll) = &self.epoll else { return };
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let (epoll, stop) = (Arc::clone(epoll), Arc::clone(&self.stop));
        let core = Arc::downgrade(core);
        let body = move || run(&epoll, &stop, &core);
        match spawn::spawn("keepbeat-idle", STACK, body) {
            Ok(thread) => {
                *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
            }
            Err(error) => warn!("idle connections are not watched: {error}"),
        }
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
            // The last holder of the session may have been the watcher itself, for a moment.
            if !thread.is_current() && thread.join().is_err() {
                warn!("the watcher of idle connections had panicked");
            }
        }
    }
}

fn run(epoll: &Epoll, stop: &AtomicBool, core: &Weak<Core>) {
    debug!("the watcher of idle connections begins");
    let mut wait = Some(Duration::ZERO);
    while !stop.load(Ordering::Acquire) {
        let happened = match epoll.wait(wait) {
            Ok(happened) => happened,
            Err(error) => return warn!("idle connections are not watched any more: {error}"),
        };
        let Some(core) = core.upgrade() else { return };
        wait = core.pool().look(epoll, &happened, Instant::now());
    }
}

/// Watches for something else on a socket, if there is one to watch.
fn change(epoll: &Epoll, socket: Option<&Arc<TcpStream>>, id: SlotId, what: Interest) {
    // It fails for a socket that was never watched, and then changes nothing.
    let _ = socket.map(|socket| epoll.change(&**socket, id.token(), what));
}

impl Pool {
    /// The look of the watcher: what ended, and what time has done. How long it may sleep then.
    fn look(&mut self, epoll: &Epoll, happened: &[Happened], now: Instant) -> Option<Duration> {
        for happened in happened {
            self.on_happened(epoll, *happened, now);
        }
        let mut next: Option<Instant> = None;
        for index in 0..self.slots.len() as u32 {
            if let Some(at) = self.age(epoll, index, now) {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        for host in 0..self.hosts.len() {
            self.settle(host, now);
            next = [next, self.hosts[host].limit.settles_at()].into_iter().flatten().min();
        }
        self.serve(now);
        self.look_again = self.look_again.filter(|at| *at > now);
        self.looks_at = [next, self.look_again].into_iter().flatten().min();
        self.looks_at.map(|at| at.saturating_duration_since(now))
    }

    fn on_happened(&mut self, epoll: &Epoll, happened: Happened, now: Instant) {
        let id = SlotId::of_token(happened.token);
        let Some(index) = self.index(id) else { return };
        let member = self.member(index);
        if let Some(idle) = &mut member.idle {
            let probe = match idle.pipe.probe() {
                // The kernel has told an end: it is there, whatever hides it.
                Probe::Quiet if happened.ended => Probe::Closed,
                probe => probe,
            };
            self.judge(index, probe, now);
        } else if happened.ended {
            member.ended = true;
        } else if member.armed {
            // A response to a request, after a rest.
            member.armed = false;
            change(epoll, member.socket.as_ref(), id, Interest::End);
            self.look_again = Some(now + STEADY);
        }
    }

    /// What time has done to one connection, and when to look at it again.
    fn age(&mut self, epoll: &Epoll, index: u32, now: Instant) -> Option<Instant> {
        let timeout = self.bounds.idle_timeout;
        let generation = self.slots[index as usize].generation;
        let member = self.slots[index as usize].taken.as_mut()?;
        let since = member.idle.as_ref()?.since;
        let (idle, dies) = (member.idle_for(now), member.dies);
        if now >= dies {
            self.evict(index, Eviction::MaxLifetime, now);
            return None;
        }
        if idle >= timeout {
            self.evict(index, Eviction::IdleTimeout, now);
            return None;
        }
        if !member.armed && idle >= STEADY {
            member.armed = true;
            let id = SlotId { index, generation };
            change(epoll, member.socket.as_ref(), id, Interest::Bytes);
        }
        let arms = (!member.armed).then_some(since + STEADY);
        let host = &mut self.hosts[member.host];
        // One that nobody watches may have ended long ago.
        if member.watched && host.limit.on_alive(now, idle) {
            let line = format!("{} keeps idle connections longer than it did", host.name);
            self.lines.push((log::Level::Info, line));
            self.teller.tell(&host.name, SessionEventKind::LimitForgotten);
        }
        let proof = host.limit.disproved_at().map(|proof| since + proof);
        // Half a millisecond late is once too early.
        let soon = Duration::from_millis(1);
        let end = dies.min(since + timeout);
        [Some(end), arms, proof].into_iter().flatten().min().map(|at| at + soon)
    }

    /// Whether the watcher must be woken for a connection that is idle from now on.
    pub(crate) fn must_ring(&mut self, now: Instant) -> bool {
        let wanted = now + STEADY;
        let asleep = self.looks_at.is_none_or(|at| at > wanted + STEADY);
        if asleep {
            // It looks once more then, also if it finds nothing idle now: otherwise each request of
            // a busy connection would wake it.
            (self.looks_at, self.look_again) = (Some(wanted), Some(wanted));
        }
        asleep
    }
}
