//! The outlet as the link's own thread uses it. Nothing here waits for a writer, but what says so.

use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::counted::counted;
use crate::net::read_half::{ReadHalf, Woke, end};
use crate::net::tls::Layer;
use crate::sys;
use crate::tcp_info::{TcpInfo, TcpState};

use super::{Command, MOST_PENDING, ONE_FLUSH, Outlet, Pushed, Remains, Stage, State};

/// For the link's own thread.
impl Outlet {
    /// A connection is being opened: what is pushed goes out, the application's frames wait.
    pub(in crate::links::in_band) fn begin(
        &self,
        socket: Arc<Socket>,
        peer: SocketAddr,
        layer: Option<Box<Layer>>,
    ) {
        let mut state = self.lock();
        (state.socket, state.peer, state.layer) = (Some(socket), peer, layer);
        state.broken = None;
    }

    /// The application's frames may flow.
    pub(in crate::links::in_band) fn open(&self) {
        let mut state = self.lock();
        if let Stage::Waiting(_) = state.stage {
            state.stage = Stage::Open;
        }
        self.turn.notify_all();
    }

    /// Something of our own goes out, at once or as soon as whoever writes is through.
    pub(in crate::links::in_band) fn push(&self, bytes: &[u8], beat: Option<u64>) -> Pushed {
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
            numbers.on_beat(seq);
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
    pub(in crate::links::in_band) fn flush(&self) {
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
            match layer {
                Some(layer) => {
                    let sealed = layer.seal(&frame).to_vec();
                    pending.append_frame(frame, &sealed);
                }
                None => pending.append_plain(frame),
            }
            numbers.written += 1;
        }
    }

    /// Whether something waits for room in the socket, and nobody else sees to it.
    pub(in crate::links::in_band) fn wants_room(&self) -> bool {
        let state = self.lock();
        let queued = matches!(state.stage, Stage::Open) && !state.queue.is_empty();
        state.socket.is_some() && !state.busy && (!state.pending.is_empty() || queued)
    }

    /// When what waits has waited too long.
    pub(in crate::links::in_band) fn stuck_until(&self) -> Option<Instant> {
        let state = self.lock();
        // Whoever writes finds out by itself.
        state.stuck.filter(|_| !state.busy).map(|since| since + self.write_timeout)
    }

    /// Whether a beat waits that could not be written yet.
    pub(in crate::links::in_band) fn holds_a_beat(&self) -> bool {
        self.lock().pending.has_beat()
    }

    /// What a writer found out about the connection, or what waited too long.
    pub(in crate::links::in_band) fn broken(&self) -> Option<Loss> {
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
    pub(in crate::links::in_band) fn take_sent(&self) -> Option<(u64, Instant)> {
        self.lock().sent.take()
    }

    /// The peer acked this beat, and so has read every frame before it.
    pub(in crate::links::in_band) fn prove(&self, seq: u64) {
        self.lock().numbers.on_ack(seq);
    }

    /// Whether the link is to be closed.
    pub(in crate::links::in_band) fn is_to_close(&self) -> bool {
        matches!(self.lock().command, Some(Command::Close(_)))
    }

    pub(in crate::links::in_band) fn take_command(&self) -> Option<Command> {
        self.lock().command.take()
    }

    /// Nothing more is taken from the application; what it gave goes out, until then at most. True
    /// once all of it is out.
    pub(in crate::links::in_band) fn finish(
        &self,
        why: &Loss,
        until: Instant,
    ) -> Result<bool, Loss> {
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
                let frames = counted(state.queue.len() as u64, "frame", "frames");
                Err(Loss::new(Cause::Stopped, format!("{frames} waited for a connection")))
            }
            None => Ok(state.pending.is_empty() && state.queue.is_empty()),
        }
    }

    /// The good-bye within TLS, if there is TLS.
    pub(in crate::links::in_band) fn push_tls_farewell(&self) {
        let mut state = self.lock();
        let State { layer, pending, .. } = &mut *state;
        if let Some(layer) = layer {
            pending.append(layer.farewell());
        }
    }

    /// Whether frames are on their way of which it is not known that the peer has read them.
    pub(in crate::links::in_band) fn has_unproven(&self) -> bool {
        self.lock().numbers.are_unproven()
    }

    pub(in crate::links::in_band) fn is_under_tls(&self) -> bool {
        self.lock().layer.is_some()
    }

    /// The connection is over, or the whole link. Every writer learns it at once.
    pub(in crate::links::in_band) fn die(&self, loss: &Loss, over: bool) -> Remains {
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
        let unbegun = state.pending.clear();
        let remains = state.numbers.on_end(unbegun.len() as u64);
        // They go first on the next connection, if there is one.
        unbegun.rev().for_each(|frame| state.queue.push_front(frame));
        if matches!(state.stage, Stage::Over(_)) {
            state.queue.clear();
            state.command = None; // whoever asked learns that it is over
        }
        remains
    }

    /// Gives the connection up without a word to it: it is handed back.
    pub(in crate::links::in_band) fn let_go(&self) -> Remains {
        let mut state = self.lock();
        self.forget(&mut state)
    }

    /// Reads what is there, without waiting, through TLS if there is some.
    pub(in crate::links::in_band) fn receive(&self, read: &mut ReadHalf) -> Woke {
        let mut state = self.lock();
        let State { layer, pending, .. } = &mut *state;
        let Some(layer) = layer else {
            drop(state);
            let result = sys::recv_now(&*read.socket, read.inbox.space());
            return match result {
                Ok(0) => Woke::Lost(end_of(&read.socket, read.peer)),
                result => read.on_read(None, result, |_, _| Ok(())),
            };
        };
        // What it has and did not hand on comes first: it takes no more while it is full.
        if let Some(woke) = read.opened(Some(layer)) {
            read.looked = false;
            return woke;
        }
        match sys::recv_now(&*read.socket, layer.space()) {
            Ok(0) => Woke::Lost(end_of(&read.socket, read.peer)),
            result => read.on_read(Some(layer), result, |_, answer| {
                pending.append(answer);
                Ok(())
            }),
        }
    }

    /// What TLS has opened and not yet handed on.
    pub(in crate::links::in_band) fn opened(&self, read: &mut ReadHalf) -> Option<Woke> {
        read.opened(self.lock().layer.as_deref_mut())
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
