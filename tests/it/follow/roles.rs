//! Who asks, who answers, who only listens; and coming back on a connection that stays.

use std::time::Duration;

use keepbeat::{EventKind, Line, Role, State};

use super::{Chat, Wire};
use crate::watching::{ms, quick};

#[test]
fn a_passive_link_answers_the_beats_of_the_peer_and_asks_nothing() {
    let mut wire = Wire::new(quick().role(Role::Passive), Line);
    for n in [7, 8, 9] {
        wire.hear(&format!("beat {n}\n"));
        assert_eq!(wire.frame(), format!("ack {n}\n"));
    }
    wire.watch.wait_state(State::Up);
    wire.watch.wait_state(State::Suspect);
    wire.watch.wait_down();
    assert!(wire.frames.is_empty());
    wire.hear("beat 10\n");
    wire.watch.wait_state(State::Up);
    assert_eq!(wire.frame(), "ack 10\n");
}

#[test]
fn a_link_that_only_sends_is_up_by_sending_and_answers_nothing() {
    let mut wire = Wire::new(quick().role(Role::SendOnly), Line);
    wire.hear("beat 1\nack 77\n");
    for seq in 1..=3 {
        assert_eq!(wire.frame(), format!("beat {seq}\n"));
    }
    wire.watch.wait_beats(3);
    let status = wire.follower.status();
    assert_eq!((status.state, status.missed, status.rtt.last()), (State::Up, 0, None));
}

#[test]
fn a_link_that_only_sends_may_expect_to_hear_something_all_the_same() {
    let beat = quick().role(Role::SendOnly).expect_every(ms(400));
    let mut wire = Wire::new(beat, Line);
    wire.frame();
    wire.hear("beat 1\n");
    wire.watch.wait_state(State::Up);
    wire.watch.wait_down();
    let sent = wire.follower.status().sent;
    assert!(sent >= 2, "it goes on sending: {sent}");
    wire.hear("beat 2\n");
    wire.watch.wait_state(State::Up);
}

#[test]
fn a_link_that_only_listens_is_suspect_then_down_and_comes_back_when_it_hears_again() {
    let beat = quick().role(Role::ListenOnly).expect_every(ms(300));
    let mut wire = Wire::new(beat, Chat);
    wire.hear("a reading\n");
    wire.watch.wait_state(State::Up);
    let (cause, detail) = wire.watch.wait_down();
    assert_eq!(cause.word(), "ack-timeout");
    assert!(detail.contains("nothing more came"), "{detail}");
    wire.hear("another\n");
    wire.watch.wait_state(State::Up);
    assert_eq!(wire.watch.states(), [State::Up, State::Suspect, State::Down, State::Up]);
    assert!(wire.watch.count(|kind| matches!(kind, EventKind::Silent { .. })) >= 3);
    assert!(wire.frames.is_empty());
}

#[test]
fn what_is_heard_is_told_at_once_and_not_when_the_limit_is_over() {
    let hour = Duration::from_secs(3600);
    for role in [Role::ListenOnly, Role::Passive] {
        let mut wire = Wire::new(quick().role(role).expect_every(hour), Chat);
        // From here on its thread has nothing to do, as a rule, but to wait.
        wire.watch.wait("connect", |kind| matches!(kind, EventKind::Connected { .. }));
        wire.hear("a reading\n");
        wire.watch.wait_state(State::Up);
    }
}

#[test]
fn down_by_silence_goes_on_beating_and_comes_back() {
    let mut wire = Wire::new(quick(), Line);
    wire.ack(2);
    wire.watch.wait_state(State::Up);
    wire.watch.wait_down();
    assert!(wire.follower.alive().is_ok(), "it is Down, and not over");
    wire.watch.wait_state(State::Up);
    wire.watch.wait_down();
    while wire.frames.len() > 1 {
        wire.frame();
    }
    wire.ack(1);
    wire.watch.wait_state(State::Up);
    wire.ack(3);
    let status = wire.follower.status();
    assert_eq!((status.reconnects, status.ended), (0, false));
}
