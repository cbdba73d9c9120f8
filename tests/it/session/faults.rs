//! Servers that misbehave: the request that meets it fails in words, or not at all, and the next
//! one works.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Instant;

use crossbeam_channel::Receiver;
use keepbeat::{Error, Eviction, Session, SessionEvent, SessionEventKind};

use super::server::{Conn, LIMIT, Server, ms, wait};

/// On the first connection the first request is answered and the second meets this; all others are
/// answered.
fn second(fault: impl Fn(&mut Conn) + Send + Sync + 'static) -> Server {
    Server::start(move |conn| {
        if conn.number == 0 {
            if conn.request().is_some() && conn.ok("first") && conn.request().is_some() {
                fault(conn);
            }
        } else {
            while conn.request().is_some() && conn.ok("hello") {}
        }
    })
}

/// The first request on the first connection meets this; all others are answered.
fn first(fault: impl Fn(&mut Conn) + Send + Sync + 'static) -> Server {
    Server::start(move |conn| {
        if conn.number == 0 {
            conn.request();
            fault(conn);
        } else {
            while conn.request().is_some() && conn.ok("hello") {}
        }
    })
}

/// Answers one request, and does this to the idle connection when it is told to; says when it is
/// done.
fn idle(fault: impl Fn(&mut Conn) + Send + Sync + 'static) -> (Server, impl Fn()) {
    let (go, when) = mpsc::channel::<()>();
    let (did, done) = mpsc::channel::<()>();
    let ends = Mutex::new((when, did));
    let server = Server::start(move |conn| {
        if conn.number == 0 {
            conn.request();
            conn.ok("first");
            let (when, did) = &*ends.lock().unwrap();
            when.recv_timeout(LIMIT).unwrap();
            fault(conn);
            did.send(()).unwrap();
        }
        while conn.request().is_some() && conn.ok("hello") {}
    });
    let act = move || {
        go.send(()).unwrap();
        done.recv_timeout(LIMIT).unwrap();
    };
    (server, act)
}

fn get(session: &Session, server: &Server) -> String {
    session.get(server.url("/")).send().unwrap().text().unwrap()
}

fn evicted(events: &Receiver<SessionEvent>, why: Eviction) {
    wait(
        events,
        why.word(),
        |kind| matches!(kind, SessionEventKind::Evicted { cause, .. } if *cause == why),
    );
}

/// Nothing is left over of what went wrong.
fn assert_sound(session: &Session, server: &Server) {
    for _ in 0..3 {
        assert_eq!(get(session, server), "hello");
    }
    let stats = session.stats();
    assert_eq!(stats.open, stats.idle, "no place has leaked");
}

/// What there is to learn of a close is learnt a moment later.
fn assert_learns_nothing(session: &Session, events: &Receiver<SessionEvent>) {
    let until = Instant::now() + ms(300);
    while let Ok(event) = events.recv_deadline(until) {
        assert!(!matches!(event.kind, SessionEventKind::LimitLearnt { .. }), "{event}");
    }
    assert!(session.stats().hosts[0].learnt.is_none());
}

/// What went wrong without any doubt about what it was: not by time, and not by staleness.
fn assert_plain(error: &Error) {
    let other = error.is_timeout() || error.is_stale() || error.is_connect() || error.is_invalid();
    assert!(!other && error.status().is_none(), "{error:?}");
}

#[test]
fn an_idle_connection_that_the_server_closes_is_let_go_at_once() {
    let (server, close) = idle(Conn::end_both);
    let session = Session::new().unwrap();
    let events = session.events();
    assert_eq!(get(&session, &server), "first");
    close();
    evicted(&events, Eviction::ClosedByPeer);
    assert_eq!((session.stats().open, session.stats().idle), (0, 0));
    assert_sound(&session, &server);
    assert_eq!((server.accepted(), session.stats().replayed), (2, 0));
}

#[test]
fn an_idle_connection_that_is_reset_is_let_go_at_once() {
    let (server, reset) = idle(Conn::reset);
    let session = Session::new().unwrap();
    let events = session.events();
    assert_eq!(get(&session, &server), "first");
    reset();
    evicted(&events, Eviction::Reset);
    assert_learns_nothing(&session, &events);
    assert_sound(&session, &server);
    assert_eq!(session.stats().replayed, 0);
}

const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

