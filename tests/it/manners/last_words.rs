//! Words before an end.

use std::thread::sleep;

use keepbeat::{Cause, Confidence, ConnectOnly, Exchange, Line, Redis};

use super::{fall, read, watch};
use crate::peer::Peer;
use crate::watching::ms;

/// The peer says something, and later its last words, and ends the connection.
fn says(first: &'static str, last: &'static str, reset: bool) -> Peer {
    Peer::new(move |mut visit| {
        visit.say(first.as_bytes())?;
        sleep(ms(700)); // until it is Up
        visit.say(last.as_bytes())?;
        sleep(ms(20)); // a reset may overtake what is still on its way
        if reset { visit.reset() } else { Ok(()) }
    })
}

#[test]
fn the_last_words_of_a_peer_are_the_reason_of_its_end() {
    for (last, reset, words) in [
        ("* BYE Autologout; idle for too long\r\n", false, "`* BYE Autologout; idle for too long`"),
        ("421 4.4.2 timeout exceeded\r\n", true, "`421 4.4.2 timeout exceeded`"),
        ("\x1d\0\0\0\u{7f}\r\nkilled by operator\r\n", false, "killed by operator"),
    ] {
        let peer = says("* OK ready\r\n", last, reset);
        let (detail, told) = fall(&mut watch("connect", &peer, ConnectOnly));
        assert_eq!(
            (told.cause(), told.confidence()),
            (Cause::ClosedWithReason, Confidence::Certain)
        );
        assert!(detail.contains(words), "{detail}");
        assert!(!told.advice().contains("beat more often"), "no byte is sent: {told}");
    }
}

#[test]
fn a_greeting_and_then_an_end_is_no_reason() {
    for greeting in ["SSH-2.0-OpenSSH_9.2\r\n", "220 mail ready\r\n", "hello\n"] {
        let peer = says(greeting, "", false);
        let (detail, told) = fall(&mut watch("connect", &peer, ConnectOnly));
        assert_eq!(told.cause(), Cause::ClosedByPeer, "{told}");
        assert!(detail.contains(greeting.trim()), "it is told all the same: {detail}");
    }
}

#[test]
fn bytes_that_are_no_text_are_told_as_such() {
    let peer = says("", "\x01\x02\x03\x7f", false);
    let (detail, told) = fall(&mut watch("connect", &peer, ConnectOnly));
    assert_eq!(told.cause(), Cause::ClosedByPeer);
    assert!(
        detail.contains(r"right after 4 bytes that are no text: `\x01\x02\x03\x7f`"),
        "{detail}"
    );
}

#[test]
fn words_in_place_of_an_ack_are_a_reason_where_the_end_is_right_behind_them() {
    let tutorial = Exchange::new("heartbeat", "heartbeat_ack").with_any_rest();
    let strict = Exchange::new("heartbeat", "heartbeat_ack");
    for protocol in [tutorial, strict] {
        let peer = Peer::new(|mut visit| {
            visit.ack(1)?;
            sleep(ms(20));
            visit.say(b"server is shutting down\n")
        });
        let (detail, told) = fall(&mut watch("tcp", &peer, protocol));
        assert_eq!(told.cause(), Cause::ClosedWithReason, "{told}");
        assert!(detail.contains("`server is shutting down`"), "{detail}");
    }
    let peer = Peer::new(|mut visit| {
        read(&mut visit)?;
        visit.say(b"ack 1\nERROR maintenance\n")
    });
    assert_eq!(fall(&mut watch("line", &peer, Line)).1.cause(), Cause::ClosedWithReason);
}

#[test]
fn a_wrong_line_without_an_end_behind_it_is_a_wrong_line() {
    let peer = Peer::new(|mut visit| {
        read(&mut visit)?;
        visit.say(b"ERROR what?\n")?;
        visit.swallow()
    });
    let (_, told) = fall(&mut watch("line", &peer, Line));
    assert_eq!((told.cause(), told.confidence()), (Cause::WrongReply, Confidence::Certain));
}

#[test]
fn last_words_show_no_secret() {
    let peer = Peer::new(|mut visit| {
        read(&mut visit)?;
        visit.say(b"+OK\r\n+PONG\r\n")?;
        sleep(ms(20));
        visit.say(b">2\r\n+x\r\n+y\r\n-ERR client with s3cret-word was kille")
    });
    let protocol = Redis::new().user("monitor").password("s3cret-word");
    let (detail, told) = fall(&mut watch("redis", &peer, protocol));
    assert_eq!(told.cause(), Cause::ClosedWithReason, "{told}");
    assert!(detail.contains("`-ERR client with *** was kille`"), "{detail}");
    assert!(!told.to_string().contains("s3cret"), "{told}");
}
