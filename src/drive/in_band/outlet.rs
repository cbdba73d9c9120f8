//! The write half of a connection: whole frames of the application's threads, and of the link's
//! own.
//!
//! Who waits for whom: the lock is held for some nanoseconds (under TLS for the encryption of a
//! frame), never across a system call that may wait. Who writes marks the outlet busy, lets go of
//! the lock, and writes. The link's own thread never waits for a writer: what it has to say goes
//! into `pending`, and whoever is busy writes that, too, before the outlet is free. Skipping a beat
//! instead would starve it, and waiting for the outlet would deadlock with a peer that is itself
//! blocked writing to us.

mod link_side;
mod numbers;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::drive::guarded::caught;
use crate::drive::socket::{Sent, send_some};
use crate::drive::tls::Layer;
use crate::error::Error;
use crate::protocol::Framing;
use crate::sys::Bell;

use super::pending::Pending;
use crate::link::Returned;
use numbers::Numbers;

/// Answers to the peer's beats that may wait for it to read: more is a peer that asks and does not
/// listen.
const MOST_PENDING: usize = 64 * 1024;

/// Beats whose acks may still prove something.
const MOST_BEATS: usize = 256;

/// Frames of the queue that go out in one piece after a reconnect: enough for a fast path.
const ONE_FLUSH: usize = 64 * 1024;

const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// How long a writer is willing to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
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
    /// Say good-bye, and end. Whoever waits for it is told.
    Close(Option<Sender<Result<(), Error>>>),
    /// Give the socket back as it is.
    HandBack(Sender<Result<Returned, Error>>),
}

struct State {
    stage: Stage,
    socket: Option<Arc<Socket>>,
    peer: SocketAddr,
    layer: Option<Box<Layer>>,
    /// Somebody writes.
    busy: bool,
    /// A frame of the application, which has no number yet.
    writing: bool,
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

/// What is known of the frames when a connection ends.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Remains {
    /// Written, and not known to have been read.
    pub(crate) in_doubt: Range<u64>,
    /// Never written.
    pub(crate) unsent: Range<u64>,
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

    // --- for the application's threads ---

