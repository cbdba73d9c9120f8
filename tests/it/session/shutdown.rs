//! A shutdown of the agent: what waits is woken, and what comes later fails in words.

use std::thread;

use keepbeat::{Error, Eviction, Replay, Session};

use super::server::{LIMIT, Server, eventually, in_time, ms};

/// Answers `/` and leaves everything else without an answer.
fn server() -> Server {
    Server::start(|conn| {
        while let Some(seen) = conn.request() {
            if seen.path == "/body" {
                conn.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello");
            }
            let _ = if seen.path == "/" { conn.ok("hello") } else { conn.idle(LIMIT) };
        }
    })
}

fn assert_shut_down(error: &Error) {
    assert!(error.to_string().contains("shut down"), "{error}");
    assert!(!error.is_timeout(), "{error}");
}

#[test]
fn a_request_that_waits_for_its_response_is_woken() {
    for warm in [false, true] {
        let server = server();
        let session = Session::builder().replay(Replay::All).build().unwrap();
        if warm {
            session.get(server.url("/")).send().unwrap();
        }
        let request = session.get(server.url("/hang"));
        let waits = thread::spawn(move || request.send());
        let before = usize::from(warm);
        eventually("the request is there", || server.seen().len() == before + 1);
        session.agent().clone().shutdown();
        let error = in_time("its end", || waits.join().unwrap()).unwrap_err();
        assert!(!error.is_timeout(), "{error}");
        assert_eq!(server.seen().len(), before + 1, "it was sent again");
        assert_shut_down(&session.get(server.url("/")).send().unwrap_err());
        assert_eq!((session.stats().open, session.stats().waiting), (0, 0));
        assert_eq!(server.seen().len(), before + 1);
    }
}

#[test]
fn a_response_that_is_being_read_is_woken() {
    let server = server();
    let session = Session::new().unwrap();
    let mut response = session.get(server.url("/body")).send().unwrap();
    let reads = thread::spawn(move || response.text());
    session.agent().clone().shutdown();
    let error = in_time("its end", || reads.join().unwrap()).unwrap_err();
    assert!(!error.is_timeout(), "{error}");
    eventually("its connection is gone", || session.stats().open == 0);
}

#[test]
fn a_request_in_the_queue_is_woken() {
    let server = server();
    let session = Session::builder().max_per_host(1).connect_timeout(LIMIT * 2).build().unwrap();
    let held = session.get(server.url("/body")).send().unwrap();
    let request = session.get(server.url("/queued"));
    let waits = thread::spawn(move || request.send());
    eventually("it is queued", || session.stats().waiting == 1);
    session.agent().clone().shutdown();
    let error = in_time("its end", || waits.join().unwrap()).unwrap_err();
    assert_shut_down(&error);
    drop(held);
    assert_eq!((session.stats().open, session.stats().waiting), (0, 0));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn what_was_never_used_can_be_shut_down_too() {
    let server = server();
    let session = Session::new().unwrap();
    session.agent().clone().shutdown();
    let error = session.get(server.url("/")).send().unwrap_err();
    assert_shut_down(&error);
    assert!(!error.may_have_run(), "nothing was sent: {error:?}");
    assert_eq!((server.accepted(), session.stats().open), (0, 0));
}

#[test]
fn idle_connections_are_closed_at_once() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    let held: Vec<_> = (0..3).map(|_| session.get(server.url("/")).send().unwrap()).collect();
    held.into_iter().for_each(drop);
    let open = session.stats().open;
    session.agent().clone().shutdown();
    let stats = session.stats();
    assert_eq!((stats.open, stats.evicted(Eviction::SessionClosed)), (0, open as u64));
    eventually("the server saw it", || server.open().0 == 0);
}

#[test]
fn a_shutdown_amid_many_requests_leaves_nothing_behind() {
    let server = Server::ok();
    for _ in 0..10 {
        let session = Session::builder().max_per_host(4).build().unwrap();
        let ask = || {
            let (session, url) = (session.clone(), server.url("/"));
            thread::spawn(move || while session.get(&url).send().is_ok() {})
        };
        let threads: Vec<_> = (0..8).map(|_| ask()).collect();
        eventually("they run", || session.stats().requests > 50);
        session.agent().clone().shutdown();
        in_time("their end", || threads.into_iter().for_each(|t| t.join().unwrap()));
        let stats = session.stats();
        assert_eq!((stats.open, stats.idle, stats.waiting), (0, 0, 0));
        assert_shut_down(&session.get(server.url("/")).send().unwrap_err());
        eventually("all are closed", || server.open().0 == 0);
    }
}

#[test]
fn a_handshake_is_woken() {
    let silent = Server::start(|conn| {
        while conn.bytes(1).is_some() {} // and no word of a handshake
    });
    let session = Session::builder().no_proxy().connect_timeout(LIMIT * 2).build().unwrap();
    let request = session.get(format!("https://{}/", silent.address));
    let waits = thread::spawn(move || request.send());
    eventually("it is connected", || silent.accepted() == 1);
    thread::sleep(ms(50)); // into the wait for its answer
    assert!(!waits.is_finished());
    session.agent().clone().shutdown();
    let error = in_time("its end", || waits.join().unwrap()).unwrap_err();
    assert!(!error.is_timeout() && !error.may_have_run(), "{error:?}");
    assert_eq!((session.stats().open, session.stats().waiting), (0, 0));
    eventually("the server saw it", || silent.open().0 == 0);
}
