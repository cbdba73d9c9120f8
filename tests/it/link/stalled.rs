//! A peer that does not read: writers wait, up to the write timeout; nothing deadlocks, and a death
//! is found all the same.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Cause, EventKind, Heartbeat, State};

use crate::watching::{LIMIT, eventually, ms};

use super::{adopted, line, lines, lost, often, rarely, wait, wait_state};

/// Fills the connection until nothing goes any more.
const BIG: usize = 60_000;

/// More than the kernels have room for.
const MUCH: usize = 20_000_000;

#[test]
fn both_ends_blocked_in_write_is_no_deadlock() {
    let heartbeat = often().write_timeout(ms(3000));
    let (coordinator, link, theirs) = adopted(heartbeat, lines());
    // The peer writes without end and reads only what its own writer leaves time for: nothing,
    // until that is told to stop.
    let enough = Arc::new(AtomicBool::new(false));
    let mut out = theirs.try_clone().unwrap();
    let told = Arc::clone(&enough);
    let writing = thread::spawn(move || {
        let data = [&[b'x'; 1000][..], b"\n"].concat();
        let mut lines = 0_u64;
        while !told.load(Ordering::SeqCst) {
            out.write_all(&data).unwrap();
            lines += 1;
        }
        lines
    });
    let taken = thread::spawn({
        let link = link.try_clone().unwrap();
        move || link.data().count() as u64
    });
    // Our own writer blocks: the peer reads nothing. Yet its frames are read.
    let start = Instant::now();
    let stalled = (0..10_000).find_map(|_| link.send([b'y'; BIG]).err()).expect("it stalls");
    assert_eq!(stalled.cause(), Some(Cause::WriteStalled), "{stalled}");
    assert!(start.elapsed() >= ms(2900), "the write timeout is waited for");
    let (cause, detail) = lost_by_event(&coordinator);
    assert_eq!(cause, Cause::WriteStalled, "{detail}");
    enough.store(true, Ordering::SeqCst);
    // The connection is gone: the peer's writer ends by it, too.
    theirs.set_read_timeout(Some(LIMIT)).unwrap();
    drop(theirs);
    let _ = writing.join();
    assert!(taken.join().unwrap() > 1000, "the peer's frames were read all the while");
}

#[test]
fn a_peer_that_reads_only_when_it_has_written_all_gets_all() {
    let (_coordinator, link, mut theirs) =
        adopted(often().timeout(ms(20_000)).write_timeout(ms(20_000)), lines().limit(MUCH));
    let taken = thread::spawn({
        let link = link.try_clone().unwrap();
        move || link.data().map(|data| data.len() + 1).sum::<usize>()
    });
    assert_eq!(line(&mut theirs), "PING");
    theirs.write_all(b"PONG\n").unwrap();
    eventually("the ack", || link.status().acked == 1); // and so the next beat will be due
    // Nobody writes any more, and the rest of a frame waits: the link's own thread sees to it, and
    // to a beat behind it.
    eventually("its turn", || link.try_send(vec![b'y'; MUCH]).is_ok());
    thread::sleep(ms(300)); // into the wait for room
    let start = Instant::now();
    theirs.write_all(&[&[b'x'; 9_999][..], b"\n"].concat().repeat(MUCH / 10_000)).unwrap();
    assert!(start.elapsed() < ms(15_000), "it had to wait for our writes: {:?}", start.elapsed());
    let (mut bytes, mut heard, mut answered) = (vec![0; 1 << 20], 0, 0);
    while heard - answered < MUCH + 1 {
        let n = theirs.read(&mut bytes).unwrap();
        let beats = count(&bytes[..n]);
        theirs.write_all(&b"PONG\n".repeat(beats)).unwrap();
        (heard, answered) = (heard + n, answered + beats * "PING\n".len());
    }
    assert_eq!((link.loss(), link.status().missed), (None, 0));
    theirs.shutdown(Shutdown::Both).unwrap();
    assert_eq!(taken.join().unwrap(), MUCH, "all that it wrote");
}

