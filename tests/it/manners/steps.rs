//! Conversations in steps, against peers that keep to them, and to peers that do not.

use std::io::Write;
use std::thread::sleep;

use keepbeat::{Cause, EventKind, Heartbeat, State, Steps};

use super::{fall, watch};
use crate::peer::{Peer, Visit};
use crate::watching::{Watch, ms};

/// Reads exactly this.
fn hears(visit: &mut Visit, expected: &[u8]) -> std::io::Result<()> {
    let mut bytes = vec![0; expected.len()];
    std::io::Read::read_exact(&mut visit.stream, &mut bytes)?;
    assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
    Ok(())
}

/// A peer that says and hears in turn: first once, then again and again.
fn plays(
    once: &'static [(&'static [u8], &'static [u8])],
    again: (&'static [u8], &'static [u8]),
) -> Peer {
    Peer::new(move |mut visit| {
        for (says, then_hears) in once {
            visit.say(says)?;
            hears(&mut visit, then_hears)?;
        }
        loop {
            hears(&mut visit, again.0)?;
            visit.stream.write_all(again.1)?;
        }
    })
}

fn example(name: &str) -> Steps {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/steps");
    Steps::read(format!("{folder}/{name}.steps")).unwrap()
}

#[test]
fn the_steps_that_are_shipped_work_with_peers_that_speak_so() {
    let smtp = plays(
        &[
            (b"220-mx.example\r\n220 ESMTP\r\n", b"EHLO monitor.example\r\n"),
            (b"250-mx.example\r\n250-SIZE\r\n250 HELP\r\n", b""),
        ],
        (b"NOOP\r\n", b"250 2.0.0 Ok\r\n"),
    );
    let imap = plays(
        &[(b"* OK [CAPABILITY IMAP4] ready\r\n", b"")],
        (b"a1 NOOP\r\n", b"* 3 EXISTS\r\na1 OK done\r\n"),
    );
    let pop3 = plays(
        &[
            (b"+OK ready\r\n", b"USER monitor\r\n"),
            (b"+OK\r\n", b"PASS change-me\r\n"),
            (b"+OK 3 messages\r\n", b""),
        ],
        (b"NOOP\r\n", b"+OK\r\n"),
    );
    let ftp = plays(
        &[(b"220 (vsFTPd 3.0.3)\r\n", b"")],
        (b"HELP\r\n", b"214-These are known:\r\n HELP\r\n214 Help OK.\r\n"),
    );
    let plc = plays(&[(b"\x7fPLC\x01\x09\x09", b"")], (b"\x02\0\0\x10", b"\x06\0\0\x10"));
    for (name, peer) in [("smtp", smtp), ("imap", imap), ("pop3", pop3), ("ftp", ftp), ("plc", plc)]
    {
        let beat = Heartbeat::every(ms(20)).timeout(ms(5000));
        let mut watch = Watch::new(peer.address, beat, example(name));
        watch.wait_beats(5);
        let status = watch.status();
        assert_eq!((status.state, status.missed), (State::Up, 0), "{name}");
        assert_eq!(peer.visits(), 1, "{name}");
    }
}

#[test]
fn a_beat_of_two_questions_is_acked_by_the_second_answer() {
    let peer = Peer::new(|mut visit| {
        loop {
            hears(&mut visit, b"get keepbeat\r\n")?;
            visit.say(b"END\r\n")?;
            hears(&mut visit, b"version\r\n")?;
            visit.say(b"VERSION 1.6.18\r\n")?;
        }
    });
    let beat = Heartbeat::every(ms(20)).timeout(ms(5000));
    Watch::new(peer.address, beat, example("memcached")).wait_beats(5);
}

#[test]
fn a_greeting_alone_is_read_the_connection_is_held_and_its_end_is_told() {
    let peer = Peer::new(|mut visit| {
        sleep(ms(100)); // it takes its time
        visit.say(b"SSH-2.0-OpenSSH_9.2\r\n")?;
        // It must not hear a byte.
        visit.stream.set_read_timeout(Some(ms(800)))?;
        assert!(std::io::Read::read(&mut visit.stream, &mut [0; 1]).is_err());
        visit.say(b"too many unauthenticated connections\r\n")
    });
    let mut watch = watch("tcp", &peer, example("ssh"));
    watch.wait_state(State::Up);
    let (detail, told) = fall(&mut watch);
    assert_eq!(told.cause(), Cause::ClosedWithReason, "{told}");
    assert!(detail.contains("`too many unauthenticated connections`"), "{detail}");
    watch.wait_state(State::Up);
    assert_eq!(peer.visits(), 2);
}

#[test]
fn another_greeting_is_a_wrong_reply_and_a_peer_that_says_nothing_is_missed() {
    let peer = Peer::new(|mut visit| {
        visit.say(b"220 mail.example ESMTP\r\n")?;
        visit.swallow()
    });
    let (detail, told) = fall(&mut watch("tcp", &peer, Steps::greeting("SSH-")));
    assert_eq!(told.cause(), Cause::WrongReply, "{told}");
    assert!(detail.starts_with("it is an SMTP server: expected `SSH-`, got `220 mail"), "{detail}");

    let mute = Peer::new(|mut visit| visit.swallow());
    let beat = Heartbeat::every(ms(300)).timeout(ms(200)).fall(2).backoff(ms(20), ms(50));
    let mut watch = Watch::new(mute.address, beat, Steps::greeting("SSH-"));
    watch.wait("miss", |kind| matches!(kind, EventKind::Missed { .. }));
    watch.wait_state(State::Down);
    watch
        .wait("another connection", |kind| matches!(kind, EventKind::Connected { attempt: 2, .. }));
}

#[test]
fn a_refused_login_is_told_without_what_was_sent() {
    let peer = Peer::new(|mut visit| {
        visit.say(b"220 ready\r\n")?;
        hears(&mut visit, b"LOGIN bob hunter22\r\n")?;
        visit.say(b"535 no: bob hunter22\r\n")?;
        visit.swallow()
    });
    let steps = Steps::parse("expect 220\nsend LOGIN bob hunter22\\r\\n\nexpect 235\n").unwrap();
    let (detail, told) = fall(&mut watch("tcp", &peer, steps));
    assert_eq!(told.cause(), Cause::LoginRefused, "{told}");
    assert_eq!(detail, r"the step of line 3 expected `235`, got `535 no: *** ***\r\n`");
}

#[test]
fn each_step_has_the_time_of_an_ack_and_a_slow_opening_is_no_miss() {
    let peer = Peer::new(|mut visit| {
        for _ in 0..3 {
            sleep(ms(900));
            visit.say(b"220 step\r\n")?;
        }
        loop {
            hears(&mut visit, b"NOOP")?;
            visit.say(b"250 ok\r\n")?;
        }
    });
    let steps = "expect 220\nexpect 220\nexpect 220\nbeat\nsend NOOP\nexpect 250";
    let beat = Heartbeat::every(ms(60_000)).timeout(ms(2000));
    let mut watch = Watch::new(peer.address, beat, Steps::parse(steps).unwrap());
    watch.wait_state(State::Up);
    assert_eq!(watch.misses(), 0);
    let rtt = watch.status().rtt.last().unwrap();
    assert!(rtt < ms(900), "that of the beat alone: {rtt:?}");
}
