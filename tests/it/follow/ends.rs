//! How a followed link ends, and what the application's next call says then.

use std::io;
use std::time::{Duration, Instant};

use keepbeat::protocol::{Frame, Rejected};
use keepbeat::{Cause, Coordinator, EventKind, Follower, Heartbeat, Line, Loss, Protocol, State};

use super::{Chat, Wire, following};
use crate::watching::{LIMIT, eventually, ms, quick, tutorial};

type Flood = (&'static str, fn(&mut Wire));

/// Every call says the same.
fn assert_over(follower: &Follower, cause: Cause) {
    for result in [follower.heard(b"x"), follower.acked(None), follower.alive(), follower.wrote()] {
        let error = result.unwrap_err();
        assert_eq!(error.cause(), Some(cause), "{error}");
        assert!(error.to_string().starts_with(&format!("the link is down: {cause}: ")), "{error}");
    }
    follower.lost(Cause::Refused); // does nothing
}

#[test]
fn a_rejected_byte_ends_the_link_and_is_told_to_whoever_heard_it() {
    let mut wire = Wire::new(quick(), Line);
    wire.ack(1);
    let error = wire.follower.heard(b"ack 1\xff\n").unwrap_err();
    assert_eq!(error.cause(), Some(Cause::WrongReply));
    assert!(error.to_string().contains(r"got `ack 1\xff\n`"), "{error}");
    assert_eq!(wire.watch.wait_down().0, Cause::WrongReply);
    wire.wait_ended();
    assert_over(&wire.follower, Cause::WrongReply);
    assert!(wire.follower.status().ended);
}

#[test]
fn more_acks_than_beats_are_no_acks_and_a_flood_of_them_is_bounded() {
    let floods: [Flood; 4] = [
        ("by bytes", |wire| drop(wire.follower.heard(&b"heartbeat_ack".repeat(100_000)))),
        ("by calls", |wire| while wire.follower.acked(None).is_ok() {}),
        ("by numbers", |wire| {
            (0..100_000).for_each(|seq| drop(wire.follower.acked(Some(seq))));
        }),
        ("a single one", |wire| drop(wire.follower.acked(Some(7)))),
    ];
    for (what, flood) in floods {
        let mut wire = Wire::new(quick(), tutorial());
        wire.frame();
        flood(&mut wire);
        assert_eq!(wire.watch.wait_down().0, Cause::WrongReply, "{what}");
        wire.wait_ended();
        assert_over(&wire.follower, Cause::WrongReply);
    }
}

#[test]
fn a_panic_of_the_protocol_is_caught_on_the_thread_of_the_application() {
    struct Fragile;
    impl Protocol for Fragile {
        fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
            Line.beat(seq, out);
        }
        fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
            panic!("{} bytes", bytes.len());
        }
    }
    let mut wire = Wire::new(quick(), Fragile);
    let error = wire.follower.heard(b"hello").unwrap_err();
    assert_eq!(error.cause(), Some(Cause::ProtocolPanicked));
    assert!(error.to_string().contains("5 bytes"), "{error}");
    assert_eq!(wire.watch.wait_down().0, Cause::ProtocolPanicked);
    wire.wait_ended();
    assert_over(&wire.follower, Cause::ProtocolPanicked);
}

#[test]
fn an_error_of_send_ends_the_link_at_once() {
    let errors = [
        (io::Error::from_raw_os_error(libc::EPIPE), Cause::Reset),
        (io::Error::from_raw_os_error(libc::EHOSTUNREACH), Cause::Unreachable),
        (io::Error::from_raw_os_error(libc::ETIMEDOUT), Cause::KernelGaveUp),
        (io::Error::other("the modem hung up"), Cause::Reset),
    ];
    for (error, cause) in errors {
        let text = error.to_string();
        let mut error = Some(error);
        let beat = Heartbeat::every(ms(60_000)).timeout(ms(60_000));
        let (mut watch, follower) =
            following(beat, Line, move |_| Err(error.take().expect("it is called once")));
        assert_eq!(watch.wait_down(), (cause, format!("`send`: {text}")));
        watch.wait("end", |kind| *kind == EventKind::Ended);
        assert_over(&follower, cause);
    }
}

#[test]
fn a_panic_of_send_ends_the_link_and_no_other() {
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(10)).timeout(ms(5000));
    let other = coordinator.follow(beat.role(keepbeat::Role::SendOnly), Line, |_| Ok(())).unwrap();
    // The hook prints a backtrace, which takes a while on a busy machine: no beat may fail of it.
    let patient = quick().timeout(ms(30_000));
    let follower = coordinator.follow(patient, Line, |_| panic!("no modem")).unwrap();
    eventually("the end", || follower.status().ended);
    let loss = follower.status().loss.unwrap();
    assert_eq!(loss.cause, Cause::ProtocolPanicked);
    assert_eq!(loss.detail, "`send` panicked: no modem");
    assert_over(&follower, Cause::ProtocolPanicked);
    let sent = other.status().sent;
    eventually("beats of the other", || other.status().sent > sent + 3);
    coordinator.stop().unwrap();
}

