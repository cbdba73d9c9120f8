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

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use log::warn;
use socket2::SockRef;

use crate::cause::{Cause, Loss};
use crate::drive::Seat;
use crate::drive::inquiry::Inquiry;
use crate::drive::scene::{Allowed, Scene};
use crate::drive::verdict::{Before, Signs};
use crate::error::Error;
use crate::heartbeat::Heartbeat;
use crate::links::handle::Handle;
use crate::links::observe::keepalive::Keepalive;
use crate::links::observe::observed_fd::Known;
use crate::links::reporter::Reporter;
use crate::pulse::{Input, Output, Pulse, Report};
use crate::role::{After, Role};
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
    pub(crate) socket: Known,
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
        let socket = Known::new(&borrowed).map_err(cannot)?;
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

pub(crate) struct Observing {
    handle: Arc<Handle>,
    reporter: Reporter,
    inquiry: Inquiry,
    pulse: Pulse,
    socket: Known,
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
    paused: bool,
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
        after: After::Stay,
        ..heartbeat.clone()
    }
}

impl Observing {
    pub(crate) fn new(
        seat: Seat,
        sight: Sight,
        heartbeat: &Heartbeat,
        over: Sender<()>,
    ) -> Observing {
        let now = Instant::now();
        let inquiry = Inquiry::new(&seat, heartbeat, now);
        let Seat { handle, shared, seed } = seat;
        let Sight { socket, peer, local, first, epoll, keepalive, asks } = sight;
        let mut reporter = Reporter::new(Arc::clone(&handle), Arc::clone(&shared.feed));
        reporter.peer = Some(peer);
        handle.set_bell(epoll.bell());
        Observing {
            handle,
            reporter,
            inquiry,
            pulse: Pulse::new(listening(heartbeat), seed, now),
            socket,
            peer,
            local,
            epoll,
            keepalive,
            asks,
            interval: heartbeat.interval,
            before: Before::new(first),
            signs: Signs::default(),
            heard: None,
            is_fresh: false,
            looked: now,
            paused: false,
            _over: over,
        }
    }

    pub(crate) fn run(&mut self) {
        loop {
            match self.pulse.poll() {
                Output::Connect => self.connect(),
                Output::Report(report) => self.report(report),
                Output::Wait(until) => self.wait(until),
                // The connection is the application's; and who only listens sends no beats.
                Output::Close | Output::Beat(_) => {}
                Output::Done => break,
            }
        }
    }

    fn tell(&mut self, input: Input) {
        self.pulse.handle(Instant::now(), input);
    }

    /// It stands.
    fn connect(&mut self) {
        let view = View { last: self.before.last(), local: self.local };
        self.inquiry.on_connected(Some(self.peer), &view, &self.reporter);
        self.tell(Input::Connected);
    }

    /// One step towards `until`: a flag, a look, the verdict that is due, or sleep.
    fn wait(&mut self, until: Option<Instant>) {
        if self.handle.is_stopping() {
            let end = self.unseen_end().map_or(Input::Stop, Input::Lost);
            return self.tell(end);
        }
        if self.handle.is_paused() != self.paused {
            self.paused = !self.paused;
            return self.tell(if self.paused { Input::Pause } else { Input::Resume });
        }
        if !self.inquiry.is_calm() {
            let view = View { last: self.before.last(), local: self.local };
            self.inquiry.attend(&view, &mut self.reporter);
        }
        // Before each verdict: after a stall of our own, too.
        if !std::mem::replace(&mut self.is_fresh, true) {
            if let Some(input) = self.look() {
                self.tell(input);
            }
            return;
        }
        self.is_fresh = false;
        if until.is_some_and(|until| until <= Instant::now()) {
            // Silence is no news where nobody asked: the kernel's timers may be late, or the
            // application has switched them off.
            let asking = self.before.last().is_asking();
            return self.tell(if asking { Input::Tick } else { Input::Vouched });
        }
        self.sleep(until);
    }

    /// How the connection had ended before the observation does, if it had. What the application
    /// did itself before it let go is no news to it.
    fn unseen_end(&mut self) -> Option<Loss> {
        self.gather(Duration::ZERO);
        match self.look() {
            Some(Input::Lost(loss)) if loss.cause != Cause::ClosedByApplication => Some(loss),
            _ => None,
        }
    }

    fn sleep(&mut self, until: Option<Instant>) {
        let look = self.looked + LOOK_EVERY;
        let until = until.map_or(look, |until| until.min(look));
        self.gather(until.saturating_duration_since(Instant::now()));
    }

    fn gather(&mut self, most: Duration) {
        match self.epoll.wait(Some(most)) {
            Ok(happened) => happened.iter().for_each(|one| self.signs.on_happened(one)),
            Err(error) => {
                // It cannot: the descriptor is ours. Without it, the looks in between are left.
                warn!("{}: epoll: {error}", self.handle.who.name);
                std::thread::park_timeout(LOOK_EVERY);
            }
        }
    }

    /// What the kernel knows, as an input for the pulse.
    fn look(&mut self) -> Option<Input> {
        let now = Instant::now();
        self.looked = now;
        let look = self.socket.look();
        let signs = std::mem::take(&mut self.signs);
        if let Some(loss) = self.before.end(&look, signs, self.peer) {
            // What the application sent last may be what the peer ended it for.
            if let Ok(look) = &look {
                let sent = now.checked_sub(look.last_data_sent);
                sent.into_iter().for_each(|at| self.inquiry.case().on_traffic(at));
            }
            return Some(Input::Lost(loss));
        }
        let look = look.ok()?;
        let silent = look.silent();
        let idle = look.last_data_recv.min(look.last_data_sent);
        self.inquiry.case().on_traffic(now.checked_sub(idle).unwrap_or(now));
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

    fn report(&mut self, mut report: Report) {
        match &mut report {
            // The observation ends, and not the connection.
            Report::Disconnected { loss, .. } if loss.cause == Cause::Stopped => return,
            Report::State { loss: Some(loss), .. } if loss.cause == Cause::AckTimeout => {
                *loss = self.with_evidence(loss);
            }
            // Whoever hears of the end finds the options as they were.
            Report::Ended => drop(self.keepalive.take()),
            _ => {}
        }
        let Observing { inquiry, pulse, reporter, before, local, .. } = self;
        let mut view = View { last: before.last(), local: *local };
        inquiry.report(report, pulse.rtt(), &mut view, reporter);
    }

    fn with_evidence(&self, loss: &Loss) -> Loss {
        Loss::new(loss.cause, format!("{}; {}", loss.detail, self.before.last().evidence()))
    }
}

/// What an inquiry may see of an observed link: the last look. It has no protocol, so a side
/// connection carries nothing.
struct View<'a> {
    last: &'a TcpInfo,
    local: Option<SocketAddr>,
}

impl Scene for View<'_> {
    fn look(&self) -> Option<TcpInfo> {
        Some(self.last.clone())
    }

    fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    fn allowed(&mut self, _beat_bytes: usize) -> Result<Allowed, Loss> {
        Ok(Allowed::default())
    }
}
