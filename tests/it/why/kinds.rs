//! The same for the other kinds of links: each tells as much as it can see, and no more.

use std::io::{Read, Write};
use std::net::TcpStream;

use keepbeat::{Framed, LinkId};

use super::*;
use crate::observe::{Pair, observe, often};
use crate::watching::eventually;

use Cause::*;
use Confidence::{Certain, Likely, Possible};

fn watching(coordinator: Coordinator, link: LinkId) -> Watch {
    Watch { coordinator, link, seen: Vec::new() }
}

fn lines() -> Framed {
    Framed::lines("PING", "PONG").unwrap()
}

#[test]
fn an_adopted_connection_tells_as_much_as_a_watched_one() {
    let relay = |mood: Mood| {
        let mut relay = Relay::new();
        let stream = TcpStream::connect(relay.address).unwrap();
        let coordinator = Coordinator::new().unwrap();
        let beat = falls(Diagnose::side_connections());
        let link = coordinator.adopt(stream, beat, tutorial()).unwrap();
        let mut watch = watching(coordinator, link.id());
        watch.wait_beats(2);
        relay.set(mood);
        (relay, link, down(&mut watch), watch)
    };
    let (relay, link, told, watch) = relay(Mood::Hung);
    assert_eq!((told.cause(), told.confidence()), (PeerSilent, Likely), "{told}");
    assert!(told.advice().contains(&relay.address.to_string()), "{}", told.advice());
    assert_agrees(&watch, &told);
    // The event comes a moment before the end of the link.
    eventually("the link is over", || link.loss().is_some());
    assert_eq!(link.loss().unwrap().cause, PeerSilent, "whoever sends next is told the same");
    assert_eq!(link.send("heartbeat").unwrap_err().cause(), Some(PeerSilent));
}

#[test]
fn an_adopted_connection_that_ends_is_told_with_what_ended_it() {
    for (mood, cause, others) in [
        (Mood::Closing, ClosedByPeer, vec![]),
        (Mood::Resetting, Reset, vec![ResetByMiddlebox]),
        (Mood::Answers(b"garbage!"), WrongReply, vec![]),
    ] {
        let mut relay = Relay::new();
        let stream = TcpStream::connect(relay.address).unwrap();
        let coordinator = Coordinator::new().unwrap();
        let link = coordinator.adopt(stream, falls(Diagnose::kernel()), tutorial()).unwrap();
        let mut watch = watching(coordinator, link.id());
        watch.wait_beats(2);
        relay.set(mood);
        let told = down(&mut watch);
        assert_told(&told, cause, Certain, &others, "");
        assert_agrees(&watch, &told);
        eventually("the link is over", || link.loss().is_some());
        assert_eq!(link.loss().unwrap().cause, cause);
    }
}

#[test]
fn a_followed_link_sees_no_kernel_and_says_how_little_that_tells() {
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(100)).timeout(ms(100)).fall(2);
    let beat = beat.diagnose(Diagnose::side_connections());
    let follower = coordinator.follow(beat, lines(), |_| Ok(())).unwrap();
    let mut watch = watching(coordinator, follower.id());
    let told = down(&mut watch);
    assert_eq!((told.cause(), told.confidence()), (AckTimeout, Possible), "{told}");
    // Not even that there is a network: see `follow::transports` for those that are told.
    assert_eq!(told.alternatives(), [], "{told}");
    assert_eq!((fact(&told, "unacked"), fact(&told, "peer")), (None, None));
    assert_agrees(&watch, &told);
}

#[test]
fn a_followed_link_tells_the_end_as_the_application_told_it() {
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(100)).timeout(ms(5000));
    let follower = coordinator.follow(beat, lines(), |_| Ok(())).unwrap();
    let mut watch = watching(coordinator, follower.id());
    follower.lost(ClosedByPeer);
    let told = down(&mut watch);
    assert_eq!((told.cause(), told.confidence()), (ClosedByPeer, Certain));
    assert!(!told.alternatives().contains(&IdleClosed), "a beat was on its way: {told}");
}

#[test]
fn an_observed_connection_on_a_dead_path_is_silence_that_may_be_much() {
    let mut pair = Pair::new();
    let (mut watch, _observed) = observe(&pair.ours, often());
    watch.wait_state(State::Up);
    pair.cut();
    pair.ours.write_all(b"data").unwrap();
    let told = down(&mut watch);
    assert_eq!((told.cause(), told.confidence()), (AckTimeout, Possible), "{told}");
    assert!(told.alternatives().contains(&PathDead), "{told}");
    assert!(!told.alternatives().contains(&PeerSilent), "nothing was acknowledged: {told}");
    assert_agrees(&watch, &told);
    pair.heal();
    watch.wait_state(State::Up);
    assert_eq!(watch.status().diagnosis, None);
}

#[test]
fn an_observed_connection_that_ends_leaves_its_data_and_its_error_to_the_application() {
    let Pair { mut ours, mut theirs } = Pair::new();
    let (mut watch, _observed) = observe(&ours, often());
    watch.wait_state(State::Up);
    theirs.write_all(b"last words").unwrap();
    Pair::reset(theirs);
    let told = down(&mut watch);
    assert_told(
        &told,
        Reset,
        Certain,
        &[ResetByMiddlebox],
        "ask whoever runs the firewall before it",
    );
    assert_agrees(&watch, &told);
    let mut words = [0; 10];
    ours.read_exact(&mut words).unwrap();
    assert_eq!(&words, b"last words");
    let error = ours.read(&mut words).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it was not taken");
}
