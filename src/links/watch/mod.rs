//! A watched link: keepbeat opens a connection of its own, beats on it, and opens it again.
//!
//! The healthy round is three system calls: `send` the beat, `recv` the ack (blocked, bounded by
//! the socket's read timeout), `poll` until the next beat. A FIN or RST in between ends the
//! `poll` at once.

mod conversation;
mod words;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::heartbeat::Heartbeat;
use crate::links::common::Common;
use crate::links::connect::set_options;
use crate::links::dial::Dialer;
use crate::links::driver::Driver;
use crate::links::inquiry::overheard::Overheard;
use crate::links::medium::{Due, Medium, Passed};
use crate::links::seat::Seat;
use crate::links::socket_view::{Allowed, SocketView};
use crate::net::connection::{Connection, Woke};
use crate::net::inbox::Next;
use crate::protocol::guarded::Guarded;
use crate::protocol::{Frame, IdleEnd};
use crate::pulse::{Input, Pulse, Report};
use crate::tcp_info::TcpInfo;

/// What fits into one segment on any path: of so much nothing can come out of order.
const ONE_SEGMENT: usize = 500;

/// A connection of keepbeat's own that carries beats alone.
pub(crate) struct Watch {
    dialer: Dialer,
    protocol: Guarded,
    connection: Option<Connection>,
    /// Since when the connection stands.
    since: Instant,
    /// The beat on its way out, or written last; kept, so that no beat allocates.
    out: Vec<u8>,
    /// Where in it the beat begins, behind what opens the conversation.
    beat_at: usize,
    /// It is written.
    written: bool,
    /// A beat that waits until the conversation is opened, or the one before it is through.
    held: Option<u64>,
    /// The scheme of what is spoken.
    scheme: String,
    /// What the peer said beside its acks.
    overheard: Overheard,
    /// That it answers twice was told.
    is_doubled: bool,
    /// The peer announced, with its last ack, that it ends the connection.
    over: bool,
    /// An end that a write has found. What came before it goes first: it may say why.
    behind: Option<Loss>,
    /// Bytes came since the last beat went out.
    has_heard: bool,
    /// What the peer has said of its idle limit.
    idle_limit: Option<Duration>,
}

impl Drop for Watch {
    /// However it ends, the socket goes with it.
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// A watched link, to be run.
pub(crate) fn watch(
    seat: Seat,
    dialer: Dialer,
    heartbeat: Heartbeat,
    mut protocol: Guarded,
) -> Driver<Watch> {
    let now = Instant::now();
    let pulse = Pulse::new(heartbeat.clone(), seat.seed, now);
    let mut link = Common::new(seat, heartbeat, pulse, now);
    let scheme = dialer.target.spoken(protocol.scheme());
    link.inquiry.case().set_watched(&scheme, &dialer.target);
    let medium = Watch {
        dialer,
        protocol,
        connection: None,
        since: now,
        // Room for the beats of most protocols from the start.
        out: Vec::with_capacity(128),
        beat_at: 0,
        written: false,
        held: None,
        scheme,
        overheard: Overheard::default(),
        is_doubled: false,
        over: false,
        behind: None,
        has_heard: false,
        idle_limit: None,
    };
    Driver::new(link, medium)
}

impl Medium for Watch {
    const LOOKS: bool = true;

    fn open(&mut self, link: &mut Common) -> Result<Instant, Loss> {
        let opened = self.dial(link);
        if opened.is_err() {
            self.hang_up();
            link.inquiry.case().set_heard(None);
        }
        opened
    }

    fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.connection.as_ref().map(|connection| connection.read.peer)
    }

    fn socket(&self) -> Option<(&Socket, SocketAddr)> {
        self.connection.as_ref().map(|connection| (connection.socket(), connection.read.peer))
    }

    fn beat(&mut self, link: &mut Common, seq: u64) {
        match self.write_beat(link, seq) {
            Ok(input) => {
                link.reporter.on_sent(seq);
                link.tell(input);
            }
            Err(loss) if loss.cause == Cause::ProtocolPanicked => self.lose(link, loss),
            // Our own shutdown looks like an end, too; the next step ends the link.
            Err(_) if link.handle.is_shut_by_us() => {}
            Err(loss) => self.behind = Some(loss),
        }
    }

    fn close(&mut self, link: &mut Common) {
        if let Some(socket) = self.hang_up() {
            link.inquiry.keep(&socket);
        }
    }

