//! An observed link: the application keeps its socket, and this thread looks at what the kernel
//! knows of it. Not a byte is read or written, and nothing is held.
//!
//! The thread waits in epoll, which holds no reference to the socket: in poll, a descriptor that
//! the application closes would stay open until poll returns. Each look is two calls: TCP_INFO, and
//! the cookie that says whose it was.

pub(crate) mod keepalive;
pub(crate) mod observed_fd;
pub(crate) mod observer;
pub(crate) mod snapshot;
mod verdict;

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use log::warn;
use socket2::{SockRef, Socket};

use crate::cause::{Cause, Loss};
use crate::error::Error;
use crate::event::Identity;
use crate::heartbeat::Heartbeat;
use crate::links::common::Common;
use crate::links::driver::Driver;
use crate::links::handle::Wake;
use crate::links::medium::{Due, Medium, Passed};
use crate::links::observe::keepalive::Keepalive;
use crate::links::observe::observed_fd::ObservedFd;
use crate::links::observe::verdict::{Before, Signs};
use crate::links::seat::Seat;
use crate::links::socket_view::{Allowed, SocketView};
use crate::pulse::{Input, Pulse, Report};
use crate::role::Role;
use crate::sys::{Epoll, Interest};
use crate::tcp_info::TcpInfo;

/// How often the socket is looked at while epoll says nothing: so late are the closing of its
/// descriptor and a shutdown of the writing side known, which no event tells.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the kernel's clock of ages, which ticks every 1 to 10 ms, may be off from one look to the
/// next.
const TICKS: Duration = Duration::from_millis(50);

/// What is made of a socket while the application still lends it.
pub(crate) struct Sight {
    pub(crate) socket: ObservedFd,
    pub(crate) peer: SocketAddr,
    local: Option<SocketAddr>,
    first: TcpInfo,
    epoll: Epoll,
    keepalive: Option<Keepalive>,
    /// Whether somebody asks the peer while the connection is idle.
    asks: bool,
}

impl Sight {
    /// # Errors
    ///
    /// What the kernel refuses.
    pub(crate) fn new(
        borrowed: BorrowedFd<'_>,
        peer: SocketAddr,
        heartbeat: &Heartbeat,
        keepalive: bool,
        restore: bool,
    ) -> Result<Sight, Error> {
        let epoll = Epoll::new().map_err(|error| Error::io("no epoll for an observer", error))?;
        let cannot = |error| Error::io("this socket cannot be observed", error);
        let socket = ObservedFd::new(&borrowed).map_err(cannot)?;
        let first = TcpInfo::of(&borrowed).map_err(cannot)?;
        epoll.watch(&borrowed, 0, Interest::End).map_err(cannot)?;
        let Heartbeat { interval, timeout, .. } = *heartbeat;
        let on = || Keepalive::switch_on(socket, interval, timeout, restore);
        let switched = keepalive.then(on).transpose().map_err(|error| {
            Error::io("its keepalive cannot be switched on: observe without it", error)
        })?;
        let local = SockRef::from(&borrowed).local_addr().ok().and_then(|local| local.as_socket());
        Ok(Sight {
            socket,
            peer,
            local,
            first,
            epoll,
            keepalive: switched.flatten(),
            asks: keepalive,
        })
    }
}

/// A socket of the application's, by what the kernel knows of it.
pub(crate) struct Observing {
    name: Arc<Identity>,
    socket: ObservedFd,
    peer: SocketAddr,
    local: Option<SocketAddr>,
    epoll: Epoll,
    keepalive: Option<Keepalive>,
    asks: bool,
    interval: Duration,
    before: Before,
    signs: Signs,
    /// When the last segment came that the pulse knows of.
    heard: Option<Instant>,
    /// Nothing was waited for since the last look.
    is_fresh: bool,
    looked: Instant,
    /// Hung up when all is over, the options put back.
    _over: Sender<()>,
}

/// The pulse of a link that only listens: each interval without a sign of life is a miss.
fn listening(heartbeat: &Heartbeat) -> Heartbeat {
    const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);
    Heartbeat {
        role: Role::ListenOnly,
        expect_every: Some(heartbeat.interval),
        timeout: heartbeat.interval.min(LONGEST_TIMEOUT),
        jitter: 0.0,
        ..heartbeat.clone()
    }
}

/// An observed link, to be run.
pub(crate) fn observing(
    seat: Seat,
    sight: Sight,
    heartbeat: Heartbeat,
    over: Sender<()>,
) -> Driver<Observing> {
    let now = Instant::now();
    let Sight { socket, peer, local, first, epoll, keepalive, asks } = sight;
    seat.handle.set_bell(Wake::Bell(epoll.bell()));
    let name = Arc::clone(&seat.handle.who);
    let interval = heartbeat.interval;
    let pulse = Pulse::staying(listening(&heartbeat), seat.seed, now);
    let mut link = Common::new(seat, heartbeat, pulse, now);
    link.reporter.peer = Some(peer);
    let medium = Observing {
        name,
        socket,
        peer,
        local,
        epoll,
        keepalive,
        asks,
        interval,
        before: Before::new(first),
        signs: Signs::default(),
        heard: None,
        is_fresh: false,
        looked: now,
        _over: over,
    };
    Driver::new(link, medium)
}

