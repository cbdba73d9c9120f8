//! What was known of a connection is told before the link ends, however it is let go.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::bounded;
use keepbeat::protocol::{Frame, Rejected};
use keepbeat::{
    Cause, ClientEventKind, Coordinator, EventKind, Exchange, Heartbeat, Line, Link, Observed,
    Protocol, Responder, Role, State,
};

use super::{LIMIT, answer_one, assert_fell, eventually, life, lines, ms, pair, rarely, reset};

/// So often is each of these tried: who wins the race between two threads differs.
const TIMES: usize = 40;

/// What an application may do with its link as soon as it knows.
const WAYS: [&str; 4] = ["drop", "close", "remove", "stop"];

#[test]
fn a_follower_that_says_lost_and_is_dropped_was_down_with_that_cause() {
    let coordinator = Coordinator::new().unwrap();
    for n in 0..TIMES {
        let (sent, beats) = bounded(1);
        let send = move |_: &[u8]| sent.send(()).map_err(io::Error::other);
        let follower = coordinator.follow(rarely(), Line, send).unwrap();
        let id = follower.id();
        beats.recv_timeout(LIMIT).unwrap();
        follower.heard(b"ack 1\n").unwrap();
        follower.lost(Cause::ClosedByPeer);
        match n % 3 {
            0 => drop(follower),
            1 => follower.stop(),
            _ => coordinator.remove(id).unwrap(),
        }
        let life = life(&coordinator, id);
        assert!(life.iter().any(|kind| matches!(kind, EventKind::Beat { seq: 1, .. })), "{life:?}");
        assert_fell(&life, Cause::ClosedByPeer);
    }
}

#[test]
fn a_send_of_a_follower_that_failed_is_told_though_the_link_is_let_go_at_once() {
    let coordinator = Coordinator::new().unwrap();
    for _ in 0..TIMES {
        let (tried, failed) = bounded(1);
        let send = move |_: &[u8]| {
            let _ = tried.send(());
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        };
        let follower = coordinator.follow(rarely(), Line, send).unwrap();
        failed.recv_timeout(LIMIT).unwrap();
        eventually("the error is told", || follower.wrote().is_err());
        let id = follower.id();
        drop(follower);
        assert_fell(&life(&coordinator, id), Cause::Reset);
    }
}

/// Lets go of a link in one way or another.
fn let_go(coordinator: &Coordinator, link: Link, way: &str) {
    match way {
        "drop" => drop(link),
        "close" => drop(link.close()),
        "remove" => coordinator.remove(link.id()).unwrap(),
        _ => coordinator.stop().unwrap(),
    }
}

#[test]
fn a_write_stalled_link_is_told_as_that_however_it_is_let_go() {
    for way in WAYS {
        let coordinator = Coordinator::new().unwrap();
        let (ours, _theirs) = pair(); // never read
        let beat = rarely().role(Role::SendOnly).write_timeout(ms(300));
        let link = coordinator.adopt(ours, beat, lines()).unwrap();
        let id = link.id();
        let big = vec![b'x'; 64 * 1024];
        let error = std::iter::repeat_with(|| link.send(&big)).find_map(Result::err).unwrap();
        assert_eq!(error.cause(), Some(Cause::WriteStalled));
        let_go(&coordinator, link, way);
        assert_fell(&life(&coordinator, id), Cause::WriteStalled);
    }
}

#[test]
fn an_end_of_the_peer_is_told_though_an_adopted_link_is_let_go_at_once() {
    for (n, way) in WAYS.into_iter().cycle().take(TIMES).enumerate() {
        let coordinator = Coordinator::new().unwrap();
        let (ours, mut theirs) = pair();
        let link = coordinator.adopt(ours, rarely(), lines()).unwrap();
        let id = link.id();
        answer_one(&mut theirs);
        eventually("up", || link.status().state == State::Up);
        let cause = if n % 8 < 4 { Cause::ClosedByPeer } else { Cause::Reset };
        match cause {
            Cause::Reset => reset(theirs),
            _ => drop(theirs),
        }
        let_go(&coordinator, link, way);
        assert_fell(&life(&coordinator, id), cause);
    }
}

#[test]
fn an_end_of_the_peer_is_told_though_a_watched_link_is_removed_at_once() {
    for n in 0..TIMES {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let coordinator = Coordinator::new().unwrap();
        let exchange = Exchange::new("PING\n", "PONG\n");
        let id = coordinator.watch(listener.local_addr().unwrap(), rarely(), exchange).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        answer_one(&mut theirs);
        eventually("up", || coordinator.status(id).unwrap().state == State::Up);
        let cause = if n % 4 < 2 { Cause::ClosedByPeer } else { Cause::Reset };
        match cause {
            Cause::Reset => reset(theirs),
            _ => drop(theirs),
        }
        if n % 2 == 0 {
            coordinator.remove(id).unwrap();
        } else {
            coordinator.stop().unwrap();
        }
        assert_fell(&life(&coordinator, id), cause);
    }
}

/// A protocol whose parser waits until it is let go: what happens meanwhile is found all at once.
struct Held(Exchange, crossbeam_channel::Receiver<()>);

