//! A `send` that blocks delays nobody: not the verdict, not the reader, not stop.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use keepbeat::{Cause, Coordinator, Follower, Heartbeat, Line, Protocol, Role, State};

use super::following;
use crate::watching::{LIMIT, Watch, eventually, ms, quick};

/// A stop gives up after 0.9 s; the rest is room for a machine that is starved.
const STOP: Duration = Duration::from_secs(5);

/// The application's `send` hangs until it is let go.
struct Stuck {
    watch: Watch,
    follower: Follower,
    /// Each frame, before the wait for it.
    frames: Receiver<Vec<u8>>,
    /// Dropped, no `send` hangs any more.
    hold: Option<Sender<()>>,
}

impl Stuck {
    fn new(beat: Heartbeat, protocol: impl Protocol + 'static) -> Stuck {
        let ((hold, held), (sent, frames)) = (bounded::<()>(0), crossbeam_channel::unbounded());
        let (watch, follower) = following(beat, protocol, move |frame| {
            sent.send(frame.to_vec()).map_err(io::Error::other)?;
            let _ = held.recv();
            Ok(())
        });
        Stuck { watch, follower, frames, hold: Some(hold) }
    }

    fn frame(&self) -> String {
        String::from_utf8(self.frames.recv_timeout(LIMIT).expect("a frame")).unwrap()
    }
}

#[test]
fn a_send_that_blocks_for_ever_is_down_within_the_usual_time_with_write_stalled() {
    let mut stuck = Stuck::new(quick().write_timeout(ms(300)), Line);
    let start = Instant::now();
    let (cause, detail) = stuck.watch.wait_down();
    let took = start.elapsed();
    assert_eq!(cause, Cause::WriteStalled, "{detail}");
    assert!(detail.contains("`send` has not returned for "), "{detail}");
    assert!(took < ms(3000), "three timeouts of 200 ms each: {took:?}");
    assert_eq!(stuck.watch.status().loss.unwrap().cause, Cause::WriteStalled);
    stuck.hold.take();
}

#[test]
fn within_the_write_timeout_the_detail_names_the_send_and_the_cause_stays() {
    let mut stuck = Stuck::new(quick().write_timeout(ms(60_000)), Line);
    let (cause, detail) = stuck.watch.wait_down();
    assert_eq!(cause, Cause::AckTimeout);
    assert!(detail.contains("`send` has not returned for "), "{detail}");
    stuck.hold.take();
}

#[test]
fn stop_leaves_a_stuck_send_behind_within_a_second_and_says_so() {
    let stuck = Stuck::new(quick(), Line);
    stuck.frame();
    let start = Instant::now();
    let error = stuck.watch.coordinator.stop().unwrap_err();
    assert!(start.elapsed() < STOP, "{:?}", start.elapsed());
    assert!(error.is_left_behind() && error.to_string().contains("in the `send`"), "{error}");
    assert!(stuck.follower.status().ended);
    assert_eq!(stuck.follower.heard(b"ack 1\n").unwrap_err().cause(), Some(Cause::Stopped));
    // It ends when `send` returns, and drops what that holds.
    let Stuck { hold, frames, .. } = stuck;
    drop(hold);
    assert!(frames.recv_timeout(LIMIT).is_err_and(|error| error.is_disconnected()));
}

#[test]
fn another_link_starts_while_one_that_was_let_go_hangs_in_its_send() {
    let stuck = Stuck::new(quick(), Line);
    stuck.frame();
    let (coordinator, id) = (Arc::new(stuck.watch.coordinator), stuck.watch.link);
    drop(stuck.follower);
    eventually("it is over", || coordinator.status(id).unwrap().ended);
    let ((started, starting), theirs) = (bounded(1), Arc::clone(&coordinator));
    std::thread::spawn(move || started.send(theirs.follow(quick(), Line, |_| Ok(()))));
    let other = starting.recv_timeout(LIMIT).expect("it waits for the `send` of another").unwrap();
    drop(stuck.hold);
    // Its thread is joined, and it is forgotten, when others start.
    eventually("nobody knows it any more", || {
        drop(coordinator.follow(quick(), Line, |_| Ok(())).unwrap());
        coordinator.status(id).is_err()
    });
    assert!(!other.status().ended);
    coordinator.stop().unwrap();
}

