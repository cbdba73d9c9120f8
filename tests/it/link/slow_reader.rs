//! An application that does not take its frames: backpressure, and no alarm about the peer.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Adopt, Cause, Coordinator, EventKind, Heartbeat, Received, State};

use crate::watching::{eventually, ms};

use super::{line, lines, next, pair, wait_state};

#[test]
fn a_slow_reader_makes_backpressure_and_is_not_the_peers_death() {
    let (ours, mut theirs) = pair();
    let coordinator = Coordinator::new().unwrap();
    // Long enough that a pause of this test itself, before the flood, is no miss; and twice over in
    // the time for which the reader takes nothing.
    let heartbeat = Heartbeat::every(ms(200)).timeout(ms(600)).fall(2);
    let adopt = Adopt::new(ours).frames_capacity(4);
    let link = coordinator.adopt(adopt, heartbeat, lines()).unwrap();
    assert_eq!(line(&mut theirs), "PING");
    theirs.write_all(b"PONG\n").unwrap();
    wait_state(&coordinator, State::Up);
    // The peer floods and never acks again: its acks would be behind the data anyway.
    let flood = [&[b'x'; 50_000][..], b"\n"].concat();
    theirs.set_write_timeout(Some(ms(500))).unwrap();
    let mut written = 0;
    let stuck = loop {
        match theirs.write(&flood[written % flood.len()..]) {
            Ok(n) => written += n,
            Err(error) => break error,
        }
    };
    assert_eq!(stuck.kind(), std::io::ErrorKind::WouldBlock, "{stuck}");
    // What the kernels hold, and four frames; not gigabytes.
    assert!(written < 32 << 20, "{written} bytes were taken for a reader that takes none");
    let start = Instant::now();
    while start.elapsed() < ms(2500) {
        let status = link.status();
        assert_eq!((status.state, status.unread), (State::Up, true));
        thread::sleep(ms(50)); // between two looks
    }
    assert_eq!(link.status().missed, 0, "our slow reader is not the peer's death");
    // Then it reads, and finds everything.
    let whole = written / flood.len();
    for _ in 0..whole {
        assert!(matches!(next(&link), Received::Frame(data) if data.len() == 50_000));
    }
    eventually("an end of the backpressure", || !link.status().unread);
}

#[test]
fn a_reset_is_known_at_once_though_nobody_takes_frames() {
    let (ours, mut theirs) = pair();
    let coordinator = Coordinator::new().unwrap();
    let adopt = Adopt::new(ours).frames_capacity(1);
    let heartbeat = Heartbeat::every(ms(60_000)).timeout(ms(5000));
    let link = coordinator.adopt(adopt, heartbeat, lines()).unwrap();
    theirs.write_all(&b"data\n".repeat(100)).unwrap();
    eventually("backpressure", || link.status().unread);
    let start = Instant::now();
    socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
    drop(theirs);
    let down = wait_state(&coordinator, State::Down);
    assert_eq!(down.kind().cause(), Some(Cause::Reset));
    assert!(start.elapsed() < ms(2000), "{:?}", start.elapsed());
    let all: Vec<_> = link.frames().iter().collect();
    assert!(matches!(all.last(), Some(Received::Lost { loss, .. }) if loss.cause == Cause::Reset));
    let ended = |kind: &EventKind| matches!(kind, EventKind::Ended);
    super::wait(&coordinator, "the end", ended);
}

#[test]
fn frames_before_a_close_are_all_taken_though_the_reader_is_slow() {
    let (ours, mut theirs) = pair();
    let coordinator = Coordinator::new().unwrap();
    let adopt = Adopt::new(ours).frames_capacity(1);
    let heartbeat = Heartbeat::every(ms(60_000)).timeout(ms(5000));
    let link = coordinator.adopt(adopt, heartbeat, lines()).unwrap();
    for n in 0..500 {
        theirs.write_all(format!("{n}\n").as_bytes()).unwrap();
    }
    line(&mut theirs);
    drop(theirs);
    eventually("backpressure", || link.status().unread);
    for n in 0..500 {
        assert_eq!(next(&link), Received::Frame(n.to_string().into_bytes()));
    }
    assert!(matches!(next(&link), Received::Lost { .. }));
}
