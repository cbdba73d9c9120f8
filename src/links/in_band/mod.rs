//! A link on a connection that carries the application's data, too: handed over, or opened by
//! keepbeat. Its thread is the only reader; whoever sends goes through the outlet.
//!
//! It waits in poll for the socket, for a bell and for time. A blocked read could be ended only by
//! shutting the socket down, and that may have to be given back unharmed.

mod delivery;
mod ending;
mod greeting;
mod intake;
mod last_look;
pub(crate) mod link;
mod looks;
pub(crate) mod outlet;
mod pending;
mod waiting;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::drive::Seat;
use crate::drive::inquiry::Inquiry;
use crate::heartbeat::Heartbeat;
use crate::links::dial::Dialer;
use crate::links::handle::Handle;
use crate::links::in_band::link::{LoginHook, Received};
use crate::links::reporter::Reporter;
use crate::net::connection::Woke;
use crate::net::inbox::Inbox;
use crate::net::tls::Layer;
use crate::protocol::guarded::Guarded;
use crate::pulse::{Input, Output, Pulse, Report};
use crate::sys::Bell;
use crate::tcp_info::TcpInfo;

use delivery::Delivery;
pub(crate) use delivery::To;
pub(crate) use greeting::Conversation;
use greeting::Greeting;
use outlet::{Outlet, Pushed, Remains};

/// Reads past a deadline before it is judged, as on a watched link.
const READS_IN_OVERTIME: u32 = 16;

/// `Patience::FromRtt` asks the kernel for its own timeout once in so many beats.
const ASK_RTO_EVERY: u64 = 64;

/// Bytes that wait in the socket and are not on their way yet: more would only make a beat wait
/// behind them. Of the application's data the rest waits in its threads.
const UNSENT: u32 = 128 * 1024;

/// Where the connection comes from.
pub(crate) enum Origin {
    /// From the application.
    Adopted {
        /// The socket, with what the application had read of it and not used.
        given: Option<(Socket, SocketAddr, Vec<u8>)>,
        /// It came with Nagle's algorithm on, and has it off.
        nagle: bool,
    },
    Dialed(Box<Dialer>, Option<LoginHook>),
}

/// What a link is made of.
pub(crate) struct Plan {
    pub(crate) heartbeat: Heartbeat,
    pub(crate) protocol: Guarded,
    pub(crate) limit: usize,
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) to: To,
    pub(crate) bell: Arc<Bell>,
    /// Small frames wait for each other, on connections of keepbeat's own.
    pub(crate) nagle: bool,
}

/// The connection that stands.
pub(crate) struct Line {
    socket: Arc<Socket>,
    peer: SocketAddr,
    inbox: Inbox,
    /// Whether it was seen, since the last wake-up, that no FIN waits to be read.
    looked: bool,
    /// The peer has closed, behind bytes that nobody has read yet.
    closed: bool,
    overtime: u32,
}

pub(crate) struct InBand {
    handle: Arc<Handle>,
    reporter: Reporter,
    inquiry: Inquiry,
    heartbeat: Heartbeat,
    protocol: Guarded,
    limit: usize,
    pulse: Pulse,
    outlet: Arc<Outlet>,
    delivery: Delivery,
    bell: Arc<Bell>,
    origin: Origin,
    line: Option<Line>,
    connections: u64,
    /// A beat or an answer on its way out.
    out: Vec<u8>,
    paused: bool,
    /// When the beat in flight was due, for asking the peer's kernel.
    beat_at: Instant,
    /// How long it is, and what the kernel knew before it.
    beat: (usize, Option<TcpInfo>),
    /// What happened, to be told to the pulse, one thing at a time.
    inputs: VecDeque<(Instant, Input)>,
    /// Why the connection ended, for those who read and write.
    loss: Option<Loss>,
    /// The last connection of which the reader was told.
    told: u64,
    nagle: bool,
    /// The socket's own limit for bytes that are not on their way yet.
    #[cfg(target_os = "linux")]
    lowat: u32,
    /// What was known of the frames when the link ended.
    remains: Option<Remains>,
    ended: bool,
}

impl Drop for InBand {
    /// However it ends, whoever reads and writes learns it.
    fn drop(&mut self) {
        self.end();
    }
}

