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
pub(crate) mod login;
pub(crate) mod outlet;
mod pending;
mod waiting;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::heartbeat::Heartbeat;
use crate::links::common::Common;
use crate::links::connect::set_options;
use crate::links::dial::Dialer;
use crate::links::driver::Driver;
use crate::links::handle::{Handle, Wake};
use crate::links::medium::{Due, Medium, Passed};
use crate::links::seat::Seat;
use crate::links::socket_view::{Allowed, SocketView};
use crate::net::inbox::Inbox;
use crate::net::read_half::{ReadHalf, Woke};
use crate::net::tls::Layer;
use crate::protocol::guarded::Guarded;
use crate::pulse::{Conduct, Input, Pulse, Report};
use crate::role::Role;
use crate::sys::Bell;
use crate::tcp_info::TcpInfo;

use crate::links::out::frame_queue::To;
use crate::links::out::received::Received;
use delivery::Delivery;
use login::LoginHook;
use outlet::{Outlet, Pushed, Remains};

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

impl Origin {
    fn conduct(&self) -> Conduct {
        match self {
            Origin::Adopted { .. } => Conduct::Adopt,
            Origin::Dialed(..) => Conduct::Connect,
        }
    }
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
pub(crate) struct Standing {
    read: ReadHalf,
    /// The peer has closed, behind bytes that nobody has read yet.
    closed: bool,
}

/// A connection that carries the application's data, and beats between its frames.
pub(crate) struct InBand {
    handle: Arc<Handle>,
    protocol: Guarded,
    limit: usize,
    outlet: Arc<Outlet>,
    delivery: Delivery,
    bell: Arc<Bell>,
    origin: Origin,
    line: Option<Standing>,
    connections: u64,
    /// A beat or an answer on its way out.
    out: Vec<u8>,
    /// How long the beat on its way out is, and what the kernel knew before it.
    beat: (usize, Option<TcpInfo>),
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

/// A link on such a connection, to be run.
pub(crate) fn in_band(seat: Seat, plan: Plan, origin: Origin) -> Driver<InBand> {
    let Plan { heartbeat, protocol, limit, outlet, to, bell, nagle } = plan;
    let now = Instant::now();
    let delivery = Delivery::new(seat.handle.who.id, to, Arc::clone(&seat.shared.readers));
    let pulse = Pulse::of(origin.conduct(), heartbeat.clone(), seat.seed, now);
    let handle = Arc::clone(&seat.handle);
    handle.set_bell(Wake::Bell(Arc::clone(&bell)));
    let medium = InBand {
        handle,
        protocol,
        limit,
        outlet,
        delivery,
        bell,
        origin,
        line: None,
        connections: 0,
        out: Vec::with_capacity(128),
        beat: (0, None),
        loss: None,
        told: 0,
        #[cfg(target_os = "linux")]
        lowat: 0,
        nagle,
        remains: None,
        ended: false,
    };
    Driver::new(Common::new(seat, heartbeat, pulse, now), medium)
}

impl Medium for InBand {
    const LOOKS: bool = true;

    fn open(&mut self, link: &mut Common) -> Result<Instant, Loss> {
        match self.open_line(link) {
            Ok(()) => Ok(Instant::now()),
            Err(loss) if loss.cause == Cause::Stopped => Err(loss),
            Err(loss) => {
                self.loss = Some(loss.clone());
                self.close(link);
                self.outlet.die(&loss, false); // also where no connection came to be
                Err(loss)
            }
        }
    }

    fn is_open(&self) -> bool {
        self.line.is_some()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.line.as_ref().map(|line| line.read.peer)
    }

    fn socket(&self) -> Option<(&Socket, SocketAddr)> {
        self.line.as_ref().map(|line| (&*line.read.socket, line.read.peer))
    }

