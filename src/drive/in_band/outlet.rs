//! The write half of a connection: whole frames, of the application's threads and of the link's own.
//!
//! Who waits for whom: the lock is held for some nanoseconds (under TLS for the encryption of a
//! frame), never across a system call that may wait. Who writes marks the outlet busy, lets go of
//! the lock, and writes. The link's own thread never waits for a writer: what it has to say goes
//! into `pending`, and whoever is busy writes that, too, before the outlet is free. Skipping a beat
//! instead would starve it, and waiting for the outlet would deadlock with a peer that is itself
//! blocked writing to us.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::drive::guarded::caught;
use crate::drive::inbox::Inbox;
use crate::drive::socket::{Sent, Woke, end, send_some};
use crate::drive::tls::{Layer, Opened};
use crate::error::Error;
use crate::protocol::Framing;
use crate::sys::{self, Bell};
use crate::tcp_info::{TcpInfo, TcpState};

use super::pending::Pending;
use crate::link::Returned;

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

/// Frames are numbered in the order in which they go out, from 1.
#[derive(Debug, Default)]
struct Numbers {
    /// Taken from the application: written, or in the queue.
    accepted: u64,
    /// Handed to the kernel, or begun.
    written: u64,
    /// An ack showed that the peer has read them.
    proven: u64,
    /// The beats on their way, each with the number of the last frame before it.
    beats: VecDeque<(u64, u64)>,
}

impl Numbers {
    fn prove(&mut self, seq: u64) {
        while let Some((beat, written)) = self.beats.front().copied().filter(|b| b.0 <= seq) {
            self.beats.pop_front();
            if beat == seq {
                self.proven = self.proven.max(written);
            }
        }
    }
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

/// For the link's own thread.
impl Outlet {
    /// A connection is being opened: what is pushed goes out, the application's frames wait.
    pub(super) fn begin(&self, socket: Arc<Socket>, peer: SocketAddr, layer: Option<Box<Layer>>) {
        let mut state = self.lock();
        (state.socket, state.peer, state.layer) = (Some(socket), peer, layer);
        state.broken = None;
    }

    /// The application's frames may flow.
    pub(super) fn open(&self) {
        let mut state = self.lock();
        if let Stage::Waiting(_) = state.stage {
            state.stage = Stage::Open;
        }
        self.turn.notify_all();
    }

    /// Something of our own goes out, at once or as soon as whoever writes is through.
    pub(super) fn push(&self, bytes: &[u8], beat: Option<u64>) -> Pushed {
        let mut state = self.lock();
        if state.socket.is_none() || state.broken.is_some() {
            return Pushed::NotOpen;
        }
        if beat.is_some() && state.pending.has_beat() {
            return Pushed::LeftOut;
        }
        if state.pending.len() + bytes.len() > self.limit.saturating_add(2 * MOST_PENDING) {
            let detail = "the peer asks and does not read the answers";
            state.broken = Some(Loss::new(Cause::WriteStalled, detail));
            return Pushed::NotOpen;
        }
        let State { layer, pending, numbers, .. } = &mut *state;
        pending.append(layer.as_mut().map_or(bytes, |layer| layer.seal(bytes)));
        if let Some(seq) = beat {
            pending.mark_beat(seq);
            // A frame that somebody is writing now goes before it, and is not counted: to be proven
            // too late does no harm.
            if numbers.beats.len() == MOST_BEATS {
                numbers.beats.pop_front();
            }
            numbers.beats.push_back((seq, numbers.written));
        }
        if !state.busy {
            state = self.flush_now(state);
        }
        match state.sent.take() {
            Some((seq, at)) if Some(seq) == beat => Pushed::Sent(at),
            other => {
                state.sent = other;
                Pushed::Waits
            }
        }
    }

    /// Writes what waits, as far as that goes without waiting: the socket has room.
    pub(super) fn flush(&self) {
        let state = self.lock();
        if !state.busy {
            drop(self.flush_now(state));
        }
    }

    fn flush_now<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.busy = true;
        loop {
            self.fill_from_queue(&mut state);
            let before = state.pending.len();
            state = self.write_pending(state, self.start);
            // Until nothing waits, or nothing goes.
            if state.broken.is_some() || state.pending.is_empty() && state.queue.is_empty() {
                break;
            }
            if state.pending.len() >= before {
                break;
            }
        }
        state.busy = false;
        self.turn.notify_all();
        state
    }