impl InBand {
    pub(crate) fn new(seat: Seat, plan: Plan, origin: Origin) -> InBand {
        let Plan { heartbeat, protocol, limit, outlet, to, bell, nagle } = plan;
        let now = Instant::now();
        let inquiry = Inquiry::new(&seat, &heartbeat, now);
        let Seat { handle, shared, seed } = seat;
        let pulse = Pulse::new(heartbeat.clone(), seed, now);
        let delivery = Delivery::new(handle.who.id, to, Arc::clone(&shared.readers));
        let reporter = Reporter::new(Arc::clone(&handle), Arc::clone(&shared.feed));
        handle.set_bell(Arc::clone(&bell));
        InBand {
            handle,
            reporter,
            inquiry,
            heartbeat,
            protocol,
            limit,
            pulse,
            outlet,
            delivery,
            bell,
            origin,
            line: None,
            connections: 0,
            out: Vec::with_capacity(128),
            paused: false,
            beat_at: now,
            beat: (0, None),
            inputs: VecDeque::new(),
            loss: None,
            told: 0,
            #[cfg(target_os = "linux")]
            lowat: 0,
            nagle,
            remains: None,
            ended: false,
        }
    }

    pub(crate) fn run(mut self) {
        loop {
            match self.pulse.poll() {
                Output::Connect => self.connect(),
                Output::Beat(seq) => self.beat(seq),
                Output::Close => self.close(),
                Output::Report(report) => self.report(report),
                Output::Wait(until) => match self.inputs.pop_front() {
                    Some((at, input)) => self.pulse.handle(at, input),
                    None => self.wait(until),
                },
                Output::Done => break,
            }
        }
    }

    /// In the order in which they are told, each when all is done that followed from the last.
    fn tell(&mut self, input: Input) {
        if let Input::Heard(at) | Input::Wrote(at) = input {
            self.inquiry.case().on_traffic(at);
        }
        self.inputs.push_back((Instant::now(), input));
    }

    fn report(&mut self, report: Report) {
        match &report {
            // Without either it was no ack: it only could be written.
            Report::Beat { seq, rtt, late } if rtt.is_some() || *late => self.outlet.prove(*seq),
            // Whoever reads and writes hears of the end as the events tell it.
            Report::Disconnected { loss, .. } => self.loss = Some(self.inquiry.refined(loss)),
            _ => {}
        }
        self.report_with_cause(report);
    }

    fn connect(&mut self) {
        match self.open() {
            Ok(()) => self.tell(Input::Connected),
            Err(loss) if loss.cause == Cause::Stopped => {} // the next wait ends it
            Err(loss) => {
                self.loss = Some(loss.clone());
                self.close();
                self.outlet.die(&loss, false); // also where no connection came to be
                self.tell(Input::Lost(loss));
            }
        }
    }

    fn open(&mut self) -> Result<(), Loss> {
        self.reporter.peer = None;
        let mut inbox = Inbox::with_limit(self.limit);
        let (socket, peer, layer): (_, _, Option<Box<Layer>>) = match &mut self.origin {
            Origin::Adopted { given, .. } => {
                let (socket, peer, unread) = given.take().expect("it is never opened again");
                inbox.preload(&unread);
                (Arc::new(socket), peer, None)
            }
            Origin::Dialed(dialer, _) => {
                let (connection, took) = dialer.dial(&self.heartbeat)?;
                if !self.handle.keep_socket() {
                    dialer.hang_up();
                    return Err(Cause::Stopped.into());
                }
                // From here on the bell wakes, and the end can be an orderly one.
                self.reporter.on_dialed(dialer.secure.as_ref(), &connection, took);
                let peer = connection.peer;
                let (socket, layer) = connection.into_parts();
                if self.nagle {
                    let _ = socket.set_tcp_nodelay(false); // it works with it as well
                }
                (socket, peer, layer)
            }
        };
        #[cfg(target_os = "linux")]
        {
            self.lowat = socket.tcp_notsent_lowat().unwrap_or_default();
            let _ = socket.set_tcp_notsent_lowat(UNSENT); // it is faster with it, and works without
        }
        self.reporter.peer = Some(peer);
        self.connections += 1;
        self.outlet.begin(Arc::clone(&socket), peer, layer);
        let line = Line { socket, peer, inbox, looked: false, closed: false, overtime: 0 };
        let early = self.greet(line)?;
        if let Origin::Dialed(..) = self.origin {
            self.delivery.push(Received::Connected { connection: self.connections });
        }
        self.told = self.connections;
        self.begin_inquiry(peer);
        early.into_iter().for_each(|frame| self.delivery.push(Received::Frame(frame)));
        self.outlet.open();
        self.ask_rto();
        Ok(())
    }

