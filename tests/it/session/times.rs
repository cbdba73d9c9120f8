//! Times: the steps of a connect share one, and absurd ones are refused in words.

use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Session, SessionBuilder};

use super::server::{LIMIT, Server, ms};

#[test]
fn the_connect_timeout_is_one_for_name_and_tcp_and_tls() {
    let server = Server::start(|conn| {
        while conn.bytes(1).is_some() {} // and no word of a handshake
    });
    for whole in [false, true] {
        let address = server.address;
        let mut builder =
            Session::builder().no_proxy().connect_timeout(ms(1000)).resolver(move |_, _| {
                thread::sleep(ms(800)); // a slow name server
                Ok(vec![address])
            });
        if whole {
            builder = builder.timeout(ms(1000));
        }
        let session = builder.build().unwrap();
        let start = Instant::now();
        let error = session.get("https://name.test/").send().unwrap_err();
        let took = start.elapsed();
        assert!(took >= ms(950) && took < ms(1600), "{took:?}: {error}");
        assert!((error.is_timeout() || error.is_connect()) && !error.may_have_run(), "{error:?}");
    }
    assert_eq!(server.accepted(), 2, "each had its TCP connection, and waited for TLS");
}

/// A connection that does not come to be in time is late as well.
#[test]
fn a_timeout_that_passes_before_there_is_a_connection_is_a_timeout() {
    let silent = Server::start(|conn| while conn.bytes(1).is_some() {});
    let url = format!("https://{}/", silent.address);
    let session = Session::new().unwrap();
    let held = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    let full = Session::builder().max_per_host(1).build().unwrap();
    let _held = full.get(held.url("/")).send().unwrap();
    let through = Session::builder().proxy(silent.url("")).build().unwrap();
    let error = session.get(&url).timeout(ms(100)).send().unwrap_err();
    assert!(error.is_timeout() && error.is_connect() && !error.may_have_run(), "{error:?}");
    let error = through.get(&url).timeout(ms(100)).send().unwrap_err();
    assert!(error.is_timeout() && error.is_connect() && !error.may_have_run(), "{error:?}");
    let error = full.get(held.url("/")).timeout(ms(100)).send().unwrap_err();
    assert!(error.is_timeout() && error.is_limit() && !error.may_have_run(), "{error:?}");
    // Who is refused is in time.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = session.get(format!("http://{closed}/")).timeout(ms(1000)).send().unwrap_err();
    assert!(!error.is_timeout() && error.is_connect(), "{error:?}");
}

#[test]
fn an_absurd_timeout_of_a_request_is_refused() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    for absurd in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::ZERO] {
        let error = session.get(server.url("/")).timeout(absurd).send().unwrap_err();
        assert!(error.is_invalid() && !error.may_have_run(), "{absurd:?}: {error:?}");
        assert!(error.to_string().contains("`timeout`"), "{error}");
    }
    assert_eq!(server.accepted(), 0);
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    session.get(server.url("/")).timeout(year).send().unwrap();
}

#[test]
fn absurd_times_of_a_session_are_refused() {
    type Setter = fn(SessionBuilder, Duration) -> SessionBuilder;
    let setters: [(&str, Setter); 5] = [
        ("`timeout`", SessionBuilder::timeout),
        ("`connect_timeout`", SessionBuilder::connect_timeout),
        ("`idle_timeout`", SessionBuilder::idle_timeout),
        ("`max_lifetime`", SessionBuilder::max_lifetime),
        ("`user_timeout`", SessionBuilder::user_timeout),
    ];
    for (name, set) in setters {
        for absurd in [Duration::MAX, Duration::ZERO] {
            let error = set(Session::builder(), absurd).build().unwrap_err();
            assert!(error.is_invalid() && error.to_string().contains(name), "{name}: {error}");
        }
    }
}

#[test]
fn a_user_timeout_is_as_long_as_the_kernel_can_count() {
    let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
    for most in [days(25), days(30), days(365)] {
        let error = Session::builder().user_timeout(most).build().unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("`user_timeout`"), "{error}");
    }
    let server = Server::ok();
    let session = Session::builder().user_timeout(days(24)).build().unwrap();
    assert_eq!(session.get(server.url("/")).send().unwrap().text().unwrap(), "hello");
}