#[test]
fn bytes_on_an_idle_connection_are_its_end() {
    for bytes in [EVIL, "x", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"] {
        let (server, send) = idle(move |conn| assert!(conn.write(bytes)));
        let session = Session::new().unwrap();
        let events = session.events();
        assert_eq!(get(&session, &server), "first");
        send();
        evicted(&events, Eviction::UnexpectedBytes);
        assert_sound(&session, &server);
        assert_eq!(server.accepted(), 2);
    }
}

#[test]
fn bytes_on_an_idle_connection_are_never_the_next_response() {
    for bytes in [EVIL, "x"] {
        for _ in 0..50 {
            let (server, send) = idle(move |conn| assert!(conn.write(bytes)));
            let session = Session::new().unwrap();
            assert_eq!(get(&session, &server), "first");
            send();
            assert_eq!(get(&session, &server), "hello");
            assert_eq!(server.accepted(), 2);
        }
    }
}

#[test]
fn a_second_response_sent_with_the_first_is_never_read() {
    let bodies: [fn(&str) -> String; 2] = [
        |path| format!("Content-Length: {}\r\n\r\n{path}", path.len()),
        |path| format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{path}\r\n0\r\n\r\n", path.len()),
    ];
    for body in bodies {
        let server = Server::start(move |conn| {
            while let Some(seen) = conn.request() {
                conn.write(format!("HTTP/1.1 200 OK\r\n{}{EVIL}", body(&seen.path)));
            }
        });
        let session = Session::new().unwrap();
        for n in 0..20 {
            let path = format!("/{n}");
            let mut response = session.get(server.url(&path)).send().unwrap();
            assert_eq!(response.text().unwrap(), path);
        }
        let stats = session.stats();
        assert_eq!((server.accepted(), stats.open, stats.replayed), (20, 0, 0));
    }
    let empty = format!("HTTP/1.1 204 No Content\r\n\r\n{EVIL}");
    let server = Server::answering(empty);
    let session = Session::new().unwrap();
    for _ in 0..20 {
        assert_eq!(session.get(server.url("/")).send().unwrap().status(), 204);
    }
    assert_eq!(server.accepted(), 20);
}

#[test]
fn a_fresh_connection_closed_without_an_answer_is_an_error_and_no_replay() {
    for reset in [false, true] {
        let server = first(move |conn| if reset { conn.reset() } else { conn.end_both() });
        let session = Session::new().unwrap();
        let error = session.get(server.url("/")).send().unwrap_err();
        assert_plain(&error);
        assert!(error.may_have_run(), "{error}");
        assert!(error.to_string().contains("connection"), "{error}");
        assert_eq!((server.seen().len(), server.accepted()), (1, 1));
        assert_sound(&session, &server);
        assert_eq!(session.stats().replayed, 0);
    }
}

/// What a server may break off in the middle of, once its request was read.
const HALVES: [&str; 7] = [
    "H",
    "HTTP/1.1 200 OK\r\nContent-Le",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5",
];

#[test]
fn a_response_that_breaks_off_is_an_error_and_nothing_else_suffers() {
    for reset in [false, true] {
        for half in HALVES {
            for server in [first, second].map(|meets: fn(_) -> _| {
                meets(Box::new(move |conn: &mut Conn| {
                    conn.write(half);
                    if reset { conn.reset() } else { conn.end_both() }
                }) as Box<dyn Fn(&mut Conn) + Send + Sync>)
            }) {
                breaks_off(&server, half);
            }
        }
    }
}

fn breaks_off(server: &Server, half: &str) {
    let session = Session::new().unwrap();
    let ask = || session.get(server.url("/")).send().and_then(|mut r| r.text());
    let mut result = ask();
    let reused = result.as_ref().is_ok_and(|text| text == "first");
    if reused {
        result = ask();
    }
    let error = result.expect_err(half);
    assert_plain(&error);
    assert_eq!(server.seen().len(), 1 + usize::from(reused), "never twice: {half:?}");
    assert_sound(&session, server);
    assert_eq!(session.stats().replayed, 0, "{half:?}");
}