    /// The protocol's opening, the application's login.
    fn greet(&mut self, mut line: Line) -> Result<VecDeque<Vec<u8>>, Loss> {
        let (limit, connection) = (self.heartbeat.connect_timeout, self.connections);
        let mut hook = match &mut self.origin {
            Origin::Dialed(_, hook) => hook.take(),
            Origin::Adopted { .. } => None,
        };
        let mut greeting = Greeting::new(self, &mut line, limit, connection);
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

    fn beat(&mut self, seq: u64) {
        self.beat_at = Instant::now();
        match self.push_beat(seq) {
            Ok(Some(input)) => self.tell(input),
            Ok(None) => {}
            Err(loss) => self.lose(loss),
        }
        if seq % ASK_RTO_EVERY == 0 {
            self.ask_rto();
        }
    }

    fn push_beat(&mut self, seq: u64) -> Result<Option<Input>, Loss> {
        // A FIN that nobody looked at would turn into a reset by what is written now.
        let unseen = |line: &Line| !line.looked && !line.inbox.is_fresh();
        if self.line.as_ref().is_some_and(unseen) && !self.delivery.is_blocked() {
            if let Woke::Lost(loss) = self.read() {
                self.on_end(loss);
                return Ok(None);
            }
        }
        let closed = self.line.as_ref().is_some_and(|line| line.closed);
        if closed && self.delivery.is_blocked() {
            return Ok(None); // it would be answered by a reset, which takes what is unread with it
        }
        // A protocol may count the beats that it is asked for.
        if self.outlet.holds_a_beat() {
            return Ok(Some(Input::Skipped(seq)));
        }
        if let Some(loss) = self.inquiry.take_broken() {
            return Err(loss);
        }
        self.out.clear();
        self.protocol.beat(seq, &mut self.out)?;
        if self.out.is_empty() {
            return Ok(Some(Input::Stands(seq)));
        }
        self.beat = (self.out.len(), self.look_before());
        Ok(match self.outlet.push(&self.out, Some(seq)) {
            Pushed::Sent(at) => Some(self.on_sent(seq, at)),
            Pushed::LeftOut => Some(Input::Skipped(seq)),
            Pushed::Waits | Pushed::NotOpen => None,
        })
    }

    fn on_sent(&mut self, seq: u64, at: Instant) -> Input {
        self.reporter.on_sent(seq);
        let (bytes, before) = std::mem::take(&mut self.beat);
        self.inquiry.on_sent(seq, at, bytes, before);
        if self.heartbeat.role.expects_acks() {
            Input::Sent { seq, at }
        } else {
            Input::Stands(seq)
        }
    }

    /// The connection is over.
    fn lose(&mut self, loss: Loss) {
        // What was sent last may be what the peer ended it for.
        if let Some(wrote) = self.outlet.wrote() {
            self.inquiry.case().on_traffic(wrote);
            self.pulse.handle(Instant::now(), Input::Wrote(wrote)); // nothing follows from it
        }
        self.tell(Input::Lost(loss));
    }

    /// Answers a beat of the peer.
    fn answer(&mut self, seq: Option<u64>) -> Result<(), Loss> {
        if self.heartbeat.role.answers() {
            self.out.clear();
            self.protocol.ack(seq, &mut self.out)?;
            if !self.out.is_empty() {
                self.outlet.push(&self.out, None);
            }
        }
        Ok(())
    }

    /// One read that does not wait.
    fn read(&mut self) -> Woke {
        let Some(line) = &mut self.line else { return Woke::Interrupted };
        let woke = self.outlet.receive(&line.socket, &mut line.inbox);
        line.looked = matches!(woke, Woke::Interrupted);
        woke
    }

    /// One step towards `until`: something that was asked, a frame, bytes, or time that passed.
    fn wait(&mut self, until: Option<Instant>) {
        if self.handle.is_stopping() {
            return self.stop();
        }
        if self.handle.is_paused() != self.paused {
            self.paused = !self.paused;
            return self.tell(if self.paused { Input::Pause } else { Input::Resume });
        }
        if let Some(heartbeat) = self.handle.take_heartbeat() {
            return self.adjust(heartbeat);
        }
        if let Some(command) = self.outlet.take_command() {
            return self.obey(command);
        }
        if let Some((seq, at)) = self.outlet.take_sent() {
            let input = self.on_sent(seq, at);
            return self.tell(input);
        }
        self.attend();
        match self.next_input() {
            Ok(Some(input)) => return self.tell(input),
            Ok(None) => {}
            Err(loss) => return self.lose(loss),
        }
        if self.line.is_none() {
            return self.wait_without_connection(until);
        }
        if let Some(loss) = self.outlet.broken() {
            return self.on_broken(loss);
        }
        if let Some(loss) = self.inquiry.take_broken() {
            return self.lose(loss);
        }
        let now = Instant::now();
        if until.is_some_and(|until| until <= now) {
            return self.read_in_overtime();
        }
        let expecting = self.pulse.expecting().is_some();
        let look = self.inquiry.look_due(expecting, self.beat_at, self.pulse.rtt());
        if look.is_some_and(|look| look <= now) {
            return self.look(now);
        }
        let due = look.into_iter().chain(self.inquiry.due()).chain(until).min();
        self.wait_for_line(due, now);
    }
}
