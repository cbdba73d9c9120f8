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

use crate::cause::{Cause, Loss};
use crate::drive::Seat;
use crate::drive::inquiry::Inquiry;
use crate::drive::looks::{Found, look_at};
use crate::drive::overheard::Overheard;
use crate::drive::scene::{Allowed, Scene};
use crate::heartbeat::Heartbeat;
use crate::links::connect::set_options;
use crate::links::dial::Dialer;
use crate::links::handle::Handle;
use crate::links::reporter::Reporter;
use crate::net::connection::{Connection, Woke};
use crate::net::inbox::Next;
use crate::protocol::guarded::Guarded;
use crate::protocol::{Frame, IdleEnd};
use crate::pulse::{Input, Output, Patience, Pulse, Report};
use crate::tcp_info::TcpInfo;

/// `Patience::FromRtt` asks the kernel for its own timeout once in so many beats: 0.016 system
/// calls a beat.
const ASK_RTO_EVERY: u64 = 64;

pub(crate) struct Watch {
    handle: Arc<Handle>,
    dialer: Dialer,
    heartbeat: Heartbeat,
    protocol: Guarded,
    pulse: Pulse,
    reporter: Reporter,
    inquiry: Inquiry,
    connection: Option<Connection>,
    /// Since when the connection stands.
    since: Instant,
    /// When the last beat was written.
    sent: Instant,
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
    paused: bool,
    /// The peer announced, with its last ack, that it ends the connection.
    over: bool,
    /// Bytes came since the last beat went out.
    has_heard: bool,
    /// What the peer has said of its idle limit.
    idle_limit: Option<Duration>,
}

impl Drop for Watch {
    /// However it ends, the socket goes with it.
    fn drop(&mut self) {
        self.close();
    }
}

impl Watch {
    pub(crate) fn new(
        seat: Seat,
        dialer: Dialer,
        heartbeat: Heartbeat,
        mut protocol: Guarded,
    ) -> Watch {
        let now = Instant::now();
        let mut inquiry = Inquiry::new(&seat, &heartbeat, now);
        let scheme = dialer.target.spoken(protocol.scheme());
        inquiry.case().set_watched(&scheme, &dialer.target);
        let Seat { handle, shared, seed } = seat;
        let pulse = Pulse::new(heartbeat.clone(), seed, now);
        let reporter = Reporter::new(Arc::clone(&handle), Arc::clone(&shared.feed));
        // Room for the beats of most protocols from the start.
        let (connection, out) = (None, Vec::with_capacity(128));
        Watch {
            handle,
            dialer,
            heartbeat,
            protocol,
            pulse,
            reporter,
            inquiry,
            connection,
            since: now,
            sent: now,
            out,
            beat_at: 0,
            written: false,
            held: None,
            scheme,
            overheard: Overheard::default(),
            is_doubled: false,
            paused: false,
            over: false,
            has_heard: false,
            idle_limit: None,
        }
    }

    pub(crate) fn run(&mut self) {
        loop {
            match self.pulse.poll() {
                Output::Connect => self.connect(),
                Output::Beat(seq) => self.beat(seq),
                Output::Close => self.close(),
                Output::Report(report) => self.report(report),
                Output::Wait(until) => self.wait(until),
                Output::Done => break,
            }
        }
    }