/// Within so much more than its `timeout` a request is over, whatever it met.
const MORE: Duration = ms(500);

fn assert_in_time(what: &str, start: Instant, timeout: Duration) {
    let took = start.elapsed();
    assert!(took >= timeout - ms(20) && took < timeout + MORE, "{what}: {took:?} of {timeout:?}");
}

#[test]
fn a_timeout_is_for_the_request_and_its_replay_together() {
    let server = Server::start(|conn| {
        while let Some(seen) = conn.request() {
            if seen.path == "/first" {
                conn.ok("hello");
            } else if conn.number == 0 {
                conn.idle(ms(600));
                return; // in the middle of the request
            } else {
                conn.idle(LIMIT);
            }
        }
    });
    let session = Session::new().unwrap();
    session.get(server.url("/first")).send().unwrap();
    let start = Instant::now();
    let error = session.get(server.url("/")).timeout(ms(1000)).send().unwrap_err();
    assert!(error.is_timeout() && error.may_have_run(), "{error:?}");
    assert_eq!(session.stats().replayed, 1);
    assert_in_time("a replay", start, ms(1000));
}

#[test]
fn a_timeout_is_for_all_redirects_together_and_for_the_body_behind_them() {
    let server = Server::start(|conn| {
        while let Some(seen) = conn.request() {
            conn.idle(ms(300));
            let n: u32 = seen.path[1..].parse().unwrap_or(0);
            if n == 2 {
                conn.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
                conn.idle(LIMIT);
            }
            conn.write(format!(
                "HTTP/1.1 302 Found\r\nLocation: /{}\r\nContent-Length: 0\r\n\r\n",
                n + 1
            ));
        }
    });
    let session = Session::builder().timeout(ms(700)).build().unwrap();
    let start = Instant::now();
    let error = session.get(server.url("/10")).send().unwrap_err();
    assert!(error.is_timeout() && error.may_have_run(), "{error:?}");
    assert_in_time("redirects", start, ms(700));
    let start = Instant::now();
    let mut response = session.get(server.url("/1")).send().unwrap();
    let error = response.text().unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_in_time("the body behind one", start, ms(700));
}

#[test]
fn a_timeout_is_for_the_wait_for_a_place_too() {
    let server = Server::start(|conn| {
        while conn.request().is_some() {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
            conn.idle(LIMIT);
        }
    });
    let session = Session::builder().max_per_host(1).build().unwrap();
    let held = session.get(server.url("/")).send().unwrap();
    let start = Instant::now();
    let error = session.get(server.url("/")).timeout(ms(500)).send().unwrap_err();
    assert!(error.is_limit() && !error.may_have_run(), "{error:?}");
    assert_in_time("the wait for a place", start, ms(500));
    drop(held);
}

#[test]
fn a_drain_takes_no_longer_than_the_timeout_allows() {
    let server = Server::start(|conn| {
        while conn.request().is_some() {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
            conn.idle(LIMIT);
        }
    });
    let session = Session::new().unwrap();
    let start = Instant::now();
    let response = session.get(server.url("/")).timeout(ms(20)).send();
    let fast = start.elapsed() < ms(20);
    let before = Instant::now();
    drop(response);
    // Under load the answer itself may have come too late.
    assert!(!fast || before.elapsed() < ms(45), "{:?}", before.elapsed());
}

#[test]
fn a_timeout_ends_an_upload_that_the_server_does_not_take_and_a_body_that_drips() {
    let server = Server::start(|conn| {
        let Some(head) = conn.head() else { return };
        if head.method == "PUT" {
            return conn.stop_reading();
        }
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while conn.write("1\r\nx\r\n") && conn.idle(ms(10)) {}
    });
    let session = Session::new().unwrap();
    let start = Instant::now();
    let put = session.put(server.url("/")).body(vec![b'x'; 64 << 20]).timeout(ms(400));
    assert!(put.send().unwrap_err().is_timeout());
    assert_in_time("an upload", start, ms(400));
    let start = Instant::now();
    let mut response = session.get(server.url("/")).timeout(ms(400)).send().unwrap();
    assert!(response.text().unwrap_err().is_timeout());
    assert_in_time("a body that drips", start, ms(400));
}