impl Protocol for Held {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        self.0.beat(seq, out);
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        if !bytes.is_empty() {
            let _ = self.1.recv_timeout(LIMIT); // it is over at the second call
        }
        self.0.parse(bytes)
    }
}

#[test]
fn an_end_that_came_before_the_stop_is_read_before_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let coordinator = Arc::new(Coordinator::new().unwrap());
    let (go, held) = bounded(0);
    let protocol = Held(Exchange::new("PING\n", "PONG\n"), held);
    let id = coordinator.watch(listener.local_addr().unwrap(), rarely(), protocol).unwrap();
    let (mut theirs, _) = listener.accept().unwrap();
    answer_one(&mut theirs);
    drop(theirs);
    let removing = {
        let coordinator = Arc::clone(&coordinator);
        thread::spawn(move || coordinator.remove(id).unwrap())
    };
    eventually("it is removed", || coordinator.status(id).is_err());
    thread::sleep(ms(50)); // so long the parser is held up after the stop
    drop(go);
    removing.join().unwrap();
    assert_fell(&life(&coordinator, id), Cause::ClosedByPeer);
}

#[test]
fn an_end_of_the_peer_is_told_though_an_observation_is_over_at_once() {
    type Way = fn(Observed, &Coordinator);
    let ways: [Way; 4] = [
        |observed, _| drop(observed),
        |observed, _| observed.stop().unwrap(),
        |observed, coordinator| coordinator.remove(observed.id()).unwrap(),
        |_, coordinator| coordinator.stop().unwrap(),
    ];
    for (n, way) in ways.into_iter().cycle().take(TIMES).enumerate() {
        let coordinator = Coordinator::new().unwrap();
        let (ours, theirs) = pair();
        let observed = coordinator.observe(&ours, rarely()).unwrap();
        let id = observed.id();
        eventually("up", || observed.status().state == State::Up);
        let cause = if n % 8 < 4 { Cause::ClosedByPeer } else { Cause::Reset };
        match cause {
            Cause::Reset => reset(theirs),
            _ => drop(theirs),
        }
        way(observed, &coordinator);
        assert_fell(&life(&coordinator, id), cause);
    }
}

/// What the application did itself, and then let go, is no trouble.
#[test]
fn an_application_that_closes_its_socket_and_then_lets_go_has_lost_nothing() {
    let coordinator = Coordinator::new().unwrap();
    for _ in 0..TIMES {
        let (ours, _theirs) = pair();
        let observed = coordinator.observe(&ours, rarely()).unwrap();
        let id = observed.id();
        eventually("up", || observed.status().state == State::Up);
        drop(ours);
        drop(observed);
        let life = life(&coordinator, id);
        let down = |kind: &EventKind| matches!(kind, EventKind::State { to: State::Down, .. });
        assert!(!life.iter().any(down), "{life:#?}");
    }
}

#[test]
fn a_link_that_was_well_is_told_as_stopped_and_never_as_down() {
    for way in WAYS {
        let coordinator = Coordinator::new().unwrap();
        let (ours, mut theirs) = pair();
        let link = coordinator.adopt(ours, rarely(), lines()).unwrap();
        let id = link.id();
        answer_one(&mut theirs);
        eventually("up", || link.status().state == State::Up);
        let peer = thread::spawn(move || io::copy(&mut theirs, &mut io::sink()));
        let_go(&coordinator, link, way);
        let life = life(&coordinator, id);
        let down = |kind: &EventKind| matches!(kind, EventKind::State { to: State::Down, .. });
        assert!(!life.iter().any(down), "{life:#?}");
        let stopped = |kind: &EventKind| match kind {
            EventKind::Disconnected { loss, .. } => loss.cause == Cause::Stopped,
            _ => false,
        };
        assert!(life.iter().any(stopped), "{life:#?}");
        peer.join().unwrap().unwrap();
    }
}

#[test]
fn a_client_that_had_gone_before_the_responder_stopped_is_told_as_gone() {
    for _ in 0..TIMES {
        let answering = || Exchange::answering("PING", "PONG");
        let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
        let mut client = std::net::TcpStream::connect(responder.local_addr()).unwrap();
        client.write_all(b"PING").unwrap();
        std::io::Read::read_exact(&mut client, &mut [0; 4]).unwrap();
        drop(client);
        responder.stop();
        let ended = responder.events().iter().find_map(|event| match event.kind {
            ClientEventKind::Disconnected { loss, .. } => Some(loss.cause),
            _ => None,
        });
        assert_eq!(ended, Some(Cause::ClosedByPeer));
    }
}

#[test]
fn frames_that_the_peer_sent_before_its_end_are_the_applications_though_the_link_is_stopped() {
    for _ in 0..TIMES {
        let coordinator = Arc::new(Coordinator::new().unwrap());
        let (ours, mut theirs) = pair();
        let beat = Heartbeat::every(ms(3_600_000)).role(Role::Passive);
        let link = coordinator.adopt(ours, beat, lines()).unwrap();
        theirs.write_all(b"one\ntwo\n").unwrap();
        drop(theirs);
        coordinator.stop().unwrap();
        let data: Vec<_> = link.data().collect();
        assert_eq!(data, [b"one", b"two"]);
        assert_fell(&life(&coordinator, link.id()), Cause::ClosedByPeer);
    }
}