#[test]
fn a_server_that_hangs_before_its_response_is_a_timeout_and_no_replay() {
    let hang = |conn: &mut Conn| assert!(!conn.idle(LIMIT));
    for (server, before) in [(first(hang), 0), (second(hang), 1)] {
        let session = Session::new().unwrap();
        for _ in 0..before {
            assert_eq!(get(&session, &server), "first");
        }
        let request = session.get(server.url("/hang")).timeout(ms(200));
        let start = Instant::now();
        let error = request.send().unwrap_err();
        assert!(error.is_timeout() && error.may_have_run(), "{error}");
        assert!(start.elapsed() >= ms(190) && start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
        assert!(error.to_string().contains("`timeout`"), "{error}");
        let hung = server.seen().into_iter().filter(|seen| seen.path == "/hang").count();
        assert_eq!(hung, 1);
        assert_sound(&session, &server);
        assert_eq!(session.stats().replayed, 0);
    }
}

#[test]
fn a_server_that_hangs_in_its_response_is_a_timeout() {
    for half in HALVES {
        let server = first(move |conn| {
            conn.write(half);
            conn.idle(LIMIT);
        });
        let session = Session::new().unwrap();
        let request = session.get(server.url("/")).timeout(ms(200));
        let result = request.send().and_then(|mut r| r.text());
        let error = result.expect_err(half);
        assert!(error.is_timeout(), "{half:?}: {error}");
        assert_eq!(server.seen().len(), 1);
        assert_sound(&session, &server);
    }
}

#[test]
fn a_response_that_drips_ends_with_the_timeout() {
    let drip = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    let server = first(move |conn| {
        conn.write(drip);
        while conn.write("x") && conn.idle(ms(10)) {}
    });
    let session = Session::new().unwrap();
    let start = Instant::now();
    let mut response = session.get(server.url("/")).timeout(ms(300)).send().unwrap();
    assert!(response.text().unwrap_err().is_timeout());
    assert!(start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
    drop(response);
    assert_sound(&session, &server);
}

#[test]
fn what_is_no_http_is_an_error() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\0\0\0\0\0\0\0\0",
        "\r\n\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\nhello",
    ] {
        for end in [Conn::end_both, |conn: &mut Conn| assert!(!conn.idle(LIMIT))] {
            let server = first(move |conn| {
                conn.write(garbage);
                end(conn);
            });
            let session = Session::builder().timeout(ms(1000)).build().unwrap();
            let result = session.get(server.url("/")).send().and_then(|mut r| r.text());
            assert!(result.is_err(), "{garbage:?} is {result:?}");
            assert_eq!(server.seen().len(), 1);
            assert_sound(&session, &server);
        }
    }
}

#[test]
fn a_head_without_an_end_is_refused_long_before_the_memory_is_full() {
    let line = format!("X-Line: {}\r\n", "x".repeat(1000));
    let one = "x".repeat(1000);
    for (begin, more) in [("", line), ("X-Line: ", one)] {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let server = first(move |conn| {
            conn.write(format!("HTTP/1.1 200 OK\r\n{begin}"));
            while conn.write(&more) {
                count.fetch_add(more.len(), Ordering::SeqCst);
            }
        });
        let session = Session::new().unwrap();
        let error = session.get(server.url("/")).send().unwrap_err();
        assert_plain(&error);
        assert_sound(&session, &server);
        // What the kernel takes on both sides of a connection is more than the limit.
        assert!(sent.load(Ordering::SeqCst) < 32 << 20, "{sent:?} bytes were taken");
    }
}

#[test]
fn a_long_head_is_taken() {
    let head: String = (0..60).map(|n| format!("X-{n}: {}\r\n", "x".repeat(1000))).collect();
    let response = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 5\r\n\r\nhello");
    let server = Server::answering(response);
    let session = Session::new().unwrap();
    for _ in 0..20 {
        assert_eq!(get(&session, &server), "hello");
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
fn a_restart_empties_the_pool_and_teaches_no_limit() {
    let long = "x".repeat(200_000);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", long.len());
    let server = Server::answering(head + &long);
    let session = Session::new().unwrap();
    let events = session.events();
    // Four connections, idle for different times: a server counts from its last byte.
    let mut held: Vec<_> = (0..4).map(|_| session.get(server.url("/")).send().unwrap()).collect();
    for response in &mut held {
        thread::sleep(ms(200)); // the fault: idle ages that no limit explains
        assert_eq!(response.text().unwrap().len(), long.len());
    }
    assert_eq!(session.stats().idle, 4);
    server.close_all();
    for _ in 0..4 {
        evicted(&events, Eviction::ClosedByPeer);
    }
    assert_learns_nothing(&session, &events);
    assert!(!session.get(server.url("/")).send().unwrap().reused());
    assert_eq!(session.stats().replayed, 0);
}
