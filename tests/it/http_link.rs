//! HTTP on a real socket: one kept connection, ends that are announced and ends that are not.

use std::io::{self, Read};
use std::time::Duration;

use keepbeat::{Cause, EventKind, Heartbeat, Http, State};

use crate::peer::{Peer, Visit};
use crate::watching::{Watch, eventually, ms, quick};

/// Reads one request, up to its empty line.
pub fn request(stream: &mut impl Read) -> io::Result<String> {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        text.push(byte[0]);
    }
    Ok(String::from_utf8(text).unwrap())
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
const CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";

fn head() -> Http {
    Http::new("peer.test").unwrap()
}

fn often() -> Heartbeat {
    Heartbeat::every(ms(20)).timeout(ms(5000)).backoff(ms(50), ms(200))
}

fn renewals(watch: &Watch) -> usize {
    watch.count(|kind| kind.cause() == Some(Cause::Renewed))
}

/// No Down, no miss, no failed attempt: every connection that ended was renewed.
fn assert_untroubled(watch: &Watch) {
    assert_eq!((watch.states(), watch.misses()), (vec![State::Up], 0));
    let ended = watch.count(|kind| matches!(kind, EventKind::Disconnected { .. }));
    assert_eq!(ended, renewals(watch));
}

#[test]
fn one_connection_carries_every_beat() {
    let peer = Peer::new(|mut visit| {
        loop {
            let text = request(&mut visit.stream)?;
            assert!(text.starts_with("HEAD / HTTP/1.1\r\nHost: peer.test\r\n"), "{text}");
            visit.say(OK)?;
        }
    });
    let mut watch = Watch::new(peer.address, often(), head());
    watch.wait_beats(20);
    assert_untroubled(&watch);
    assert_eq!((peer.visits(), renewals(&watch)), (1, 0));
}

#[test]
fn a_server_that_announces_its_ends_is_never_down_and_no_ack_is_lost() {
    let peer = Peer::new(|mut visit| {
        for answer in [OK, OK, CLOSE] {
            request(&mut visit.stream)?;
            visit.say(answer)?;
        }
        Ok(())
    });
    let mut watch = Watch::new(peer.address, often(), head());
    watch.wait_beats(30);
    assert_untroubled(&watch);
    let status = watch.status();
    assert!(status.acked >= 30 && status.sent - status.acked <= 1, "{status:?}");
    let renewed = renewals(&watch);
    assert!((9..=10).contains(&renewed), "{renewed}: every third answer is the last one");
    assert!(peer.visits() <= renewed + 1, "{} connections: it spins", peer.visits());
}

#[test]
fn a_server_that_keeps_nothing_costs_a_connect_a_beat_and_no_more() {
    let peer = Peer::new(|mut visit| {
        request(&mut visit.stream)?;
        visit.say(b"HTTP/1.0 200 OK\r\n\r\nno length, so this ends with the connection")
    });
    let get = head().expect_body("ends with").unwrap();
    let mut watch = Watch::new(peer.address, often(), get);
    watch.wait_beats(10);
    assert_untroubled(&watch);
    // Nothing is opened before the next beat: no connection lies idle at the server's door.
    let (visits, status) = (peer.visits(), watch.status());
    assert!(visits as u64 <= status.sent + 1, "{visits} connections for {status:?}");
}

#[test]
fn an_end_without_announcement_is_told_at_once() {
    let (close, closing) = crossbeam_channel::bounded::<()>(0);
    let peer = Peer::new(move |mut visit| {
        request(&mut visit.stream)?;
        visit.say(OK)?;
        let _ = closing.recv();
        Ok(())
    });
    let beat = Heartbeat::every(Duration::from_secs(3600)).timeout(ms(5000));
    let mut watch = Watch::new(peer.address, beat, head());
    watch.wait_state(State::Up);
    drop(close);
    assert_eq!(watch.wait_down().0, Cause::ClosedByPeer);
}

#[test]
fn a_renewal_that_fails_is_an_ordinary_loss() {
    let (visit, come) = crossbeam_channel::bounded(1);
    let peer = Peer::new(move |mut visitor: Visit| {
        request(&mut visitor.stream)?;
        if visitor.nth == 0 {
            visitor.say(CLOSE)?;
        } else {
            visit.send(()).unwrap();
        }
        Ok(())
    });
    let mut watch = Watch::new(peer.address, often(), head());
    watch.wait_state(State::Up);
    come.recv_timeout(crate::watching::LIMIT).unwrap();
    assert_eq!(watch.wait_down().0, Cause::ClosedByPeer);
    assert_eq!(renewals(&watch), 1);
}

#[test]
fn a_late_ack_that_ends_the_connection_does_not_blame_the_beat_behind_it() {
    let peer = Peer::new(|mut visit| match visit.nth {
        0 => {
            request(&mut visit.stream)?;
            // The next beat comes only when this one was missed.
            request(&mut visit.stream)?;
            visit.say(CLOSE)?;
            visit.swallow()
        }
        _ => loop {
            request(&mut visit.stream)?;
            visit.say(OK)?;
        },
    });
    let mut watch = Watch::new(peer.address, quick(), head());
    watch.wait_state(State::Up);
    assert_eq!((watch.misses(), renewals(&watch), peer.visits()), (1, 1, 2));
    assert_eq!(watch.states(), [State::Up]);
}

#[test]
fn a_status_that_was_not_expected_takes_it_down() {
    let peer = Peer::new(|mut visit| {
        request(&mut visit.stream)?;
        visit.say(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")?;
        visit.swallow()
    });
    let mut watch = Watch::new(peer.address, quick(), head());
    let (cause, detail) = watch.wait_down();
    assert_eq!(cause, Cause::BadStatus);
    assert_eq!(detail, "503 Service Unavailable, expected 200 to 399");
    let unavailable = head().expect_status(503..=503).unwrap();
    Watch::new(peer.address, quick(), unavailable).wait_state(State::Up);
}

#[test]
fn a_body_of_megabytes_is_read_and_passed_by() {
    let big = vec![b'x'; 3 << 20];
    let peer = Peer::new(move |mut visit| {
        loop {
            request(&mut visit.stream)?;
            visit.say(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", big.len()).as_bytes(),
            )?;
            visit.say(&big)?;
        }
    });
    let get = head().method("GET").unwrap();
    let mut watch = Watch::new(peer.address, often(), get);
    watch.wait_beats(3);
    assert_eq!((watch.states(), peer.visits()), (vec![State::Up], 1));
}

#[test]
fn a_body_that_stops_half_way_is_a_partial_reply() {
    let peer = Peer::new(|mut visit| {
        request(&mut visit.stream)?;
        visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nand then nothing")?;
        visit.swallow()
    });
    let get = head().method("GET").unwrap();
    let mut watch = Watch::new(peer.address, quick().fall(1), get);
    assert_eq!(watch.wait_down().0, Cause::PartialReply);
}

#[test]
fn pause_holds_a_renewal_and_stop_ends_it() {
    let peer = Peer::new(|mut visit| {
        request(&mut visit.stream)?;
        visit.say(CLOSE)
    });
    let mut watch = Watch::new(peer.address, often(), head());
    watch.wait_state(State::Up);
    watch.coordinator.pause(watch.link).unwrap();
    // One renewal may be on its way at this moment.
    eventually("ten intervals without a connection", || {
        let before = peer.visits();
        std::thread::sleep(ms(200)); // the fault injected here is "no beat"
        peer.visits() == before
    });
    watch.coordinator.resume(watch.link).unwrap();
    watch.wait_beats(3);
    watch.coordinator.stop().unwrap();
}
