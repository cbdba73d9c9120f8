//! A time for each part of a request: name, handshake, first byte, silence.

use std::io;
use std::time::{Duration, Instant};

use keepbeat::{Error, Session, SessionBuilder};

use super::server::{LIMIT, Server, ms};

/// A request that fails by this time, long before any other one.
fn fails(builder: SessionBuilder, url: &str) -> (Error, Duration) {
    let session = builder.connect_timeout(LIMIT).timeout(LIMIT).build().unwrap();
    let start = Instant::now();
    let mut response = match session.get(url).send() {
        Ok(response) => response,
        Err(error) => return (error, start.elapsed()),
    };
    (response.text().unwrap_err(), start.elapsed())
}

fn assert_early((error, took): &(Error, Duration), words: &str) {
    assert!(*took >= ms(190) && *took < LIMIT / 2, "{took:?}: {error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_name_has_a_time_of_its_own() {
    let slow = Session::builder().resolver(|_, _| {
        std::thread::sleep(ms(1500)); // the fault
        Err(io::ErrorKind::NotFound.into())
    });
    let failed = fails(slow.resolve_timeout(ms(200)), "http://slow.test/");
    assert_early(&failed, "`resolve_timeout`");
    assert!(failed.0.is_connect() && !failed.0.may_have_run(), "{failed:?}");
}

#[test]
fn a_handshake_has_a_time_of_its_own() {
    let silent = Server::start(|conn| conn.stop_reading());
    let url = format!("https://{}/", silent.address);
    let failed = fails(Session::builder().tls_timeout(ms(200)), &url);
    assert_early(&failed, "`tls_timeout`");
    assert!(failed.0.is_connect() && !failed.0.may_have_run(), "{failed:?}");
}

/// It ends with the first byte, be it of an interim answer, and does not begin with the body of the
/// request: a slow upload is no slow answer.
#[test]
fn the_first_byte_has_a_time_of_its_own() {
    let server = Server::start(|conn| {
        while let Some(seen) = conn.request() {
            match seen.path.as_str() {
                "/hangs" => drop(conn.idle(LIMIT)),
                "/early" => {
                    conn.write("HTTP/1.1 103 Early Hints\r\n\r\n");
                    conn.idle(ms(600));
                    conn.ok("hello");
                }
                _ => {
                    conn.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
                    conn.idle(ms(600));
                    conn.write("lo");
                }
            }
        }
    });
    let with = || Session::builder().first_byte_timeout(ms(200));
    let failed = fails(with(), &server.url("/hangs"));
    assert_early(&failed, "silent");
    assert!(failed.0.is_timeout() && failed.0.may_have_run(), "{failed:?}");
    let session = with().build().unwrap();
    for path in ["/early", "/body"] {
        let mut response = session.get(server.url(path)).send().unwrap();
        assert_eq!(response.text().unwrap(), "hello", "{path}");
    }
    struct Slow(u32);
    impl io::Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(ms(150)); // a slow upload
            self.0 -= 1;
            buffer[0] = b'x';
            Ok(usize::from(self.0 > 0))
        }
    }
    let body = keepbeat::Body::reader(Slow(4));
    session.post(server.url("/early")).body(body).send().unwrap();
}

#[test]
fn silence_has_a_time_beside_that_of_the_request() {
    let server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    let failed = fails(Session::builder().silence_timeout(ms(200)), &server.url("/"));
    assert_early(&failed, "silent");
    assert!(failed.0.is_timeout() && failed.0.may_have_run(), "{failed:?}");
}

#[test]
fn a_time_that_is_none_is_refused() {
    let none = Duration::ZERO;
    for (builder, name) in [
        (Session::builder().resolve_timeout(none), "resolve_timeout"),
        (Session::builder().tls_timeout(none), "tls_timeout"),
        (Session::builder().first_byte_timeout(none), "first_byte_timeout"),
        (Session::builder().silence_timeout(none), "silence_timeout"),
    ] {
        let error = builder.build().unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(name), "{error}");
    }
}
