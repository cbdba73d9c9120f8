//! Sessions under TLS: kept connections, certificates, farewells, and settings that keep apart.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use keepbeat::{Eviction, Session, SessionEventKind, Tls};
use ureq::http::Request;
use ureq::tls::TlsConfig;

use super::server::{eventually, ms, wait};
use crate::allocations::live;
use crate::peer::Peer;
use crate::tls_link::{Authority, Server};

/// Reads one head. None when the client has gone.
fn head(stream: &mut Server) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

fn ok(stream: &mut Server) {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    stream.flush().unwrap();
}

/// Answers until the client goes; `/bye` is the last, with or without a farewell.
fn answering(authority: &Authority) -> Peer {
    authority.serve(|mut stream, _| {
        while let Some(head) = head(&mut stream) {
            ok(&mut stream);
            if head.contains("/farewell") {
                thread::sleep(ms(30)); // it is idle by then
                stream.conn.send_close_notify();
                stream.flush()?;
                return Ok(());
            }
            if head.contains("/extra") {
                ok(&mut stream);
            }
        }
        Ok(())
    })
}

fn url(peer: &Peer, path: &str) -> String {
    format!("https://{}{path}", peer.address)
}

fn session(authority: &Authority) -> Session {
    Session::builder().tls(authority.tls()).build().unwrap()
}

#[test]
fn one_connection_under_tls_serves_many_requests() {
    let authority = Authority::new(|_| ());
    let peer = answering(&authority);
    let session = session(&authority);
    for n in 0..50 {
        let mut response = session.get(url(&peer, "/")).send().unwrap();
        assert_eq!(response.reused(), n > 0);
        // Known of a kept connection as of a new one.
        assert_eq!(response.peer_addr(), Some(peer.address));
        assert!(response.local_addr().is_some_and(|local| local.ip() == peer.address.ip()));
        assert_eq!(response.tls_version(), Some("TLS 1.3"));
        assert!(response.certificate_expires().is_some_and(|at| at > SystemTime::now()));
        assert_eq!(response.text().unwrap(), "hello");
    }
    assert_eq!(peer.visits(), 1);
}

/// What a server may ask for before it speaks HTTP/1.1 (RFC 7301).
#[test]
fn the_protocol_is_named_in_the_handshake() {
    let mut authority = Authority::new(|_| ());
    Arc::make_mut(&mut authority.config).alpn_protocols = vec![b"http/1.1".to_vec()];
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let peer = authority.serve(move |mut stream, _| {
        head(&mut stream);
        let named = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
        sender.send(named).unwrap();
        ok(&mut stream);
        Ok(())
    });
    session(&authority).get(url(&peer, "/")).send().unwrap();
    assert_eq!(receiver.recv().unwrap().as_deref(), Some(&b"http/1.1"[..]));
}

