//! The heartbeat of a link is changed while it runs: of every kind, and without a new connection.

use std::io::{self, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use keepbeat::{Connect, Coordinator, ErrorKind, Heartbeat, Line, LinkId, Responder, Role, State};

use super::{LIMIT, eventually, lines, ms, pair, rarely};

/// Ten times a second, in place of once an hour.
fn often() -> Heartbeat {
    Heartbeat::every(ms(100)).timeout(ms(20_000)).jitter(0.0)
}

fn beats_on(coordinator: &Coordinator, link: LinkId) {
    eventually("up", || coordinator.status(link).unwrap().state == State::Up);
    let before = coordinator.status(link).unwrap();
    assert_eq!(before.acked, 1, "only the first, at the old pace");
    coordinator.set_heartbeat(link, &often()).unwrap();
    let start = Instant::now();
    eventually("more beats", || coordinator.status(link).unwrap().acked > 4);
    assert!(start.elapsed() < LIMIT);
    let after = coordinator.status(link).unwrap();
    assert_eq!((after.reconnects, after.missed), (0, 0));
}

#[test]
fn links_that_can_be_woken_beat_at_the_new_pace_at_once() {
    let coordinator = Coordinator::new().unwrap();
    let (ours, theirs) = pair();
    let adopted = coordinator.adopt(ours, rarely(), lines()).unwrap();
    let passive = coordinator.adopt(theirs, rarely().role(Role::Passive), lines()).unwrap();
    beats_on(&coordinator, adopted.id());

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = Connect::from(listener.local_addr().unwrap());
    let dialed = coordinator.connect(connect, rarely(), lines()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    let _peer = coordinator.adopt(peer, rarely().role(Role::Passive), lines()).unwrap();
    beats_on(&coordinator, dialed.id());

    let (sent, frames) = crossbeam_channel::unbounded::<Vec<u8>>();
    let send = move |frame: &[u8]| sent.send(frame.to_vec()).map_err(io::Error::other);
    let follower = coordinator.follow(rarely(), Line, send).unwrap();
    let answering = follower.clone();
    std::thread::spawn(move || {
        for frame in frames {
            let ack = String::from_utf8(frame).unwrap().replace("beat", "ack");
            if answering.heard(ack.as_bytes()).is_err() {
                return;
            }
        }
    });
    beats_on(&coordinator, follower.id());
    drop(passive);
}

#[test]
fn a_watched_link_takes_it_with_its_next_beat() {
    let coordinator = Coordinator::new().unwrap();
    let responder = Responder::bind("127.0.0.1:0", || Line).unwrap();
    let beat = Heartbeat::every(ms(1500)).timeout(ms(20_000)).jitter(0.0);
    let link = coordinator.watch(responder.local_addr(), beat, Line).unwrap();
    beats_on(&coordinator, link);
}

/// Down after one miss of 100 ms, in place of twenty seconds.
#[test]
fn a_shorter_timeout_and_fall_find_a_silent_peer_sooner() {
    let coordinator = Coordinator::new().unwrap();
    let (ours, mut theirs) = pair();
    let link = coordinator.adopt(ours, rarely(), lines()).unwrap();
    super::answer_one(&mut theirs);
    eventually("up", || link.status().state == State::Up);
    let quick = Heartbeat::every(ms(100)).timeout(ms(100)).fall(1);
    coordinator.set_heartbeat(link.id(), &quick).unwrap();
    eventually("down", || link.status().state == State::Down);
    assert!(link.send("x").is_err());
    theirs.write_all(b"too late").unwrap_or(());
}

#[test]
fn what_cannot_work_is_refused_and_changes_nothing() {
    let coordinator = Coordinator::new().unwrap();
    let (ours, _theirs) = pair();
    let (seen, _other) = pair();
    let limited = rarely().user_timeout(Duration::from_secs(7200));
    let link = coordinator.adopt(ours, limited, lines()).unwrap();
    let kind = |link, heartbeat: &Heartbeat| {
        coordinator.set_heartbeat(link, heartbeat).map_err(|error| error.kind())
    };
    assert_eq!(kind(link.id(), &Heartbeat::every(Duration::ZERO)), Err(ErrorKind::Invalid));
    // With what stays: the kernel would give it up before a verdict.
    assert_eq!(kind(link.id(), &Heartbeat::every(ms(9_000_000))), Err(ErrorKind::Invalid));
    assert_eq!(kind(link.id(), &often()), Ok(()));
    let observed = coordinator.observe(&seen, rarely()).unwrap();
    let error = coordinator.set_heartbeat(observed.id(), &often()).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("observe again"), "{error}");
    let id = link.id();
    drop(link);
    eventually("forgotten", || kind(id, &often()) == Err(ErrorKind::UnknownLink));
}
