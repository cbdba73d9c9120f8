//! Secrets: what is printed for a log holds none.

use std::sync::Mutex;

use keepbeat::Session;

use super::alone::alone;
use super::server::{LIMIT, Server};

fn assert_no_secret(printed: &str) {
    assert!(!printed.to_lowercase().contains("s3cret"), "{printed}");
}

#[test]
fn a_request_is_printed_without_its_query_its_headers_and_its_login() {
    let session = Session::new().unwrap();
    for url in ["http://name.test/path?token=s3cret", "http://user:s3cret@name.test/path"] {
        let request = session
            .get(url)
            .header("Authorization", "Bearer s3cret")
            .header("X-Api-Key", "s3cret")
            .body("s3cret");
        for printed in [format!("{request:?}"), format!("{request:#?}")] {
            assert_no_secret(&printed);
            assert!(printed.contains("name.test/path"), "it tells which it is: {printed}");
        }
    }
}

#[test]
fn a_session_is_printed_without_what_its_requests_carried() {
    let server = Server::ok();
    let builder = Session::builder()
        .default_header("X-Key", "s3cret")
        .warm(keepbeat::Warm::head("/health?token=s3cret"))
        .base_url(format!("http://user:s3cret@{}/v1", server.address));
    assert_no_secret(&format!("{builder:?}"));
    let session = builder.build().unwrap();
    let url = format!("http://user:s3cret@{}/?token=s3cret", server.address);
    session.get(&url).header("Cookie", "s3cret").send().unwrap();
    session.agent().get(&url).call().unwrap();
    assert_eq!(session.stats().requests, 1);
    assert_no_secret(&format!("{session:?} {session:#?} {:?}", session.stats()));
}

/// Everything that anybody logs, at any level.
struct Listening(Mutex<String>);

impl log::Log for Listening {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        let line = format!("{} {} {}\n", record.level(), record.target(), record.args());
        self.0.lock().unwrap().push_str(&line);
    }

    fn flush(&self) {}
}

static LISTENING: Listening = Listening(Mutex::new(String::new()));

const NAME: &str = "session::secrets::no_log_and_no_event_and_no_url_shows_user_password_or_query";

/// ureq writes what it sends into its log, as text and as numbers: so it is shown none of it.
#[test]
fn no_log_and_no_event_and_no_url_shows_user_password_or_query() {
    if !alone(NAME, LIMIT) {
        return;
    }
    log::set_logger(&LISTENING).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let secret = "s3cret".repeat(10); // however it is cut into lines
    let target = Server::ok();
    let there = format!("http://user:{secret}@{}/there?token={secret}", target.address);
    let server = Server::start(move |conn| {
        while let Some(seen) = conn.request() {
            if seen.path.starts_with("/redirect") {
                conn.write(format!(
                    "HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n"
                ));
            } else if seen.path.starts_with("/end") {
                return;
            } else {
                conn.ok("hello");
            }
        }
    });
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let session = Session::new().unwrap();
    let events = session.events();
    let mut printed = String::new();
    for (address, path) in [
        (server.address, "/"),
        (server.address, "/redirect"),
        (server.address, "/end"),
        (closed, "/"),
    ] {
        let url = format!("http://user:{secret}@{address}{path}?token={secret}");
        let request = session.get(&url).header("Authorization", format!("Bearer {secret}"));
        match request.header("Cookie", &secret).send() {
            Ok(response) => {
                assert!(response.query().is_some_and(|query| query.contains("s3cret")));
                printed += &format!("{response:?} {} {:?}", response.uri(), response.uri());
            }
            Err(error) => printed += &format!("{error} {error:?}"),
        }
    }
    let through = Session::builder().proxy(format!("http://user:{secret}@{closed}"));
    let through = through.build().unwrap();
    for scheme in ["http", "https"] {
        let error = through.get(format!("{scheme}://h/?{secret}")).send().unwrap_err();
        printed += &format!("{error} {error:?} {through:?}");
    }
    for event in events.try_iter() {
        printed += &format!("{event} {event:?}");
    }
    assert_no_secret(&printed);
    let log = LISTENING.0.lock().unwrap();
    assert!(log.contains("ureq") && log.lines().count() > 20, "it was listened to: {log}");
    assert_no_secret(&log);
    assert!(!log.contains("7333 6372 6574"), "as numbers");
}
