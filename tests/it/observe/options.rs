//! The options of the keepalive: set while observed, and afterwards as they were found.

use std::net::TcpStream;
use std::time::Duration;

use keepbeat::{Coordinator, Heartbeat, Observe, State};
use socket2::SockRef;

use super::{Pair, keepalive, observe, often, rarely, set_keepalive};
use crate::watching::eventually;

/// What this system has on a fresh socket.
fn fresh() -> (bool, u64, u64, u32) {
    let found = keepalive(&Pair::new().ours);
    assert!(!found.0);
    found
}

#[test]
fn they_are_set_while_observed_and_put_back_by_stop() {
    let pair = Pair::new();
    let (_watch, observed) = observe(&pair.ours, often());
    assert_eq!(keepalive(&pair.ours), (true, 1, 1, 127));
    observed.stop().unwrap();
    assert_eq!(keepalive(&pair.ours), fresh());
}

#[test]
fn odd_ones_that_were_on_are_put_back_exactly() {
    let pair = Pair::new();
    set_keepalive(&pair.ours, 77, 13, 5);
    let (_watch, observed) = observe(&pair.ours, often());
    // The connection ends after 77 + 5 x 13 s of silence, as the application wants it.
    assert_eq!(keepalive(&pair.ours), (true, 1, 1, 127));
    observed.stop().unwrap();
    assert_eq!(keepalive(&pair.ours), (true, 77, 13, 5));
}

#[test]
fn odd_ones_that_were_off_are_put_back_exactly() {
    let pair = Pair::new();
    set_keepalive(&pair.ours, 77, 13, 5);
    SockRef::from(&pair.ours).set_keepalive(false).unwrap();
    let (_watch, observed) = observe(&pair.ours, often());
    assert_eq!(keepalive(&pair.ours), (true, 1, 1, 127));
    observed.stop().unwrap();
    assert_eq!(keepalive(&pair.ours), (false, 77, 13, 5));
}

#[test]
fn every_way_to_end_puts_them_back() {
    type End = fn(Coordinator, keepbeat::Observed);
    let ends: [(&str, End); 5] = [
        ("drop", |coordinator, observed| {
            drop(observed);
            std::mem::forget(coordinator);
        }),
        ("remove", |coordinator, observed| {
            coordinator.remove(observed.id()).unwrap();
            std::mem::forget((coordinator, observed));
        }),
        ("coordinator's stop", |coordinator, observed| {
            coordinator.stop().unwrap();
            std::mem::forget((coordinator, observed));
        }),
        ("coordinator's drop", |coordinator, observed| {
            drop(coordinator);
            std::mem::forget(observed);
        }),
        ("both dropped", |coordinator, observed| drop((coordinator, observed))),
    ];
    for (how, end) in ends {
        let pair = Pair::new();
        let coordinator = Coordinator::new().unwrap();
        let observed = coordinator.observe(&pair.ours, rarely()).unwrap();
        assert_ne!(keepalive(&pair.ours), fresh());
        end(coordinator, observed);
        eventually(how, || keepalive(&pair.ours) == fresh());
    }
}

#[test]
fn they_are_back_when_the_end_of_the_connection_is_told() {
    let Pair { ours, theirs } = Pair::new();
    let (mut watch, _observed) = observe(&ours, rarely());
    watch.wait_state(State::Up);
    drop(theirs);
    watch.wait_ended();
    assert_eq!(keepalive(&ours), fresh());
}

#[test]
fn they_are_back_when_no_thread_could_be_started() {
    let pair = Pair::new();
    let coordinator = Coordinator::new().unwrap();
    coordinator.stop().unwrap();
    assert!(coordinator.observe(&pair.ours, often()).unwrap_err().is_stopped());
    assert_eq!(keepalive(&pair.ours), fresh());
}

#[test]
fn they_stay_where_that_is_wanted() {
    let pair = Pair::new();
    let (_watch, observed) = observe(Observe::of(&pair.ours).leave_options(), often());
    observed.stop().unwrap();
    assert_eq!(keepalive(&pair.ours), (true, 1, 1, 127));
}

#[test]
fn none_is_touched_where_only_looks_are_wanted() {
    let pair = Pair::new();
    let (mut watch, _observed) = observe(Observe::of(&pair.ours).without_keepalive(), often());
    assert_eq!(keepalive(&pair.ours), fresh());
    watch.wait_state(State::Up);
    assert_eq!(keepalive(&pair.ours), fresh());
}

#[test]
fn a_keepalive_of_the_application_that_asks_often_enough_is_left_alone() {
    let pair = Pair::new();
    set_keepalive(&pair.ours, 20, 4, 3);
    let thirty = Heartbeat::every(Duration::from_secs(30));
    let (_watch, observed) = observe(&pair.ours, thirty);
    assert_eq!(keepalive(&pair.ours), (true, 20, 4, 3));
    observed.stop().unwrap();
    assert_eq!(keepalive(&pair.ours), (true, 20, 4, 3));
}

#[test]
fn what_the_application_changes_meanwhile_is_its_own_will() {
    let pair = Pair::new();
    let (_watch, observed) = observe(&pair.ours, often());
    SockRef::from(&pair.ours)
        .set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(Duration::from_secs(99)))
        .unwrap();
    observed.stop().unwrap();
    let (on, idle, every, count) = fresh();
    assert_eq!(keepalive(&pair.ours), (on, 99, every, count), "{idle}");
}

#[test]
fn a_thousand_observations_leave_no_descriptor_and_no_link_behind() {
    let pair = Pair::new();
    let coordinator = Coordinator::new().unwrap();
    for _ in 0..1000 {
        let observed = coordinator.observe(&pair.ours, often()).unwrap();
        observed.stop().unwrap();
    }
    assert_eq!(keepalive(&pair.ours), fresh());
    let left = || {
        // The next start forgets what is over.
        drop(coordinator.observe(&pair.ours, often()).unwrap());
        coordinator.statuses().len()
    };
    eventually("links forgotten", || left() < 10);
    let ours: &TcpStream = &pair.ours;
    eventually("options", || keepalive(ours) == fresh());
}
