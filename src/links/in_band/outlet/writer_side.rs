//! The outlet as the application's threads use it: one whole frame at a time, each in its turn.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::error::Error;
use crate::net::write_half::{Sent, send_some};

use super::{Meanwhile, Outlet, SocketAddr, Stage, State, WriteLimit};

/// What can be done with a frame.
enum Way {
    Write,
    Queue,
}

/// How long a writer is willing to wait, and since when.
#[derive(Clone, Copy)]
struct When {
    start: Instant,
    until: Instant,
    patience: WriteLimit,
}

/// The turn of a writer whose `note` runs: a panic of that must not keep it for ever.
struct Reserved<'a>(&'a Outlet);

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.0.pass_on(&mut self.0.lock());
    }
}

impl Outlet {
    /// Sends `data` as one whole frame, and says which number it has: first to `note`, before a
    /// byte of it can be lost. After an error nobody has got the frame.
    pub(crate) fn send(
        &self,
        data: &[u8],
        patience: WriteLimit,
        note: Option<&mut dyn FnMut(u64)>,
    ) -> Result<u64, Error> {
        let frame = self.wrap(data)?;
        let start = Instant::now();
        let until = match patience {
            WriteLimit::Never => start,
            WriteLimit::Until(until) => until,
            WriteLimit::WriteTimeout => start + self.write_timeout,
        };
        let when = When { start, until, patience };
        let (mut state, mut way) = self.wait_for_turn(self.lock(), when, false);
        if way.is_err() {
            return way.map(|_| 0);
        }
        state.writing = true;
        if let Some(note) = note {
            let number = state.numbers.accepted + 1;
            drop(state);
            let reserved = Reserved(self);
            note(number); // it is the application's, and runs under no lock
            std::mem::forget(reserved);
            (state, way) = self.wait_for_turn(self.lock(), when, true);
        }
        match way {
            Ok(Way::Write) => self.write_frame(state, frame, when),
            Ok(Way::Queue) => {
                let number = self.queue(&mut state, frame);
                self.pass_on(&mut state);
                Ok(number)
            }
            Err(error) => {
                self.pass_on(&mut state);
                Err(error)
            }
        }
    }

    /// Until a frame can be written or queued. `mine`: the turn is the caller's already.
    fn wait_for_turn<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        when: When,
        mine: bool,
    ) -> (MutexGuard<'a, State>, Result<Way, Error>) {
        let mut place = None;
        let way = loop {
            let turn = mine || !state.writing && state.turns.is_turn(place);
            match self.way(&state) {
                Ok(Some(way)) if turn => break Ok(way),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
            let left = when.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Err(state.not_now(when.patience, when.start.elapsed()));
            }
            if !mine {
                state.turns.queue(&mut place);
            }
            let waited = self.turn.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        if place.is_some() {
            state.turns.leave(place);
            self.turn.notify_all(); // whoever is first now
        }
        (state, way)
    }

    /// What can be done with a frame at this moment, if anything.
    fn way(&self, state: &State) -> Result<Option<Way>, Error> {
        match &state.stage {
            Stage::Closing(loss, _) | Stage::Over(loss) => Err(Error::lost(loss)),
            Stage::Open if state.broken.is_none() && state.queue.is_empty() => {
                Ok((!state.busy).then_some(Way::Write))
            }
            _ => match self.meanwhile {
                Meanwhile::Queue(most) => Ok((state.queue.len() < most).then_some(Way::Queue)),
                // Adopted connections open soon, or are over.
                Meanwhile::Refuse => state.why_not().map_or(Ok(None), |l| Err(Error::lost(&l))),
            },
        }
    }

    fn queue(&self, state: &mut State, frame: Vec<u8>) -> u64 {
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
        When { until, patience, .. }: When,
    ) -> Result<u64, Error> {
        let start = Instant::now();
        state.busy = true;
        while !state.pending.is_empty() {
            let before = state.pending.len();
            state = self.write_pending(state, self.limit_of(patience, until));
            let moved =
                matches!(patience, WriteLimit::WriteTimeout) && state.pending.len() < before;
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
            if let WriteLimit::WriteTimeout = patience {
                self.free(&mut state);
                return Err(self.give_up(&mut state, patience, start, done));
            }
            // It goes on without the caller: a sealed frame must, and a begun one, too.
            match sealed {
                Some(sealed) if done == 0 => state.pending.push_frame_front(frame, &sealed),
                sealed => state.pending.push_front(&sealed.unwrap_or(frame)[done..]),
            }
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
    fn limit_of(&self, patience: WriteLimit, until: Instant) -> Instant {
        match patience {
            WriteLimit::WriteTimeout => Instant::now() + self.write_timeout,
            WriteLimit::Never | WriteLimit::Until(_) => until,
        }
    }

    fn send_frame(
        &self,
        socket: &Socket,
        peer: SocketAddr,
        bytes: &[u8],
        patience: WriteLimit,
        until: Instant,
    ) -> Sent {
        let mut done = 0;
        loop {
            match send_some(socket, peer, &bytes[done..], self.limit_of(patience, until)) {
                Sent::Part(n) => {
                    done += n;
                    if n == 0 || !matches!(patience, WriteLimit::WriteTimeout) {
                        return Sent::Part(done);
                    }
                }
                end => return end,
            }
        }
    }

    /// The caller could not write it all in time.
    fn give_up(
        &self,
        state: &mut State,
        patience: WriteLimit,
        start: Instant,
        done: usize,
    ) -> Error {
        if let WriteLimit::WriteTimeout = patience {
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
                Ok(self.queue(state, frame))
            }
            _ => Err(Error::lost(loss)),
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
    fn not_now(&self, patience: WriteLimit, waited: Duration) -> Error {
        let why = match &self.stage {
            Stage::Waiting(_) if self.queue.is_empty() => "no connection stands yet",
            Stage::Waiting(_) => "no connection stands, and the queue is full",
            _ if !self.queue.is_empty() => "frames that waited for the connection go first",
            _ => "others write, or the peer does not read",
        };
        match patience {
            WriteLimit::Never => Error::busy(format!("nothing was sent: {why}")),
            _ => Error::unsent(format!("nothing was sent within {waited:.1?}: {why}")),
        }
    }
}
