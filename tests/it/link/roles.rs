//! Who asks, who answers, who only listens.

use std::io::{Read, Write};
use std::time::Instant;

use keepbeat::{Cause, EventKind, Framed, Heartbeat, Role, State};

use crate::watching::{LIMIT, ms};

use super::{adopted, frame, line, lines, lost, next, wait, wait_state};

fn beat(role: Role) -> Heartbeat {
    Heartbeat::every(ms(300)).timeout(ms(300)).fall(3).role(role)
}

#[test]
fn a_passive_end_answers_and_is_up_by_what_it_hears() {
    let (coordinator, link, mut theirs) = adopted(beat(Role::Passive), lines());
    for _ in 0..10 {
        theirs.write_all(b"PING\n").unwrap();
        assert_eq!(line(&mut theirs), "PONG");
    }
    wait_state(&coordinator, State::Up);
    theirs.write_all(b"data\n").unwrap();
    assert_eq!(next(&link), frame("data"));
    assert_eq!(link.status().sent, 0, "it sends no beats of its own");
    let last = Instant::now();
    wait_state(&coordinator, State::Suspect);
    assert_eq!(lost(&link).0, Cause::AckTimeout);
    // 1.05 x interval + fall x timeout; the rest is a noisy machine.
    let took = last.elapsed();
    assert!(took >= ms(1100) && took < ms(3000), "{took:?}");
}

#[test]
fn an_end_that_only_sends_expects_nothing_and_answers_nothing() {
    let protocol = Framed::lines("PING", "PONG").unwrap().unanswered();
    let (coordinator, link, mut theirs) = adopted(beat(Role::SendOnly), protocol);
    theirs.write_all(b"PING\n").unwrap();
    for _ in 0..5 {
        assert_eq!(line(&mut theirs), "PING");
    }
    wait_state(&coordinator, State::Up);
    assert_eq!((link.status().state, link.status().missed), (State::Up, 0));
}

#[test]
fn both_ends_may_send_and_limit_what_they_do_not_receive() {
    let protocol = || Framed::lines("PING", "PONG").unwrap().unanswered();
    let beat = beat(Role::SendOnly).expect_every(ms(800));
    let (coordinator, link, mut theirs) = adopted(beat, protocol());
    assert_eq!(line(&mut theirs), "PING");
    theirs.write_all(b"PING\n").unwrap();
    wait_state(&coordinator, State::Up);
    wait(&coordinator, "silence", |kind| matches!(kind, EventKind::Silent { misses: 1, .. }));
    wait_state(&coordinator, State::Suspect);
    theirs.write_all(b"PING\n").unwrap();
    wait_state(&coordinator, State::Up);
    assert_eq!(lost(&link).0, Cause::AckTimeout);
    drop(theirs);
}

#[test]
fn an_end_that_only_listens_writes_no_byte() {
    let (coordinator, link, mut theirs) = adopted(beat(Role::ListenOnly), lines());
    theirs.write_all(b"PING\ndata\n").unwrap();
    wait_state(&coordinator, State::Up);
    assert_eq!(next(&link), frame("data"));
    assert_eq!(lost(&link).0, Cause::AckTimeout);
    theirs.set_read_timeout(Some(LIMIT)).unwrap();
    let mut all = Vec::new();
    let _ = theirs.read_to_end(&mut all); // a reset is an end, too
    assert!(all.is_empty(), "{all:?}");
}

#[test]
fn a_watched_link_can_have_no_role() {
    let coordinator = keepbeat::Coordinator::new().unwrap();
    for heartbeat in [beat(Role::Passive), beat(Role::Active).when_idle()] {
        let error = coordinator.watch("127.0.0.1:1", heartbeat, lines()).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("adopt"), "{error}");
    }
}