#[test]
fn a_connection_that_is_lost_is_down_at_once_with_the_cause_that_the_application_names() {
    let beat = Heartbeat::every(ms(60_000)).timeout(ms(60_000));
    let losses: [(Loss, Cause); 4] = [
        (Cause::ClosedByPeer.into(), Cause::ClosedByPeer),
        (io::Error::from_raw_os_error(libc::ECONNRESET).into(), Cause::Reset),
        (io::Error::from(io::ErrorKind::UnexpectedEof).into(), Cause::ClosedByPeer),
        (Loss::new(Cause::TlsFailed, "expired: yesterday"), Cause::TlsFailed),
    ];
    for (loss, cause) in losses {
        let mut wire = Wire::new(beat.clone(), Line);
        wire.ack(1);
        wire.watch.wait_state(State::Up);
        let start = Instant::now();
        wire.follower.lost(loss.clone());
        assert_eq!(wire.watch.wait_down(), (cause, loss.detail));
        assert!(start.elapsed() < ms(5000), "{:?}", start.elapsed());
        wire.wait_ended();
        assert_over(&wire.follower, cause);
    }
}

#[test]
fn what_was_heard_before_the_end_is_told_before_it() {
    let mut wire = Wire::new(Heartbeat::every(ms(60_000)).timeout(ms(60_000)), Chat);
    wire.frame();
    wire.hear("ack 1\n");
    wire.follower.lost(Cause::ClosedByPeer);
    wire.wait_ended();
    assert_eq!(wire.watch.states(), [State::Up, State::Down]);
}

#[test]
fn clones_are_one_link_and_the_last_one_dropped_ends_it() {
    let mut wire = Wire::new(quick(), Line);
    wire.ack(1);
    wire.watch.wait_state(State::Up);
    let clone = wire.follower.clone();
    let reader = std::thread::spawn(move || clone.alive());
    reader.join().unwrap().unwrap();
    assert_eq!(wire.follower.state(), State::Up, "a clone was dropped, and not the last");
    let Wire { mut watch, follower, frames } = wire;
    drop(follower);
    watch.wait("end", |kind| *kind == EventKind::Ended);
    // With its threads goes the function that sends.
    let deadline = Instant::now() + LIMIT;
    while frames.recv_deadline(deadline).is_ok() {}
    assert!(Instant::now() < deadline);
    eventually("nobody knows it any more", || {
        drop(watch.coordinator.follow(quick(), Line, |_| Ok(())).unwrap());
        watch.coordinator.status(watch.link).is_err()
    });
}

#[test]
fn a_follower_can_be_stopped_removed_and_outlive_its_coordinator() {
    let coordinator = Coordinator::new().unwrap();
    let start = || coordinator.follow(Heartbeat::every(ms(60_000)), Line, |_| Ok(())).unwrap();
    let (stopped, removed, left) = (start(), start(), start());
    stopped.stop();
    eventually("the end", || stopped.status().ended);
    assert_over(&stopped, Cause::Stopped);
    coordinator.remove(removed.id()).unwrap();
    assert_over(&removed, Cause::Stopped);
    drop(coordinator);
    eventually("the end", || left.status().ended);
    assert_over(&left, Cause::Stopped);
}

#[test]
fn a_paused_link_answers_and_asks_nothing() {
    let wire = Wire::new(Heartbeat::every(ms(50)).timeout(ms(5000)), Line);
    wire.ack(3);
    wire.watch.coordinator.pause(wire.follower.id()).unwrap();
    // One beat may be on its way at this moment. None is planned after it.
    let mut asked = 0;
    while let Ok(frame) = wire.frames.recv_timeout(ms(500)) {
        wire.hear(&String::from_utf8(frame).unwrap().replace("beat", "ack"));
        asked += 1;
    }
    assert!(asked <= 1, "{asked} beats while paused");
    wire.hear("beat 5\n");
    assert_eq!(wire.frame(), "ack 5\n");
    wire.watch.coordinator.resume(wire.follower.id()).unwrap();
    wire.ack(2);
}

#[test]
fn two_hundred_followers_stop_within_a_second() {
    let coordinator = Coordinator::new().unwrap();
    let followers: Vec<_> = (0..200)
        .map(|n| {
            let beat = Heartbeat::every(ms(20 + n)).timeout(ms(60_000));
            coordinator.follow(beat, Line, |_| Ok(())).unwrap()
        })
        .collect();
    for follower in &followers {
        eventually("a beat", || follower.status().sent > 0);
    }
    let start = Instant::now();
    coordinator.stop().unwrap(); // gives up after 0.9 s, and says so
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(followers.iter().all(|follower| follower.status().ended));
}
