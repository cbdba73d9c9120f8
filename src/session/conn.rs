//! One connection on loan from the pool to one request: a head and a body out, a head and a body
//! in, and back to the pool, or not. It knows itself where the exchange ends, and so whether
//! another may begin.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::buffers::Line;
use super::cancel::Hold;
use super::core::Core;
use super::eviction::Eviction;
use super::exchange::{Outbound, Story, Used};
use super::facts::Facts;
use super::inbound::{Door, Framing, Head, Look};
use super::limits::Limits;
use super::pipe::{Pipe, Unwritten, timed_out};
use super::trouble::{Cut, How, Trouble, Way};
use crate::protocol::http::hint::Hint;

/// A head and the first piece of a body up to this size are sent together: one system call, and one
/// packet where it fits.
const TOGETHER: usize = 16 * 1024;

/// A reader with a buffer of at least this size is given the bytes without a copy through ours.
const DIRECT: usize = 8 * 1024;

/// What is read of a body that nobody wants, so that its connection can be kept. Reading more costs
/// more than a new connection.
const DRAINED: u64 = 64 * 1024;

/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_millis(50);

/// What a wait for an answer brought.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// 100: the body is wanted.
    Continue,
    Final(Head),
    /// Nothing, within the time.
    Nothing,
}

/// One connection on loan.
#[derive(Debug)]
pub(crate) struct Conn {
    core: Arc<Core>,
    pub(crate) used: Used,
    /// None once it has gone back.
    line: Option<Line>,
    /// Its settings are those of the session: it may be kept.
    shared: bool,
    pub(crate) limits: Limits,
    pub(crate) story: Story,
    /// The head that is still to be sent in place of ureq's.
    head: Option<Vec<u8>>,
    /// The head was asked for, and is held back for the body.
    held: bool,
    body_follows: bool,
    /// The server has answered and does not want the rest of the request.
    deaf: bool,
    /// No other exchange may follow this one.
    last: bool,
    door: Door,
    hold: Option<Hold>,
    /// The first byte of an answer has to come until then.
    first_until: Option<Instant>,
    /// The final head has come.
    headed: bool,
    pub(crate) framing: Framing,
    /// How many bytes of the body have come.
    came: u64,
    hint: Hint,
    /// When the last bytes came.
    heard: Instant,
}

impl Conn {
    pub(crate) fn new(
        core: &Arc<Core>,
        used: Used,
        pipe: Box<dyn Pipe>,
        shared: bool,
        limits: Limits,
    ) -> Conn {
        let buffers = core.pool().spare().take();
        Conn {
            core: Arc::clone(core),
            used,
            line: Some(Line { pipe, buffers }),
            shared,
            limits,
            story: Story::default(),
            head: None,
            held: false,
            body_follows: false,
            deaf: false,
            last: false,
            door: Door::default(),
            hold: None,
            first_until: None,
            headed: false,
            framing: Framing::Over,
            came: 0,
            hint: Hint::default(),
            heard: Instant::now(),
        }
    }

    /// Lets a canceller end the exchange while it lasts.
    pub(crate) fn held(&mut self, hold: Option<Hold>) {
        self.hold = hold;
    }

    /// What is known of the connection.
    pub(crate) fn facts(&self) -> Facts {
        self.line.as_ref().map_or(Facts::default(), |line| line.pipe.facts())
    }

    /// Sends this head in place of ureq's.
    pub(crate) fn order(&mut self, outbound: Outbound) {
        (self.head, self.body_follows) = (Some(outbound.head), outbound.body_follows);
        (self.door.is_head, self.last) = (outbound.is_head, outbound.closes);
    }

    /// Sends this in place of what ureq writes next.
    pub(crate) fn replace(&mut self, head: Vec<u8>) {
        self.head = Some(head);
    }

    /// Nothing is known of the request but what ureq sends: the method, and whether it is to be the
    /// last one.
    pub(crate) fn read_own_head(&mut self, amount: usize) {
        let head = &self.line().buffers.output()[..amount];
        let is = |method: &[u8]| head.starts_with(method);
        let (is_head, is_connect) = (is(b"HEAD "), is(b"CONNECT "));
        let lines = head.split(|byte| *byte == b'\n');
        let closes = lines.filter_map(|line| line.split_at_checked(11)).any(|(name, value)| {
            let value = value.to_ascii_lowercase();
            name.eq_ignore_ascii_case(b"connection:")
                && memchr::memmem::find(&value, b"close").is_some()
        });
        (self.door.is_head, self.door.is_connect) = (is_head, is_connect);
        self.last |= closes || is_connect;
    }

    pub(crate) fn line(&mut self) -> &mut Line {
        self.line.as_mut().expect("it is taken when the exchange is over, and not before")
    }