    fn tell(&mut self, mut input: Input) {
        if let Input::Lost(loss) = &mut input {
            self.add_last_words(loss);
        }
        let now = Instant::now();
        if let Input::Ack(_) = input {
            let frame = self.connection.as_ref().map(|connection| connection.inbox.frame_bytes());
            self.overheard.on_ack(frame.unwrap_or_default());
        }
        self.pulse.handle(now, input);
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Ended => {
                let Watch { inquiry, reporter, connection, protocol, dialer, .. } = self;
                let view = View { connection: connection.as_ref(), protocol, dialer };
                inquiry.hear_out(&view, reporter);
            }
            Report::Missed { .. } => {
                let heard = self.heard();
                self.inquiry.case().set_heard(heard);
            }
            _ => {}
        }
        let Watch { inquiry, pulse, reporter, connection, protocol, dialer, .. } = self;
        let mut view = View { connection: connection.as_ref(), protocol, dialer };
        inquiry.report(report, pulse.rtt(), &mut view, reporter);
    }

    fn connect(&mut self) {
        match self.open() {
            Ok(()) => self.tell(Input::Connected),
            Err(loss) if loss.cause == Cause::Stopped => {} // the next wait ends it
            Err(loss) => {
                self.close();
                self.tell(Input::Lost(loss));
            }
        }
    }

    fn open(&mut self) -> Result<(), Loss> {
        self.reporter.peer = None;
        let (connection, took) = self.dialer.dial(&self.heartbeat)?;
        self.reporter.on_dialed(self.dialer.secure.as_ref(), &connection, took);
        self.reporter.peer = Some(connection.peer);
        let peer = connection.peer;
        (self.connection, self.since) = (Some(connection), Instant::now());
        let Watch { inquiry, reporter, connection, protocol, dialer, .. } = self;
        let view = View { connection: connection.as_ref(), protocol, dialer };
        inquiry.on_connected(Some(peer), &view, reporter);
        self.out.clear();
        (self.over, self.written, self.held) = (false, false, None);
        self.overheard.on_connected();
        self.protocol.connected(&mut self.out)?;
        self.ask_rto();
        Ok(())
    }

    fn ask_rto(&mut self) {
        if self.heartbeat.patience == Patience::FromRtt {
            if let Some(rto) = self.connection.as_ref().and_then(Connection::rto) {
                self.tell(Input::Rto(rto));
            }
        }
    }

    fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.dialer.hang_up();
            let socket = connection.shared();
            drop(connection); // with a good-bye, under TLS
            self.inquiry.keep(&socket);
        }
    }

    fn beat(&mut self, seq: u64) {
        match self.write_beat(seq) {
            Ok(input) => self.tell(input),
            // Our own shutdown looks like an end, too; the next wait ends the link.
            Err(_) if self.handle.is_shut_by_us() => {}
            Err(loss) => self.tell_behind(loss),
        }
    }

    /// What opens the conversation, if this is the first beat, goes out with it, unless the beat
    /// has to wait for an answer to that.
    fn write_beat(&mut self, seq: u64) -> Result<Input, Loss> {
        self.has_heard = false;
        if let Some(loss) = self.inquiry.take_broken() {
            return Err(loss);
        }
        if std::mem::take(&mut self.written) {
            self.out.clear();
        }
        self.reporter.on_sent(seq);
        if self.protocol.is_ready()? {
            return self.write_out(seq);
        }
        if let Some(older) = self.held.replace(seq) {
            self.tell(Input::Skipped(older));
        }
        let at = self.write_opening(seq)?;
        Ok(Input::Sent { seq, at })
    }

    /// One step towards `until`: a flag, a frame, bytes, or time that passed.
    fn wait(&mut self, until: Option<Instant>) {
        // An end that came before the stop is read first.
        if self.handle.is_shut_by_us() || self.handle.is_stopping() && self.connection.is_none() {
            return self.tell(Input::Stop);
        }
        if self.has_turned() {
            self.paused = !self.paused;
            return self.tell(if self.paused { Input::Pause } else { Input::Resume });
        }
        if let Some(heartbeat) = self.handle.take_heartbeat() {
            return self.adjust(heartbeat);
        }
        if std::mem::take(&mut self.over) {
            return self.tell(Input::Renew);
        }
        self.attend();
        if let Some(input) = self.next_input() {
            let input = self.and_is_it_over(input);
            return self.tell(input);
        }
        // Without a connection there is none to lose: the next beat takes it.
        if self.connection.is_some() {
            if let Some(loss) = self.inquiry.take_broken() {
                return self.tell(Input::Lost(loss));
            }
        }
        let expecting = self.pulse.expecting();
        let look = self.inquiry.look_due(expecting.is_some(), self.sent, self.pulse.rtt());
        if look.is_some_and(|look| look <= Instant::now()) && until > look {
            return self.look();
        }
        let until = until.into_iter().chain(self.inquiry.due()).min();
        let Some(connection) = &mut self.connection else {
            match until {
                Some(until) => {
                    thread::park_timeout(until.saturating_duration_since(Instant::now()));
                }
                None => thread::park(),
            }
            return self.tick();
        };
        let piece = look.and(expecting.map(|timeout| timeout.min(self.inquiry.attention())));
        let until = look.into_iter().chain(until).min();
        match connection.wait(until, piece.or(expecting)) {
            Woke::Bytes | Woke::Interrupted => {}
            Woke::Quiet => self.tick(),
            // Our own shutdown looks like an end, too.
            Woke::Lost(_) if self.handle.is_shut_by_us() => {}
            Woke::Lost(loss) => {
                let input = self.last_input(loss);
                self.tell(input);
            }
        }
    }

    /// What side connections have found, and what else is due.
    fn attend(&mut self) {
        if !self.inquiry.is_calm() {
            let Watch { inquiry, reporter, connection, protocol, dialer, .. } = self;
            let view = View { connection: connection.as_ref(), protocol, dialer };
            inquiry.attend(&view, reporter);
        }
    }

    /// The beat in flight is not answered as soon as usual: has a router said something?
    fn look(&mut self) {
        let thorough = self.inquiry.on_looked(Instant::now());
        let Some(connection) = &self.connection else { return };
        let (found, info) = look_at(connection.socket(), connection.peer);
        let Watch { inquiry, reporter, connection, protocol, dialer, .. } = self;
        let mut view = View { connection: connection.as_ref(), protocol, dialer };
        match found {
            Found::End(loss) if !self.handle.is_shut_by_us() => self.tell(Input::Lost(loss)),
            Found::End(_) => {}
            Found::Nothing => inquiry.on_quiet(info, thorough, &mut view, reporter),
            Found::Icmp(errno) => inquiry.on_icmp(errno, &mut view, reporter),
        }
    }

    /// The peer may have announced the end of the connection with this ack: that is told next.
    fn and_is_it_over(&mut self, input: Input) -> Input {
        if let Input::Ack(_) = input {
            let limit = self.protocol.idle_limit();
            match self.protocol.is_over().and_then(|over| Ok((over, limit?))) {
                Ok((over, limit)) => {
                    self.over = over;
                    self.take_limit(limit);
                }
                Err(loss) => return Input::Lost(loss),
            }
        }
        input
    }

    fn take_limit(&mut self, limit: Option<Duration>) {
        if limit != self.idle_limit {
            self.idle_limit = limit;
            limit.into_iter().for_each(|limit| self.tell(Input::IdleLimit(limit)));
        }
    }

    /// The connection has ended; that may be what makes an ack whole.
    fn last_input(&mut self, loss: Loss) -> Input {
        if loss.cause != Cause::ClosedByPeer {
            return self.ended(loss);
        }
        match self.protocol.closed() {
            Ok(Some(Frame::Ack(seq))) => self.and_is_it_over(Input::Ack(seq)),
            Ok(_) => self.ended(loss),
            Err(said) => self.ended(said),
        }
    }

    /// The peer has ended the connection. Whether it may is the protocol's to say.
    fn ended(&mut self, loss: Loss) -> Input {
        let owes_nothing = self.pulse.expecting().is_none() || !self.has_heard;
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

    /// Whether it was paused or resumed since the pulse was told.
    fn has_turned(&self) -> bool {
        self.handle.is_paused() != self.paused
    }

    /// Another pace from here on.
    fn adjust(&mut self, heartbeat: Heartbeat) {
        self.inquiry.set_heartbeat(&heartbeat);
        if let Some(connection) = &self.connection {
            let _ = set_options(connection.socket(), &heartbeat); // it works without
        }
        self.heartbeat = heartbeat.clone();
        self.tell(Input::Adjust(Box::new(heartbeat)));
    }

    /// Time has passed. What came meanwhile from outside, a pause say, goes first: it is in force
    /// for this beat.
    fn tick(&mut self) {
        if !self.has_turned() && !self.handle.is_to_adjust() && !self.handle.is_shut_by_us() {
            self.tell(Input::Tick);
        }
    }

    /// What the bytes that came amount to. Data is no life on a watched link and passes by; the
    /// inbox is bounded, so the clock is looked at soon.
    fn next_input(&mut self) -> Option<Input> {
        loop {
            let connection = self.connection.as_mut()?;
            let next = connection.inbox.next(&mut self.protocol);
            self.has_heard |= !matches!(next, Ok(Next::Nothing) | Err(_));
            return Some(match next {
                Ok(Next::Frame(Frame::Own)) => match self.went_on() {
                    Ok(Some(input)) => input,
                    Ok(None) => continue,
                    Err(loss) => Input::Lost(loss),
                },
                Ok(Next::Frame(Frame::Data)) => {
                    self.overheard.push(connection.inbox.frame_bytes(), Instant::now());
                    continue;
                }
                Ok(Next::Frame(Frame::Unasked)) => {
                    self.overheard.push_unasked(connection.inbox.frame_bytes(), Instant::now());
                    if self.pulse.expecting().is_none() {
                        self.on_doubled();
                    }
                    continue;
                }
                Ok(Next::Frame(Frame::Ack(seq))) => Input::Ack(seq),
                Ok(Next::Frame(Frame::Beat(_))) => Input::Lost(Loss::new(
                    Cause::WrongReply,
                    format!("{} sent a beat in place of an ack: is it an echo?", connection.peer),
                )),
                Ok(Next::Partial) => {
                    self.overheard.touch(Instant::now());
                    Input::Partial
                }
                Ok(Next::Nothing) => return None,
                Err(loss) => {
                    let loss = self.rejected(loss);
                    self.ended(loss)
                }
            });
        }
    }
}

/// What an inquiry may see of a watched link.
struct View<'a> {
    connection: Option<&'a Connection>,
    protocol: &'a mut Guarded,
    dialer: &'a Dialer,
}

impl Scene for View<'_> {
    fn look(&self) -> Option<TcpInfo> {
        self.connection.and_then(Connection::tcp_info)
    }

    fn local(&self) -> Option<SocketAddr> {
        self.connection?.socket().local_addr().ok()?.as_socket()
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn allowed(&mut self, beat_bytes: usize) -> Result<Allowed, Loss> {
        let secure = self.dialer.secure.clone();
        Ok(Allowed { secure, ..Allowed::by(self.protocol, beat_bytes)? })
    }
}
