//! The write half of a connection: whole frames of the application's threads, and of the link's
//! own.
//!
//! Who waits for whom: the lock is held for some nanoseconds (under TLS for the encryption of a
//! frame), never across a system call that may wait. Who writes marks the outlet busy, lets go of
//! the lock, and writes. The link's own thread never waits for a writer: what it has to say goes
//! into `pending`, and whoever is busy writes that, too, before the outlet is free. Skipping a beat
//! instead would starve it, and waiting for the outlet would deadlock with a peer that is itself
//! blocked writing to us.

mod holder;
mod link_side;
mod numbers;
mod turns;
mod writer_side;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::error::Error;
use crate::net::tls::Layer;
use crate::net::write_half::{Sent, send_some};
use crate::protocol::Framing;
use crate::protocol::guarded::caught;
use crate::sys::Bell;

use super::pending::Pending;
use crate::links::out::received::Returned;
use numbers::Numbers;
pub(crate) use numbers::Remains;
use turns::Turns;

/// Answers to the peer's beats that may wait for it to read: more is a peer that asks and does not
/// listen.
const MOST_PENDING: usize = 64 * 1024;

/// Frames of the queue that go out in one piece after a reconnect: enough for a fast path.
const ONE_FLUSH: usize = 64 * 1024;

/// How long a closed link waits for the peer to close, too: closing with bytes unread would turn
/// into a reset that takes our last frames with it.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// How long a writer is willing to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WriteLimit {
    /// Not at all.
    Never,
    /// Until then. What was begun by then goes on without the caller.
    Until(Instant),
    /// The write timeout. It does not pass with a peer that reads.
    WriteTimeout,
}

/// What becomes of frames while no connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    Refuse,
    /// They wait for the next one, so many at most.
    Queue(usize),
}

/// What the outlet does with a frame.
#[derive(Debug)]
enum Stage {
    /// No connection, or one that is not through with its login.
    Waiting(Option<Loss>),
    Open,
    /// No more frames are taken; those that were go out, if the connection had been open.
    Closing(Loss, bool),
    /// Never again.
    Over(Loss),
}

/// What the link's thread is asked to do by whoever holds the link.
pub(crate) enum Command {
    /// Say good-bye, until then at the latest, and end. Whoever waits for it is told.
    Close(Option<(Sender<Result<(), Error>>, Instant)>),
    /// Give the socket back as it is, until then at the latest.
    HandBack(Sender<Result<Returned, Error>>, Instant),
}

struct State {
    stage: Stage,
    socket: Option<Arc<Socket>>,
    peer: SocketAddr,
    layer: Option<Box<Layer>>,
    /// Somebody writes.
    busy: bool,
    /// A frame of the application is being numbered and written, or queued: the next number is its.
    writing: bool,
    turns: Turns,
    pending: Pending,
    /// Since when bytes wait and none could be written.
    stuck: Option<Instant>,
    queue: VecDeque<Vec<u8>>,
    numbers: Numbers,
    /// A beat that somebody else wrote, and when: to be told to the pulse.
    sent: Option<(u64, Instant)>,
    /// What a writer found out about the connection.
    broken: Option<Loss>,
    command: Option<Command>,
}

pub(crate) struct Outlet {
    state: Mutex<State>,
    turn: Condvar,
    framing: Box<dyn Framing>,
    limit: usize,
    write_timeout: Duration,
    meanwhile: Meanwhile,
    bell: Arc<Bell>,
    start: Instant,
    /// When the application last wrote, in nanoseconds since `start`.
    wrote: AtomicU64,
}

/// What became of a beat.
pub(crate) enum Pushed {
    /// It is out since then.
    Sent(Instant),
    /// It waits for its turn.
    Waits,
    /// The one before it still waits: this one is left out.
    LeftOut,
    /// There is no connection to write to.
    NotOpen,
}

impl Outlet {
    pub(crate) fn new(
        framing: Box<dyn Framing>,
        limit: usize,
        write_timeout: Duration,
        meanwhile: Meanwhile,
        bell: Arc<Bell>,
    ) -> Outlet {
        let state = State {
            stage: Stage::Waiting(None),
            socket: None,
            peer: NOBODY,
            layer: None,
            busy: false,
            writing: false,
            turns: Turns::default(),
            pending: Pending::default(),
            stuck: None,
            queue: VecDeque::new(),
            numbers: Numbers::default(),
            sent: None,
            broken: None,
            command: None,
        };
        Outlet {
            state: Mutex::new(state),
            turn: Condvar::new(),
            framing,
            limit,
            write_timeout,
            meanwhile,
            bell,
            start: Instant::now(),
            wrote: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The data within a frame that has come.
    pub(crate) fn data(&self, frame: &[u8]) -> Result<Vec<u8>, Loss> {
        caught(|| self.framing.data(frame).to_vec())
            .map_err(|text| Loss::new(Cause::ProtocolPanicked, format!("the framing {text}")))
    }

    /// A whole frame.
    pub(super) fn wrap(&self, data: &[u8]) -> Result<Vec<u8>, Error> {
        let mut frame = Vec::with_capacity(data.len() + 8);
        self.framing.wrap(data, &mut frame)?;
        if frame.len() > self.limit {
            return Err(Error::invalid(format!(
                "a frame of {} bytes is over the protocol's limit of {}: raise it on both ends, \
                 or send less at once",
                frame.len(),
                self.limit
            )));
        }
        Ok(frame)
    }

    /// When the application last wrote.
    pub(crate) fn wrote(&self) -> Option<Instant> {
        let nanos = self.wrote.load(Ordering::Relaxed);
        (nanos > 0).then(|| self.start + Duration::from_nanos(nanos))
    }

    /// Writes what waits; the outlet is the caller's. A writer may wait until then, the link's own
    /// thread passes a time that is over.
    fn write_pending<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        until: Instant,
    ) -> MutexGuard<'a, State> {
        let Some(socket) = state.socket.clone() else { return state };
        if state.pending.is_empty() || state.broken.is_some() {
            return state;
        }
        let (taken, peer) = (state.pending.take(), state.peer);
        drop(state);
        let at = Instant::now();
        let result = send_some(&socket, peer, &taken, until);
        let mut state = self.lock();
        let n = match result {
            Sent::All(_) => taken.len(),
            Sent::Part(n) => n,
            Sent::Failed(loss) => {
                state.broken.get_or_insert(loss);
                self.bell.ring();
                0
            }
        };
        if let Some(seq) = state.pending.wrote(taken, n) {
            state.sent = Some((seq, at));
        }
        if state.pending.is_empty() {
            state.stuck = None;
        } else if n > 0 || state.stuck.is_none() {
            state.stuck = Some(at);
        }
        state
    }

    /// The turn is the next one's.
    fn pass_on(&self, state: &mut State) {
        state.writing = false;
        self.turn.notify_all();
    }

    /// The outlet is free again. What still waits is the link's thread's business.
    fn free(&self, state: &mut State) {
        (state.busy, state.writing) = (false, false);
        if !state.pending.is_empty() || !state.queue.is_empty() {
            self.bell.ring();
        }
        self.turn.notify_all();
    }
}
