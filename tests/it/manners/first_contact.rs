//! A target that never answered a beat: what listens there, and what to type.

use keepbeat::{Cause, Confidence, Diagnose, EventKind, Exchange, Heartbeat, Http, Line, Redis};

use super::{fall, read, watch};
use crate::peer::Peer;
use crate::watching::{Watch, ms};

fn tutorial() -> Exchange {
    Exchange::new("heartbeat", "heartbeat_ack").with_any_rest()
}

/// A peer that says so first.
fn greets(bytes: &'static [u8]) -> Peer {
    Peer::new(|mut visit| {
        visit.say(bytes)?;
        visit.swallow()
    })
}

#[test]
fn what_listens_is_named_with_the_command_to_type() {
    for (bytes, name, command) in [
        (b"SSH-2.0-OpenSSH_9.2\r\n".as_slice(), "an SSH server", "`keepbeat connect://HOST`"),
        (b"220 mail.example ESMTP\r\n", "an SMTP server", "`keepbeat HOST --expect 220`"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server", "`keepbeat http://HOST/`"),
        (b"-NOAUTH Authentication required.\r\n", "a Redis", "`keepbeat redis://HOST`"),
        (b"\x15\x03\x01\0\x02\x02\x16", "a server that speaks TLS", "`keepbeat tls+tcp://HOST`"),
        (b"J\0\0\0\n8.0.36\0", "a MySQL or MariaDB server", "`keepbeat connect://HOST`"),
    ] {
        let peer = greets(bytes);
        let (detail, told) = fall(&mut watch("tcp", &peer, tutorial()));
        assert_eq!((told.cause(), told.confidence()), (Cause::WrongReply, Confidence::Certain));
        assert!(detail.starts_with(&format!("it is {name}: expected `heartbeat_ack`")), "{detail}");
        let command = command.replace("HOST", &peer.address.to_string());
        assert!(told.advice().contains(&command), "{told}");
    }
}

#[test]
fn other_schemes_meet_other_services_too_and_no_password_is_repeated() {
    let peer = greets(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let (detail, told) = fall(&mut watch("redis", &peer, Redis::new().password("s3cret")));
    assert!(detail.starts_with("it is an HTTP server: expected `+PONG`"), "{detail}");
    assert!(told.advice().contains(&format!("`keepbeat http://{}/`", peer.address)), "{told}");
    assert!(!told.to_string().contains("s3cret"));
    let peer = greets(b"SSH-2.0-x\r\n");
    let (detail, _) = fall(&mut watch("http", &peer, Http::new("h").unwrap()));
    assert!(detail.starts_with("it is an SSH server: "), "{detail}");
    let peer = greets(b"heartbeat_ack\n");
    let (detail, told) = fall(&mut watch("line", &peer, Line));
    assert!(detail.starts_with("it is a server that answers `heartbeat_ack`: "), "{detail}");
    assert!(told.advice().contains(&format!("`keepbeat tcp://{}`", peer.address)), "{told}");
}

#[test]
fn where_a_beat_was_answered_once_a_wrong_one_is_no_other_service() {
    let peer = Peer::new(|mut visit| {
        visit.ack(1)?;
        visit.beat()?;
        visit.say(b"220 hello\r\n")?;
        visit.swallow()
    });
    let beat = Heartbeat::every(ms(20)).timeout(ms(5000));
    let strict = Exchange::new("heartbeat", "heartbeat_ack");
    let (cause, detail) = Watch::new(peer.address, beat, strict).wait_down();
    assert_eq!(cause, Cause::WrongReply);
    assert!(!detail.contains("it is"), "{detail}");
}

/// What is told of beats that are not answered, once it is told more than possibly.
fn silence(peer: &Peer, protocol: Exchange) -> std::sync::Arc<keepbeat::Diagnosis> {
    let beat = Heartbeat::every(ms(300)).timeout(ms(300)).fall(3).diagnose(Diagnose::kernel());
    let mut watch = Watch::new(peer.address, beat, protocol);
    let event = watch.wait("diagnosis", |kind| {
        kind.diagnosis().is_some_and(|told| told.confidence() >= keepbeat::Confidence::Likely)
    });
    std::sync::Arc::clone(event.kind().diagnosis().unwrap())
}

#[test]
fn who_never_answered_is_asked_first_whether_it_knows_these_bytes() {
    let peer = Peer::new(|mut visit| visit.swallow());
    let told = silence(&peer, tutorial());
    assert_eq!(told.cause(), Cause::PeerSilent, "{told}");
    let question = format!("does the service at {} answer these bytes at all", peer.address);
    assert!(told.advice().starts_with(&question), "{told}");
    assert!(told.advice().contains(&format!("`keepbeat connect://{}`", peer.address)), "{told}");
    let peer = Peer::new(|mut visit| {
        visit.ack(1)?;
        visit.swallow()
    });
    let told = silence(&peer, tutorial());
    assert!(told.advice().starts_with("look at the process behind"), "{told}");
}

/// Where the first beat is held back the greeting comes before it, and is in place of nothing.
#[test]
fn who_greets_as_another_service_and_answers_nothing_is_no_silent_peer() {
    let peer = Peer::new(|mut visit| {
        visit.say(b"SSH-2.0-OpenSSH_9.2\r\n")?;
        visit.swallow()
    });
    let beat = Heartbeat::every(ms(300)).timeout(ms(600)).backoff(ms(20), ms(50));
    let beat = beat.diagnose(Diagnose::side_connections());
    let mut watch = Watch::new(peer.address, beat, tutorial());
    for _ in 0..4 {
        watch.wait("miss", |kind| matches!(kind, EventKind::Missed { .. }));
    }
    let told = |event: &keepbeat::Event| event.kind().diagnosis().cloned();
    for told in watch.seen.iter().filter_map(told).chain(watch.status().diagnosis) {
        assert_eq!(told.cause(), Cause::WrongReply, "{told}");
        assert!(told.advice().contains("an SSH server listens there"), "{told}");
    }
}

#[test]
fn an_echo_is_told_as_one_and_not_as_a_part_of_an_answer() {
    let peer = Peer::new(|mut visit| {
        loop {
            let bytes = read(&mut visit)?;
            if bytes.is_empty() {
                return Ok(());
            }
            visit.say(&bytes)?;
        }
    });
    let told = silence(&peer, tutorial());
    assert_eq!((told.cause(), told.confidence()), (Cause::WrongReply, Confidence::Certain));
    assert!(told.advice().contains("--send heartbeat --expect heartbeat`"), "{told}");
    let (_, told) = fall(&mut watch("tcp", &peer, Exchange::new("ping", "pong")));
    assert!(told.advice().contains("choose an ack that differs from the beat"), "{told}");
}

#[test]
fn bytes_behind_an_ack_that_are_none_are_no_silence() {
    let peer = Peer::new(|mut visit| {
        visit.ack(1)?;
        visit.beat()?;
        visit.say(b"?what")?;
        visit.swallow()
    });
    let told = silence(&peer, tutorial());
    assert_eq!((told.cause(), told.confidence()), (Cause::WrongReply, Confidence::Likely));
    assert!(told.advice().contains("`?what`"), "{told}");
}

#[test]
fn an_ack_that_comes_twice_is_told_once_and_fells_nobody() {
    let peer = Peer::new(|mut visit| {
        loop {
            visit.ack(1)?;
            visit.say(crate::peer::ACK)?;
        }
    });
    let beat = Heartbeat::every(ms(50)).timeout(ms(5000));
    let mut watch = Watch::new(peer.address, beat, tutorial());
    watch.wait_beats(5);
    let warned = |kind: &EventKind| matches!(kind, EventKind::Diagnosed { .. });
    assert_eq!(watch.count(warned), 1);
    let event = watch.seen.iter().find(|event| warned(event.kind())).unwrap();
    assert!(event.to_string().contains("unasked-bytes"), "{event}");
    assert!(event.to_string().contains("it answers twice"), "{event}");
    assert_eq!(watch.states(), [keepbeat::State::Up]);
}
