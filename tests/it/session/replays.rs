//! Requests that meet the end of a kept connection: which of them run again, and that none runs
//! twice that must not.

use std::sync::atomic::{AtomicUsize, Ordering};

use keepbeat::{Body, Replay, Session, SessionEventKind};
use ureq::http::Method;

use super::server::{Conn, Server, wait};
use super::uploads::file;

/// The first connection answers one request, reads the second, and ends. All others answer.
fn stale(end: fn(&mut Conn)) -> Server {
    Server::start(move |conn| {
        while let Some(seen) = conn.request() {
            if conn.number == 0 && seen.path != "/first" {
                return end(conn);
            }
            conn.ok("hello");
        }
    })
}

/// A session with one idle connection to it.
fn warmed(server: &Server, replay: Replay) -> Session {
    let session = Session::builder().replay(replay).build().unwrap();
    session.get(server.url("/first")).send().unwrap();
    assert_eq!(session.stats().idle, 1);
    session
}

/// How often the server has read it.
fn times(server: &Server, path: &str) -> usize {
    server.seen().iter().filter(|seen| seen.path == path).count()
}

fn assert_replayed(replay: Replay, method: &Method, own: Option<Replay>) {
    for end in [Conn::end_both, Conn::reset] {
        let server = stale(end);
        let session = warmed(&server, replay);
        let events = session.events();
        let mut request = session.method(method.clone(), server.url("/it"));
        if let Some(own) = own {
            request = request.replay(own);
        }
        let response = request.send().unwrap();
        assert!(response.replayed() && !response.reused(), "{method}");
        let connections: Vec<_> = server.seen().iter().map(|seen| seen.connection).collect();
        assert_eq!(connections, [0, 0, 1], "{method}");
        assert_eq!(session.stats().replayed, 1);
        wait(
            &events,
            "a replay",
            |kind| matches!(kind, SessionEventKind::Replayed { method: m, .. } if m == method),
        );
        let stats = session.stats();
        assert_eq!((stats.requests, stats.opened, stats.reused), (2, 2, 1));
    }
}

fn assert_stale(replay: Replay, method: &Method, own: Option<Replay>) {
    for end in [Conn::end_both, Conn::reset] {
        let server = stale(end);
        let session = warmed(&server, replay);
        let mut request = session.method(method.clone(), server.url("/it"));
        if let Some(own) = own {
            request = request.replay(own);
        }
        let error = request.send().unwrap_err();
        assert!(error.is_stale() && error.may_have_run(), "{method}: {error}");
        assert!(error.to_string().contains("idle"), "{error}");
        assert_eq!((times(&server, "/it"), server.accepted()), (1, 1), "{method}");
        assert_eq!((session.stats().replayed, session.stats().open), (0, 0));
        assert_eq!(session.get(server.url("/it")).send().unwrap().status(), 200);
    }
}

#[test]
fn what_may_run_twice_is_sent_again_on_a_fresh_connection() {
    let idempotent = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE];
    for method in idempotent {
        assert_replayed(Replay::Idempotent, &method, None);
    }
    assert_replayed(Replay::All, &Method::POST, None);
    assert_replayed(Replay::All, &Method::PATCH, None);
    assert_replayed(Replay::Idempotent, &Method::POST, Some(Replay::All));
    assert_replayed(Replay::Never, &Method::GET, Some(Replay::Idempotent));
}

#[test]
fn what_may_not_run_twice_is_an_error_that_says_so() {
    assert_stale(Replay::Idempotent, &Method::POST, None);
    assert_stale(Replay::Idempotent, &Method::PATCH, None);
    assert_stale(Replay::Never, &Method::GET, None);
    assert_stale(Replay::All, &Method::GET, Some(Replay::Never));
    assert_stale(Replay::All, &Method::POST, Some(Replay::Idempotent));
}

#[test]
fn a_request_is_sent_again_only_once() {
    let server = Server::start(|conn| {
        while conn.request().is_some_and(|seen| seen.path == "/first") && conn.ok("hello") {}
    });
    let session = warmed(&server, Replay::All);
    // Another idle connection, of which the second try makes no use.
    let held = session.get(server.url("/first")).send().unwrap();
    session.get(server.url("/first")).send().unwrap();
    drop(held);
    assert_eq!(server.accepted(), 1 + session.stats().idle.saturating_sub(1));
    let before = server.accepted();
    let error = session.get(server.url("/it")).send().unwrap_err();
    assert!(!error.is_stale() && !error.is_timeout(), "{error}");
    assert_eq!((times(&server, "/it"), server.accepted()), (2, before + 1));
    assert_eq!(session.stats().replayed, 1);
}

#[test]
fn a_replay_takes_a_fresh_connection_though_others_are_idle() {
    // All that were open before the restart are stale; the server tells by closing when asked.
    let server = Server::start(|conn| {
        while let Some(seen) = conn.request() {
            if conn.number < 5 && seen.path == "/it" {
                return;
            }
            conn.ok(&"x".repeat(100_000));
        }
    });
    let session = Session::new().unwrap();
    let get = |path: &str| session.get(server.url(path)).send().unwrap();
    let mut held: Vec<_> = (0..5).map(|_| get("/first")).collect();
    assert_eq!(server.accepted(), 5);
    held.iter_mut().for_each(|response| drop(response.text().unwrap()));
    assert_eq!(session.stats().idle, 5);
    assert!(get("/it").replayed());
    assert_eq!((times(&server, "/it"), server.accepted()), (2, 6));
}