    /// Frames that waited for a connection.
    fn fill_from_queue(&self, state: &mut State) {
        let flows = matches!(state.stage, Stage::Open | Stage::Closing(_, true));
        while flows && state.pending.len() < ONE_FLUSH {
            let Some(frame) = state.queue.pop_front() else { return };
            let State { layer, pending, numbers, .. } = state;
            pending.append(layer.as_mut().map_or(&frame[..], |layer| layer.seal(&frame)));
            numbers.written += 1;
        }
    }

    /// Whether something waits for room in the socket, and nobody else sees to it.
    pub(super) fn wants_room(&self) -> bool {
        let state = self.lock();
        let queued = matches!(state.stage, Stage::Open) && !state.queue.is_empty();
        state.socket.is_some() && !state.busy && (!state.pending.is_empty() || queued)
    }

    /// When what waits has waited too long.
    pub(super) fn stuck_until(&self) -> Option<Instant> {
        let state = self.lock();
        // Whoever writes finds out by itself.
        state.stuck.filter(|_| !state.busy).map(|since| since + self.write_timeout)
    }

    /// Whether a beat waits that could not be written yet.
    pub(super) fn holds_a_beat(&self) -> bool {
        self.lock().pending.has_beat()
    }

    /// What a writer found out about the connection, or what waited too long.
    pub(super) fn broken(&self) -> Option<Loss> {
        let state = self.lock();
        let late = |since: Instant| since.elapsed() >= self.write_timeout;
        if state.broken.is_none() && !state.busy && state.stuck.is_some_and(late) {
            let (n, timeout) = (state.pending.len(), self.write_timeout);
            let detail = format!(
                "{n} bytes, a beat among them or the rest of a frame, could not be written to {} \
                 within {timeout:?}: the peer does not read",
                state.peer
            );
            return Some(Loss::new(Cause::WriteStalled, detail));
        }
        state.broken.clone()
    }

    /// A beat that somebody else wrote, and when.
    pub(super) fn take_sent(&self) -> Option<(u64, Instant)> {
        self.lock().sent.take()
    }

    /// The peer acked this beat, and so has read every frame before it.
    pub(super) fn prove(&self, seq: u64) {
        self.lock().numbers.prove(seq);
    }

    /// Whether the link is to be closed.
    pub(super) fn is_to_close(&self) -> bool {
        matches!(self.lock().command, Some(Command::Close(_)))
    }

    pub(super) fn take_command(&self) -> Option<Command> {
        self.lock().command.take()
    }

