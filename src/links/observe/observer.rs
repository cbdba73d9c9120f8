//! Observer: the application keeps its whole socket, keepbeat looks at the kernel only.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use socket2::{Domain, SockRef, Type};

use crate::error::Error;
use crate::event::{LinkId, Status};
use crate::heartbeat::Heartbeat;
use crate::links::handle::Handle;
use crate::links::observe::Sight;
use crate::links::observe::observed_fd::ObservedFd;
use crate::links::observe::snapshot::Snapshot;
use crate::links::out::feed::Feed;
use crate::sys::Own;
#[cfg(target_os = "linux")]
use crate::tcp_info::{TcpInfo, TcpState};

/// As long as the coordinator's own stop.
const PATIENCE_AT_STOP: Duration = Duration::from_millis(900);

/// A socket to observe, and how. A reference to the socket is enough where nothing is to be said.
///
/// ```no_run
/// # use std::{net::TcpStream, time::Duration};
/// # use keepbeat::{Coordinator, Heartbeat, Observe};
/// # let coordinator = Coordinator::new()?;
/// # let stream = TcpStream::connect("10.0.0.5:7000").unwrap();
/// let beat = Heartbeat::every(Duration::from_secs(15));
/// let plain = coordinator.observe(&stream, beat.clone())?;
/// let named = coordinator.observe(Observe::of(&stream).named("billing"), beat)?;
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[must_use = "nothing is observed before it is handed to `observe`"]
#[derive(Clone, Debug)]
pub struct Observe<'a> {
    socket: BorrowedFd<'a>,
    name: Option<String>,
    keepalive: bool,
    restore: bool,
}

impl<'a> Observe<'a> {
    /// A connected TCP socket, whatever type holds it. It is borrowed for the call only.
    pub fn of(socket: &'a (impl AsFd + ?Sized)) -> Observe<'a> {
        Observe { socket: socket.as_fd(), name: None, keepalive: true, restore: true }
    }

    /// The name in events, status and log, in place of `tcp://ADDRESS:PORT`.
    pub fn named(mut self, name: impl Into<String>) -> Observe<'a> {
        self.name = Some(name.into());
        self
    }

    /// Leaves the options of the keepalive as they are when the observation ends. Default: they
    /// are put back as they were found.
    pub fn leave_options(mut self) -> Observe<'a> {
        self.restore = false;
        self
    }

    /// Looks only: not an option is touched, and an idle peer is not asked. Silence then counts
    /// from the first byte of the application that goes unacknowledged, and a peer that vanished
    /// while the connection was idle is not noticed until the application writes.
    pub fn without_keepalive(mut self) -> Observe<'a> {
        self.keepalive = false;
        self
    }

    /// What the link's thread needs, and the names of the link.
    pub(crate) fn prepare(self, heartbeat: &Heartbeat) -> Result<(Sight, String, String), Error> {
        heartbeat.check()?;
        heartbeat.check_observe()?;
        let peer = peer_of(self.socket)?;
        let Observe { socket, name, keepalive, restore } = self;
        let sight = Sight::new(socket, peer, heartbeat, keepalive, restore)?;
        let target = format!("tcp://{peer}");
        Ok((sight, name.unwrap_or_else(|| target.clone()), target))
    }
}

impl<'a, S: AsFd + ?Sized> From<&'a S> for Observe<'a> {
    fn from(socket: &'a S) -> Observe<'a> {
        Observe::of(socket)
    }
}

/// The address that a connected TCP socket is connected to; what else it is, otherwise.
fn peer_of(descriptor: BorrowedFd<'_>) -> Result<SocketAddr, Error> {
    if cfg!(not(target_os = "linux")) {
        return Err(Error::invalid(
            "observe needs Linux: it looks at what its kernel knows of a connection; use `watch`",
        ));
    }
    is_tcp(descriptor, "observe")?;
    let number = descriptor.as_raw_fd();
    let info = TcpInfo::of(&descriptor)
        .map_err(|error| Error::io(format!("descriptor {number} tells no TCP_INFO"), error))?;
    if let TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing = info.state {
        return Err(refused(
            descriptor,
            "was connected and is not any more: observe needs a connection",
        ));
    }
    connected_to(descriptor, info.state, "observe")
}

/// The same for `adopt`, to which one that only reads will do, on any system.
pub(crate) fn peer_to_adopt(descriptor: BorrowedFd<'_>) -> Result<SocketAddr, Error> {
    is_tcp(descriptor, "adopt")?;
    let state = TcpInfo::of(&descriptor).map_or(TcpState::Unknown, |info| info.state);
    connected_to(descriptor, state, "adopt")
}

