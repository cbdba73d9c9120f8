//! Links on connections that carry data: adopted ones, and ones that reconnect.

mod closing;
mod connect;
mod edges;
mod ends;
mod handing;
mod hardships;
mod idle;
mod restarts;
mod roles;
mod slow_reader;
mod stalled;
mod stress;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use keepbeat::protocol::Protocol;
use keepbeat::{Cause, Coordinator, Event, EventKind, Framed, Heartbeat, Link, Received, State};

use crate::watching::{LIMIT, ms};

/// Both ends of a connection on loopback.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    theirs.set_read_timeout(Some(LIMIT)).unwrap();
    (ours, theirs)
}

/// Lines, `PING` and `PONG` among them.
fn lines() -> Framed {
    Framed::lines("PING", "PONG").unwrap()
}

/// Beats often, with room for a noisy machine between interval and timeout.
fn often() -> Heartbeat {
    Heartbeat::every(ms(100)).timeout(ms(2000)).backoff(ms(10), ms(50))
}

/// Never beats within a test, but for the first.
fn rarely() -> Heartbeat {
    Heartbeat::every(ms(3_600_000)).timeout(ms(20_000)).backoff(ms(10), ms(50))
}

/// A link on one end, and the other end.
fn adopted(
    heartbeat: Heartbeat,
    protocol: impl Protocol + 'static,
) -> (Coordinator, Link, TcpStream) {
    let (ours, theirs) = pair();
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.adopt(ours, heartbeat, protocol).unwrap();
    (coordinator, link, theirs)
}

/// Reads one line of the other end, without its end.
fn line(stream: &mut TcpStream) -> String {
    let (mut all, mut byte) = (Vec::new(), [0]);
    loop {
        stream.read_exact(&mut byte).expect("a line");
        if byte[0] == b'\n' {
            return String::from_utf8(all).unwrap();
        }
        all.push(byte[0]);
    }
}

/// What comes next to the application.
fn next(link: &Link) -> Received {
    let deadline = Instant::now() + LIMIT;
    link.frames().recv_deadline(deadline).unwrap_or_else(|error| {
        panic!("nothing came within {LIMIT:?} ({error}), {:?}", link.status())
    })
}

fn frame(data: impl Into<Vec<u8>>) -> Received {
    Received::Frame(data.into())
}

/// The cause with which the link told its reader that the connection is lost.
fn lost(link: &Link) -> (Cause, String) {
    loop {
        match next(link) {
            Received::Lost { loss, .. } => return (loss.cause, loss.detail),
            Received::Frame(_) | Received::Connected { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Reads events up to the first that is wanted.
fn wait(coordinator: &Coordinator, what: &str, wanted: impl Fn(&EventKind) -> bool) -> Event {
    let deadline = Instant::now() + LIMIT;
    let mut seen = Vec::new();
    loop {
        let Ok(event) = coordinator.events().recv_deadline(deadline) else {
            panic!("no {what} within {LIMIT:?}, but {seen:#?}");
        };
        if wanted(event.kind()) {
            return event;
        }
        seen.push(event.to_string());
    }
}

fn wait_state(coordinator: &Coordinator, state: State) -> Event {
    wait(coordinator, state.word(), |k| matches!(k, EventKind::State { to, .. } if *to == state))
}