#[test]
fn a_reader_never_waits_for_a_stuck_send() {
    let stuck = Stuck::new(quick().write_timeout(ms(60_000)), super::Chat);
    stuck.frame();
    let follower = stuck.follower.clone();
    let (done, reader) = bounded(1);
    std::thread::spawn(move || {
        for n in 0..1000 {
            follower.heard(format!("beat {n}\ndata\n").as_bytes()).unwrap();
            follower.alive().unwrap();
            follower.wrote().unwrap();
        }
        follower.acked(Some(1)).unwrap();
        done.send(()).unwrap();
    });
    reader.recv_timeout(LIMIT).expect("the reader waits for the writer");
    // And what it told counts.
    eventually("Up", || stuck.follower.state() == State::Up);
}

#[test]
fn at_most_one_beat_waits_behind_a_stuck_send_and_the_link_comes_back() {
    let mut stuck = Stuck::new(quick(), Line);
    assert_eq!(stuck.frame(), "beat 1\n");
    stuck.watch.wait_down();
    let missed = |kind: &keepbeat::EventKind| matches!(kind, keepbeat::EventKind::Missed { .. });
    for _ in 0..3 {
        stuck.watch.wait("miss", missed);
    }
    assert!(stuck.frames.is_empty());
    drop(stuck.hold.take());
    // Not a burst of what was held up: the latest, and then one after the other.
    let next = stuck.frame();
    let seq: u64 = next.trim_start_matches("beat ").trim().parse().unwrap();
    assert!(seq >= 5, "{next}");
    stuck.follower.acked(Some(1)).unwrap();
    stuck.follower.acked(Some(seq)).unwrap();
    assert_eq!(stuck.frame(), format!("beat {}\n", seq + 1));
    stuck.follower.acked(Some(seq + 1)).unwrap();
    stuck.watch.wait_state(State::Up);
}

#[test]
fn without_numbers_acks_and_beats_are_in_step_after_a_stuck_send() {
    let mut stuck = Stuck::new(quick(), crate::watching::tutorial());
    stuck.frame();
    stuck.watch.wait_down();
    stuck.watch.wait("miss", |kind| matches!(kind, keepbeat::EventKind::Missed { .. }));
    stuck.hold.take();
    stuck.follower.acked(None).unwrap(); // the first beat's, late
    for _ in 0..4 {
        stuck.frame();
        stuck.follower.acked(None).unwrap();
    }
    let in_time =
        |kind: &keepbeat::EventKind| matches!(kind, keepbeat::EventKind::Beat { rtt: Some(_), .. });
    stuck.watch.wait("an ack in time", in_time);
    assert_eq!(stuck.follower.state(), State::Up);
}

#[test]
fn a_peer_that_floods_beats_behind_a_stuck_send_is_told() {
    for (write_timeout, cause) in [(ms(60_000), Cause::WrongReply), (ms(1), Cause::WriteStalled)] {
        let beat = quick().role(Role::Passive).write_timeout(write_timeout);
        let mut stuck = Stuck::new(beat, Line);
        stuck.follower.heard(b"beat 1\n").unwrap();
        stuck.frame();
        std::thread::sleep(ms(5)); // for so long `send` hangs
        let flood = "beat 2\n".repeat(100_000);
        let error = stuck.follower.heard(flood.as_bytes()).unwrap_err();
        assert_eq!(error.cause(), Some(cause), "{error}");
        assert_eq!(stuck.watch.wait_down().0, cause);
        stuck.hold.take();
    }
}

#[test]
fn a_coordinator_can_be_stopped_from_within_send() {
    let coordinator = Arc::new(Coordinator::new().unwrap());
    let (theirs, (said, result)) = (Arc::clone(&coordinator), bounded(1));
    let start = Instant::now();
    let follower = coordinator.follow(quick(), Line, move |_| {
        let _ = said.try_send(theirs.stop());
        Ok(())
    });
    let follower = follower.unwrap();
    result.recv_timeout(LIMIT).unwrap().unwrap();
    eventually("the end", || follower.status().ended);
    assert!(start.elapsed() < STOP);
}