impl Medium for Observing {
    const LOOKS: bool = false;

    /// It stands.
    fn open(&mut self, _link: &mut Common) -> Result<Instant, Loss> {
        Ok(Instant::now())
    }

    fn is_open(&self) -> bool {
        true
    }

    fn peer(&self) -> Option<SocketAddr> {
        Some(self.peer)
    }

    /// The error that waits on it is the application's.
    fn socket(&self) -> Option<(&Socket, SocketAddr)> {
        None
    }

    /// Who only listens sends none.
    fn beat(&mut self, _link: &mut Common, _seq: u64) {}

    /// It is the application's.
    fn close(&mut self, _link: &mut Common) {}

    /// A look before each verdict: after a stall of our own, too.
    fn take(&mut self, link: &mut Common, _verdict: Option<Instant>) -> Result<bool, Loss> {
        if std::mem::replace(&mut self.is_fresh, true) {
            return Ok(false);
        }
        if let Some(input) = self.look_again(link) {
            link.tell(input);
        }
        Ok(true)
    }

    fn wait(&mut self, _link: &mut Common, due: &Due) -> Passed {
        self.is_fresh = false;
        let now = Instant::now();
        if due.verdict.is_some_and(|until| until <= now) {
            return Passed::Time;
        }
        let look = self.looked + LOOK_EVERY;
        let until = due.any.map_or(look, |until| until.min(look));
        self.gather(until.saturating_duration_since(now));
        Passed::Something
    }

    /// Silence is no news where nobody asked: the kernel's timers may be late, or the application
    /// has switched them off.
    fn tick(&mut self, link: &mut Common) {
        let asking = self.before.last().is_asking();
        link.tell(if asking { Input::Tick } else { Input::Vouched });
    }

    /// How the connection had ended before the observation does, if it had. What the application
    /// did itself before it let go is no news to it.
    fn last_words(&mut self, link: &mut Common) -> bool {
        self.gather(Duration::ZERO);
        match self.look_again(link) {
            Some(Input::Lost(loss)) if loss.cause != Cause::ClosedByApplication => {
                self.lose(link, loss);
                true
            }
            _ => false,
        }
    }

    fn on_report(&mut self, _link: &mut Common, report: &mut Report) -> bool {
        match report {
            // The observation ends, and not the connection.
            Report::Disconnected { loss, .. } if loss.cause == Cause::Stopped => return false,
            Report::State { loss: Some(loss), .. } if loss.cause == Cause::AckTimeout => {
                *loss = self.with_evidence(loss);
            }
            // Whoever hears of the end finds the options as they were.
            Report::Ended => drop(self.keepalive.take()),
            _ => {}
        }
        true
    }
}

impl Observing {
    fn gather(&mut self, most: Duration) {
        match self.epoll.wait(Some(most)) {
            Ok(happened) => happened.iter().for_each(|one| self.signs.on_happened(one)),
            Err(error) => {
                // It cannot: the descriptor is ours. Without it, the looks in between are left.
                warn!("{}: epoll: {error}", self.name.name);
                std::thread::park_timeout(LOOK_EVERY);
            }
        }
    }

    /// What the kernel knows, as an input for the pulse.
    fn look_again(&mut self, link: &mut Common) -> Option<Input> {
        let now = Instant::now();
        self.looked = now;
        let look = self.socket.look();
        let signs = std::mem::take(&mut self.signs);
        if let Some(loss) = self.before.end(&look, signs, self.peer) {
            // What the application sent last may be what the peer ended it for.
            if let Ok(look) = &look {
                let sent = now.checked_sub(look.last_data_sent);
                sent.into_iter().for_each(|at| link.inquiry.case().on_traffic(at));
            }
            return Some(Input::Lost(loss));
        }
        let look = look.ok()?;
        let silent = look.silent();
        let idle = look.last_data_recv.min(look.last_data_sent);
        link.inquiry.case().on_traffic(now.checked_sub(idle).unwrap_or(now));
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.on_look(look.probes, silent);
        }
        // Where nobody asks an idle peer, silence begins when the application does.
        let vouched = !self.asks && !look.is_asking();
        self.before.keep(look);
        if self.is_news(now, silent) {
            let at = now.checked_sub(silent).unwrap_or(now);
            self.heard = Some(at);
            return Some(Input::Heard(at));
        }
        vouched.then_some(Input::Vouched)
    }

    /// Whether a segment came that the pulse does not know of. What came long before the
    /// observation began is no sign of life.
    fn is_news(&self, now: Instant, silent: Duration) -> bool {
        match self.heard {
            Some(heard) => now.saturating_duration_since(heard) > silent + TICKS,
            None => silent <= self.interval,
        }
    }

    fn with_evidence(&self, loss: &Loss) -> Loss {
        Loss::new(loss.cause, format!("{}; {}", loss.detail, self.before.last().evidence()))
    }
}

/// What an inquiry may see of an observed link: the last look. It has no protocol, so a side
/// connection carries nothing.
impl SocketView for Observing {
    fn look(&self) -> Option<TcpInfo> {
        Some(self.before.last().clone())
    }

    fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    fn allowed(&mut self, _beat_bytes: usize) -> Result<Allowed, Loss> {
        Ok(Allowed::default())
    }
}