    /// Sends so much of the output, the head in its place; nothing any more once the server has
    /// answered early.
    pub(crate) fn transmit(&mut self, amount: usize) -> Result<(), Trouble> {
        let Some(mut head) = self.head.take() else {
            return self.send(|line, most| line.write(amount, most));
        };
        if self.body_follows && !self.held {
            (self.head, self.held) = (Some(head), true);
            return Ok(());
        }
        if !self.held {
            return self.send(|line, most| line.pipe.write_all(&head, most));
        }
        if amount > TOGETHER {
            self.send(|line, most| line.pipe.write_all(&head, most))?;
            return self.send(|line, most| line.write(amount, most));
        }
        head.extend_from_slice(&self.line().buffers.output()[..amount]);
        self.send(|line, most| line.pipe.write_all(&head, most))
    }

    /// Whether the server has answered, and reads no more of the request.
    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf
    }

    fn send(
        &mut self,
        write: impl FnOnce(&mut Line, Option<Duration>) -> Result<(), Unwritten>,
    ) -> Result<(), Trouble> {
        if self.deaf {
            return Ok(());
        }
        let most = self.limits.wait()?;
        let Err(unwritten) = write(self.line(), most) else {
            self.story.begun = true;
            return Ok(());
        };
        let before = self.story.begun;
        self.story.begun |= unwritten.begun;
        self.last = true;
        // Bytes that came before anything was sent are no answer to this request.
        if unwritten.answered && before | unwritten.begun {
            log::debug!("the server answered before it had read the whole request");
            self.deaf = true;
            return Ok(());
        }
        Err(match unwritten.error.kind() {
            ErrorKind::WouldBlock => self.limits.passed(Way::Write),
            _ => Trouble::Ended(unwritten.error),
        })
    }

    /// Waits for the head of the answer. With a time, for 100 as well, and no longer than that.
    pub(crate) fn answer(&mut self, for_100: Option<Duration>) -> Result<Arrived, Trouble> {
        let until = for_100.map(|time| Instant::now() + time);
        let last = self.last;
        if let Some(head) = self.head.take() {
            self.send(|line, most| line.pipe.write_all(&head, most))?;
        }
        if let (Some(time), None, None) = (self.limits.first_byte, self.first_until, for_100) {
            self.first_until = Some(Instant::now() + time);
        }
        loop {
            let look = match &mut self.line {
                Some(line) => self.door.look(line.buffers.input()),
                None => return Err(Trouble::Wrong("it was answered already".to_owned())),
            };
            match look {
                Err(wrong) => {
                    self.last = true;
                    return Err(Trouble::Wrong(wrong.0));
                }
                Ok(Look::Interim(len, code)) => {
                    self.line().buffers.used(len);
                    if until.is_some() && code == 100 {
                        return Ok(Arrived::Continue);
                    }
                }
                Ok(Look::Final(len, head)) => {
                    self.line().buffers.used(len);
                    self.headed = true;
                    (self.framing, self.hint) = (head.framing, head.hint);
                    // A body that was not asked for is not sent: nobody knows what the server makes
                    // of the next bytes.
                    self.last |= !head.keeps || until.is_some();
                    return Ok(Arrived::Final(head));
                }
                Ok(Look::More) => match self.fill(self.until_first_byte(until)) {
                    Ok(0) => {
                        return Err(Trouble::Ended(ErrorKind::UnexpectedEof.into()));
                    }
                    Ok(_) => self.story.answered = true,
                    Err(Trouble::Silent(_)) if until.is_some_and(|at| Instant::now() >= at) => {
                        self.last = last;
                        return Ok(Arrived::Nothing);
                    }
                    Err(trouble) => return Err(trouble),
                },
            }
        }
    }

    /// The sooner of both, as long as nothing has come.
    fn until_first_byte(&self, until: Option<Instant>) -> Option<Instant> {
        match self.first_until.filter(|_| !self.story.answered) {
            Some(first) => Some(until.map_or(first, |until| until.min(first))),
            None => until,
        }
    }

    /// Reads into our buffer; 0 at the end. After an error the connection is not used again.
    fn fill(&mut self, until: Option<Instant>) -> Result<usize, Trouble> {
        self.read_with(until, Line::read)
    }

    fn read_with(
        &mut self,
        until: Option<Instant>,
        read: impl FnOnce(&mut Line, Option<Duration>) -> io::Result<usize>,
    ) -> Result<usize, Trouble> {
        let mut most = self.limits.wait().inspect_err(|_| self.last = true)?;
        if let Some(until) = until {
            let left = until.saturating_duration_since(Instant::now());
            most = Some(most.map_or(left, |most| most.min(left)));
        }
        let result = match most {
            Some(Duration::ZERO) => Err(timed_out()),
            _ => read(self.line(), most),
        };
        if !matches!(result, Ok(n) if n > 0) {
            if let Some(trouble) = self.core.ended(self.hold.as_ref().map(Hold::canceller)) {
                self.last = true;
                return Err(trouble);
            }
        }
        match result {
            Ok(n) => {
                if n > 0 {
                    self.heard = Instant::now();
                }
                self.last |= n == 0;
                Ok(n)
            }
            Err(error) => {
                self.last = true;
                Err(match error.kind() {
                    ErrorKind::WouldBlock => self.limits.passed(Way::Read),
                    _ => Trouble::Ended(error),
                })
            }
        }
    }

    /// The next bytes of the body; 0 once it is over, and whole.
    pub(crate) fn body(&mut self, buffer: &mut [u8]) -> Result<usize, Trouble> {
        self.body_until(buffer, None)
    }

    fn body_until(&mut self, buffer: &mut [u8], until: Option<Instant>) -> Result<usize, Trouble> {
        loop {
            let data = self.at_data()?;
            if data > 0 {
                let n = data.min(buffer.len());
                let line = self.line();
                buffer[..n].copy_from_slice(&line.buffers.input()[..n]);
                line.buffers.used(n);
                self.took(n);
                return Ok(n);
            }
            if self.framing == Framing::Over {
                self.finish();
                return Ok(0);
            }
            let room = self.framing.certain().unwrap_or(u64::MAX).min(buffer.len() as u64);
            let empty = self.line().buffers.input().is_empty();
            let direct = empty && buffer.len() >= DIRECT && room > 0;
            let read = match direct {
                true => {
                    let room = &mut buffer[..room as usize];
                    self.read_with(until, |line, most| line.pipe.read(room, most))
                }
                false => self.fill(until),
            };
            match read {
                Ok(0) => self.end(How::Closed)?,
                Ok(n) if direct => {
                    self.took(n);
                    return Ok(n);
                }
                Ok(_) => {}
                Err(Trouble::Ended(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.end(How::NoFarewell)?;
                }
                Err(Trouble::Ended(error)) => return Err(self.cut(How::Failed(error))),
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Passes over what frames the body, and says how much of the body itself is here.
    fn at_data(&mut self) -> Result<usize, Trouble> {
        let Some(line) = &mut self.line else { return Ok(0) };
        loop {
            let step = self.framing.step(line.buffers.input()).map_err(|what| {
                self.last = true;
                Trouble::Wrong(what.to_owned())
            })?;
            line.buffers.used(step.skip);
            if step.data > 0 || step.skip == 0 {
                return Ok(step.data);
            }
        }
    }

    /// So many bytes of the body were taken. If they were the last, the connection is free at once.
    fn took(&mut self, n: usize) {
        self.framing.take(n);
        self.came += n as u64;
        if self.framing != Framing::Over {
            let _ = self.at_data(); // the next read reports what is wrong behind them
        }
        if self.framing == Framing::Over {
            self.finish();
        }
    }

    /// The connection has ended, in the middle of the body or with it.
    fn end(&mut self, how: How) -> Result<(), Trouble> {
        if !self.framing.may_close() {
            return Err(self.cut(How::Closed));
        }
        if matches!(how, How::NoFarewell) && !self.core.options.allow_missing_close_notify {
            return Err(self.cut(how));
        }
        self.framing = Framing::Over;
        Ok(())
    }

    fn cut(&self, how: How) -> Trouble {
        let of = self.framing.left().map(|left| self.came + left);
        Trouble::Cut(Cut { came: self.came, of, how })
    }

    /// Reads what is left of a body that nobody wants, if that is little and there at once.
    pub(crate) fn drain(&mut self) {
        if self.line.is_none() || self.last || !self.headed || self.is_forked() {
            return;
        }
        let until = Instant::now() + DRAIN_TIME;
        let (mut most, mut scrap) = (DRAINED, [0; 4096]);
        while most > 0 && self.framing.left().is_none_or(|left| left <= most) {
            match self.body_until(&mut scrap, Some(until)) {
                Ok(0) | Err(_) => return,
                Ok(n) => most = most.saturating_sub(n as u64),
            }
        }
    }

    /// Lets the connection go, if the exchange is over with its head.
    pub(crate) fn settle(&mut self) {
        if self.is_over() {
            self.finish();
        }
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.core.is_forked()
    }

    /// Prevents reuse: what follows on the connection may not belong to another exchange.
    pub(crate) fn spoil(&mut self) {
        self.last = true;
    }

    /// Whether it is over, body and all.
    pub(crate) fn is_over(&self) -> bool {
        self.headed && self.framing == Framing::Over
    }

    /// Gives the connection back, if another exchange may follow; otherwise it ends.
    fn finish(&mut self) {
        let Some(mut line) = self.line.take() else { return };
        if self.core.is_forked() {
            // Closed here, and still open in the parent, as are the locks of its canceller.
            std::mem::forget(self.hold.take());
            return;
        }
        self.last |= self.hold.take().is_some_and(Hold::end);
        let clean = self.is_over()
            && !self.last
            && line.buffers.input().is_empty()
            && !line.pipe.holds_bytes();
        if clean && self.shared {
            self.core.give_back(self.used.id, line, self.heard, self.hint);
        } else {
            let why = if self.shared { Eviction::NotReusable } else { Eviction::OwnSettings };
            self.core.leave(self.used.id, line.pipe, line.buffers, why);
        }
    }
}

impl Drop for Conn {
    /// May run under ureq's own lock: it neither blocks nor calls ureq.
    fn drop(&mut self) {
        self.finish();
    }
}