    /// Nothing more is taken from the application; what it gave goes out, until then at most. True
    /// once all of it is out.
    pub(super) fn finish(&self, why: &Loss, until: Instant) -> Result<bool, Loss> {
        let mut state = self.lock();
        if !matches!(state.stage, Stage::Closing(..) | Stage::Over(_)) {
            let open = matches!(state.stage, Stage::Open);
            state.stage = Stage::Closing(why.clone(), open);
        }
        self.turn.notify_all();
        while state.busy {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let waited = self.turn.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.busy = true;
        loop {
            self.fill_from_queue(&mut state);
            if state.pending.is_empty() || state.broken.is_some() || Instant::now() >= until {
                break;
            }
            state = self.write_pending(state, until);
        }
        state.busy = false;
        let flows = matches!(state.stage, Stage::Closing(_, true));
        match state.broken.clone() {
            Some(loss) => Err(loss),
            None if !flows && state.pending.is_empty() && !state.queue.is_empty() => {
                let n = state.queue.len();
                Err(Loss::new(Cause::Stopped, format!("{n} frames waited for a connection")))
            }
            None => Ok(state.pending.is_empty() && state.queue.is_empty()),
        }
    }

    /// The good-bye within TLS, if there is TLS.
    pub(super) fn push_tls_farewell(&self) {
        let mut state = self.lock();
        let State { layer, pending, .. } = &mut *state;
        if let Some(layer) = layer {
            pending.append(layer.farewell());
        }
    }

    /// Frames that wait for a connection.
    pub(super) fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    pub(super) fn is_under_tls(&self) -> bool {
        self.lock().layer.is_some()
    }

    /// The connection is over, or the whole link. Every writer learns it at once.
    pub(super) fn die(&self, loss: &Loss, over: bool) -> Remains {
        let mut state = self.lock();
        state.broken.get_or_insert_with(|| loss.clone());
        state.stage = match state.stage {
            Stage::Closing(ref before, _) | Stage::Over(ref before) => Stage::Over(before.clone()),
            _ if over => Stage::Over(loss.clone()),
            _ => Stage::Waiting(Some(loss.clone())),
        };
        if let Some(socket) = state.socket.clone() {
            if let (false, Some(layer)) = (state.busy, &mut state.layer) {
                let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
                let _ = socket.send_with_flags(layer.farewell(), flags); // it may be gone
            }
            let _ = socket.shutdown(Shutdown::Both); // wakes whoever writes
        }
        self.turn.notify_all();
        while state.busy {
            state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.forget(&mut state)
    }

    /// The connection is none of ours any more.
    fn forget(&self, state: &mut State) -> Remains {
        (state.socket, state.layer, state.stuck) = (None, None, None);
        (state.sent, state.broken) = (None, None);
        state.pending.clear();
        let numbers = &mut state.numbers;
        let remains = Remains {
            in_doubt: numbers.proven + 1..numbers.written + 1,
            unsent: numbers.written + 1..numbers.accepted + 1,
        };
        numbers.proven = numbers.written;
        numbers.beats.clear();
        if matches!(state.stage, Stage::Over(_)) {
            state.queue.clear();
            state.command = None; // whoever asked learns that it is over
        }
        remains
    }

    /// Gives the connection up without a word to it: it is handed back.
    pub(super) fn let_go(&self) -> Remains {
        let mut state = self.lock();
        self.forget(&mut state)
    }

    /// Reads what is there, without waiting, through TLS if there is some.
    pub(super) fn receive(&self, socket: &Socket, inbox: &mut Inbox) -> Woke {
        let mut state = self.lock();
        let peer = state.peer;
        let Some(layer) = &mut state.layer else {
            drop(state);
            return match sys::recv_now(socket, inbox.space()) {
                Ok(0) => Woke::Lost(end_of(socket, peer)),
                Ok(n) => {
                    inbox.filled(n);
                    Woke::Bytes
                }
                Err(error) => Woke::of(&error, peer),
            };
        };
        match sys::recv_now(socket, layer.space()) {
            Ok(0) => {
                // What it has and did not hand on comes first.
                let rest = opened(layer, inbox, peer);
                return rest.unwrap_or_else(|| Woke::Lost(end_of(socket, peer)));
            }
            Ok(n) => layer.filled(n, peer),
            Err(error) => return Woke::of(&error, peer),
        }
        let answer = layer.seal(&[]).to_vec();
        let woke = opened(layer, inbox, peer).unwrap_or(Woke::Bytes);
        state.pending.append(&answer);
        woke
    }

    /// What TLS has opened and not yet handed on.
    pub(super) fn opened(&self, inbox: &mut Inbox) -> Option<Woke> {
        let mut state = self.lock();
        let peer = state.peer;
        opened(state.layer.as_mut()?, inbox, peer)
    }
}

/// What a read of no bytes means. A writer may have been told of the reset, and then nobody else
/// is: the state that is left behind tells the two apart.
fn end_of(socket: &Socket, peer: SocketAddr) -> Loss {
    match TcpInfo::of(socket) {
        Ok(info) if info.state == TcpState::Closed => match socket.take_error() {
            // Nobody has seen the reset: it came behind the end that was read.
            Ok(Some(_)) => end(peer),
            _ => Loss::new(Cause::Reset, format!("{peer}: connection reset by peer")),
        },
        _ => end(peer),
    }
}

fn opened(layer: &mut Layer, inbox: &mut Inbox, peer: SocketAddr) -> Option<Woke> {
    match layer.open_into(inbox) {
        Opened::Bytes => Some(Woke::Bytes),
        Opened::Closed => Some(Woke::Lost(end(peer))),
        Opened::Lost(loss) => Some(Woke::Lost(loss)),
        Opened::Nothing => None,
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
