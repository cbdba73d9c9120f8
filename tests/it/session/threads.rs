//! Threads: none for a request, one for all that idles, and none once the session is gone. Each
//! test counts the threads of a process of its own.

use std::cell::RefCell;

use keepbeat::{Response, Session};

use super::alone::{alone, threads};
use super::server::{LIMIT, Server, eventually};

const IDLE: &str = "keepbeat-idle";
const RESOLVE: &str = "keepbeat-resolve";
const ALL: &str = "keepbeat-";

/// Answers with the number of threads that it sees while the client waits, those that resolve a
/// name left out: they may take a moment to end.
fn counting() -> Server {
    Server::start(|conn| {
        while conn.request().is_some() {
            conn.ok(&format!("{} {}", threads(IDLE), threads(ALL) - threads(RESOLVE)));
        }
    })
}

fn hundred(url: &str, timeout: bool) -> Session {
    let session = Session::new().unwrap();
    assert_eq!(threads(ALL), 0, "before anything was sent");
    for n in 0..100 {
        let mut request = session.get(url);
        if timeout {
            request = request.timeout(LIMIT);
        }
        let text = request.send().unwrap().text().unwrap();
        let expected = if n == 0 { "0 0" } else { "1 1" };
        assert_eq!(text, expected, "request {n}");
        // A thread names itself as it begins.
        eventually("the watcher is there", || threads(IDLE) == 1);
    }
    session
}

#[test]
fn a_request_has_no_thread_and_all_that_idles_has_one() {
    if !alone("session::threads::a_request_has_no_thread_and_all_that_idles_has_one", LIMIT) {
        return;
    }
    let server = counting();
    let by_name = format!("http://localhost:{}/", server.address.port());
    for (url, lookups) in [(server.url("/"), 0), (by_name, 1)] {
        for timeout in [false, true] {
            let session = hundred(&url, timeout);
            assert_eq!(session.stats().lookups, lookups, "{url}");
            drop(session);
            eventually("no thread is left", || threads(ALL) == 0);
        }
    }
    assert_eq!(server.accepted(), 4);
}

#[test]
fn a_name_is_looked_up_once_however_many_connections_want_it() {
    if !alone("session::threads::a_name_is_looked_up_once_however_many_connections_want_it", LIMIT)
    {
        return;
    }
    let server =
        Server::answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let session = Session::new().unwrap();
    let url = format!("http://localhost:{}/", server.address.port());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..10).for_each(|_| drop(session.get(&url).send().unwrap())));
        }
    });
    assert_eq!((server.accepted(), session.stats().lookups), (80, 1));
    assert_eq!(threads(IDLE), 0, "nothing has idled");
}

#[test]
fn the_watcher_ends_with_the_last_that_needs_it() {
    if !alone("session::threads::the_watcher_ends_with_the_last_that_needs_it", LIMIT) {
        return;
    }
    let server = Server::ok();
    let session = Session::new().unwrap();
    drop(session.get(server.url("/")).send().unwrap());
    eventually("it is there", || threads(IDLE) == 1);
    let clone = session.clone();
    let agent = session.agent().clone();
    let large = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    let other = Server::start(move |conn| {
        conn.request();
        conn.write(large);
        conn.stop_reading();
    });
    let response = clone.get(other.url("/")).send().unwrap();
    drop(session);
    drop(clone);
    drop(agent);
    assert_eq!(threads(IDLE), 1, "a response is still there");
    drop(response);
    eventually("it has ended", || threads(ALL) == 0);
    eventually("nothing is open", || server.open().0 == 0);
}

#[test]
fn sessions_that_come_and_go_leave_no_thread_and_no_descriptor() {
    if !alone(
        "session::threads::sessions_that_come_and_go_leave_no_thread_and_no_descriptor",
        LIMIT,
    ) {
        return;
    }
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let server = Server::ok();
    for _ in 0..100 {
        let session = Session::new().unwrap();
        drop(session.get(server.url("/")).send().unwrap());
        assert_eq!(session.stats().idle, 1);
    }
    eventually("no thread is left", || threads(ALL) == 0);
    drop(server);
    eventually("no descriptor is left", || descriptors() <= before);
}

/// In the destructor of a thread-local others are gone already, those of ours among them.
#[test]
fn a_response_that_ends_with_its_thread_harms_nothing() {
    if !alone("session::threads::a_response_that_ends_with_its_thread_harms_nothing", LIMIT) {
        return;
    }
    thread_local!(static KEPT: RefCell<Option<Response>> = const { RefCell::new(None) });
    for (length, rest) in [(100, 98), (100, 0)] {
        let server = Server::start(move |conn| {
            conn.request();
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nab"));
            conn.write("x".repeat(rest));
            conn.idle(LIMIT);
        });
        let session = Session::new().unwrap();
        let request = session.get(server.url("/"));
        // The place of the response is made first, and so goes last.
        let run = move || KEPT.with_borrow_mut(|kept| *kept = Some(request.send().unwrap()));
        std::thread::spawn(run).join().unwrap();
        eventually("its place is free", || session.stats().open == session.stats().idle);
        drop(session);
        eventually("no thread is left", || threads(ALL) == 0);
    }
}
