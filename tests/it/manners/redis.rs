//! A Redis that does not answer PING with PONG, and why.

use keepbeat::{Cause, EventKind, Exchange, Redis, State};

use super::{fall, read, watch};
use crate::peer::Peer;

/// Takes every login, and answers PING with this line.
fn says(line: &'static str) -> Peer {
    Peer::new(move |mut visit| {
        let asked = read(&mut visit)?;
        if asked.starts_with(b"*3\r\n$4\r\nAUTH") || asked.starts_with(b"*2\r\n$4\r\nAUTH") {
            visit.say(b"+OK\r\n")?;
        }
        visit.say(line.as_bytes())?;
        visit.swallow()
    })
}

#[test]
fn the_right_server_that_does_not_serve_now_is_not_ready_and_tried_again() {
    for (line, advice) in [
        ("-LOADING Redis is loading the dataset in memory\r\n", "wait: it reads its data"),
        ("-BUSY Redis is busy running a script.\r\n", "SCRIPT KILL"),
        ("-MASTERDOWN Link with MASTER is down\r\n", "look at its master"),
        ("-MISCONF Redis is configured to save RDB snapshots\r\n", "look at its disk"),
        ("-ERR max number of clients reached\r\n", "raise its `maxclients`"),
        ("-DENIED Redis is running in protected mode because protected mode\r\n", "requirepass"),
    ] {
        let peer = says(line);
        let mut watch = watch("redis", &peer, Redis::new());
        let (detail, told) = fall(&mut watch);
        assert_eq!(told.cause(), Cause::NotReady, "{told}");
        assert!(detail.contains(line.trim()), "{detail}");
        assert!(told.advice().contains(advice), "{told}");
        watch
            .wait("second attempt", |kind| matches!(kind, EventKind::Connected { attempt: 2, .. }));
        assert_eq!(watch.states(), [State::Down]);
    }
}

#[test]
fn who_is_turned_away_at_the_door_hears_why_whenever_the_end_comes() {
    let peer = Peer::new(|mut visit| visit.say(b"-ERR max number of clients reached\r\n"));
    for _ in 0..10 {
        let (_, told) = fall(&mut watch("redis", &peer, Redis::new()));
        assert_eq!(told.cause(), Cause::NotReady, "{told}");
    }
    let peer = Peer::new(|mut visit| visit.say(b"Too many users, try later\n"));
    for _ in 0..10 {
        let (detail, told) = fall(&mut watch("tcp", &peer, Exchange::new("ping", "pong")));
        assert_eq!(told.cause(), Cause::ClosedWithReason, "{told}");
        assert!(detail.contains("`Too many users, try later`"), "{detail}");
    }
}

#[test]
fn a_right_that_is_missing_is_no_refused_login() {
    let line = "-NOPERM this user has no permissions to run the 'ping' command\r\n";
    let peer = says(line);
    let protocol = Redis::new().user("mon").password("secret99");
    let (detail, told) = fall(&mut watch("redis", &peer, protocol));
    assert_eq!(told.cause(), Cause::PermissionMissing, "{told}");
    assert!(detail.contains(line.trim()), "{detail}");
    assert!(told.advice().contains("+ping"), "{told}");
}

#[test]
fn a_command_that_was_renamed_says_so() {
    let peer = says("-ERR unknown command 'PING', with args beginning with: \r\n");
    let (_, told) = fall(&mut watch("redis", &peer, Redis::new()));
    assert_eq!(told.cause(), Cause::WrongReply, "{told}");
    assert!(told.advice().contains("renamed or disabled"), "{told}");
    assert!(told.advice().contains(&format!("`keepbeat connect://{}`", peer.address)), "{told}");
}

#[test]
fn one_who_has_subscribed_and_one_who_gets_pushes_are_answered_all_the_same() {
    let peer = Peer::new(|mut visit| {
        loop {
            if read(&mut visit)?.is_empty() {
                return Ok(());
            }
            visit.say(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nx\r\n")?;
            visit.say(b"|1\r\n+ttl\r\n:1\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n")?;
        }
    });
    watch("redis", &peer, Redis::new()).wait_state(State::Up);
}

#[test]
fn the_text_of_the_server_stays_whole_where_user_and_password_are_short() {
    let peer = says("-ERR sorry, u are unknown\r\n");
    let protocol = Redis::new().user("u").password("pw");
    let (detail, _) = fall(&mut watch("redis", &peer, protocol));
    assert_eq!(detail, "the server says `-ERR sorry, u are unknown`");
}
