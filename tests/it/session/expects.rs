//! `Expect: 100-continue` (RFC 9110, section 10.1.1), with everything that servers say to it.

use std::time::Instant;

use keepbeat::{Body, Session};

use super::server::{Conn, LIMIT, Server, ms};

/// Says this to the head, and then takes the body, if it is there.
fn saying(words: &'static [&'static str], answer: &'static str) -> Server {
    Server::start(move |conn| {
        while let Some(head) = conn.head() {
            assert_eq!(head.header("expect"), Some("100-continue"));
            for word in words {
                conn.write(word);
                conn.has_more(ms(20)); // so that they come one by one
            }
            if conn.bytes(4).as_deref() != Some(b"body") {
                return;
            }
            conn.write(answer);
        }
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const WITH_FIELDS: &str = "HTTP/1.1 100 Continue\r\nDate: today\r\nX: y\r\n\r\n";
const EARLY: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
const PROCESSING: &str = "HTTP/1.1 102 Processing\r\n\r\n";

fn posts(session: &Session, server: &Server) -> [(u16, String); 2] {
    let bodies = ["body".into(), Body::sized_reader(&b"body"[..], 4)];
    bodies.map(|body: Body| {
        let post = session.post(server.url("/")).header("Expect", "100-continue").body(body);
        let mut response = post.send().unwrap();
        (response.status().as_u16(), response.text().unwrap())
    })
}

#[test]
fn any_interim_answers_may_come_first() {
    let orders: &[&'static [&'static str]] = &[
        &[CONTINUE],
        &[WITH_FIELDS],
        &[EARLY, CONTINUE],
        &[EARLY, EARLY, PROCESSING, WITH_FIELDS],
        &["HTTP/1.1 100 Continue\n\n"],
        &["HTTP/1.1 1", "00 Continue\r\n", "\r\n"],
        &["HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"],
    ];
    for words in orders {
        let server = saying(words, OK);
        let session = Session::new().unwrap();
        let start = Instant::now();
        assert_eq!(posts(&session, &server), [(200, "hello".into()), (200, "hello".into())]);
        assert!(start.elapsed() < ms(1500), "the body was wanted: {words:?}");
        assert_eq!(server.accepted(), 1, "{words:?}");
    }
}

#[test]
fn more_of_them_may_come_behind_100() {
    let answer = "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let server = saying(&[CONTINUE], answer);
    let session = Session::new().unwrap();
    assert_eq!(posts(&session, &server), [(200, "hello".into()), (200, "hello".into())]);
    assert_eq!(server.accepted(), 1);
}

#[test]
fn a_final_answer_in_place_of_100_keeps_the_body_at_home() {
    for answer in [
        "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge",
        "HTTP/1.1 417 Expectation Failed\r\n\r\nlarge",
        "HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlarge\r\n0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nlarge",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlarge",
    ] {
        let server = Server::start(move |conn: &mut Conn| {
            assert!(conn.head().is_some());
            conn.write(answer);
            if !answer.contains("Content-Length") && !answer.contains("chunked") {
                return; // its end ends the body
            }
            assert!(!conn.has_more(ms(100)), "the body was not wanted");
        });
        let session = Session::new().unwrap();
        for (code, text) in posts(&session, &server) {
            assert!(answer.contains(&code.to_string()));
            assert_eq!(text, "large", "{answer:?}");
        }
        // What the server makes of the next bytes nobody knows.
        assert_eq!(server.accepted(), 2, "{answer:?}");
    }
}

#[test]
fn who_says_nothing_within_a_second_gets_the_body() {
    let server = Server::start(|conn| {
        while conn.head().is_some() {
            let waited = Instant::now();
            assert!(conn.has_more(LIMIT) && waited.elapsed() > ms(800), "{:?}", waited.elapsed());
            assert_eq!(conn.bytes(4).as_deref(), Some(&b"body"[..]));
            // Late, and no harm.
            conn.write(CONTINUE);
            conn.write(OK);
        }
    });
    let session = Session::new().unwrap();
    let start = Instant::now();
    assert_eq!(posts(&session, &server), [(200, "hello".into()), (200, "hello".into())]);
    assert!(start.elapsed() < ms(5000), "a second each: {:?}", start.elapsed());
    assert_eq!(server.accepted(), 1);
}

#[test]
fn the_wait_is_within_the_timeout_and_an_end_in_it_is_told() {
    let silent = Server::start(|conn| while conn.head().is_some() && conn.idle(LIMIT) {});
    let session = Session::new().unwrap();
    let post = |server: &Server| {
        session.post(server.url("/")).header("expect", "100-continue").body("body").timeout(ms(300))
    };
    let start = Instant::now();
    let error = post(&silent).send().unwrap_err();
    assert!(error.is_timeout() && error.may_have_run(), "{error:?}");
    assert!(start.elapsed() < ms(900), "{:?}", start.elapsed());
    let closes = Server::start(|conn| drop(conn.head()));
    let error = post(&closes).send().unwrap_err();
    assert!(!error.is_timeout() && error.may_have_run(), "{error:?}");
}

#[test]
fn without_a_body_there_is_nothing_to_expect() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    session.post(server.url("/")).header("expect", "100-continue").send().unwrap();
    session.get(server.url("/")).header("expect", "100-continue").send().unwrap();
    assert!(server.seen().iter().all(|seen| seen.header("expect").is_none()));
}
