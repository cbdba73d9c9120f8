//! Certain ends: told at once, by whom, and the application reads them as if nobody had looked.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Cause, EventKind, State};
use socket2::SockRef;

use super::{Pair, keepalive, observe, often, rarely, set_keepalive};
use crate::watching::{LIMIT, ms};

/// What is known "at once" on a noisy machine: without epoll it would take a second, or minutes.
const AT_ONCE: Duration = Duration::from_millis(900);

#[test]
fn a_fin_is_told_at_once_though_the_application_is_blocked_in_read() {
    let Pair { mut ours, theirs } = Pair::new();
    let (mut watch, observed) = observe(&ours, rarely());
    watch.wait_state(State::Up);
    let reader = thread::spawn(move || (ours.read(&mut [0; 8]).unwrap(), ours));
    let start = Instant::now();
    SockRef::from(&theirs).shutdown(Shutdown::Write).unwrap();
    let (cause, detail) = watch.wait_down();
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert_eq!(cause, Cause::ClosedByPeer, "{detail}");
    assert!(detail.contains("a FIN of 127.0.0.1:"), "{detail}");
    watch.wait("disconnect", |kind| kind.cause() == Some(Cause::ClosedByPeer));
    watch.wait_ended();
    let (read, ours) = reader.join().unwrap();
    assert_eq!(read, 0, "its own end of file");
    assert!(observed.look().unwrap().fin_waits, "{}", observed.look().unwrap());
    assert!(observed.status().ended);
    drop(ours);
    assert!(observed.look().unwrap_err().to_string().contains("closed its descriptor"));
}

#[test]
fn a_fin_behind_bytes_that_nobody_reads_is_told_and_the_bytes_stay() {
    let Pair { mut ours, mut theirs } = Pair::new();
    let (mut watch, _observed) = observe(&ours, rarely());
    theirs.write_all(b"last words").unwrap();
    drop(theirs);
    assert_eq!(watch.wait_down().0, Cause::ClosedByPeer);
    let mut all = Vec::new();
    ours.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"last words");
}

#[test]
fn a_reset_is_told_at_once_and_the_application_still_reads_its_own_error() {
    let Pair { mut ours, theirs } = Pair::new();
    let (mut watch, observed) = observe(&ours, rarely());
    watch.wait_state(State::Up);
    let start = Instant::now();
    Pair::reset(theirs);
    let (cause, detail) = watch.wait_down();
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert_eq!(cause, Cause::Reset, "{detail}");
    assert!(detail.contains("reset by a segment"), "{detail}");
    watch.wait_ended();
    observed.look().unwrap();
    let error = ours.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "nobody took it");
}

#[test]
fn a_reset_behind_retransmissions_is_not_taken_for_the_kernels_giving_up() {
    let mut pair = Pair::new();
    let (mut watch, observed) = observe(&pair.ours, rarely());
    watch.wait_state(State::Up);
    pair.cut();
    pair.ours.write_all(b"anybody there?").unwrap();
    crate::watching::eventually("retransmissions", || observed.look().unwrap().retransmits > 0);
    Pair::reset(pair.theirs);
    assert_eq!(watch.wait_down().0, Cause::Reset);
}

#[test]
fn the_kernels_giving_up_is_told_as_that_with_what_went_before() {
    let mut pair = Pair::new();
    SockRef::from(&pair.ours).set_tcp_user_timeout(Some(ms(1500))).unwrap();
    let (mut watch, _observed) = observe(&pair.ours, rarely());
    watch.wait_state(State::Up);
    pair.cut();
    pair.ours.write_all(b"anybody there?").unwrap();
    let (cause, detail) = watch.wait_down();
    assert_eq!(cause, Cause::KernelGaveUp, "{detail}");
    assert!(detail.contains("1 segment unacked"), "{detail}");
    watch.wait_ended();
    let error = pair.ours.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "nobody took it");
}

#[test]
fn the_peer_sees_the_fin_at_once_when_the_application_closes_and_that_is_told() {
    let Pair { ours, mut theirs } = Pair::new();
    theirs.set_read_timeout(Some(LIMIT)).unwrap();
    let (mut watch, observed) = observe(&ours, rarely());
    watch.wait_state(State::Up);
    let start = Instant::now();
    drop(ours);
    assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0, "a duplicate would keep it open");
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    let (cause, detail) = watch.wait_down();
    assert_eq!(cause, Cause::ClosedByApplication, "{detail}");
    assert!(start.elapsed() < ms(3000), "{:?}", start.elapsed());
    watch.wait("disconnect", |kind| kind.cause() == Some(Cause::ClosedByApplication));
    watch.wait_ended();
    assert!(observed.look().unwrap_err().is_invalid());
    observed.stop().unwrap();
}

