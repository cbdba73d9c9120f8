//! Requests that another thread cancels, wherever they are.

use std::io::Read;
use std::thread;

use keepbeat::session::{Canceller, RequestBuilder};
use keepbeat::{Error, Session};

use super::server::{LIMIT, Server, eventually, in_time, ms, wait};

/// The error of a request that is cancelled once this holds.
fn cancelled(request: RequestBuilder, canceller: &Canceller, there: impl FnMut() -> bool) -> Error {
    let request = request.timeout(LIMIT * 2).cancelled_by(canceller);
    let sends = thread::spawn(move || request.send().and_then(|mut response| response.text()));
    eventually("the request is where it should be", there);
    canceller.cancel();
    let error = in_time("its end", move || sends.join().unwrap()).unwrap_err();
    assert!(error.is_cancelled() && !error.is_timeout() && !error.is_stopped(), "{error:?}");
    error
}

/// Answers `/`, begins to answer `/body` and `/open`, and answers nothing else.
fn server() -> Server {
    Server::start(|conn| {
        while let Some(seen) = conn.request() {
            match seen.path.as_str() {
                "/" => drop(conn.ok("hello")),
                "/body" => drop(conn.write("HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nhel")),
                "/open" => drop(conn.write("HTTP/1.1 200 X\r\n\r\nhel")),
                _ => drop(conn.idle(LIMIT)),
            }
        }
    })
}

#[test]
fn the_wait_for_an_answer_and_the_reading_of_a_body_are_cancelled() {
    let server = server();
    let session = Session::new().unwrap();
    for kept in [false, true] {
        for path in ["/hangs", "/body", "/open"] {
            if kept {
                session.get(server.url("/")).send().unwrap().text().unwrap();
            }
            let before = server.seen().len();
            let request = session.get(server.url(path));
            let error = cancelled(request, &Canceller::new(), || server.seen().len() > before);
            assert!(error.may_have_run(), "{path}: {error:?}");
            assert_eq!(server.seen().len(), before + 1, "{path}: it was sent again");
            eventually("its connection is gone", || session.stats().open == 0);
        }
    }
}

#[test]
fn what_has_not_been_sent_has_not_run() {
    let server = server();
    // A name that nobody answers, a handshake that hangs, a place that does not become free.
    let names = Session::builder().resolver(|_, _| {
        thread::sleep(ms(2000)); // the fault
        Err(std::io::ErrorKind::NotFound.into())
    });
    let names = names.build().unwrap();
    let request = names.post("http://slow.test/");
    let error = cancelled(request, &Canceller::new(), || names.stats().lookups > 0);
    assert!(!error.may_have_run(), "{error:?}");
    let builder = Session::builder().max_per_host(1).connect_timeout(LIMIT * 2);
    let session = builder.build().unwrap();
    let silent = Server::start(|conn| conn.stop_reading());
    let request = session.post(format!("https://{}/", silent.address));
    let error = cancelled(request, &Canceller::new(), || silent.accepted() > 0);
    assert!(!error.may_have_run(), "{error:?}");
    let held = session.get(server.url("/body")).send().unwrap();
    let request = session.post(server.url("/"));
    let error = cancelled(request, &Canceller::new(), || session.stats().waiting > 0);
    assert!(!error.may_have_run(), "{error:?}");
    drop(held);
    assert_eq!(session.get(server.url("/")).send().unwrap().text().unwrap(), "hello");
}

#[test]
fn who_has_cancelled_stays_so_and_harms_nobody_else() {
    let server = server();
    let session = Session::new().unwrap();
    let canceller = Canceller::new();
    let request = || session.get(server.url("/")).cancelled_by(&canceller);
    assert_eq!(request().send().unwrap().text().unwrap(), "hello");
    let mut kept = request().send().unwrap();
    assert!(kept.reused());
    assert_eq!(kept.text().unwrap(), "hello");
    // Its connection serves others now, and is none of the canceller's.
    let mut other = session.get(server.url("/")).send().unwrap();
    canceller.cancel();
    let mut text = String::new();
    other.reader().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    let error = request().send().unwrap_err();
    assert!(error.is_cancelled() && !error.may_have_run(), "{error:?}");
    assert_eq!(session.get(server.url("/")).send().unwrap().text().unwrap(), "hello");
    assert!(canceller.has_cancelled());
}

/// A body without a length ends with its connection: but not with an end that was made here.
#[test]
fn a_shutdown_does_not_make_a_body_whole() {
    let server = server();
    let session = Session::new().unwrap();
    let events = session.events();
    let mut response = session.get(server.url("/open")).send().unwrap();
    wait(&events, "connection", |_| true);
    session.agent().clone().shutdown();
    let error = response.text().unwrap_err();
    assert!(error.is_stopped() && error.may_have_run(), "{error:?}");
}

#[test]
fn a_body_that_was_cancelled_says_so_whenever_it_is_read() {
    let server = server();
    let canceller = Canceller::new();
    let session = Session::new().unwrap();
    let mut response = session.get(server.url("/body")).cancelled_by(&canceller).send().unwrap();
    canceller.cancel();
    for _ in 0..3 {
        let error = response.text().unwrap_err();
        assert!(error.is_cancelled() && error.may_have_run(), "{error:?}");
    }
}
