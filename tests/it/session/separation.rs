//! What must not share a connection does not, and what must not follow a redirect stays behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use keepbeat::{Eviction, Session};
use ureq::http::Request;

use super::server::{Server, eventually};

/// An HTTP proxy that opens tunnels and takes requests in absolute form; and what it was asked
/// first on each connection.
pub fn proxy() -> (SocketAddr, crossbeam_channel::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, asked) = crossbeam_channel::unbounded();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let Some(target) = head.split_whitespace().nth(1) else { continue };
            let place = target.trim_start_matches("http://").split('/').next().unwrap();
            let mut server = TcpStream::connect(place).unwrap();
            sender.send(head.clone()).unwrap();
            if head.starts_with("CONNECT ") {
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            } else {
                server.write_all(head.as_bytes()).unwrap();
            }
            copy(&client, &server);
            copy(&server, &client);
        }
    });
    (address, asked)
}

fn copy(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
}

#[test]
fn two_sessions_share_nothing() {
    let server = Server::ok();
    let sessions = [Session::new().unwrap(), Session::new().unwrap()];
    for session in sessions.iter().cycle().take(6) {
        session.get(server.url("/")).send().unwrap();
    }
    assert_eq!(server.accepted(), 2);
    assert_eq!(sessions[0].clone().stats().opened, 1);
}

#[test]
fn connections_through_a_proxy_are_kept_and_are_none_without_it() {
    let server = Server::ok();
    let (address, asked) = proxy();
    let through = Session::builder().proxy(format!("http://user:pass@{address}")).build().unwrap();
    for n in 0..5 {
        let mut response = through.get(server.url("/")).send().unwrap();
        assert_eq!(response.reused(), n > 0);
        assert_eq!(response.text().unwrap(), "hello");
    }
    assert_eq!(asked.len(), 1);
    let head = asked.recv().unwrap();
    assert!(head.starts_with(&format!("GET http://{}/ HTTP/1.1\r\n", server.address)), "{head}");
    assert!(head.contains("proxy-authorization: Basic dXNlcjpwYXNz"), "{head}");
    // An idle one behind the proxy is watched as any other.
    server.close_all();
    eventually("evicted", || through.stats().evicted(Eviction::ClosedByPeer) == 1);
}

#[test]
fn a_request_with_settings_of_its_own_gets_a_connection_of_its_own() {
    let server = Server::ok();
    let (address, asked) = proxy();
    let session = Session::builder().no_proxy().build().unwrap();
    session.get(server.url("/")).send().unwrap();
    let agent = session.agent();
    let own = |proxied: bool| {
        let request = Request::get(server.url("/")).body(()).unwrap();
        let config = agent.configure_request(request);
        let config = if proxied {
            config.proxy(Some(ureq::Proxy::new(&format!("http://{address}")).unwrap()))
        } else {
            config.no_delay(false)
        };
        agent.run(config.build()).unwrap().body_mut().read_to_string().unwrap()
    };
    own(true);
    own(true);
    assert_eq!(asked.len(), 2, "neither kept nor taken from those without");
    own(false);
    assert_eq!(session.stats().evicted(Eviction::OwnSettings), 3);
    assert!(session.get(server.url("/")).send().unwrap().reused(), "the session's own is there");
    // Settings that a connection does not depend on change nothing.
    let timed = session.get(server.url("/")).timeout(super::server::LIMIT).send().unwrap();
    assert!(timed.reused());
}

#[test]
fn credentials_stay_behind_when_a_redirect_leads_elsewhere() {
    let elsewhere = Server::ok();
    let location = elsewhere.url("/there");
    let server = Server::start(move |conn| {
        while let Some(seen) = conn.request() {
            let to = if seen.path == "/local" { "/here" } else { location.as_str() };
            let sent = if seen.path == "/here" {
                conn.ok("here")
            } else {
                conn.write(format!(
                    "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
                ))
            };
            if !sent {
                return;
            }
        }
    });
    let session = Session::new().unwrap();
    for path in ["/", "/local"] {
        let response = session
            .get(server.url(path))
            .header("Authorization", "Bearer s3cret")
            .header("Cookie", "id=s3cret")
            .send()
            .unwrap();
        assert_eq!(response.status(), 200);
    }
    let for_a_proxy = session.get(server.url("/")).header("Proxy-Authorization", "Basic s3cret");
    assert!(for_a_proxy.send().unwrap_err().is_invalid(), "it has no business here");
    let there = &elsewhere.seen()[0];
    assert_eq!(there.path, "/there");
    let carried: Vec<_> = there.headers.iter().filter(|(_, v)| v.contains("s3cret")).collect();
    assert!(carried.is_empty(), "{carried:?}");
    assert_eq!(server.accepted(), 1, "a redirect leaves its connection usable");
}
