//! Times: the steps of a connect share one, and absurd ones are refused in words.

use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Session, SessionBuilder};

use super::server::{Server, ms};

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
