//! A lease: one connection on loan from the pool to one request. It notes what happens, and goes
//! back to the pool, or not, when it is dropped.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::buffers::Buffers;
use super::call::{Call, drain_until};
use super::core::Core;
use super::eviction::Eviction;
use super::pipe::{Pipe, Unwritten, timed_out};
use super::places::SlotId;
use crate::protocol::http::hint::Hint;

const KEEP_ALIVE: &[u8] = b"keep-alive:";

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

/// A pipe with buffers.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) pipe: Box<dyn Pipe>,
    pub(crate) buffers: Buffers,
}

impl Line {
    pub(crate) fn new(pipe: Box<dyn Pipe>) -> Line {
        Line { pipe, buffers: Buffers::default() }
    }

    /// Writes so much of the output.
    pub(crate) fn write(&mut self, amount: usize, most: Option<Duration>) -> Result<(), Unwritten> {
        self.pipe.write_all(&self.buffers.output()[..amount], most)
    }

    /// Reads into the input; 0 at the end.
    pub(crate) fn read(&mut self, most: Option<Duration>) -> io::Result<usize> {
        let n = self.pipe.read(self.buffers.space(), most)?;
        self.buffers.filled(n);
        Ok(n)
    }
}

/// One connection on loan from the pool to one request.
#[derive(Debug)]
pub(crate) struct Lease {
    core: Arc<Core>,
    id: SlotId,
    /// None only while it is dropped.
    line: Option<Line>,
    /// Whether it may be kept.
    kept: bool,
    /// It was asked whether it can be used again, and nothing was touched since.
    clean: bool,
    /// Something went wrong on it: it is never kept.
    broken: bool,
    /// The server has answered and does not want the rest of the request.
    deaf: bool,
    /// The last bytes came then.
    heard: Instant,
    begun: bool,
    answered: bool,
    /// The head of the response is whole, and was looked at.
    headed: bool,
    hint: Option<Hint>,
}

impl Lease {
    pub(crate) fn new(core: &Arc<Core>, id: SlotId, pipe: Box<dyn Pipe>, kept: bool) -> Lease {
        let buffers = core.pool().spare.take();
        Lease {
            core: Arc::clone(core),
            id,
            line: Some(Line { pipe, buffers }),
            kept,
            clean: false,
            broken: false,
            deaf: false,
            heard: Instant::now(),
            begun: false,
            answered: false,
            headed: false,
            hint: None,
        }
    }

    pub(crate) fn line(&mut self) -> &mut Line {
        self.line.as_mut().expect("it is taken by the drop alone")
    }

    /// Writes so much of the output; nothing any more once the server has answered early.
    pub(crate) fn write(&mut self, amount: usize, most: Option<Duration>) -> io::Result<()> {
        self.clean = false;
        if self.deaf {
            return Ok(());
        }
        match self.line().write(amount, most) {
            Ok(()) => {
                self.note_begun();
                Ok(())
            }
            Err(unwritten) => {
                if unwritten.begun {
                    self.note_begun();
                }
                // Bytes that came before anything was sent answer nothing.
                if unwritten.answered && self.begun {
                    log::debug!("the server answered before it had read the whole request");
                    (self.deaf, self.broken) = (true, true);
                    Call::note(self.id, |call| call.unwanted = true);
                    return Ok(());
                }
                self.note_broken(&unwritten.error);
                Err(unwritten.error)
            }
        }
    }

    /// Reads into the input; 0 at the end. If the time may pass, that is no fault.
    pub(crate) fn read(&mut self, most: Option<Duration>, may_pass: bool) -> io::Result<usize> {
        self.clean = false;
        let mut most = most;
        if let Some(until) = drain_until() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(timed_out());
            }
            most = Some(most.map_or(left, |most| most.min(left)));
        }
        let result = self.line().read(most);
        match &result {
            Ok(0) => self.note_broken(&ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                self.heard = Instant::now();
                if !self.answered {
                    self.answered = true;
                    Call::note(self.id, |call| call.answered = true);
                }
                if !self.headed {
                    self.look_at_head();
                }
            }
            Err(error) if may_pass && error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => self.note_broken(error),
        }
        result
    }

    /// What the server says about the connection has to be known before it goes back, and ureq
    /// lets one without a body go before it shows the headers.
    fn look_at_head(&mut self) {
        let input = self.line().buffers.input();
        let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") else { return };
        let lines = input[..end].split(|byte| *byte == b'\n');
        let said = lines.filter_map(|line| {
            let (name, value) = line.split_at_checked(KEEP_ALIVE.len())?;
            name.eq_ignore_ascii_case(KEEP_ALIVE).then_some(value)
        });
        let hint = Hint::read(said);
        (self.headed, self.hint) = (true, (hint != Hint::default()).then_some(hint));
    }

    /// Whether it can be used again. If it is dropped next, it is.
    pub(crate) fn is_clean(&mut self) -> bool {
        self.clean = !self.broken && !self.line().pipe.holds_bytes();
        self.clean
    }

    fn note_begun(&mut self) {
        if !self.begun {
            self.begun = true;
            Call::note(self.id, |call| call.begun = true);
        }
    }

    fn note_broken(&mut self, error: &io::Error) {
        self.broken = true;
        let ended = matches!(
            error.kind(),
            ErrorKind::ConnectionReset
                | ErrorKind::BrokenPipe
                | ErrorKind::ConnectionAborted
                | ErrorKind::UnexpectedEof
        );
        Call::note(self.id, |call| call.ended = ended);
    }
}

impl Drop for Lease {
    /// May run under ureq's own lock: it neither blocks nor calls ureq.
    fn drop(&mut self) {
        let Some(line) = self.line.take() else { return };
        if self.clean && self.kept && line.buffers.input().is_empty() {
            self.core.give_back(self.id, line, self.heard, self.hint);
        } else {
            let Line { pipe, buffers } = line;
            let why = if self.kept { Eviction::NotReusable } else { Eviction::OwnSettings };
            self.core.leave(self.id, pipe, buffers, why);
        }
    }
}