    fn take(&mut self, link: &mut Common, _verdict: Option<Instant>) -> Result<bool, Loss> {
        if std::mem::take(&mut self.over) {
            link.tell(Input::Renew);
            return Ok(true);
        }
        let input = self.next_input(link);
        let input = match input {
            Some(Input::Partial) | None if self.behind.is_some() => {
                self.behind.take().map(|loss| self.ended(link, loss))
            }
            input => input,
        };
        let Some(input) = input else { return Ok(false) };
        let input = self.and_is_it_over(link, input);
        self.tell(link, input);
        Ok(true)
    }

    fn wait(&mut self, link: &mut Common, due: &Due) -> Passed {
        let Some(connection) = &mut self.connection else {
            match due.any {
                Some(until) => {
                    thread::park_timeout(until.saturating_duration_since(Instant::now()));
                }
                None => thread::park(),
            }
            return Passed::Time;
        };
        match connection.wait(due.any, due.piece) {
            Woke::Bytes | Woke::Interrupted => {}
            Woke::Quiet => return Passed::Time,
            Woke::Lost(loss) => self.on_end(link, loss),
        }
        Passed::Something
    }

    fn lose(&mut self, link: &mut Common, loss: Loss) {
        self.tell(link, Input::Lost(loss));
    }

    fn on_end(&mut self, link: &mut Common, loss: Loss) {
        // Our own shutdown looks like an end, too.
        if link.handle.is_shut_by_us() {
            return;
        }
        let input = self.last_input(link, loss);
        self.tell(link, input);
    }

    /// An end that came before the stop is read.
    fn last_words(&mut self, link: &mut Common) -> bool {
        if link.handle.is_shut_by_us() {
            return false;
        }
        match self.take(link, None) {
            Ok(true) => return true,
            Ok(false) => {}
            Err(loss) => self.lose(link, loss),
        }
        let Some(connection) = &mut self.connection else { return false };
        match connection.read_on() {
            Woke::Bytes => true,
            Woke::Quiet | Woke::Interrupted => false,
            Woke::Lost(loss) => {
                self.on_end(link, loss);
                true
            }
        }
    }

    fn adjust(&mut self, heartbeat: &Heartbeat) {
        if let Some(connection) = &self.connection {
            let _ = set_options(connection.socket(), heartbeat, false); // it works without
        }
    }

    fn on_report(&mut self, link: &mut Common, report: &mut Report) -> bool {
        if let Report::Missed { .. } = report {
            let heard = self.heard();
            link.inquiry.case().set_heard(heard);
        }
        true
    }
}

impl Watch {
    fn dial(&mut self, link: &mut Common) -> Result<Instant, Loss> {
        link.reporter.peer = None;
        let (connection, took) = self.dialer.dial(&link.heartbeat)?;
        link.reporter.on_dialed(self.dialer.secure.as_ref(), &connection, took);
        link.reporter.peer = Some(connection.read.peer);
        (self.connection, self.since) = (Some(connection), Instant::now());
        self.out.clear();
        (self.over, self.written, self.held, self.behind) = (false, false, None, None);
        self.overheard.on_connected();
        self.protocol.connected(&mut self.out)?;
        Ok(Instant::now())
    }

    fn tell(&mut self, link: &mut Common, mut input: Input) {
        if let Input::Lost(loss) = &mut input {
            self.add_last_words(link, loss);
        }
        if let Input::Ack(_) = input {
            let frame =
                self.connection.as_ref().map(|connection| connection.read.inbox.frame_bytes());
            let frame = frame.unwrap_or_default();
            if frame.len() > ONE_SEGMENT {
                link.inquiry.case().on_more();
            }
            self.overheard.on_ack(frame);
        }
        link.tell(input);
    }

    /// Closes what is open; its socket, for whoever keeps it.
    fn hang_up(&mut self) -> Option<Arc<Socket>> {
        self.behind = None;
        let connection = self.connection.take()?;
        self.dialer.hang_up();
        let socket = connection.shared();
        drop(connection); // with a good-bye, under TLS
        Some(socket)
    }

    /// What opens the conversation, if this is the first beat, goes out with it, unless the beat
    /// has to wait for an answer to that.
    fn write_beat(&mut self, link: &mut Common, seq: u64) -> Result<Input, Loss> {
        self.has_heard = false;
        if std::mem::take(&mut self.written) {
            self.out.clear();
        }
        if self.protocol.is_ready()? {
            return self.write_out(link, seq);
        }
        if let Some(older) = self.held.replace(seq) {
            link.tell(Input::Skipped(older));
        }
        let at = self.write_opening(link, seq)?;
        Ok(Input::Sent { seq, at })
    }

