//! What can be observed, and what is refused, with the reason.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use keepbeat::{Coordinator, EventKind, Heartbeat, Observe, Role, State};

use super::{Pair, drop_all, observe, often};
use crate::watching::LIMIT;

#[test]
fn what_is_no_connected_tcp_socket_is_refused_by_what_it_is() {
    let coordinator = Coordinator::new().unwrap();
    let refused = |socket: Observe<'_>, words: &str| {
        let error = coordinator.observe(socket, often()).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(words), "{error}");
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    refused((&listener).into(), "listens");
    let fresh = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    refused((&fresh).into(), "is not connected");
    refused((&UdpSocket::bind("127.0.0.1:0").unwrap()).into(), "none of TCP");
    refused((&UnixStream::pair().unwrap().0).into(), "none of TCP");
    refused((&std::io::pipe().unwrap().0).into(), "is no socket");
    refused((&std::fs::File::open("/dev/null").unwrap()).into(), "is no socket");
    let Pair { ours, theirs } = Pair::new();
    ours.shutdown(std::net::Shutdown::Both).unwrap();
    refused((&ours).into(), "not any more");
    drop(theirs);
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&deaf).attach_filter(&[drop_all()]).unwrap();
    let asks = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    asks.set_nonblocking(true).unwrap();
    assert!(asks.connect(&deaf.local_addr().unwrap().into()).is_err(), "in progress");
    refused((&asks).into(), "still connecting");
    assert!(coordinator.statuses().is_empty(), "nothing was started");
}

#[test]
fn a_heartbeat_that_makes_no_sense_is_refused() {
    let pair = Pair::new();
    let coordinator = Coordinator::new().unwrap();
    let every = |millis| Heartbeat::every(Duration::from_millis(millis));
    for (beat, words) in [
        (every(1999), "whole seconds"),
        (every(5000).role(Role::Passive), "no beats"),
        (every(5000).role(Role::SendOnly), "no beats"),
        (every(5000).when_idle(), "no beats"),
        (every(5000).expect_every(Duration::from_secs(9)), "no beats"),
        (every(5000).rounds(3), "no beats"),
        (every(5000).fall(0), "a fall of 0"),
    ] {
        let error = coordinator.observe(&pair.ours, beat).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(words), "{error}");
    }
    for beat in [every(2000), every(5000).role(Role::ListenOnly), every(7 * 24 * 3600 * 1000)] {
        coordinator.observe(&pair.ours, beat).unwrap().stop().unwrap();
    }
}

#[test]
fn a_link_is_named_by_its_peer_or_as_it_was_told() {
    let pair = Pair::new();
    let (mut watch, observed) = observe(&pair.ours, often());
    let up = watch.wait_state(State::Up);
    let target = format!("tcp://{}", pair.peer());
    assert_eq!((up.name(), up.target(), up.peer()), (&*target, &*target, Some(pair.peer())));
    assert_eq!(up.link(), Some(observed.id()));
    let status = observed.status();
    assert_eq!((status.peer, status.name.as_str()), (Some(pair.peer()), target.as_str()));
    assert!(matches!(watch.seen[0].kind(), EventKind::Connected { attempt: 1, .. }));
    assert_eq!(watch.seen[0].kind().to_string(), "connected already");
    let named = Observe::of(&pair.theirs).named("billing");
    let other = watch.coordinator.observe(named, often()).unwrap();
    let event = watch.coordinator.events().recv_timeout(LIMIT).unwrap();
    assert_eq!((event.name(), event.link()), ("billing", Some(other.id())));
}

#[test]
fn either_end_of_a_connection_over_either_family_can_be_observed() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    for end in [&ours, &theirs] {
        let (mut watch, observed) = observe(end, often());
        watch.wait_state(State::Up);
        assert!(observed.status().name.starts_with("tcp://[::1]:"));
        assert_eq!(observed.look().unwrap().state, "established");
    }
}

#[test]
fn a_connection_that_was_silent_for_long_is_up_only_once_its_peer_is_heard() {
    let pair = Pair::new();
    pair.cut();
    std::thread::sleep(Duration::from_millis(2500)); // an interval: the path is dead since then
    let (mut watch, _observed) = observe(&pair.ours, often());
    let first = watch.wait("state", |kind| matches!(kind, EventKind::State { .. }));
    assert!(matches!(first.kind(), EventKind::State { to: State::Down, .. }), "{first}");
    pair.heal();
    watch.wait_state(State::Up);
}