#[test]
fn a_shutdown_by_the_application_is_its_own_whatever_the_peer_does_then() {
    for how in [Shutdown::Write, Shutdown::Both] {
        for peer_follows in [false, true] {
            let Pair { ours, theirs } = Pair::new();
            let (mut watch, _observed) = observe(&ours, rarely());
            watch.wait_state(State::Up);
            ours.shutdown(how).unwrap();
            let theirs = (!peer_follows).then_some(theirs);
            let (cause, detail) = watch.wait_down();
            assert_eq!(cause, Cause::ClosedByApplication, "{how:?} {peer_follows}: {detail}");
            watch.wait_ended();
            drop((ours, theirs));
        }
    }
}

#[test]
fn a_shut_reading_side_is_no_end() {
    let Pair { ours, mut theirs } = Pair::new();
    let (mut watch, _observed) = observe(&ours, often());
    watch.wait_state(State::Up);
    ours.shutdown(Shutdown::Read).unwrap();
    theirs.write_all(b"still there").unwrap();
    drop(theirs);
    let (cause, detail) = watch.wait_down();
    assert!(matches!(cause, Cause::ClosedByPeer | Cause::Reset), "{cause} {detail}");
}

/// The application closes, and the number is at once that of another file: no other test can get it
/// in between.
fn replace(ours: OwnedFd, by: &impl AsRawFd) -> OwnedFd {
    // SAFETY: both are open descriptors, and `ours` owns the number before and after.
    let result = unsafe { libc::dup2(by.as_raw_fd(), ours.as_raw_fd()) };
    assert_eq!(result, ours.as_raw_fd());
    ours
}

#[test]
fn a_number_that_is_another_sockets_ends_it_and_that_socket_keeps_its_options() {
    let Pair { ours, theirs: _theirs } = Pair::new();
    let other = Pair::new();
    set_keepalive(&other.ours, 4711, 42, 7);
    let (mut watch, observed) = observe(&ours, rarely());
    watch.wait_state(State::Up);
    let _number = replace(ours.into(), &other.ours);
    let (cause, detail) = watch.wait_down();
    assert_eq!(cause, Cause::ClosedByApplication);
    assert!(detail.contains("another file's by now"), "{detail}");
    watch.wait_ended();
    observed.stop().unwrap();
    assert_eq!(keepalive(&other.ours), (true, 4711, 42, 7));
    assert!(observed.look().is_err(), "the other socket is nobody's business");
}

#[test]
fn a_number_whose_new_socket_has_the_very_options_that_were_set_keeps_them() {
    let Pair { ours, theirs: _theirs } = Pair::new();
    let other = Pair::new();
    let (mut watch, observed) = observe(&ours, rarely());
    watch.wait_state(State::Up);
    let (_, idle, every, count) = keepalive(&ours);
    set_keepalive(&other.ours, idle, every, count);
    let _number = replace(ours.into(), &other.ours);
    observed.stop().unwrap(); // before any look has noticed
    assert_eq!(keepalive(&other.ours), (true, idle, every, count));
}

#[test]
fn a_number_that_is_a_files_ends_it() {
    let Pair { ours, theirs: _theirs } = Pair::new();
    let (mut watch, _observed) = observe(&ours, rarely());
    watch.wait_state(State::Up);
    let (pipe, _writer) = std::io::pipe().unwrap();
    let _number = replace(ours.into(), &pipe);
    assert_eq!(watch.wait_down().0, Cause::ClosedByApplication);
    watch.wait_ended();
}

#[test]
fn an_end_by_request_says_ended_and_blames_nobody() {
    let pair = Pair::new();
    let (mut watch, observed) = observe(&pair.ours, rarely());
    watch.wait_state(State::Up);
    let start = Instant::now();
    observed.stop().unwrap();
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    watch.wait_ended();
    assert_eq!(watch.states(), [State::Up]);
    assert_eq!(watch.count(|kind| matches!(kind, EventKind::Disconnected { .. })), 0);
    (&pair.ours).write_all(b"as before").unwrap();
    (&pair.theirs).read_exact(&mut [0; 9]).unwrap();
    observed.stop().unwrap();
}