fn refused(descriptor: BorrowedFd<'_>, what: &str) -> Error {
    Error::invalid(format!("descriptor {} {what}", descriptor.as_raw_fd()))
}

fn is_tcp(descriptor: BorrowedFd<'_>, call: &str) -> Result<(), Error> {
    let needs = format!("{call} needs a connected TCP socket");
    let socket = SockRef::from(&descriptor);
    let kind = match socket.r#type() {
        Ok(kind) => kind,
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => {
            return Err(refused(descriptor, &format!("is no socket: {needs}")));
        }
        Err(error) => {
            return Err(Error::io(format!("descriptor {}", descriptor.as_raw_fd()), error));
        }
    };
    #[cfg(target_os = "linux")]
    let is_tcp = matches!(socket.protocol(), Ok(Some(socket2::Protocol::TCP)));
    #[cfg(not(target_os = "linux"))]
    let is_tcp = true; // as good as: other streams over IP are rare
    let is_ip =
        socket.local_addr().is_ok_and(|at| matches!(at.domain(), Domain::IPV4 | Domain::IPV6));
    if !is_ip || !is_tcp || kind != Type::STREAM {
        return Err(refused(descriptor, &format!("is a socket, though none of TCP: {needs}")));
    }
    Ok(())
}

fn connected_to(
    descriptor: BorrowedFd<'_>,
    state: TcpState,
    call: &str,
) -> Result<SocketAddr, Error> {
    let what = match state {
        TcpState::Listening => format!("listens: {call} the connections that it accepts"),
        TcpState::SynSent => format!("is still connecting: {call} it when it stands"),
        TcpState::Closed | TcpState::TimeWait => {
            format!("is not connected, or not any more: {call} needs a connection")
        }
        _ => {
            let peer = SockRef::from(&descriptor).peer_addr().ok().and_then(|at| at.as_socket());
            return peer.ok_or_else(|| refused(descriptor, "is not connected any more"));
        }
    };
    Err(refused(descriptor, &what))
}

/// An observed connection. Dropping it ends the observation, and does not wait for that.
///
/// Made by [`Coordinator::observe`](crate::Coordinator::observe), which says what it can see.
#[derive(Debug)]
#[must_use = "dropping it ends the observation"]
pub struct Observed {
    own: Own<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    handle: Arc<Handle>,
    feed: Arc<Feed>,
    socket: ObservedFd,
    over: Receiver<()>,
}

impl Observed {
    /// What the thread hangs up when all is over, and what hears it.
    pub(crate) fn channel() -> (Sender<()>, Receiver<()>) {
        bounded(0)
    }

    pub(crate) fn new(
        handle: Arc<Handle>,
        feed: Arc<Feed>,
        socket: ObservedFd,
        over: Receiver<()>,
    ) -> Observed {
        Observed { own: Own::new(Watcher { handle, feed, socket, over }) }
    }

    /// The number of the link: events carry it, and the coordinator knows it by it.
    pub fn id(&self) -> LinkId {
        self.own.handle.who.id
    }

    /// The status at this moment. Round-trip times are not in it, because nothing is sent that
    /// could measure one: [`look`](Observed::look) has the kernel's.
    pub fn status(&self) -> Status {
        self.own.handle.snapshot(self.own.is_forked())
    }

    /// A fresh look at what the kernel knows, some microseconds on the caller's thread. It works
    /// for as long as the application keeps the socket, also when the connection has ended.
    ///
    /// # Errors
    ///
    /// The application has closed the descriptor.
    pub fn look(&self) -> Result<Snapshot, Error> {
        match self.own.socket.look() {
            Ok(info) => Ok(Snapshot::new(&info)),
            Err(gone) => Err(Error::invalid(format!(
                "{} cannot be looked at any more: {}",
                self.own.handle.who.name,
                gone.words()
            ))),
        }
    }

    /// Ends the observation. When it returns, the options of the socket are as they were found.
    ///
    /// # Errors
    ///
    /// [`Error::is_left_behind`]: the thread is still busy after 0.9 s, on a machine that is
    /// starved. It has been told, and ends by itself.
    pub fn stop(&self) -> Result<(), Error> {
        let Watcher { handle, over, .. } = self.own.at_home().ok_or_else(Error::forked)?;
        handle.stop();
        if handle.is_current_thread() {
            return Ok(());
        }
        match over.recv_timeout(PATIENCE_AT_STOP) {
            Err(RecvTimeoutError::Timeout) => Err(Error::left_behind(format!(
                "the observer of {} was told to end and is still busy",
                handle.who.name
            ))),
            _ => Ok(()),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.handle.stop();
        self.handle.release();
        self.feed.is_over(self.handle.who.id);
    }
}
