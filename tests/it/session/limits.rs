//! Limits: what no server may make endless, what a shutdown ends, and what this machine runs out
//! of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Error, Session};

use super::alone::alone;
use super::names::black_hole;
use super::server::{LIMIT, Server, eventually, in_time, ms};

/// Sends this, and then that for as long as it is taken; how much of it was.
fn endless(first: &'static str, more: &'static str) -> (Server, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let server = Server::start(move |conn| {
        conn.request();
        conn.write(first);
        while conn.write(more) {
            count.fetch_add(more.len(), Ordering::SeqCst);
        }
    });
    (server, sent)
}

#[test]
fn nothing_before_a_body_is_endless() {
    for (first, more, words) in [
        ("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", "interim"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n", "interim"),
        ("HTTP/1.1 200 OK\r\n", "X: y\r\n", "KiB"),
        ("HTTP/1.1 200 OK\r\nX: ", "yyyyyyyyyyyyyyyy", "KiB"),
        ("", "\r\n", "blank"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", "extension", "chunk extension"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            "X-Trailer: y\r\n",
            "trailer",
        ),
    ] {
        let (server, sent) = endless(first, more);
        let session = Session::new().unwrap();
        let url = server.url("/");
        let error = in_time(words, move || {
            session.get(url).send().and_then(|mut response| response.bytes()).unwrap_err()
        });
        assert!(error.to_string().contains(words) && error.may_have_run(), "{words}: {error}");
        // What the kernel takes on both sides of a connection is more than any limit.
        assert!(sent.load(Ordering::SeqCst) < 32 << 20, "{words}: {sent:?} bytes were taken");
    }
    let fields = "X: y\r\n".repeat(3000);
    let server = Server::answering(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n"));
    let error = Session::new().unwrap().get(server.url("/")).send().unwrap_err();
    assert!(error.to_string().contains("headers"), "{error}");
}

#[test]
fn a_dropped_body_takes_50_ms_and_64_kib_at_most() {
    let (server, sent) = endless(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "10\r\n0123456789abcdef\r\n",
    );
    let session = Session::new().unwrap();
    let response = session.get(server.url("/")).send().unwrap();
    let start = Instant::now();
    drop(response);
    assert!(start.elapsed() < ms(1000), "{:?}", start.elapsed());
    eventually("it is gone", || server.open().0 == 0);
    assert!(sent.load(Ordering::SeqCst) < 32 << 20, "{sent:?} bytes were taken");
}

fn assert_shut_down(error: &Error, start: Instant) {
    assert!(error.is_stopped() && !error.may_have_run() && !error.is_timeout(), "{error:?}");
    assert!(start.elapsed() < ms(2000), "{:?}", start.elapsed());
}

/// A request that is on its way, and a shutdown that meets it there.
fn shut_down_amid(session: Session, url: String, under_way: impl Fn(&Session) -> bool) {
    let request = session.get(url);
    let waits = thread::spawn(move || request.send().map(drop));
    eventually("it is under way", || under_way(&session));
    thread::sleep(ms(50)); // into the wait
    assert!(!waits.is_finished());
    let start = Instant::now();
    session.agent().clone().shutdown();
    let error = in_time("its end", || waits.join().unwrap()).unwrap_err();
    assert_shut_down(&error, start);
    assert_eq!((session.stats().open, session.stats().waiting), (0, 0));
}

#[test]
fn a_shutdown_ends_connects_that_are_under_way() {
    let (_listener, _queue, nowhere) = black_hole("127.0.0.1:0");
    let builder = Session::builder().connect_timeout(LIMIT * 2);
    shut_down_amid(builder.build().unwrap(), format!("http://{nowhere}/"), |s| s.stats().open == 1);
}

#[test]
fn a_shutdown_ends_the_wait_for_a_name() {
    let builder = Session::builder().connect_timeout(LIMIT * 2).resolver(|_, _| {
        thread::sleep(Duration::from_secs(3)); // the name server hangs
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], 1))])
    });
    let session = builder.build().unwrap();
    shut_down_amid(session, "http://name.test/".to_owned(), |s| s.stats().lookups == 1);
}

#[test]
fn a_shutdown_ends_the_wait_for_a_proxy() {
    let silent = Server::start(|conn| while conn.bytes(1).is_some() {});
    for scheme in ["http", "socks5h"] {
        let before = silent.accepted();
        let url = format!("{scheme}://{}", silent.address);
        let builder = Session::builder().connect_timeout(LIMIT * 2).proxy(url);
        shut_down_amid(builder.build().unwrap(), "https://name.test/".to_owned(), |_| {
            silent.accepted() > before
        });
    }
}

const NAME: &str = "session::limits::descriptors_that_are_used_up_are_a_limit";

#[test]
fn descriptors_that_are_used_up_are_a_limit() {
    if !alone(NAME, LIMIT) {
        return;
    }
    let server = Server::ok();
    let session = Session::new().unwrap();
    assert_eq!(session.get(server.url("/")).send().unwrap().text().unwrap(), "hello");
    let other = Server::ok();
    let mut all = Vec::new();
    // SAFETY: the limit is this process's own, which is there for this test alone.
    unsafe {
        let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let few = libc::rlimit { rlim_cur: used + 10, rlim_max: used + 10 };
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &few), 0);
    }
    while let Ok(file) = std::fs::File::open("/dev/null") {
        all.push(file);
    }
    for url in [other.url("/"), "http://localhost:1/".to_owned(), "https://localhost:1/".to_owned()]
    {
        let error = session.get(&url).send().unwrap_err();
        assert!(error.is_limit() && !error.may_have_run(), "{url}: {error:?}");
        assert!(error.to_string().contains("ulimit"), "{url}: {error}");
    }
    // What stands, stands.
    assert!(session.get(server.url("/")).send().unwrap().reused());
    assert_eq!((session.stats().open, session.stats().idle), (1, 1));
    drop(all);
    assert_eq!(session.get(other.url("/")).send().unwrap().text().unwrap(), "hello");
}