#[test]
fn bodies_are_sent_again_whole() {
    let long: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let with_more = [b"skip".as_slice(), &long].concat();
    for body in [Body::from(long.clone()), file(&with_more, 4).into(), file(&long, 0).into()] {
        let server = stale(Conn::end_both);
        let session = warmed(&server, Replay::Idempotent);
        let response = session.put(server.url("/it")).body(body).send().unwrap();
        assert!(response.replayed());
        let seen = server.seen();
        assert_eq!(seen.len(), 3);
        assert!(seen[1..].iter().all(|seen| seen.body == long && seen.method == "PUT"));
    }
}

#[test]
fn a_reader_that_was_read_is_not_sent_again() {
    for body in [Body::reader(&b"once"[..]), Body::sized_reader(&b"once"[..], 4)] {
        let server = stale(Conn::end_both);
        let session = warmed(&server, Replay::All);
        let error = session.put(server.url("/it")).body(body).send().unwrap_err();
        assert!(error.is_stale() && error.may_have_run(), "{error}");
        assert_eq!(times(&server, "/it"), 1);
        assert_eq!(session.stats().replayed, 0);
    }
}

#[test]
fn a_reader_that_was_not_read_is_sent_after_all() {
    // The server closes instead of saying that it wants the body.
    let server = Server::start(|conn| {
        while let Some(head) = conn.head() {
            if head.header("expect").is_some() && conn.number == 0 {
                return conn.end_both();
            }
            if head.header("expect").is_some() {
                conn.write("HTTP/1.1 100 Continue\r\n\r\n");
                assert_eq!(conn.bytes(4).unwrap(), b"once");
            }
            conn.ok("hello");
        }
    });
    let session = warmed(&server, Replay::Idempotent);
    let body = Body::sized_reader(&b"once"[..], 4);
    let put = session.put(server.url("/it")).header("expect", "100-continue").body(body);
    assert!(put.send().unwrap().replayed());
}

/// Answers `/post` and `/get` with this redirect to `/behind`, which ends its connection so often.
fn redirecting(status: &'static str, end: fn(&mut Conn), ends: usize) -> Server {
    let ended = AtomicUsize::new(0);
    Server::start(move |conn| {
        while let Some(seen) = conn.request() {
            match seen.path.as_str() {
                "/behind" if ended.fetch_add(1, Ordering::SeqCst) < ends => return end(conn),
                "/post" | "/get" => conn.write(format!(
                    "HTTP/1.1 {status}\r\nLocation: /behind\r\nContent-Length: 4\r\n\r\nmore"
                )),
                _ => conn.ok("hello"),
            };
        }
    })
}

#[test]
fn a_redirect_of_a_post_never_runs_the_post_twice() {
    for end in [Conn::end_both, Conn::reset] {
        for replay in [Replay::Idempotent, Replay::All] {
            // The GET behind it may be sent again, the POST before it was answered.
            let server = redirecting("303 See Other", end, 1);
            let session = warmed(&server, replay);
            let response = session.post(server.url("/post")).body("once").send().unwrap();
            assert!(response.replayed());
            assert_eq!((times(&server, "/post"), times(&server, "/behind")), (1, 2));
            // Once.
            let server = redirecting("303 See Other", end, 2);
            let session = warmed(&server, replay);
            let error = session.post(server.url("/post")).body("once").send().unwrap_err();
            assert!(!error.is_stale() && error.may_have_run(), "{error}");
            assert_eq!((times(&server, "/post"), times(&server, "/behind")), (1, 2));
        }
        // A POST that goes on as one is not sent again behind the redirect either.
        let server = redirecting("307 Temporary Redirect", end, 1);
        let session = warmed(&server, Replay::Idempotent);
        let error = session.post(server.url("/post")).body("once").send().unwrap_err();
        assert!(error.is_stale() && error.may_have_run(), "{error}");
        assert_eq!((times(&server, "/post"), times(&server, "/behind")), (1, 1));
    }
}

#[test]
fn behind_a_redirect_only_the_hop_that_failed_is_sent_again() {
    let server = redirecting("302 Found", Conn::end_both, 1);
    let session = warmed(&server, Replay::Idempotent);
    let mut response = session.get(server.url("/get")).send().unwrap();
    assert!(response.replayed() && response.uri().path() == "/behind");
    assert_eq!(response.text().unwrap(), "hello");
    assert_eq!((times(&server, "/get"), times(&server, "/behind")), (1, 2));
}

#[test]
fn what_fails_behind_a_redirect_may_have_run() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::start(move |conn| {
        while let Some(seen) = conn.request() {
            let to = match seen.path.as_str() {
                "/refused" => format!("http://{free}/"),
                _ => "http://unknown.test/".to_owned(),
            };
            conn.write(format!(
                "HTTP/1.1 303 See Other\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
            ));
        }
    });
    let resolver = |_: &str, _| Err(std::io::ErrorKind::NotFound.into());
    let session = Session::builder().resolver(resolver).build().unwrap();
    for path in ["/refused", "/unknown"] {
        let error = session.post(server.url(path)).body("once").send().unwrap_err();
        assert!(error.is_connect() && error.may_have_run(), "{error:?}");
        assert_eq!(times(&server, path), 1);
    }
    // Without one it certainly has not.
    let error = session.post("http://unknown.test/").body("once").send().unwrap_err();
    assert!(error.is_connect() && !error.may_have_run(), "{error:?}");
}