#[test]
fn whoever_waits_for_its_turn_waits_as_long_as_it_said() {
    let heartbeat = rarely().write_timeout(ms(20_000));
    let (_coordinator, link, theirs) = adopted(heartbeat, lines().limit(MUCH));
    let blocked = link.try_clone().unwrap();
    thread::spawn(move || blocked.send(vec![b'y'; MUCH]));
    let begun = |bytes: usize| bytes > "PING\n".len(); // it is in its write
    eventually("its write", || theirs.peek(&mut [0; 64]).is_ok_and(begun));
    let start = Instant::now();
    let error = link.send_deadline("x", start + ms(300)).unwrap_err();
    assert!(error.is_timeout() && error.cause().is_none(), "{error}");
    assert!((ms(290)..ms(5000)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

fn lost_by_event(coordinator: &keepbeat::Coordinator) -> (Cause, String) {
    match wait_state(coordinator, State::Down).kind() {
        EventKind::State { loss: Some(loss), .. } => (loss.cause, loss.detail.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn while_writers_wait_for_the_peer_a_reset_is_known_at_once_to_all_of_them() {
    let heartbeat = often().write_timeout(ms(20_000));
    let (coordinator, link, theirs) = adopted(heartbeat, lines());
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let link = link.try_clone().unwrap();
            thread::spawn(move || {
                let error = (0..100_000).find_map(|_| link.send([b'y'; BIG]).err()).unwrap();
                (error.cause(), Instant::now())
            })
        })
        .collect();
    // One is blocked in the kernel, the others behind it.
    let busy = || link.try_send("x").is_err_and(|error| error.is_busy());
    eventually("the writers to stall", || (0..10).all(|_| busy() && rested()));
    let start = Instant::now();
    socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
    drop(theirs);
    for writer in writers {
        let (cause, at) = writer.join().unwrap();
        assert_eq!(cause, Some(Cause::Reset));
        assert!(at - start < ms(2000), "{:?}", at - start);
    }
    assert_eq!(lost(&link).0, Cause::Reset);
    assert!(link.send("x").unwrap_err().cause() == Some(Cause::Reset));
    wait(&coordinator, "the end", |kind| matches!(kind, EventKind::Ended));
}

#[test]
fn a_beat_that_waits_for_a_slow_peer_goes_out_between_two_frames() {
    let (_coordinator, link, mut theirs) = adopted(often(), lines());
    let writer = thread::spawn({
        let link = link.try_clone().unwrap();
        move || (0..40).for_each(|_| assert!(link.send([b'y'; BIG]).is_ok()))
    });
    // It reads slowly, everything, and finds whole lines only.
    let (mut all, mut chunk) = (Vec::new(), vec![0; 20_000]);
    while all.len() < 40 * (BIG + 1) {
        let n = theirs.read(&mut chunk).unwrap();
        all.extend_from_slice(&chunk[..n]);
        theirs.write_all(&b"PONG\n".repeat(count(&chunk[..n]))).unwrap();
        thread::sleep(ms(5)); // it is slow
    }
    writer.join().unwrap();
    let text = String::from_utf8(all).unwrap();
    let beats = text.split_terminator('\n').filter(|line| {
        assert!(*line == "PING" || line.bytes().all(|b| b == b'y'), "{:.80}", line);
        *line == "PING"
    });
    assert!(beats.count() >= 2, "beats starved behind the data");
    assert_eq!(link.status().missed, 0);
    theirs.shutdown(Shutdown::Both).unwrap();
}

/// Between two looks.
fn rested() -> bool {
    thread::sleep(ms(20));
    true
}

/// Line ends of beats: a `G` before the end is one, data has none.
fn count(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'G').count()
}

#[test]
fn while_a_beat_waits_for_a_peer_that_does_not_read_its_kernel_vouches_for_it() {
    let heartbeat = Heartbeat::every(ms(200)).timeout(ms(300)).fall(2).write_timeout(ms(4000));
    let (coordinator, link, mut theirs) = adopted(heartbeat, lines());
    assert_eq!(line(&mut theirs), "PING");
    theirs.write_all(b"PONG\n").unwrap();
    wait_state(&coordinator, State::Up);
    let start = Instant::now();
    // Whoever sends without waiting never stalls, and leaves the rest of a frame behind.
    while !link.try_send([b'y'; BIG]).is_err_and(|error| error.is_busy()) {}
    wait(&coordinator, "a round with life", |kind| matches!(kind, EventKind::Alive { .. }));
    let (cause, detail) = lost_by_event(&coordinator);
    assert_eq!(cause, Cause::WriteStalled, "{detail}");
    assert!(start.elapsed() >= ms(3900), "{:?}: {detail}", start.elapsed());
    assert_eq!(link.status().missed, 0);
    drop(theirs);
}
