//! The end of a connection: every writer and every reader learns it at once, and what came before
//! it is the application's.

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Cause, EventKind, Heartbeat, Received, State};

use crate::watching::ms;

use super::{adopted, frame, line, lines, lost, next, often, rarely, wait, wait_state};

#[test]
fn a_close_of_the_peer_comes_behind_all_that_it_had_said() {
    let (coordinator, link, mut theirs) = adopted(rarely(), lines());
    link.send("one").unwrap();
    let both = [line(&mut theirs), line(&mut theirs)];
    // The first beat and the frame race each other; the ack proves the frames before its beat.
    let doubted = match both.each_ref().map(String::as_str) {
        ["PING", "one"] => 1..2,
        ["one", "PING"] => 2..2,
        other => panic!("{other:?}"),
    };
    theirs.write_all(b"PONG\nlast words\nand more\n").unwrap();
    theirs.shutdown(Shutdown::Both).unwrap();
    assert_eq!((next(&link), next(&link)), (frame("last words"), frame("and more")));
    let Received::Lost { loss, in_doubt, unsent } = next(&link) else { panic!("no end") };
    assert_eq!((loss.cause, in_doubt, unsent), (Cause::ClosedByPeer, doubted, 2..2));
    assert!(link.frames().recv().is_err(), "nothing comes after the end");
    assert_eq!(link.send("x").unwrap_err().cause(), Some(Cause::ClosedByPeer));
    assert_eq!(link.try_clone().unwrap_err().cause(), Some(Cause::ClosedByPeer));
    assert_eq!(link.loss().map(|loss| loss.cause), Some(Cause::ClosedByPeer));
    wait_state(&coordinator, State::Down);
    wait(&coordinator, "the end", |kind| matches!(kind, EventKind::Ended));
    assert!(link.status().ended);
}

#[test]
fn the_loss_of_the_peer_in_mid_frame_delivers_no_part_of_it() {
    let (_coordinator, link, mut theirs) = adopted(rarely(), lines());
    assert_eq!(line(&mut theirs), "PING");
    theirs.write_all(b"whole\nhalf a li").unwrap();
    theirs.shutdown(Shutdown::Both).unwrap();
    assert_eq!(next(&link), frame("whole"));
    let (cause, detail) = lost(&link);
    assert_eq!(cause, Cause::ClosedByPeer);
    assert!(detail.contains("9 bytes into a frame"), "{detail}");
}

#[test]
fn a_reset_ends_a_blocked_reader_and_an_idle_link_at_once() {
    let (_coordinator, link, mut theirs) = adopted(rarely(), lines());
    let reader = thread::spawn({
        let link = link.try_clone().unwrap();
        move || (lost(&link), Instant::now())
    });
    assert_eq!(line(&mut theirs), "PING");
    theirs.write_all(b"PONG\n").unwrap();
    let start = Instant::now();
    socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
    drop(theirs);
    let ((cause, _), at) = reader.join().unwrap();
    assert_eq!(cause, Cause::Reset);
    assert!(at - start < ms(2000), "{:?}", at - start);
}

#[test]
fn a_silent_peer_is_down_after_its_misses_and_the_link_is_over() {
    let heartbeat = Heartbeat::every(ms(300)).timeout(ms(200)).fall(3);
    let (coordinator, link, mut theirs) = adopted(heartbeat, lines());
    assert_eq!(line(&mut theirs), "PING");
    theirs.write_all(b"PONG\n").unwrap();
    wait_state(&coordinator, State::Up);
    wait_state(&coordinator, State::Suspect);
    let (cause, detail) = lost(&link);
    assert_eq!(cause, Cause::PeerSilent);
    assert!(detail.contains("no ack of 3 beats"), "{detail}");
    assert_eq!(link.status().state, State::Down);
}

#[test]
fn bytes_that_are_no_frame_end_it_with_what_came() {
    let protocol = super::Framed::prefixed(keepbeat::Prefix::U32Be, "b", "a").unwrap();
    let (_coordinator, link, mut theirs) = adopted(rarely(), protocol);
    theirs.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap();
    let (cause, detail) = lost(&link);
    assert_eq!(cause, Cause::WrongReply, "{detail}");
    assert!(link.send("x").is_err());
}

#[test]
fn more_acks_than_beats_end_it() {
    let (_coordinator, link, mut theirs) = adopted(often(), lines());
    theirs.write_all(&b"PONG\n".repeat(1000)).unwrap();
    let (cause, detail) = lost(&link);
    assert_eq!((cause, detail.as_str()), (Cause::WrongReply, "more acks than beats"));
}

#[test]
fn a_coordinator_that_stops_ends_its_links_in_good_order_and_says_so() {
    let (coordinator, link, mut theirs) = adopted(often(), lines().farewell("BYE").unwrap());
    assert_eq!(line(&mut theirs), "PING");
    link.send("one").unwrap();
    let start = Instant::now();
    coordinator.stop().unwrap();
    assert!(start.elapsed() < ms(1000));
    assert_eq!(lost(&link).0, Cause::Stopped);
    assert_eq!(link.send("x").unwrap_err().cause(), Some(Cause::Stopped));
    let rest: Vec<_> = std::iter::from_fn(|| Some(line(&mut theirs)))
        .take_while(|line| line != "BYE")
        .filter(|line| line != "PING")
        .collect();
    assert_eq!(rest, ["one"]);
}

#[test]
fn a_part_of_an_ack_and_no_more_is_told_as_that() {
    let heartbeat = Heartbeat::every(ms(3_600_000)).timeout(ms(1000)).fall(1);
    let (_coordinator, link, mut theirs) = adopted(heartbeat, lines());
    assert_eq!(line(&mut theirs), "PING");
    theirs.write_all(b"PO").unwrap();
    assert_eq!(lost(&link).0, Cause::PartialReply);
}
