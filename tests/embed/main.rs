//! What whoever links this crate into a service stumbles over: ends of links, forks, limits of
//! time, descriptors, delivery. One file per subject.

#[path = "../it/alone.rs"]
mod alone;
mod closing;
mod delivery;
mod ends;
mod fork;
mod options;
mod pace;
mod queues;
mod recipes;
mod soak;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use keepbeat::{Cause, Coordinator, EventKind, Framed, Heartbeat, LinkId, State};

/// No wait of a test is longer; a noisy machine gets its time, a broken program an end.
const LIMIT: Duration = Duration::from_secs(30);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

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

/// Never beats within a test, but for the first.
fn rarely() -> Heartbeat {
    Heartbeat::every(ms(3_600_000)).timeout(ms(20_000)).backoff(ms(10), ms(50))
}

/// The first beat is answered.
fn answer_one(theirs: &mut TcpStream) {
    theirs.read_exact(&mut [0; 5]).expect("PING");
    theirs.write_all(b"PONG\n").unwrap();
}

fn reset(theirs: TcpStream) {
    socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Waits until it is so, with a limit.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(ms(1));
    }
}

/// All events of one link, up to its end.
fn life(coordinator: &Coordinator, link: LinkId) -> Vec<EventKind> {
    let deadline = Instant::now() + LIMIT;
    let mut seen = Vec::new();
    while seen.last() != Some(&EventKind::Ended) {
        let Ok(event) = coordinator.events().recv_deadline(deadline) else {
            panic!("no end within {LIMIT:?}, but {seen:#?}");
        };
        if event.link() == Some(link) {
            seen.push(event.kind().clone());
        }
    }
    seen
}

/// The link was told as Down with this cause, then as disconnected with it, then ended.
fn assert_fell(life: &[EventKind], cause: Cause) {
    let down = life.iter().position(|kind| match kind {
        EventKind::State { to: State::Down, loss: Some(loss), .. } => loss.cause == cause,
        _ => false,
    });
    let over = life.iter().position(
        |kind| matches!(kind, EventKind::Disconnected { loss, .. } if loss.cause == cause),
    );
    assert!(down.is_some() && over > down, "not told as {cause}: {life:#?}");
}