    fn beat(&mut self, link: &mut Common, seq: u64) {
        link.beat_at = Instant::now();
        match self.push_beat(link, seq) {
            Ok(Some(input)) => link.tell(input),
            Ok(None) => {}
            Err(loss) => self.lose(link, loss),
        }
    }

    fn close(&mut self, link: &mut Common) {
        self.hang_up(link);
    }

    fn take(&mut self, link: &mut Common, _verdict: Option<Instant>) -> Result<bool, Loss> {
        if let Some(command) = self.outlet.take_command() {
            self.obey(link, command);
            return Ok(true);
        }
        if let Some((seq, at)) = self.outlet.take_sent() {
            let input = self.on_sent(link, seq, at);
            link.tell(input);
            return Ok(true);
        }
        if let Some(input) = self.next_input(link)? {
            link.tell(input);
            return Ok(true);
        }
        match self.outlet.broken() {
            Some(loss) if self.line.is_some() => self.on_broken(link, loss),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn wait(&mut self, link: &mut Common, due: &Due) -> Passed {
        let now = Instant::now();
        if self.line.is_none() {
            return self.wait_without_connection(due.any, now);
        }
        if due.verdict.is_some_and(|until| until <= now) {
            return self.read_in_overtime(link);
        }
        self.wait_for_line(link, due.any, now)
    }

    /// What the pulse is to know before it judges.
    fn tick(&mut self, link: &mut Common) {
        if let Some(wrote) = self.outlet.wrote() {
            link.tell(Input::Wrote(wrote));
        }
        if link.heartbeat.when_idle {
            link.tell(Input::Unproven(self.outlet.has_unproven()));
        }
        if self.is_kept_from_judging() && self.is_vouched_for(link) {
            link.tell(Input::Vouched);
        }
        link.tell(Input::Tick);
    }

    fn lose(&mut self, link: &mut Common, loss: Loss) {
        // What was sent last may be what the peer ended it for.
        if let Some(wrote) = self.outlet.wrote() {
            link.tell(Input::Wrote(wrote)); // nothing follows from it
        }
        link.tell(Input::Lost(loss));
    }

    /// A protocol may know why.
    fn on_end(&mut self, link: &mut Common, mut loss: Loss) {
        if loss.cause == Cause::ClosedByPeer {
            if let Err(said) = self.protocol.closed() {
                loss = said;
            }
        }
        let cut = self.line.as_ref().map_or(0, |line| line.read.inbox.rest().len());
        if cut > 0 {
            loss.detail = format!("{}, {cut} bytes into a frame", loss.detail);
        }
        self.lose(link, loss);
    }

    /// In good order, as far as that goes quickly.
    fn last_words(&mut self, link: &mut Common) -> bool {
        self.part(link);
        false
    }

    fn adjust(&mut self, heartbeat: &Heartbeat) {
        if let (Some(line), Origin::Dialed(..)) = (&self.line, &self.origin) {
            let _ = set_options(&line.read.socket, heartbeat, true); // it works without
        }
    }

    fn on_report(&mut self, link: &mut Common, report: &mut Report) -> bool {
        match report {
            // Without either it was no ack: it only could be written.
            Report::Beat { seq, rtt, late } if rtt.is_some() || *late => self.outlet.prove(*seq),
            // Whoever reads and writes hears of the end as the events tell it.
            Report::Disconnected { loss, .. } => self.loss = Some(link.inquiry.refined(loss)),
            // And need not wait for what is only the last diagnosis.
            Report::Ended if link.inquiry.is_open() => self.end(),
            _ => {}
        }
        true
    }
}

impl InBand {
    fn open_line(&mut self, link: &mut Common) -> Result<(), Loss> {
        link.reporter.peer = None;
        let mut inbox = Inbox::with_limit(self.limit);
        let (socket, peer, layer): (_, _, Option<Box<Layer>>) = match &mut self.origin {
            Origin::Adopted { given, .. } => {
                let (socket, peer, unread) = given.take().expect("it is never opened again");
                inbox.preload(&unread);
                (Arc::new(socket), peer, None)
            }
            Origin::Dialed(dialer, _) => {
                let (connection, took) = dialer.dial(&link.heartbeat)?;
                if !self.handle.keep_socket() {
                    dialer.hang_up();
                    return Err(Cause::Stopped.into());
                }
                // From here on the bell wakes, and the end can be an orderly one.
                link.reporter.on_dialed(dialer.secure.as_ref(), &connection, took);
                let peer = connection.read.peer;
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
        link.reporter.peer = Some(peer);
        self.connections += 1;
        self.outlet.begin(Arc::clone(&socket), peer, layer);
        let line = Standing { read: ReadHalf::new(socket, peer, inbox), closed: false };
        let early = self.greet(link, line)?;
        if let Origin::Dialed(..) = self.origin {
            self.delivery.push(Received::Connected { connection: self.connections });
        }
        self.told = self.connections;
        early.into_iter().for_each(|frame| self.delivery.push(Received::Frame(frame)));
        self.outlet.open();
        Ok(())
    }

    fn push_beat(&mut self, link: &mut Common, seq: u64) -> Result<Option<Input>, Loss> {
        // A FIN that nobody looked at would turn into a reset by what is written now.
        let unseen = |line: &Standing| !line.read.looked && !line.read.inbox.is_fresh();
        if self.line.as_ref().is_some_and(unseen) && !self.delivery.is_blocked() {
            if let Woke::Lost(loss) = self.read() {
                self.on_end(link, loss);
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
        self.out.clear();
        self.protocol.beat(seq, &mut self.out)?;
        if self.out.is_empty() {
            return Ok(Some(Input::Stands(seq)));
        }
        self.beat = (self.out.len(), self.look_before(link));
        Ok(match self.outlet.push(&self.out, Some(seq)) {
            Pushed::Sent(at) => Some(self.on_sent(link, seq, at)),
            Pushed::LeftOut => Some(Input::Skipped(seq)),
            Pushed::Waits | Pushed::NotOpen => None,
        })
    }

    fn on_sent(&mut self, link: &mut Common, seq: u64, at: Instant) -> Input {
        link.reporter.on_sent(seq);
        let (bytes, before) = std::mem::take(&mut self.beat);
        link.inquiry.on_sent(seq, at, bytes, before);
        if link.heartbeat.role.expects_acks() {
            Input::Sent { seq, at }
        } else {
            Input::Stands(seq)
        }
    }

    /// Answers a beat of the peer.
    fn answer(&mut self, role: Role, seq: Option<u64>) -> Result<(), Loss> {
        if role.answers() {
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
        self.outlet.receive(&mut line.read)
    }

    /// What the kernel knows just before a beat.
    fn look_before(&self, link: &Common) -> Option<TcpInfo> {
        let line = self.line.as_ref().filter(|_| link.inquiry.is_on())?;
        TcpInfo::of(&*line.read.socket).ok()
    }
}

/// What an inquiry may see of a link that carries data.
impl SocketView for InBand {
    fn look(&self) -> Option<TcpInfo> {
        TcpInfo::of(&*self.line.as_ref()?.read.socket).ok()
    }

    fn local(&self) -> Option<SocketAddr> {
        self.line.as_ref()?.read.socket.local_addr().ok()?.as_socket()
    }

    fn is_ours(&self) -> bool {
        matches!(self.origin, Origin::Dialed(..))
    }

    fn carries_data(&self) -> bool {
        true
    }

    fn allowed(&mut self, beat_bytes: usize) -> Result<Allowed, Loss> {
        let secure = match &self.origin {
            Origin::Dialed(dialer, _) => dialer.secure.clone(),
            Origin::Adopted { .. } => None,
        };
        Ok(Allowed { secure, ..Allowed::by(&mut self.protocol, beat_bytes)? })
    }
}
