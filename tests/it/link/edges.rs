//! The edges of frames: beats of both ends at once, acks within data, frames of no length and of
//! the longest.

use std::io::{Read, Write};

use keepbeat::{Coordinator, Framed, Heartbeat, Prefix, Role, State};

use crate::watching::{eventually, ms};

use super::{adopted, frame, line, lines, next, often, pair, rarely, wait_state};

#[test]
fn an_ack_within_the_bytes_of_a_data_frame_is_data() {
    let protocol = Framed::prefixed(Prefix::U16Be, "beat", "ack").unwrap();
    let ack = protocol_bytes(b"ack");
    let (_coordinator, link, mut theirs) = adopted(rarely(), protocol);
    let data = [b"before ", ack.as_slice(), b" after", &protocol_bytes(b"beat")].concat();
    theirs.write_all(&protocol_bytes(&data)).unwrap();
    assert_eq!(next(&link), frame(data.clone()));
    // And out again, as it is.
    let mut first = [0; 6];
    theirs.read_exact(&mut first).unwrap();
    assert_eq!(first, protocol_bytes(b"beat").as_slice());
    link.send(&data).unwrap();
    let mut sent = vec![0; data.len() + 2];
    theirs.read_exact(&mut sent).unwrap();
    assert_eq!(sent, protocol_bytes(&data));
}

/// With a prefix of two bytes.
fn protocol_bytes(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u16).to_be_bytes(), data].concat()
}

#[test]
fn beats_of_both_ends_at_the_same_moment_are_both_acked() {
    let (one, other) = pair();
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(5)).timeout(ms(10_000));
    let links = [one, other].map(|end| coordinator.adopt(end, beat.clone(), lines()).unwrap());
    eventually("a hundred beats each way", || links.iter().all(|link| link.status().acked >= 100));
    for link in &links {
        let status = link.status();
        assert_eq!((status.state, status.missed, status.late), (State::Up, 0, 0));
    }
}

#[test]
fn frames_of_no_length_and_of_the_longest_go_both_ways() {
    let (one, other) = pair();
    let coordinator = Coordinator::new().unwrap();
    let limit = 300_000;
    let protocol = || Framed::prefixed(Prefix::Varint, "beat", "ack").unwrap().limit(limit);
    let one = coordinator.adopt(one, often(), protocol()).unwrap();
    let other = coordinator.adopt(other, often().role(Role::Passive), protocol()).unwrap();
    for data in [vec![], vec![b'l'; limit], vec![], vec![b'm'; limit - 1]] {
        one.send(&data).unwrap();
        assert_eq!(next(&other), frame(data.clone()));
        other.send(&data).unwrap();
        assert_eq!(next(&one), frame(data));
    }
    let error = one.send(vec![b'x'; limit + 1]).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("300000"), "{error}");
    one.send("still open").unwrap();
    assert_eq!(next(&other), frame("still open"));
}

#[test]
fn what_is_no_frame_of_data_is_refused_and_nothing_of_it_is_sent() {
    let (_coordinator, link, mut theirs) = adopted(rarely(), lines());
    assert_eq!(line(&mut theirs), "PING");
    for bad in ["two\nlines", "PING", "PONG"] {
        let error = link.send(bad).unwrap_err();
        assert!(error.is_invalid(), "{error}");
    }
    link.send("good").unwrap();
    assert_eq!(line(&mut theirs), "good");
}

#[test]
fn frames_that_come_byte_by_byte_are_whole() {
    let (coordinator, link, mut theirs) = adopted(often(), lines());
    theirs.set_nodelay(true).unwrap();
    for byte in b"one\nPONG\ntwo\n" {
        theirs.write_all(&[*byte]).unwrap();
    }
    assert_eq!((next(&link), next(&link)), (frame("one"), frame("two")));
    wait_state(&coordinator, State::Up);
}

#[test]
fn bytes_that_the_application_had_read_come_first() {
    let (ours, mut theirs) = pair();
    let coordinator = Coordinator::new().unwrap();
    let adopt = keepbeat::Adopt::new(ours).already_read(b"first\nsec").named("press 7");
    theirs.write_all(b"ond\n").unwrap();
    let link = coordinator.adopt(adopt, rarely(), lines()).unwrap();
    assert_eq!((next(&link), next(&link)), (frame("first"), frame("second")));
    assert_eq!(link.status().name, "press 7");
}
