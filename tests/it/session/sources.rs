//! Where connections start, and Unix sockets.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use keepbeat::{Eviction, Session};

use super::server::{Server, eventually, ms, wait};

#[test]
fn a_connection_starts_from_the_address_that_was_chosen() {
    let server = Server::ok();
    let own: IpAddr = "127.0.0.7".parse().unwrap();
    let session = Session::builder().local_address(own).build().unwrap();
    let response = session.get(server.url("/")).send().unwrap();
    assert_eq!(response.local_addr().unwrap().ip(), own);
    // An address of another family leads nowhere from there, and one that is not ours is named.
    let error = session.get("http://[::1]:1/").send().unwrap_err();
    assert!(error.is_connect() && !error.may_have_run(), "{error:?}");
    let foreign = Session::builder().local_address("192.0.2.1".parse().unwrap()).build().unwrap();
    let error = foreign.get(server.url("/")).send().unwrap_err();
    assert!(error.is_connect() && error.to_string().contains("192.0.2.1"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_connection_starts_from_the_interface_that_was_chosen() {
    let server = Server::ok();
    let session = Session::builder().interface("lo").build().unwrap();
    assert_eq!(session.get(server.url("/")).send().unwrap().text().unwrap(), "hello");
    let session = Session::builder().interface("no-such0").build().unwrap();
    let error = session.get(server.url("/")).send().unwrap_err();
    assert!(error.is_connect() && error.to_string().contains("`no-such0`"), "{error}");
    for name in ["", "a/b", "a b", "much-too-long-for-it", "a\0b"] {
        assert!(Session::builder().interface(name).build().unwrap_err().is_invalid(), "{name}");
    }
}

/// Gone with the value.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Answers each request with its host; a connection ends after so many.
fn unix(name: &str, each: usize) -> Socket {
    let path = std::env::temp_dir().join(format!("keepbeat-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                for _ in 0..each {
                    let mut bytes = [0; 4096];
                    let n = stream.read(&mut bytes).unwrap();
                    let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
                    let Some((_, host)) = text.split_once("host: ") else { return };
                    let host = host.lines().next().unwrap();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", host.len());
                    stream.write_all((head + host).as_bytes()).unwrap();
                }
            });
        }
    });
    Socket(path)
}

#[test]
fn a_unix_socket_is_a_server_like_any_other() {
    let socket = unix("kept", usize::MAX);
    let session = Session::builder().unix_socket(&socket.0).build().unwrap();
    let events = session.events();
    for n in 0..5 {
        let mut response = session.get("http://docker/version").send().unwrap();
        assert_eq!(response.reused(), n > 0);
        assert_eq!((response.peer_addr(), response.local_addr()), (None, None));
        assert_eq!(response.text().unwrap(), "docker");
    }
    let stats = session.stats();
    assert_eq!((stats.opened, stats.reused, stats.lookups), (1, 4, 0));
    drop(events);
    // It is watched, and its end is seen.
    let socket = unix("closed", 1);
    let session = Session::builder().unix_socket(&socket.0).build().unwrap();
    let events = session.events();
    session.get("http://docker/").send().unwrap().text().unwrap();
    wait(&events, "its end", |kind| {
        matches!(kind, keepbeat::SessionEventKind::Evicted { cause: Eviction::ClosedByPeer, .. })
    });
    eventually("nothing is open", || session.stats().open == 0);
    assert_eq!(session.get("http://docker/").send().unwrap().text().unwrap(), "docker");
}

#[test]
fn a_unix_socket_that_is_not_there_or_full_is_told() {
    let path = std::env::temp_dir().join(format!("keepbeat-{}-none", std::process::id()));
    let session = Session::builder().unix_socket(&path).build().unwrap();
    let error = session.get("http://docker/").send().unwrap_err();
    assert!(error.is_connect() && !error.may_have_run(), "{error:?}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    let long = "x".repeat(200);
    assert!(Session::builder().unix_socket(long).build().unwrap_err().is_invalid());
    let error = Session::builder().unix_socket("/x").proxy("http://h").build().unwrap_err();
    assert!(error.is_invalid(), "{error}");
    // Nobody accepts, and the queue is full: the time is kept.
    let full = Socket(path);
    let listener =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&full.0).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _first = std::os::unix::net::UnixStream::connect(&full.0).unwrap();
    let builder = Session::builder().unix_socket(&full.0).connect_timeout(ms(200));
    let start = std::time::Instant::now();
    let error = builder.build().unwrap().get("http://docker/").send().unwrap_err();
    assert!(start.elapsed() >= ms(190), "it is asked again: {:?}", start.elapsed());
    assert!(error.is_connect() && !error.may_have_run(), "{error:?}");
    assert!(error.to_string().contains("`connect_timeout`"), "{error}");
}
