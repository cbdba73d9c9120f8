//! Beats in silence only.

use std::io::Write;
use std::thread;
use std::time::Instant;

use keepbeat::{EventKind, Heartbeat, State};

use crate::watching::ms;

use super::{adopted, line, lines, wait, wait_state};

fn when_idle() -> Heartbeat {
    Heartbeat::every(ms(400)).timeout(ms(5000)).jitter(0.0).when_idle()
}

#[test]
fn no_beat_goes_out_while_the_connection_carries_bytes_both_ways() {
    // Nor for proof of what was read.
    let (coordinator, link, mut theirs) = adopted(when_idle().prove_every(0), lines());
    assert_eq!(line(&mut theirs), "PING");
    theirs.write_all(b"PONG\n").unwrap();
    wait_state(&coordinator, State::Up);
    let start = Instant::now();
    let mut beats = 0;
    while start.elapsed() < ms(3000) {
        link.send("data").unwrap();
        loop {
            match line(&mut theirs).as_str() {
                "data" => break,
                _ => {
                    beats += 1;
                    theirs.write_all(b"PONG\n").unwrap();
                }
            }
        }
        theirs.write_all(b"data\n").unwrap();
        link.frames().recv().unwrap();
        thread::sleep(ms(20)); // an ordinary pace
    }
    // The second may have been planned before the first data came.
    assert!(beats <= 1, "{beats} beats beside data");
    assert_eq!((link.status().state, link.status().missed), (State::Up, 0));
    // Then silence, and beats again.
    for _ in 0..3 {
        assert_eq!(line(&mut theirs), "PING");
        theirs.write_all(b"PONG\n").unwrap();
    }
}

#[test]
fn bytes_in_one_direction_only_do_not_spare_the_beat() {
    let (_coordinator, link, mut theirs) = adopted(when_idle(), lines());
    let mut beats = 0;
    while beats < 4 {
        link.send("data").unwrap();
        while line(&mut theirs) == "PING" {
            beats += 1;
            theirs.write_all(b"PONG\n").unwrap();
        }
        thread::sleep(ms(20)); // an ordinary pace
    }
}

#[test]
fn data_of_the_peer_is_life_where_its_ack_is_late() {
    let heartbeat = Heartbeat::every(ms(200)).timeout(ms(400)).fall(2);
    let (coordinator, link, mut theirs) = adopted(heartbeat, lines());
    let reader = thread::spawn({
        let link = link.try_clone().unwrap();
        move || link.data().count()
    });
    let start = Instant::now();
    while start.elapsed() < ms(3000) {
        theirs.write_all(b"data\n").unwrap();
        thread::sleep(ms(20)); // an ordinary pace
    }
    let status = link.status();
    assert_eq!((status.state, status.missed, status.acked), (State::Up, 0, 0));
    wait(&coordinator, "a round with life", |kind| matches!(kind, EventKind::Alive { .. }));
    drop(theirs);
    assert!(reader.join().unwrap() > 50);
}
