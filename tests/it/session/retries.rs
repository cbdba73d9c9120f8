//! Further attempts: which requests get them, how often, and after which waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keepbeat::session::{Canceller, Retry};
use keepbeat::{Body, Session, SessionBuilder};

use super::server::{LIMIT, Server, eventually, in_time, ms};

fn with(times: u32) -> SessionBuilder {
    Session::builder().retry(Retry::times(times).waits(ms(1), ms(1500)))
}

/// Answers this to the first so many requests, and then 200.
fn failing(times: usize, answer: &'static str) -> Server {
    let asked = AtomicUsize::new(0);
    Server::start(move |conn| {
        while conn.request().is_some() {
            match asked.fetch_add(1, Ordering::SeqCst) < times {
                true if answer.is_empty() => return,
                true => drop(conn.write(answer)),
                false => drop(conn.ok("hello")),
            }
        }
    })
}

#[test]
fn an_answer_that_may_pass_is_asked_for_again_if_that_does_no_harm() {
    let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
    let server = failing(2, busy);
    let mut response = with(3).build().unwrap().get(server.url("/")).send().unwrap();
    assert_eq!((response.retries(), response.text().unwrap().as_str()), (2, "hello"));
    assert_eq!(server.accepted(), 1, "the connection is kept");
    // As often as it is set, and then the answer is the answer.
    let server = failing(3, busy);
    let mut response = with(2).build().unwrap().get(server.url("/")).send().unwrap();
    assert_eq!((response.status().as_u16(), response.text().unwrap().as_str()), (503, "busy"));
    assert_eq!((response.retries(), server.seen().len()), (2, 3));
    for (method, answer) in [("POST", busy), ("GET", "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")]
    {
        let server = failing(1, answer);
        let session = with(3).build().unwrap();
        let response = session.method(method.parse().unwrap(), server.url("/")).send().unwrap();
        assert!(response.status().is_server_error() && response.retries() == 0, "{method}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[test]
fn a_failed_connection_is_tried_again_and_a_post_that_may_have_run_is_not() {
    let server = failing(1, "");
    let session = with(3).build().unwrap();
    let mut response = session.get(server.url("/")).send().unwrap();
    assert_eq!((response.retries(), response.text().unwrap().as_str()), (1, "hello"));
    let server = failing(1, "");
    let error = session.post(server.url("/")).body("once").send().unwrap_err();
    assert!(error.may_have_run(), "{error:?}");
    assert_eq!(server.seen().len(), 1);
    // What has not run is tried again whatever it is, but for what cannot be sent again.
    let asked = Arc::new(AtomicUsize::new(0));
    let (ours, address) = (Arc::clone(&asked), server.address);
    let builder = with(3).resolver(move |_, _| match ours.fetch_add(1, Ordering::SeqCst) {
        0 => Ok(vec![([127, 0, 0, 1], 1).into()]),
        _ => Ok(vec![address]),
    });
    let session = builder.build().unwrap();
    let body = Body::reader(&b"body"[..]);
    let response = session.post("http://name.test/").body(body).send().unwrap();
    assert_eq!((response.retries(), server.seen().pop().unwrap().body), (1, b"body".to_vec()));
    let error = session.get("http://name.test:x/").send().unwrap_err();
    assert!(error.is_invalid(), "{error}");
}

#[test]
fn the_server_says_how_long_to_wait_and_nobody_waits_beyond_the_timeout() {
    let soon = "HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    let server = failing(1, soon);
    let session = with(3).build().unwrap();
    let start = Instant::now();
    assert_eq!(session.get(server.url("/")).send().unwrap().retries(), 1);
    assert!(start.elapsed() >= ms(1000), "{:?}", start.elapsed());
    // Too long for the policy, and for the request.
    let later = "HTTP/1.1 429 X\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n";
    let (server, start) = (failing(1, later), Instant::now());
    assert_eq!(session.get(server.url("/")).send().unwrap().status(), 429);
    let server = failing(1, soon);
    let request = session.get(server.url("/")).timeout(ms(900));
    assert_eq!(request.send().unwrap().status(), 429);
    assert!(start.elapsed() < ms(900), "{:?}", start.elapsed());
}

#[test]
fn a_server_that_is_down_is_not_asked_for_more_than_a_tenth_more() {
    let server = failing(usize::MAX, "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n");
    let session = with(5).build().unwrap();
    for _ in 0..100 {
        session.get(server.url("/")).send().unwrap();
    }
    let seen = server.seen().len();
    assert!((110..=121).contains(&seen), "{seen}");
}

#[test]
fn a_wait_is_cancelled() {
    let server = failing(1, "HTTP/1.1 503 X\r\nRetry-After: 600\r\nContent-Length: 0\r\n\r\n");
    let retry = Retry::times(1).waits(ms(1), Duration::from_secs(3600));
    let session = Session::builder().retry(retry).build().unwrap();
    let canceller = Canceller::new();
    let request = session.get(server.url("/")).timeout(LIMIT * 60).cancelled_by(&canceller);
    let sends = std::thread::spawn(move || request.send());
    eventually("the wait", || session.stats().idle == 1);
    canceller.cancel();
    let error = in_time("its end", || sends.join().unwrap()).unwrap_err();
    assert!(error.is_cancelled() && error.may_have_run(), "{error:?}");
    for retry in [Retry::times(1).waits(Duration::ZERO, ms(1)), Retry::times(1).waits(ms(2), ms(1))]
    {
        assert!(Session::builder().retry(retry).build().unwrap_err().is_invalid());
    }
}