#[test]
fn https_only_stops_a_redirect_that_leaves_tls() {
    let authority = Authority::new(|_| ());
    let plain = super::server::Server::ok();
    let to = plain.url("/?s3cret");
    let peer = authority.serve(move |mut stream, _| {
        while head(&mut stream).is_some() {
            let answer = format!("HTTP/1.1 307 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes())?;
            stream.flush()?;
        }
        Ok(())
    });
    let builder = || Session::builder().tls(authority.tls());
    let strict = builder().https_only(true).build().unwrap();
    let error = strict.post(url(&peer, "/")).body("order").send().unwrap_err();
    assert!(error.may_have_run() && error.to_string().contains("`https_only`"), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    assert_eq!(plain.accepted(), 0);
    // Without it the redirect is followed.
    builder().build().unwrap().post(url(&peer, "/")).body("order").send().unwrap();
    assert_eq!(plain.seen()[0].body, b"order");
}

#[test]
fn the_platforms_authorities_are_trusted_and_no_others() {
    let name = "session::secure::the_platforms_authorities_are_trusted_and_no_others";
    if crate::alone::is_alone(name) {
        let url = std::env::var("KEEPBEAT_TEST_URL").unwrap();
        let tls = Tls::new().platform_roots().unwrap();
        let session = Session::builder().tls(tls).build().unwrap();
        assert_eq!(session.get(&url).send().unwrap().text().unwrap(), "hello");
        assert!(Session::new().unwrap().get(&url).send().is_err(), "the public ones alone");
        return;
    }
    let authority = Authority::new(|_| ());
    let peer = answering(&authority);
    let file = std::env::temp_dir().join(format!("keepbeat-platform-{}", std::process::id()));
    std::fs::write(&file, &authority.ca_pem).unwrap();
    crate::alone::run_alone(name, super::server::LIMIT, |command| {
        command.env("SSL_CERT_FILE", &file).env("KEEPBEAT_TEST_URL", url(&peer, "/"));
    });
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_farewell_on_an_idle_connection_evicts_it() {
    let authority = Authority::new(|_| ());
    let peer = answering(&authority);
    let session = session(&authority);
    let events = session.events();
    session.get(url(&peer, "/farewell")).send().unwrap().text().unwrap();
    wait(&events, "closed-by-peer", |kind| {
        matches!(kind, SessionEventKind::Evicted { cause: Eviction::ClosedByPeer, .. })
    });
    session.get(url(&peer, "/")).send().unwrap();
}

#[test]
fn a_second_response_under_tls_is_nobodys() {
    let authority = Authority::new(|_| ());
    let peer = answering(&authority);
    let session = session(&authority);
    for _ in 0..5 {
        session.get(url(&peer, "/extra")).send().unwrap().text().unwrap();
        thread::sleep(ms(20)); // nothing tells that it is there
        let response = session.get(url(&peer, "/")).send().unwrap();
        assert!(!response.reused(), "bytes that nobody asked for were on it");
    }
}

#[test]
fn certificates_that_are_no_good_are_told_in_words() {
    let over = Authority::new(|params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    let other = Authority::new(|_| ());
    for (authority, tls, word) in [
        (&over, over.tls(), "expired"),
        (&other, over.tls(), "untrusted"),
        (&other, Tls::new(), "untrusted"),
    ] {
        let peer = answering(authority);
        let session = Session::builder().tls(tls).build().unwrap();
        let error = session.get(url(&peer, "/")).send().unwrap_err();
        assert!(error.is_connect() && !error.may_have_run(), "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(session.stats().open, 0);
        let any = Tls::new().danger_accept_any_certificate();
        let session = Session::builder().tls(any).build().unwrap();
        session.get(url(&peer, "/")).send().unwrap();
    }
}

#[test]
fn a_server_without_tls_is_told_in_words_and_one_that_hangs_in_time() {
    let plain = super::server::Server::start(|conn| {
        conn.write("HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let session = Session::new().unwrap();
    let error = session.get(format!("https://{}/", plain.address)).send().unwrap_err();
    assert!(error.is_connect() && error.to_string().contains("plaintext"), "{error}");
    let silent = super::server::Server::start(|conn| while conn.bytes(1).is_some() {});
    let session = Session::builder().connect_timeout(ms(200)).build().unwrap();
    let error = session.get(format!("https://{}/", silent.address)).send().unwrap_err();
    assert!(error.is_connect() && !error.may_have_run(), "{error:?}");
}

#[test]
fn a_request_with_tls_settings_of_its_own_shares_no_connection() {
    let authority = Authority::new(|_| ());
    let peer = answering(&authority);
    let session = session(&authority);
    session.get(url(&peer, "/")).send().unwrap().text().unwrap();
    let agent = session.agent();
    let own = |verify: bool| {
        let request = Request::get(url(&peer, "/")).body(()).unwrap();
        let tls = TlsConfig::builder().disable_verification(!verify).use_sni(false).build();
        agent.run(agent.configure_request(request).tls_config(tls).build())
    };
    for _ in 0..2 {
        assert_eq!(own(false).unwrap().body_mut().read_to_string().unwrap(), "hello");
    }
    assert_eq!(peer.visits(), 3, "neither kept, nor taken from those that verify");
    // Its own settings are in force: these trust the public authorities, and not ours.
    own(true).unwrap_err();
    assert!(session.get(url(&peer, "/")).send().unwrap().reused());
    let strict = Session::new().unwrap();
    assert!(strict.get(url(&peer, "/")).send().unwrap_err().is_connect());
}

#[test]
fn an_idle_connection_under_tls_holds_no_buffers_of_ours() {
    let authority = Authority::new(|_| ());
    let peer = answering(&authority);
    let held_by = |connections: usize| {
        let before = live();
        let session =
            Session::builder().tls(authority.tls()).max_idle_per_host(1000).build().unwrap();
        let responses: Vec<_> =
            (0..connections).map(|_| session.get(url(&peer, "/")).send().unwrap()).collect();
        drop(responses);
        assert_eq!(session.stats().idle, connections);
        live() - before
    };
    let each = (held_by(60) - held_by(20)) / 40;
    println!("{each} bytes for each idle connection under TLS, rustls's own included");
    // Its record buffers alone would be four times 16 KiB.
    assert!(each < 24 * 1024, "{each}");
}

#[test]
fn a_server_that_vanishes_under_tls_is_replayed_as_without() {
    let authority = Authority::new(|_| ());
    let peer = authority.serve(|mut stream, nth| {
        while head(&mut stream).is_some() {
            ok(&mut stream);
            if nth == 0 && head(&mut stream).is_some() {
                let socket: &TcpStream = stream.get_ref();
                return socket.shutdown(Shutdown::Both);
            }
        }
        Ok(())
    });
    let session = session(&authority);
    session.get(url(&peer, "/")).send().unwrap().text().unwrap();
    let mut response = session.get(url(&peer, "/")).send().unwrap();
    assert!(response.replayed());
    assert_eq!(response.text().unwrap(), "hello");
    eventually("one is left", || session.stats().open == 1);
}

/// A record that carries no bytes of a response must not hide the end that is behind it.
#[test]
fn an_end_behind_a_key_update_is_seen() {
    let authority = Authority::new(|_| ());
    let peer = authority.serve(|mut stream, _| {
        let _ = head(&mut stream);
        ok(&mut stream);
        thread::sleep(ms(100)); // it is idle by then
        stream.conn.refresh_traffic_keys().unwrap();
        let mut update = Vec::new();
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut update)?;
        }
        assert!(!update.is_empty());
        stream.sock.write_all(&update)?;
        stream.sock.shutdown(Shutdown::Both)
    });
    for _ in 0..5 {
        let session = session(&authority);
        session.get(url(&peer, "/")).send().unwrap().text().unwrap();
        let evicted = || session.stats().evicted(Eviction::ClosedByPeer);
        eventually("the end is seen", || evicted() == 1);
        assert_eq!(session.stats().open, 0);
    }
}

#[test]
fn a_certificate_that_expires_soon_is_an_event_once_a_day_and_known_of_its_host() {
    let days = |n: u64| std::time::Duration::from_secs(n * 24 * 3600);
    let until = std::time::SystemTime::now() + days(9) + days(1) / 2;
    let authority = Authority::new(|params| params.not_after = until.into());
    let peer = answering(&authority);
    for (before, wanted) in [(days(21), 1), (days(5), 0)] {
        let tls = authority.tls().expiry_warning(before);
        let session = Session::builder().tls(tls).build().unwrap();
        let events = session.events();
        for _ in 0..3 {
            session.get(url(&peer, "/farewell")).send().unwrap().text().unwrap();
            eventually("the connection is gone", || session.stats().open == 0);
        }
        assert_eq!(session.stats().opened, 3);
        let told: Vec<_> = events
            .try_iter()
            .filter(|event| matches!(event.kind, SessionEventKind::CertificateExpiring { .. }))
            .collect();
        assert_eq!(told.len(), wanted, "{told:?}");
        for event in told {
            assert!(event.to_string().ends_with("expires in 9 days: renew it"), "{event}");
        }
        let host = session.stats().host(&format!("https://{}", peer.address)).unwrap().clone();
        let left = host.certificate_expires.unwrap().duration_since(std::time::SystemTime::now());
        assert_eq!(left.unwrap().as_secs() / days(1).as_secs(), 9);
    }
}
