//! Observing a connection of the application's own: a pair of sockets, a path that can be cut, and
//! what is told of its ends.

mod ends;
mod lent;
mod library;
mod options;
mod silence;
mod sockets;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use keepbeat::{Coordinator, EventKind, Heartbeat, Observe, Observed};
use socket2::{SockFilter, SockRef};

use crate::watching::Watch;

/// The shortest interval that is accepted.
pub fn often() -> Heartbeat {
    Heartbeat::every(Duration::from_secs(2)).fall(2)
}

/// One that no test lives to see the end of: what is told then, epoll has told.
pub fn rarely() -> Heartbeat {
    Heartbeat::every(Duration::from_secs(600))
}

/// A filter that takes nothing in.
pub fn drop_all() -> SockFilter {
    SockFilter::new(libc::BPF_RET as u16, 0, 0, 0)
}

/// Two ends of one connection.
pub struct Pair {
    pub ours: TcpStream,
    pub theirs: TcpStream,
}

impl Pair {
    pub fn new() -> Pair {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        Pair { ours, theirs }
    }

    pub fn peer(&self) -> SocketAddr {
        self.ours.peer_addr().unwrap()
    }

    /// The path is dead from here on: whatever arrives for their end is dropped before TCP sees it,
    /// and so never answered, as behind a firewall that drops.
    pub fn cut(&self) {
        SockRef::from(&self.theirs).attach_filter(&[drop_all()]).unwrap();
    }

    pub fn heal(&self) {
        SockRef::from(&self.theirs).detach_filter().unwrap();
    }

    /// Their end goes with an RST.
    pub fn reset(theirs: TcpStream) {
        SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// A coordinator with one observed connection.
pub fn observe<'a>(socket: impl Into<Observe<'a>>, beat: Heartbeat) -> (Watch, Observed) {
    let coordinator = Coordinator::new().unwrap();
    let observed = coordinator.observe(socket, beat).unwrap();
    (Watch { coordinator, link: observed.id(), seen: Vec::new() }, observed)
}

impl Watch {
    pub fn wait_ended(&mut self) {
        self.wait("end", |kind| *kind == EventKind::Ended);
    }
}

/// The options of the keepalive: on, idle, interval, count.
pub fn keepalive(socket: &impl AsFd) -> (bool, u64, u64, u32) {
    let socket = SockRef::from(socket);
    (
        socket.keepalive().unwrap(),
        socket.tcp_keepalive_time().unwrap().as_secs(),
        socket.tcp_keepalive_interval().unwrap().as_secs(),
        socket.tcp_keepalive_retries().unwrap(),
    )
}

pub fn set_keepalive(socket: &TcpStream, idle: u64, every: u64, count: u32) {
    let wanted = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(idle))
        .with_interval(Duration::from_secs(every))
        .with_retries(count);
    SockRef::from(socket).set_tcp_keepalive(&wanted).unwrap();
}
