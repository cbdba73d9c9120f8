//! HTTP on a real socket: one kept connection, ends that are announced and ends that are not.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

fn hourly() -> Heartbeat {
    Heartbeat::every(Duration::from_secs(3600)).timeout(ms(5000))
}

#[test]
fn a_server_that_died_is_told_at_once_though_no_beat_is_due() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (up, is_up) = crossbeam_channel::bounded::<()>(0);
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        request(&mut stream).unwrap();
        stream.write_all(OK).unwrap();
        is_up.recv().unwrap();
        // As a process that dies: nobody listens any more when the connection ends.
        drop(listener);
    });
    let mut watch = Watch::new(address, hourly(), head());
    watch.wait_state(State::Up);
    up.send(()).unwrap();
    server.join().unwrap();
    assert_eq!(watch.wait_down().0, Cause::Refused);
    assert_eq!(renewals(&watch), 1, "the end itself was one that a server may make");
}

#[test]
fn an_end_that_was_not_to_be_expected_is_checked_and_convicts_nobody() {
    let (end, ended) = crossbeam_channel::bounded::<()>(0);
    let peer = Peer::new(move |mut visit| {
        if matches!(visit.nth, 0 | 3) {
            request(&mut visit.stream)?;
            visit.say(OK)?;
        }
        let _ = ended.recv();
        Ok(())
    });
    let mut watch = Watch::new(peer.address, hourly(), head());
    watch.wait_state(State::Up);
    end.send(()).unwrap();
    eventually("a fresh connection, at once", || peer.visits() == 2);
    // It waits for its request in vain, and ends as well. Once more.
    end.send(()).unwrap();
    eventually("another one", || peer.visits() == 3);
    std::thread::sleep(ms(300)); // it waits longer than the one before, so that is no habit
    // Then accepting alone tells nothing any more, and a beat is asked, a moment later.
    end.send(()).unwrap();
    watch.wait_beats(1);
    let status = watch.status();
    assert_eq!((watch.states(), status.missed, status.sent), (vec![State::Up], 0, 2));
    assert_eq!((status.renewals, peer.visits()), (3, 4));
}

#[test]
fn last_words_and_resets_between_two_beats_are_ends_like_any_other() {
    let late = b"HTTP/1.0 408 Request Time-out\r\nConnection: close\r\n\r\n<p>late</p>";
    for (words, reset) in [(late.as_slice(), false), (b"", true), (late, true), (b"what?", false)] {
        let peer = Peer::new(move |mut visit| {
            request(&mut visit.stream)?;
            visit.say(OK)?;
            visit.say(words)?;
            if reset { visit.reset() } else { Ok(()) }
        });
        let mut watch = Watch::new(peer.address, often(), head());
        watch.wait_beats(10);
        assert_untroubled(&watch);
        let status = watch.status();
        assert_eq!((status.sent - status.acked <= 1, status.late), (true, 0), "{status:?}");
    }
}

#[test]
fn a_beat_that_crosses_the_end_of_its_connection_is_sent_once_more_and_counts_once() {
    let requests = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&requests);
    // It reads the second request of each connection and ends it without an answer: to us that is
    // the same as having ended it just before.
    let peer = Peer::new(move |mut visit| {
        request(&mut visit.stream)?;
        visit.say(OK)?;
        request(&mut visit.stream)?;
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let mut watch = Watch::new(peer.address, often(), head());
    watch.wait_beats(12);
    assert_untroubled(&watch);
    let status = watch.status();
    assert!(status.sent - status.acked <= 1, "{status:?}");
    assert!(requests.load(Ordering::SeqCst) >= 1, "one at least, until the limit is known");
}

#[test]
fn a_beat_that_must_not_run_twice_is_not_sent_again_and_its_round_is_left_out() {
    let (requests, crossed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (all, met) = (Arc::clone(&requests), Arc::clone(&crossed));
    let peer = Peer::new(move |mut visit| {
        request(&mut visit.stream)?;
        all.fetch_add(1, Ordering::SeqCst);
        visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        request(&mut visit.stream)?;
        all.fetch_add(1, Ordering::SeqCst);
        met.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let post = head().method("POST").unwrap();
    let mut watch = Watch::new(peer.address, often(), post);
    watch.wait_beats(8);
    watch.coordinator.stop().unwrap();
    assert_untroubled(&watch);
    let status = watch.status();
    let [requests, crossed] = [requests, crossed].map(|count| count.load(Ordering::SeqCst));
    assert!(crossed >= 1, "one at least, until the limit is known");
    assert_eq!(requests, status.sent, "each beat was asked for once: {status:?}");
    assert!(status.sent - status.acked >= crossed, "{crossed} rounds are left out: {status:?}");
}

#[test]
fn an_end_on_a_fresh_connection_without_a_byte_is_a_verdict() {
    let peer = Peer::new(|mut visit| {
        request(&mut visit.stream)?;
        Ok(())
    });
    let mut watch = Watch::new(peer.address, quick(), head());
    assert_eq!(watch.wait_down().0, Cause::ClosedByPeer);
    assert!(peer.visits() <= 2, "{} connections", peer.visits());
}

#[test]
fn an_announced_limit_is_kept_away_from() {
    let peer = Peer::new(|mut visit| {
        // It announces a limit and keeps none: whatever ends a connection here is this side.
        loop {
            request(&mut visit.stream)?;
            visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=1\r\n\r\n")?;
        }
    });
    // Each beat goes out at about the moment when the server would end the connection.
    let beat = Heartbeat::every(ms(1000)).timeout(ms(5000)).jitter(0.02);
    let mut watch = Watch::new(peer.address, beat, head());
    watch.wait_beats(4);
    assert_untroubled(&watch);
    let of_ours = |kind: &EventKind| match kind {
        EventKind::Disconnected { loss, .. } => loss.detail.contains("ends it after about 1.0s"),
        _ => false,
    };
    assert!(watch.count(of_ours) >= 2, "{} were renewed for a beat", watch.count(of_ours));
}

#[test]
fn the_body_of_an_answer_to_head_costs_its_connection_and_no_beat() {
    for late in [false, true] {
        let peer = Peer::new(move |mut visit| {
            loop {
                request(&mut visit.stream)?;
                visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")?;
                if late {
                    std::thread::sleep(ms(5)); // a slow server
                }
                visit.say(b"hello")?;
            }
        });
        let mut watch = Watch::new(peer.address, often(), head());
        watch.wait_beats(10);
        assert_untroubled(&watch);
        assert!(watch.status().sent - watch.status().acked <= 1, "{late}: {:?}", watch.status());
    }
}

#[test]
fn a_server_without_head_is_up_by_get_and_the_first_beat_counts_once() {
    let peer = Peer::new(|mut visit| {
        loop {
            let text = request(&mut visit.stream)?;
            let status = if text.starts_with("GET ") { "200 OK" } else { "405 No" };
            visit.say(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
        }
    });
    let mut watch = Watch::new(peer.address, often(), head());
    watch.wait_beats(5);
    assert_untroubled(&watch);
    assert_eq!((renewals(&watch), peer.visits()), (1, 2), "told once");
    let status = watch.status();
    assert!(status.sent - status.acked <= 1, "{status:?}");
    // One that knows neither is Down, and not asked without end.
    let neither = Peer::new(|mut visit| {
        loop {
            request(&mut visit.stream)?;
            visit.say(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n")?;
        }
    });
    let mut watch = Watch::new(neither.address, quick(), head());
    assert_eq!(watch.wait_down().0, Cause::BadStatus);
    assert!(neither.visits() <= 3, "{} connections", neither.visits());
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
