//! What comes before the application's frames on a new connection: the protocol's own opening, then
//! the application's login.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::cause::{Cause, Loss};
use crate::links::in_band::login::{Conversation, Login, LoginHook};
use crate::net::inbox::Next;
use crate::net::read_half::Woke;
use crate::protocol::Frame;
use crate::protocol::guarded::caught;
use crate::role::Role;
use crate::sys;

use super::{Common, InBand, Origin, Standing};

/// Frames that may come before a login asks for them: a server's greeting is one.
const MOST_EARLY: usize = 64;

/// A conversation that is not yet the application's.
pub(super) struct Greeting<'a> {
    link: &'a mut InBand,
    role: Role,
    line: &'a mut Standing,
    deadline: Instant,
    limit: Duration,
    early: VecDeque<Vec<u8>>,
    connection: u64,
}

impl InBand {
    /// The protocol's opening, the application's login.
    pub(super) fn greet(
        &mut self,
        link: &Common,
        mut line: Standing,
    ) -> Result<VecDeque<Vec<u8>>, Loss> {
        let (limit, connection) = (link.heartbeat.connect_timeout, self.connections);
        let mut hook = match &mut self.origin {
            Origin::Dialed(_, hook) => hook.take(),
            Origin::Adopted { .. } => None,
        };
        let mut greeting = Greeting::new(self, link.heartbeat.role, &mut line, limit, connection);
        let result = greeting.open().and_then(|()| match &mut hook {
            Some(hook) => greeting.log_in(hook),
            None => Ok(greeting.into_early()),
        });
        if let Origin::Dialed(_, place) = &mut self.origin {
            *place = hook;
        }
        // Also where it failed: closing it is the same as for any other.
        self.line = Some(line);
        result
    }
}

impl<'a> Greeting<'a> {
    pub(super) fn new(
        link: &'a mut InBand,
        role: Role,
        line: &'a mut Standing,
        limit: Duration,
        connection: u64,
    ) -> Greeting<'a> {
        let deadline = Instant::now() + limit;
        Greeting { link, role, line, deadline, limit, early: VecDeque::new(), connection }
    }

    /// The protocol's own part.
    pub(super) fn open(&mut self) -> Result<(), Loss> {
        let mut out = Vec::new();
        self.link.protocol.connected(&mut out)?;
        if !out.is_empty() {
            self.link.outlet.push(&out, None);
        }
        while !self.link.protocol.is_ready()? {
            if let Some(frame) = self.next()? {
                if self.early.len() == MOST_EARLY {
                    let detail = format!("more than {MOST_EARLY} frames before the login");
                    return Err(Loss::new(Cause::WrongReply, detail));
                }
                self.early.push_back(frame);
            }
        }
        Ok(())
    }

    /// The application's part. What came and was not asked for is handed on.
    pub(super) fn log_in(mut self, hook: &mut LoginHook) -> Result<VecDeque<Vec<u8>>, Loss> {
        let result = caught(|| hook(&mut Login(&mut self)));
        match result {
            Ok(Ok(())) => Ok(self.early),
            Ok(Err(rejected)) => Err(rejected.0),
            Err(text) => Err(Loss::new(Cause::ProtocolPanicked, format!("the login {text}"))),
        }
    }

    pub(super) fn into_early(self) -> VecDeque<Vec<u8>> {
        self.early
    }

    /// Waits for a frame; none if it was none of data.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Loss> {
        loop {
            let link = &mut *self.link;
            match self.line.read.inbox.next(&mut link.protocol)? {
                Next::Frame(Frame::Data | Frame::Unasked) => {
                    return link.outlet.data(self.line.read.inbox.frame_bytes()).map(Some);
                }
                Next::Frame(Frame::Beat(seq)) => {
                    link.answer(self.role, seq)?;
                    return Ok(None);
                }
                Next::Frame(Frame::Ack(_) | Frame::Own) => return Ok(None),
                Next::Partial | Next::Nothing => self.wait()?,
            }
        }
    }

    fn wait(&mut self) -> Result<(), Loss> {
        let link = &mut *self.link;
        if link.handle.is_stopping() || link.outlet.is_to_close() {
            return Err(Cause::Stopped.into());
        }
        if let Some(loss) = link.outlet.broken() {
            return Err(loss);
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let (peer, limit) = (self.line.read.peer, self.limit);
            let detail = format!(
                "{peer} took the connection, and the login was not through \
                within {limit:?}"
            );
            return Err(Loss::new(Cause::ConnectTimeout, detail));
        }
        let woke = match link.outlet.opened(&mut self.line.read) {
            Some(woke) => woke,
            None => {
                let wants = (true, link.outlet.wants_room(), false);
                let socket = Some(&*self.line.read.socket);
                let stirred = sys::wait_link(&*link.bell, socket, wants, Some(left)).map_err(
                    |error: io::Error| Loss::new(Cause::LocalResources, error.to_string()),
                )?;
                if stirred.bell {
                    link.bell.clear();
                }
                if stirred.write {
                    link.outlet.flush();
                }
                if !stirred.read {
                    return Ok(());
                }
                link.outlet.receive(&mut self.line.read)
            }
        };
        match woke {
            Woke::Lost(loss) => Err(loss),
            _ => Ok(()),
        }
    }
}

impl Conversation for Greeting<'_> {
    fn connection(&self) -> u64 {
        self.connection
    }

    fn peer(&self) -> SocketAddr {
        self.line.read.peer
    }

    fn send(&mut self, data: &[u8]) -> Result<(), Loss> {
        let frame = self.link.outlet.wrap(data).map_err(|error| {
            Loss::new(Cause::LoginRefused, format!("it cannot be sent: {error}"))
        })?;
        self.link.outlet.push(&frame, None);
        self.link.outlet.broken().map_or(Ok(()), Err)
    }

    fn receive(&mut self) -> Result<Vec<u8>, Loss> {
        loop {
            if let Some(frame) = self.early.pop_front() {
                return Ok(frame);
            }
            if let Some(frame) = self.next()? {
                return Ok(frame);
            }
        }
    }
}
