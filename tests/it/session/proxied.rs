//! Behind a proxy: what an end there teaches, what was read ahead, and early answers.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use keepbeat::{Eviction, Session};

use super::separation::proxy;
use super::server::{Conn, LIMIT, Server, eventually, in_time, ms};

const TARGET: &str = "http://target.test:80";

/// The server is a proxy, and what is behind it as well.
fn through(server: &Server) -> Session {
    Session::builder().proxy(server.url("")).build().unwrap()
}

/// One request, and then the end that is expected. It teaches nothing.
fn assert_teaches_nothing(server: &Server, end: Eviction) {
    let session = through(server);
    let mut response = session.get(format!("{TARGET}/")).send().unwrap();
    assert_eq!(response.text().unwrap(), "hello");
    eventually(end.word(), || session.stats().evicted(end) == 1);
    thread::sleep(ms(120)); // nothing tells that nothing was learnt
    let stats = session.stats();
    assert_eq!(stats.host(TARGET).unwrap().learnt, None, "{end}");
    assert_eq!((stats.open, stats.evicted(Eviction::ClosedByPeer)), (0, 0));
}

#[test]
fn a_reset_behind_a_proxy_teaches_nothing() {
    let server = Server::start(|conn| {
        assert!(conn.request().is_some() && conn.ok("hello"));
        conn.idle(ms(200)); // long enough to be taken for an idle limit
        conn.reset();
    });
    assert_teaches_nothing(&server, Eviction::Reset);
}

#[test]
fn stray_bytes_behind_a_proxy_teach_nothing() {
    let server = Server::start(|conn| {
        assert!(conn.request().is_some() && conn.ok("hello"));
        conn.idle(ms(200)); // long enough to be taken for an idle limit
        conn.write("HTTP/1.1 408 Request Timeout\r\n\r\n");
        conn.idle(LIMIT);
    });
    assert_teaches_nothing(&server, Eviction::UnexpectedBytes);
}

/// What fits into the buffer of a connection.
const BUFFER: usize = 64 * 1024;

/// The beginning of a response, up to the middle of a chunk's size.
const BEGINNING: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nF";

/// The rest of the response, which fills the buffer to its last byte, and a response behind it.
fn rest_and_more() -> String {
    let room = BUFFER - BEGINNING.len();
    let data = room - "FFF\r\n\r\n0\r\n\r\n".len();
    let size = format!("{data:X}");
    assert!(size.len() == 4 && size.starts_with('F'), "{size}");
    let rest = format!("{}\r\n{}\r\n0\r\n\r\n", &size[1..], "x".repeat(data));
    assert_eq!(rest.len(), room);
    rest + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
}

#[test]
fn what_was_read_ahead_is_nobodys_response() {
    let (go, when) = mpsc::channel::<()>();
    let when = Mutex::new(when);
    let server = Server::start(move |conn| {
        if conn.number == 0 {
            conn.request();
            conn.write(BEGINNING);
            let _ = when.lock().unwrap().recv_timeout(LIMIT);
            conn.write(rest_and_more());
        }
        while conn.request().is_some() && conn.ok("hello") {}
    });
    let session = through(&server);
    let mut first = session.get(format!("{TARGET}/1")).send().unwrap();
    first.reader().read_exact(&mut [0; 5]).unwrap();
    go.send(()).unwrap();
    thread::sleep(ms(200)); // nothing tells that all of it is there, to be read at once
    first.bytes().unwrap();
    drop(first);
    let mut second = session.get(format!("{TARGET}/2")).send().unwrap();
    assert_eq!(second.text().unwrap(), "hello");
    assert!(!second.reused() && !second.replayed());
    let asked: Vec<_> = server.seen().into_iter().map(|s| (s.connection, s.path)).collect();
    let path = |n: usize| format!("http://target.test/{n}");
    assert_eq!(asked, [(0, path(1)), (1, path(2))], "once, on a connection of its own");
}

#[test]
fn an_early_answer_behind_a_proxy_is_the_response_and_the_upload_is_sent_once() {
    let puts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&puts);
    let server = Server::start(move |conn| {
        while let Some(seen) = conn.head() {
            if seen.method == "PUT" {
                count.fetch_add(1, Ordering::SeqCst);
                conn.write(
                    "HTTP/1.1 413 No\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge",
                );
                return conn.stop_reading();
            }
            conn.ok("hello");
        }
    });
    let (address, asked) = proxy();
    let session = Session::builder().proxy(format!("http://{address}")).build().unwrap();
    assert_eq!(session.get(server.url("/")).send().unwrap().text().unwrap(), "hello");
    let put = session.put(server.url("/")).body(vec![b'x'; 32 << 20]);
    let mut response = in_time("an early response", move || put.send().unwrap());
    assert_eq!((response.status().as_u16(), response.text().unwrap()), (413, "large".to_owned()));
    assert!(response.reused() && !response.replayed());
    assert_eq!((puts.load(Ordering::SeqCst), asked.len()), (1, 1));
}

/// The part of a SOCKS5 server, without authentication. It stays where it is.
fn socks(conn: &mut Conn) -> Option<()> {
    let methods = conn.bytes(2)?[1];
    conn.bytes(methods.into())?;
    conn.write([5, 0]);
    let address = match conn.bytes(4)?[3] {
        1 => 4,
        4 => 16,
        _ => conn.bytes(1)?[0].into(),
    };
    conn.bytes(address + 2)?;
    conn.write([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).then_some(())
}

/// It is a connection as any other: watched, and learnt from.
#[test]
fn the_end_of_a_connection_behind_socks_is_seen_and_teaches() {
    let server = Server::start(|conn| {
        socks(conn).unwrap();
        while conn.request().is_some() && conn.ok("hello") {
            if !conn.idle(ms(100)) || !conn.has_bytes() {
                return;
            }
        }
    });
    let session = Session::builder()
        .proxy(format!("socks5://{}", server.address))
        .resolver(|_, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]))
        .build()
        .unwrap();
    let get = || session.get(format!("{TARGET}/")).send().unwrap().text().unwrap();
    assert_eq!(get(), "hello");
    eventually("evicted", || session.stats().evicted(Eviction::ClosedByPeer) == 1);
    eventually("learnt", || session.stats().host(TARGET).unwrap().learnt.is_some());
    let learnt = session.stats().host(TARGET).unwrap().learnt.unwrap();
    assert!(learnt >= ms(90) && learnt < ms(400), "it closes after 100 ms: {learnt:?}");
    assert_eq!(get(), "hello");
    assert_eq!(server.accepted(), 2);
}