    /// Sends `data` as one whole frame, and says which number it has. After an error nobody has
    /// got the frame.
    pub(crate) fn send(&self, data: &[u8], patience: Patience) -> Result<u64, Error> {
        let frame = self.wrap(data)?;
        let start = Instant::now();
        let until = match patience {
            Patience::Never => start,
            Patience::Until(until) => until,
            Patience::WriteTimeout => start + self.write_timeout,
        };
        let mut state = self.lock();
        loop {
            match &state.stage {
                Stage::Closing(loss, _) | Stage::Over(loss) => return Err(Error::lost(loss)),
                Stage::Open if state.broken.is_none() && state.queue.is_empty() => {
                    if !state.busy {
                        return self.write_frame(state, frame, patience, until);
                    }
                }
                _ => match self.meanwhile {
                    Meanwhile::Queue(most) if !state.writing && state.queue.len() < most => {
                        return Ok(self.enqueue(&mut state, frame));
                    }
                    Meanwhile::Queue(_) => {}
                    Meanwhile::Refuse => {
                        // Adopted connections open soon, or are over.
                        if let Some(loss) = state.why_not() {
                            return Err(Error::lost(&loss));
                        }
                    }
                },
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(state.not_now(patience, start.elapsed()));
            }
            let waited = self.turn.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn enqueue(&self, state: &mut State, frame: Vec<u8>) -> u64 {
        state.queue.push_back(frame);
        state.numbers.accepted += 1;
        if matches!(state.stage, Stage::Open) {
            self.bell.ring();
        }
        state.numbers.accepted
    }

    /// The outlet is free, and the caller's. What waits goes first.
    fn write_frame<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        frame: Vec<u8>,
        patience: Patience,
        until: Instant,
    ) -> Result<u64, Error> {
        let start = Instant::now();
        (state.busy, state.writing) = (true, true);
        while !state.pending.is_empty() {
            let before = state.pending.len();
            state = self.write_pending(state, self.limit_of(patience, until));
            let moved = matches!(patience, Patience::WriteTimeout) && state.pending.len() < before;
            if state.broken.is_some() || !state.pending.is_empty() && !moved {
                self.free(&mut state);
                return match state.broken.clone() {
                    Some(loss) => self.keep_or_fail(&mut state, frame, &loss),
                    None => Err(self.give_up(&mut state, patience, start, 0)),
                };
            }
        }
        let sealed = state.layer.as_mut().map(|layer| layer.seal(&frame).to_vec());
        let bytes = sealed.as_ref().unwrap_or(&frame);
        let socket = state.socket.clone().expect("an open outlet has a socket");
        let peer = state.peer;
        drop(state);
        let result = self.send_frame(&socket, peer, bytes, patience, until);
        let mut state = self.lock();
        let done = match result {
            Sent::Failed(loss) => {
                state.broken.get_or_insert(loss.clone());
                self.free(&mut state);
                self.bell.ring();
                return self.keep_or_fail(&mut state, frame, &loss);
            }
            Sent::Part(n) if n == 0 && sealed.is_none() => {
                self.free(&mut state);
                return Err(self.give_up(&mut state, patience, start, 0));
            }
            Sent::Part(n) => n,
            Sent::All(_) => bytes.len(),
        };
        if done < bytes.len() {
            if let Patience::WriteTimeout = patience {
                self.free(&mut state);
                return Err(self.give_up(&mut state, patience, start, done));
            }
            // It goes on without the caller: a sealed frame must, and a begun one, too.
            state.pending.push_front(&bytes[done..]);
            state.stuck = Some(Instant::now());
        }
        state.numbers.accepted += 1;
        state.numbers.written = state.numbers.accepted;
        // Nothing waited when this write began, so a beat that waits now goes out behind it.
        if state.pending.has_beat() {
            state.numbers.move_beat_behind_written();
        }
        let number = state.numbers.accepted;
        let nanos = self.start.elapsed().as_nanos().clamp(1, u128::from(u64::MAX)) as u64;
        self.wrote.store(nanos, Ordering::Relaxed);
        state = self.write_pending(state, start);
        self.free(&mut state);
        Ok(number)
    }

    /// Until when a write may wait from now: the write timeout counts from the last progress, and
    /// from when the turn came.
    fn limit_of(&self, patience: Patience, until: Instant) -> Instant {
        match patience {
            Patience::WriteTimeout => Instant::now() + self.write_timeout,
            Patience::Never | Patience::Until(_) => until,
        }
    }

    fn send_frame(
        &self,
        socket: &Socket,
        peer: SocketAddr,
        bytes: &[u8],
        patience: Patience,
        until: Instant,
    ) -> Sent {
        let mut done = 0;
        loop {
            match send_some(socket, peer, &bytes[done..], self.limit_of(patience, until)) {
                Sent::Part(n) => {
                    done += n;
                    if n == 0 || !matches!(patience, Patience::WriteTimeout) {
                        return Sent::Part(done);
                    }
                }
                end => return end,
            }
        }
    }

    /// The caller could not write it all in time.
    fn give_up(&self, state: &mut State, patience: Patience, start: Instant, done: usize) -> Error {
        if let Patience::WriteTimeout = patience {
            let what = if done == 0 { "nothing" } else { "a part of a frame" };
            let detail = format!(
                "{what} could be written within {:?}: the peer does not read",
                self.write_timeout
            );
            let loss = Loss::new(Cause::WriteStalled, detail);
            state.broken.get_or_insert(loss.clone());
            self.bell.ring();
            return Error::lost(&loss);
        }
        state.not_now(patience, start.elapsed())
    }

    /// The connection ended under the frame: nobody has got it. It waits for the next connection
    /// where that is asked.
    fn keep_or_fail(&self, state: &mut State, frame: Vec<u8>, loss: &Loss) -> Result<u64, Error> {
        match self.meanwhile {
            // Nothing is in the queue while an outlet writes: the order stays.
            Meanwhile::Queue(_) if !matches!(state.stage, Stage::Closing(..) | Stage::Over(_)) => {
                Ok(self.enqueue(state, frame))
            }
            _ => Err(Error::lost(loss)),
        }
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

    /// The outlet is free again. What still waits is the link's thread's business.
    fn free(&self, state: &mut State) {
        (state.busy, state.writing) = (false, false);
        if !state.pending.is_empty() || !state.queue.is_empty() {
            self.bell.ring();
        }
        self.turn.notify_all();
    }
}

/// For whoever holds the link.
impl Outlet {
    /// Asks the link's thread for something. An error if the link is over.
    pub(crate) fn ask(&self, command: Command) -> Result<(), Error> {
        let mut state = self.lock();
        if let Stage::Closing(loss, _) | Stage::Over(loss) = &state.stage {
            return Err(Error::lost(loss));
        }
        if let Some(Command::Close(_)) = state.command {
            return Err(Error::lost(&Loss::new(Cause::Stopped, "the link is being closed")));
        }
        state.command = Some(command);
        drop(state);
        self.bell.ring();
        Ok(())
    }

    /// Why the link is over, if it is.
    pub(crate) fn over(&self) -> Option<Loss> {
        match &self.lock().stage {
            Stage::Closing(loss, _) | Stage::Over(loss) => Some(loss.clone()),
            _ => None,
        }
    }
}

impl State {
    /// Why there is no connection, if it is known.
    fn why_not(&self) -> Option<Loss> {
        match &self.stage {
            Stage::Waiting(Some(loss)) => Some(loss.clone()),
            Stage::Open => self.broken.clone(),
            _ => None,
        }
    }

    /// The time is up, and nothing of the frame is out.
    fn not_now(&self, patience: Patience, waited: Duration) -> Error {
        let why = match &self.stage {
            Stage::Waiting(_) if self.queue.is_empty() => "no connection stands yet",
            Stage::Waiting(_) => "no connection stands, and the queue is full",
            _ if !self.queue.is_empty() => "frames that waited for the connection go first",
            _ => "others write, or the peer does not read",
        };
        match patience {
            Patience::Never => Error::busy(format!("nothing was sent: {why}")),
            _ => Error::unsent(format!("nothing was sent within {waited:.1?}: {why}")),
        }
    }
}
