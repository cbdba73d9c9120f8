//! The protocols on a real socket.

use std::io::{Read, Write};
use std::time::Duration;

use keepbeat::protocol::{Frame, Rejected};
use keepbeat::{Cause, ConnectOnly, EventKind, Heartbeat, Line, Protocol, Redis, Responder, State};

use crate::peer::{Peer, Visit};
use crate::watching::{Watch, ms, quick};

#[test]
fn line_pairs_beats_and_acks_by_number_so_a_reply_left_out_is_one_miss() {
    fn read_line(visit: &mut Visit) -> std::io::Result<Vec<u8>> {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while byte != *b"\n" {
            visit.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        Ok(line)
    }
    let peer = Peer::new(|mut visit| {
        for beat in 1.. {
            let line = read_line(&mut visit)?;
            assert_eq!(line, format!("beat {beat}\n").into_bytes());
            if beat != 3 {
                visit.stream.write_all(format!("ack {beat}\n").as_bytes())?;
            }
        }
        Ok(())
    });
    let mut watch = Watch::new(peer.address, quick(), Line);
    watch.wait_state(State::Suspect);
    watch.wait_state(State::Up);
    watch.wait_beats(3);
    let status = watch.status();
    assert_eq!((status.missed, status.late, peer.visits()), (1, 0, 1));
}

#[test]
fn an_echo_is_no_ack() {
    let echo = |mut visit: Visit| {
        let mut buffer = [0; 256];
        loop {
            let n = visit.stream.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            visit.say(&buffer[..n])?;
        }
    };
    let peer = Peer::new(echo);
    for protocol in [Box::new(Line) as Box<dyn Protocol>, Box::new(Redis::new())] {
        let mut watch = Watch::new(peer.address, quick(), protocol);
        let (cause, detail) = watch.wait_down();
        assert_eq!(cause, Cause::WrongReply);
        assert!(detail.contains("is it an echo?"), "{detail}");
    }
}

#[test]
fn an_echo_of_the_login_does_not_show_the_password() {
    let peer = Peer::new(|mut visit| {
        let mut buffer = [0; 256];
        let n = visit.stream.read(&mut buffer)?;
        visit.say(b"+")?;
        visit.say(&buffer[..n])?;
        visit.swallow()
    });
    let locked = Redis::new().user("monitor").password("s3cret");
    let mut watch = Watch::new(peer.address, quick(), locked);
    let (cause, detail) = watch.wait_down();
    assert_eq!(cause, Cause::WrongReply);
    assert!(!detail.contains("s3cret") && !detail.contains("monitor"), "{detail}");
}

#[test]
fn connect_only_is_up_by_its_connection_and_notices_the_end() {
    let peer = Peer::new(|mut visit| match visit.nth {
        0 => {
            visit.say(b"220 mail.example ESMTP\r\n")?;
            // It must not hear a byte.
            visit.stream.set_read_timeout(Some(ms(800)))?;
            assert!(visit.stream.read(&mut [0; 1]).is_err());
            Ok(())
        }
        _ => visit.swallow(),
    });
    let beat = Heartbeat::every(ms(50)).timeout(ms(1000)).backoff(ms(20), ms(50));
    let mut watch = Watch::new(peer.address, beat, ConnectOnly);
    watch.wait_state(State::Up);
    assert_eq!(watch.wait_down().0, Cause::ClosedByPeer);
    watch.wait_state(State::Up);
    let no_rtt = |kind: &EventKind| matches!(kind, EventKind::Beat { rtt: Some(_), .. });
    assert_eq!(watch.count(no_rtt), 0, "a beat that nobody answered has no round-trip time");
    assert_eq!(watch.status().rtt.last(), None);
}

struct Panics;

impl Protocol for Panics {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        assert!(seq < 3, "on purpose");
        out.extend_from_slice(b"heartbeat");
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        Ok((bytes.len() >= 13).then_some((Frame::Ack(None), 13)))
    }
}

#[test]
fn a_panic_in_a_protocol_takes_down_its_own_link_and_no_other() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let beat = Heartbeat::every(ms(50)).timeout(ms(2000));
    let mut watch = Watch::new(peer.address, beat.clone(), Panics);
    let other = watch.coordinator.watch(peer.address, beat, crate::watching::tutorial()).unwrap();
    let down = watch.wait_state(State::Down);
    assert_eq!(down.link(), Some(watch.link));
    assert_eq!(down.kind().cause(), Some(Cause::ProtocolPanicked));
    assert!(down.to_string().contains("on purpose"), "{down}");
    watch.wait("end", |kind| *kind == EventKind::Ended);
    assert!(watch.status().ended && watch.status().state == State::Down);
    let acked = watch.coordinator.status(other).unwrap().acked;
    crate::watching::eventually("the other link beats on", || {
        watch.coordinator.status(other).unwrap().acked > acked + 3
    });
    let status = watch.coordinator.status(other).unwrap();
    assert_eq!((status.state, status.missed), (State::Up, 0));
    watch.coordinator.remove(watch.link).unwrap();
}

#[test]
fn a_redis_stand_in_answers_pings_of_both_kinds() {
    let responder = Responder::bind("127.0.0.1:0", Redis::new).unwrap();
    for protocol in [Redis::new(), Redis::new().inline()] {
        let mut watch = Watch::new(responder.local_addr(), quick(), protocol);
        watch.wait_state(State::Up);
    }
}

#[test]
fn refused_credentials_are_tried_again_only_after_ten_seconds() {
    let peer = Peer::new(|mut visit| {
        let _ = visit.stream.read(&mut [0; 256])?;
        visit.say(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n")?;
        visit.swallow()
    });
    let beat = quick().backoff(ms(1), ms(1));
    let mut watch = Watch::new(peer.address, beat, Redis::new().password("wrong"));
    let down = watch.wait_state(State::Down).time();
    assert_eq!(watch.seen.last().unwrap().kind().cause(), Some(Cause::LoginRefused));
    let again = watch.wait("second attempt", |kind| matches!(kind, EventKind::Connected { .. }));
    let waited = again.time().duration_since(down).unwrap();
    assert!(waited >= ms(9_900), "{waited:?}");
}

#[test]
fn a_panic_in_a_resolver_is_told_and_the_link_goes_on() {
    let coordinator =
        keepbeat::Coordinator::builder().resolver(|_, _| panic!("on purpose")).build().unwrap();
    let link = coordinator.watch("name.test:1", quick(), Line).unwrap();
    let event = coordinator.events().recv_timeout(crate::watching::LIMIT).unwrap();
    assert_eq!(event.kind().cause(), Some(Cause::NameNotResolved), "{event}");
    assert!(event.to_string().contains("the resolver panicked: on purpose"), "{event}");
    assert!(!coordinator.status(link).unwrap().ended);
}

#[test]
fn an_ack_that_was_overtaken_is_late_and_no_crime() {
    // Answers from several threads, say: the second beat's first.
    let peer = Peer::new(|mut visit| {
        let mut lines = [0; 14];
        visit.stream.read_exact(&mut lines)?;
        assert_eq!(&lines, b"beat 1\nbeat 2\n");
        visit.say(b"ack 2\nack 1\n")?;
        visit.swallow()
    });
    let beat = Heartbeat::every(Duration::from_secs(60)).timeout(ms(300)).fall(3);
    let mut watch = Watch::new(peer.address, beat, Line);
    watch.wait_beats(2);
    let status = watch.status();
    assert_eq!((status.state, status.late, status.missed), (State::Up, 1, 1));
    assert_eq!(watch.states(), [State::Up]);
}
