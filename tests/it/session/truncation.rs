//! Truncation: a body is whole, or reading it is an error. One without a length is whole at an
//! orderly end alone (RFC 9112, section 8): a FIN over TCP, a close_notify under TLS. curl, Go and
//! Node tell all of these; ureq 3.5.2 takes any end for the end.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use keepbeat::{Response, Session};
use socket2::SockRef;

use super::server::{Conn, LIMIT, Server, eventually};
use crate::peer::Peer;
use crate::tls_link::{Authority, Server as TlsServer};

const OPEN: &str = "HTTP/1.1 200 OK\r\n\r\nhello";

/// Answers each request with these bytes, and ends like this.
fn plain(bytes: &'static str, end: fn(&mut Conn)) -> Server {
    Server::start(move |conn| {
        if conn.request().is_some() {
            conn.write(bytes);
            end(conn);
        }
    })
}

fn body(session: &Session, url: &str) -> Result<String, String> {
    let mut response = session.get(url).send().unwrap();
    let text = response.text();
    if text.is_err() {
        assert_stays_broken(&mut response);
    }
    drop(response);
    eventually("its connection is gone", || session.stats().open == 0);
    text.map_err(|error| {
        assert!(!error.is_timeout() && error.may_have_run(), "{error:?}");
        error.to_string()
    })
}

/// Who reads on does not meet an end either.
fn assert_stays_broken(response: &mut Response) {
    for _ in 0..3 {
        assert!(response.reader().read(&mut [0; 100]).is_err());
    }
    assert!(response.bytes().is_err());
}

/// The client has read everything that was sent, before the next thing happens.
fn until_read(conn: &mut Conn) {
    conn.idle(std::time::Duration::from_millis(50)); // nothing tells that it was read
}

#[test]
fn a_fin_ends_a_body_without_a_length_and_a_reset_never() {
    let session = Session::new().unwrap();
    let server = plain(OPEN, Conn::end_both);
    assert_eq!(body(&session, &server.url("/")), Ok("hello".to_owned()));
    for end in [Conn::reset, |conn: &mut Conn| {
        until_read(conn);
        conn.reset();
    }] {
        let server = plain(OPEN, end);
        let error = body(&session, &server.url("/")).unwrap_err();
        assert!(error.contains("after 5 bytes") || error.contains("after 0 bytes"), "{error}");
    }
}

#[test]
fn what_is_missing_of_a_body_is_told_with_how_much_came() {
    let session = Session::new().unwrap();
    for (bytes, words) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "after 5 of 9 bytes"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "after 0 of 9 bytes"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "after 5 bytes"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello", "after 5 bytes"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0", "after 5 bytes"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nhello", "after 5 of 9 bytes"),
    ] {
        let server = plain(bytes, Conn::end_both);
        let error = body(&session, &server.url("/")).unwrap_err();
        assert!(error.contains(words), "{bytes:?}: {error}");
    }
    // The last chunk is there; only what could follow it is not (RFC 9112, section 8).
    for rest in ["0\r\n", "0\r\nX-Sum: 1\r\n"] {
        let bytes =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n{rest}");
        let server = plain(bytes.leak(), Conn::end_both);
        assert_eq!(body(&session, &server.url("/")), Ok("hello".to_owned()));
    }
}

#[test]
fn who_uses_the_agent_is_told_as_well() {
    let session = Session::new().unwrap();
    for (bytes, end) in [
        (OPEN, Conn::reset as fn(&mut Conn)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", Conn::end_both),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Conn::end_both),
    ] {
        let server = plain(bytes, end);
        let mut response = session.agent().get(server.url("/")).call().unwrap();
        assert!(response.body_mut().read_to_string().is_err(), "{bytes:?}");
    }
    let server = plain(OPEN, Conn::end_both);
    let mut response = session.agent().get(server.url("/")).call().unwrap();
    assert_eq!(response.body_mut().read_to_string().unwrap(), "hello");
}

/// How a server under TLS ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Farewell,
    /// The FIN of TCP alone.
    Fin,
    Reset,
    /// A farewell, and a reset behind it.
    FarewellThenReset,
}

fn secure(authority: &Authority, bytes: &'static str, end: End) -> Peer {
    authority.serve(move |mut stream: TlsServer, _| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        stream.write_all(bytes.as_bytes())?;
        stream.flush()?;
        std::thread::sleep(std::time::Duration::from_millis(20)); // a reset would overtake it
        if matches!(end, End::Farewell | End::FarewellThenReset) {
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        match end {
            End::Farewell | End::Fin => stream.sock.shutdown(Shutdown::Write)?,
            End::Reset | End::FarewellThenReset => {
                SockRef::from(&stream.sock).set_linger(Some(std::time::Duration::ZERO))?;
                return Ok(());
            }
        }
        stream.sock.set_read_timeout(Some(LIMIT))?;
        io::copy(&mut stream.sock, &mut io::sink()).map(drop)
    })
}

#[test]
fn under_tls_only_a_farewell_ends_a_body_without_a_length() {
    let authority = Authority::new(|_| ());
    let session = Session::builder().tls(authority.tls()).build().unwrap();
    let lenient = Session::builder().tls(authority.tls()).allow_missing_close_notify(true);
    let lenient = lenient.build().unwrap();
    for (end, strictly, leniently) in
        [(End::Farewell, true, true), (End::Fin, false, true), (End::Reset, false, false)]
    {
        let peer = secure(&authority, OPEN, end);
        let url = format!("https://{}/", peer.address);
        for (session, whole) in [(&session, strictly), (&lenient, leniently)] {
            match body(session, &url) {
                Ok(text) => assert!(whole && text == "hello", "{end:?}"),
                Err(error) => {
                    assert!(!whole, "{end:?}: {error}");
                    assert!(error.contains("after 5 bytes"), "{end:?}: {error}");
                    let named = error.contains("`allow_missing_close_notify`");
                    assert_eq!(named, end == End::Fin, "{end:?}: {error}");
                }
            }
        }
    }
    // A length is a length, and needs no farewell; what is missing of it is missing.
    for end in [End::Fin, End::Farewell] {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let peer = secure(&authority, whole, end);
        let mut response = session.get(format!("https://{}/", peer.address)).send().unwrap();
        assert_eq!(response.text().unwrap(), "hello");
        drop(response);
        let short = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello";
        let peer = secure(&authority, short, end);
        let url = format!("https://{}/", peer.address);
        for session in [&session, &lenient] {
            eventually("none is left", || session.stats().open == 0);
            let error = body(session, &url).unwrap_err();
            assert!(error.contains("after 5 of 9 bytes"), "{error}");
        }
    }
}

#[test]
fn a_reset_behind_a_farewell_harms_no_body_that_was_read() {
    let authority = Authority::new(|_| ());
    let session = Session::builder().tls(authority.tls()).build().unwrap();
    let peer = secure(&authority, OPEN, End::FarewellThenReset);
    // The kernel drops what was not read yet: either it was all, or it is told.
    match body(&session, &format!("https://{}/", peer.address)) {
        Ok(text) => assert_eq!(text, "hello"),
        Err(error) => assert!(error.contains("bytes"), "{error}"),
    }
}