    /// The peer may have announced the end of the connection with this ack: that is told next.
    fn and_is_it_over(&mut self, link: &mut Common, input: Input) -> Input {
        if let Input::Ack(_) = input {
            let limit = self.protocol.idle_limit();
            match self.protocol.is_over().and_then(|over| Ok((over, limit?))) {
                Ok((over, limit)) => {
                    self.over = over;
                    self.take_limit(link, limit);
                }
                Err(loss) => return Input::Lost(loss),
            }
        }
        input
    }

    fn take_limit(&mut self, link: &mut Common, limit: Option<Duration>) {
        if limit != self.idle_limit {
            self.idle_limit = limit;
            limit.into_iter().for_each(|limit| link.tell(Input::IdleLimit(limit)));
        }
    }

    /// The connection has ended; that may be what makes an ack whole.
    fn last_input(&mut self, link: &mut Common, loss: Loss) -> Input {
        if loss.cause != Cause::ClosedByPeer {
            return self.ended(link, loss);
        }
        match self.protocol.closed() {
            Ok(Some(Frame::Ack(seq))) => self.and_is_it_over(link, Input::Ack(seq)),
            Ok(_) => self.ended(link, loss),
            Err(said) => self.ended(link, said),
        }
    }

    /// The peer has ended the connection. Whether it may is the protocol's to say.
    fn ended(&mut self, link: &Common, loss: Loss) -> Input {
        let owes_nothing = link.pulse.expecting().is_none() || !self.has_heard;
        let may_be_free = match loss.cause {
            Cause::ClosedByPeer | Cause::Reset => owes_nothing,
            Cause::Renewed => true, // in so many words
            _ => false,
        };
        if !may_be_free {
            return Input::Lost(loss);
        }
        match self.protocol.idle_end() {
            Ok(IdleEnd::Renewal { repeat }) => Input::Ended { loss, repeat },
            Ok(IdleEnd::Loss) => Input::Lost(loss),
            Err(panicked) => Input::Lost(panicked),
        }
    }

    /// What the bytes that came amount to. Data is no life on a watched link and passes by; the
    /// inbox is bounded, so the clock is looked at soon.
    fn next_input(&mut self, link: &mut Common) -> Option<Input> {
        loop {
            let connection = self.connection.as_mut()?;
            let next = connection.read.inbox.next(&mut self.protocol);
            self.has_heard |= !matches!(next, Ok(Next::Nothing) | Err(_));
            if !matches!(next, Ok(Next::Nothing | Next::Frame(Frame::Ack(_)))) {
                link.inquiry.case().on_more();
            }
            return Some(match next {
                Ok(Next::Frame(Frame::Own)) => match self.went_on(link) {
                    Ok(Some(input)) => input,
                    Ok(None) => continue,
                    Err(loss) => Input::Lost(loss),
                },
                Ok(Next::Frame(Frame::Data)) => {
                    self.overheard.push(connection.read.inbox.frame_bytes(), Instant::now());
                    continue;
                }
                Ok(Next::Frame(Frame::Unasked)) => {
                    self.overheard
                        .push_unasked(connection.read.inbox.frame_bytes(), Instant::now());
                    if link.pulse.expecting().is_none() {
                        self.on_doubled(link);
                    }
                    continue;
                }
                Ok(Next::Frame(Frame::Ack(seq))) => Input::Ack(seq),
                Ok(Next::Frame(Frame::Beat(_))) => Input::Lost(Loss::new(
                    Cause::WrongReply,
                    format!(
                        "{} sent a beat in place of an ack: is it an echo?",
                        connection.read.peer
                    ),
                )),
                Ok(Next::Partial) => {
                    self.overheard.touch(Instant::now());
                    Input::Partial
                }
                Ok(Next::Nothing) => return None,
                Err(loss) => {
                    let loss = self.rejected(link, loss);
                    self.ended(link, loss)
                }
            });
        }
    }
}

/// What an inquiry may see of a watched link.
impl SocketView for Watch {
    fn look(&self) -> Option<TcpInfo> {
        self.connection.as_ref().and_then(Connection::tcp_info)
    }

    fn local(&self) -> Option<SocketAddr> {
        self.connection.as_ref()?.socket().local_addr().ok()?.as_socket()
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn allowed(&mut self, beat_bytes: usize) -> Result<Allowed, Loss> {
        let secure = self.dialer.secure.clone();
        Ok(Allowed { secure, ..Allowed::by(&mut self.protocol, beat_bytes)? })
    }
}
