//! `may_have_run`: never wrong towards "no", and not needlessly "yes".

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keepbeat::{Body, Session};
use ureq::http::Method;

use super::server::{Conn, LIMIT, Server, in_time, ms};

/// Nothing of these was sent, whatever they would have done.
#[test]
fn what_was_not_sent_has_not_run() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    let post = || session.post(server.url("/")).body("order");
    let own: Method = "ORDER".parse().unwrap();
    for (what, request) in [
        ("two hosts", post().header("host", "a").header("host", "b")),
        ("two lengths", post().header("content-length", "5").header("content-length", "5")),
        ("two lengths", post().header("content-length", "5").header("content-length", "6")),
        ("a list of lengths", post().header("content-length", "5, 5")),
        ("a sign", post().header("content-length", "+5")),
        ("another coding", post().header("transfer-encoding", "gzip")),
        ("several codings", post().header("transfer-encoding", "gzip, chunked")),
        ("both", post().header("transfer-encoding", "chunked").header("content-length", "5")),
        ("a body of HEAD", session.head(server.url("/")).body("order")),
        ("a tunnel", session.method(Method::CONNECT, server.url("/"))),
        ("a header for a proxy", post().header("proxy-authorization", "x")),
        ("no header", post().header("a b", "c")),
    ] {
        let error = request.send().unwrap_err();
        assert!(error.is_invalid() && !error.may_have_run(), "{what}: {error:?}");
    }
    assert_eq!((server.accepted(), session.stats().opened), (0, 0));
    // A method of one's own is as good as any other.
    session.method(own.clone(), server.url("/")).body("order").send().unwrap();
    assert_eq!(server.seen()[0].method, "ORDER");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = session.method(own, format!("http://{closed}/")).send().unwrap_err();
    assert!(error.is_connect() && !error.may_have_run(), "{error:?}");
}

#[test]
fn a_name_that_a_socks_proxy_does_not_know_has_run_nothing() {
    for (scheme, reply) in [
        ("socks5h", &[5, 4, 0, 1, 0, 0, 0, 0, 0, 0][..]),
        ("socks4a", &[0, 91, 0, 0, 0, 0, 0, 0][..]),
    ] {
        let server = Server::start(move |conn| {
            if scheme == "socks5h" {
                conn.bytes(3);
                conn.write([5, 0]);
                conn.bytes(4 + 1 + "unknown.test".len() + 2);
            } else {
                conn.bytes(8 + 1 + "unknown.test".len() + 1);
            }
            conn.write(reply);
        });
        let session = Session::builder().proxy(format!("{scheme}://{}", server.address)).build();
        let session = session.unwrap();
        let error = session.post("http://unknown.test/").body("order").send().unwrap_err();
        assert!(error.is_connect() && !error.may_have_run(), "{scheme}: {error:?}");
        assert_eq!(error.cause(), Some(keepbeat::Cause::ProxyFailed), "{error}");
        assert!(error.to_string().contains("proxy-failed"), "{error}");
        assert_eq!(server.accepted(), 1, "one connect");
    }
}

/// The server reads some of it, and then this happens.
fn after_some(n: usize, then: fn(&mut Conn)) -> Server {
    Server::start(move |conn| {
        conn.bytes(n);
        then(conn);
    })
}

#[test]
fn what_left_in_part_may_have_run() {
    let large = || Body::sized_reader(std::io::repeat(b'x'), 1 << 30);
    for (what, then) in [
        ("a reset", Conn::reset as fn(&mut Conn)),
        ("an end", Conn::end_both),
        ("silence", |conn| conn.stop_reading()),
    ] {
        let server = after_some(10, then);
        let session = Session::new().unwrap();
        let post = session.post(server.url("/")).timeout(ms(300)).body(large());
        let error = in_time(what, move || post.send().unwrap_err());
        assert!(error.may_have_run(), "{what}: {error:?}");
    }
    // A body that fails after the head went out.
    struct Fails;
    impl std::io::Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::Other.into())
        }
    }
    let server = Server::ok();
    let session = Session::new().unwrap();
    let error = session.put(server.url("/")).body(Body::reader(Fails)).send().unwrap_err();
    assert!(error.may_have_run(), "{error:?}");
}

/// Whatever goes wrong behind a hop that was answered, that hop has run.
#[test]
fn behind_an_answered_hop_everything_may_have_run() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let full = Server::start(|conn| while conn.idle(LIMIT) {});
    let target = format!("http://{}/full", full.address);
    let locations = [
        format!("http://{closed}/"),
        "http://unknown.test/".to_owned(),
        "http://user:s3cret@host:99999/".to_owned(),
        "http://a@b@c/".to_owned(),
        "http:///".to_owned(),
        "//".to_owned(),
        "ftp://host/".to_owned(),
        "ws://host/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "https://h ost/".to_owned(),
        "/loop".to_owned(),
        target,
    ];
    for location in locations {
        let to = location.clone();
        let hops = Arc::new(AtomicUsize::new(0));
        let ours = Arc::clone(&hops);
        let server = Server::start(move |conn| {
            while conn.request().is_some() {
                ours.fetch_add(1, Ordering::SeqCst);
                conn.write(format!(
                    "HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
                ));
            }
        });
        let resolver = |_: &str, _| Err(std::io::ErrorKind::NotFound.into());
        let session = Session::builder().resolver(resolver).build().unwrap();
        let error =
            session.post(server.url("/")).timeout(ms(2000)).body("order").send().unwrap_err();
        assert!(error.may_have_run(), "{location}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{location}: {error:?}");
        let expected = if location == "/loop" { 11 } else { 1 };
        assert_eq!(hops.load(Ordering::SeqCst), expected, "{location}");
    }
}
