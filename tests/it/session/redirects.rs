//! Redirects: where they lead, what goes along, what they cost and what they may not do (RFC 9110,
//! sections 10.2.2 and 15.4; RFC 3986, section 5; the Fetch standard for methods).

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use keepbeat::{Body, Session};
use ureq::http::Method;

use super::server::{LIMIT, Server, ms};
use super::uploads::file;

/// Answers what is named here with a redirect, and all else with its own method and path.
fn server(redirects: Vec<(&'static str, String)>) -> Server {
    Server::start(move |conn| {
        while let Some(seen) = conn.request() {
            let redirect = redirects.iter().find(|(path, _)| *path == seen.path);
            let sent = match redirect {
                Some((_, lines)) => {
                    conn.write(format!("HTTP/1.1 {lines}\r\nContent-Length: 4\r\n\r\nmore"))
                }
                None => conn.ok(&format!("{} {}", seen.method, seen.path)),
            };
            if !sent {
                return;
            }
        }
    })
}

fn found(location: &str) -> String {
    format!("302 Found\r\nLocation: {location}")
}

#[test]
fn every_kind_of_reference_leads_where_it_means() {
    for (location, path) in [
        ("/x", "/x"),
        ("x", "/a/b/x"),
        ("./x", "/a/b/x"),
        ("../x", "/a/x"),
        ("../../../x", "/x"),
        ("/../../x", "/x"),
        ("/a/./b/../c", "/a/c"),
        ("?x=1", "/a/b/start?x=1"),
        ("?", "/a/b/start?"),
        ("x#fragment", "/a/b/x"),
        ("/x?y#fragment", "/x?y"),
        ("/a b?c d", "/a%20b?c%20d"),
        ("/grün", "/gr%C3%BCn"),
        ("  /x  ", "/x"),
        ("/x?y=http://other/", "/x?y=http://other/"),
        ("/%7Eme", "/%7Eme"),
        ("/\"<>\\^`{|}", "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
    ] {
        let server = server(vec![("/a/b/start", found(location))]);
        let session = Session::new().unwrap();
        let mut response = session.get(server.url("/a/b/start")).send().unwrap();
        assert_eq!(response.text().unwrap(), format!("GET {path}"), "{location:?}");
        assert_eq!(server.accepted(), 1, "{location:?}");
        let (bare, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        assert_eq!((response.uri().path(), response.query()), (bare, query), "{location:?}");
    }
    // Bytes that are no UTF-8.
    let server = Server::start(|conn| {
        while let Some(seen) = conn.request() {
            if seen.path == "/" {
                let mut bytes =
                    b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\nLocation: /\xff\xfe".to_vec();
                bytes.write_all(b"\r\n\r\n").unwrap();
                conn.write(bytes);
            } else {
                conn.ok(&seen.path);
            }
        }
    });
    let mut response = Session::new().unwrap().get(server.url("/")).send().unwrap();
    assert_eq!(response.text().unwrap(), "/%FF%FE");
}

#[test]
fn methods_and_bodies_go_along_as_browsers_let_them() {
    for (status, method, body, expected) in [
        (301, "POST", true, "GET"),
        (302, "POST", true, "GET"),
        (303, "POST", true, "GET"),
        (303, "PUT", true, "GET"),
        (303, "DELETE", false, "GET"),
        (303, "HEAD", false, "HEAD"),
        (301, "HEAD", false, "HEAD"),
        (302, "PUT", true, "PUT"),
        (302, "DELETE", false, "DELETE"),
        (307, "POST", true, "POST"),
        (308, "POST", true, "POST"),
        (307, "PATCH", true, "PATCH"),
        (308, "DELETE", true, "DELETE"),
        (307, "POST", false, "POST"),
        (308, "GET", false, "GET"),
        (307, "OWN", true, "OWN"),
    ] {
        let server = server(vec![("/", format!("{status} X\r\nLocation: /to"))]);
        let session = Session::new().unwrap();
        let bodies: Vec<fn() -> Body> = match body {
            true => vec![|| "order".into(), || file(b"skip: order", 6).into()],
            false => vec![Body::empty],
        };
        for make in bodies {
            let request = session.method(method.parse::<Method>().unwrap(), server.url("/"));
            let request = request.header("Content-Type", "text/order").header("X-Own", "1");
            request.body(make()).send().unwrap();
            let seen = server.seen().pop().unwrap();
            assert_eq!(
                (seen.method.as_str(), seen.path.as_str()),
                (expected, "/to"),
                "{status} {method}"
            );
            let kept = method == expected;
            assert_eq!(
                seen.body,
                if body && kept { &b"order"[..] } else { b"" },
                "{status} {method}"
            );
            let of_body = ["content-type", "content-length", "transfer-encoding"];
            let said = of_body.iter().any(|name| seen.header(name).is_some());
            assert_eq!(said, kept, "{status} {method}: {:?}", seen.headers);
            assert_eq!(seen.header("x-own"), Some("1"));
        }
    }
}

#[test]
fn a_body_that_was_read_is_not_sent_again_and_that_is_said() {
    let server = server(vec![("/", "307 X\r\nLocation: /to".to_owned())]);
    let session = Session::new().unwrap();
    let post = session.post(server.url("/")).body(Body::reader(&b"order"[..]));
    let error = post.send().unwrap_err();
    assert!(error.may_have_run() && !error.is_stale(), "{error:?}");
    assert!(error.to_string().contains("307") && error.to_string().contains("body"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn what_is_no_redirect_is_a_response() {
    for lines in [
        "302 Found",
        "302 Found\r\nLocation:",
        "302 Found\r\nLocation:  ",
        "300 Multiple Choices\r\nLocation: /x",
        "304 Not Modified\r\nLocation: /x",
        "305 Use Proxy\r\nLocation: http://proxy/",
        "399 X\r\nLocation: /x",
        "201 Created\r\nLocation: /x",
    ] {
        let server = server(vec![("/", lines.to_owned())]);
        let session = Session::new().unwrap();
        let response = session.get(server.url("/")).send().unwrap();
        assert_eq!(response.status().as_str(), &lines[..3]);
        assert_eq!(server.seen().len(), 1, "{lines}");
    }
    let server = server(vec![("/", found("/x"))]);
    let none = Session::builder().max_redirects(0).build().unwrap();
    let mut response = none.get(server.url("/")).send().unwrap();
    assert_eq!((response.status().as_u16(), response.text().unwrap().as_str()), (302, "more"));
    assert_eq!(response.header("location"), Some("/x"));
}

#[test]
fn two_targets_are_an_error_unless_they_are_the_same() {
    let same = server(vec![("/", "302 X\r\nLocation: /x\r\nLocation: /x".to_owned())]);
    let session = Session::new().unwrap();
    assert_eq!(session.get(same.url("/")).send().unwrap().text().unwrap(), "GET /x");
    let two = server(vec![("/", "302 X\r\nLocation: /x\r\nLocation: /y".to_owned())]);
    let error = session.get(two.url("/")).send().unwrap_err();
    assert!(error.may_have_run() && error.to_string().contains("two targets"), "{error:?}");
    assert_eq!(two.seen().len(), 1);
}

#[test]
fn what_leads_away_from_http_is_an_error_that_has_run() {
    for location in ["ftp://host/", "ws://host/", "file:///etc/passwd", "data:,x", "javascript:x"] {
        let server = server(vec![("/", found(location))]);
        let session = Session::new().unwrap();
        let error = session.post(server.url("/")).body("order").send().unwrap_err();
        let scheme = location.split(':').next().unwrap();
        assert!(error.may_have_run() && !error.is_invalid(), "{location}: {error:?}");
        assert!(error.to_string().contains(&format!("`{scheme}:`")), "{location}: {error}");
    }
}

const SECRET: [(&str, &str); 4] = [
    ("Authorization", "Bearer s3cret"),
    ("Cookie", "id=s3cret"),
    ("Host", "s3cret.test"),
    ("Origin", "http://s3cret"),
];

#[test]
fn what_is_meant_for_one_origin_goes_to_no_other_and_stays_with_its_own() {
    let elsewhere = Server::ok();
    let back = Arc::new(Mutex::new(String::new()));
    let there = elsewhere.url("/there");
    let server =
        server(vec![("/out", format!("307 X\r\nLocation: {there}")), ("/in", found("/home"))]);
    *back.lock().unwrap() = server.url("/home");
    let session = Session::new().unwrap();
    let ask = |path: &str| {
        let mut request = session.get(server.url(path)).header("X-Own", "1");
        for (name, value) in SECRET {
            request = request.header(name, value);
        }
        request.send().unwrap()
    };
    ask("/out");
    let seen = elsewhere.seen().pop().unwrap();
    let leaked: Vec<_> = seen.headers.iter().filter(|(_, v)| v.contains("s3cret")).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    assert_eq!(seen.header("x-own"), Some("1"));
    assert_eq!(seen.header("host"), Some(elsewhere.address.to_string().as_str()));
    ask("/in");
    let seen = server.seen().pop().unwrap();
    assert_eq!(seen.path, "/home");
    for (name, value) in SECRET {
        assert_eq!(seen.header(&name.to_ascii_lowercase()), Some(value), "{name}");
    }
}

#[test]
fn what_was_left_behind_stays_behind_on_the_way_back() {
    let home = Arc::new(Mutex::new(String::new()));
    let ours = Arc::clone(&home);
    let elsewhere = Server::start(move |conn| {
        while conn.request().is_some() {
            let to = ours.lock().unwrap().clone();
            conn.write(format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
            ));
        }
    });
    let there = elsewhere.url("/");
    let server = server(vec![("/out", found(&there))]);
    *home.lock().unwrap() = server.url("/home");
    let session = Session::new().unwrap();
    let request = session.get(server.url("/out")).header("Authorization", "Bearer s3cret");
    assert_eq!(request.send().unwrap().text().unwrap(), "GET /home");
    assert_eq!(server.seen().pop().unwrap().header("authorization"), None);
}

#[test]
fn a_login_in_a_location_is_for_that_hop_and_shows_nowhere() {
    let elsewhere = Server::ok();
    let there = format!("http://user:s3cret@{}/there?s3cret", elsewhere.address);
    let server = server(vec![("/", found(&there))]);
    let session = Session::new().unwrap();
    let response = session.get(server.url("/")).send().unwrap();
    let seen = elsewhere.seen().pop().unwrap();
    assert_eq!(seen.header("authorization"), Some("Basic dXNlcjpzM2NyZXQ="));
    assert!(!response.uri().to_string().contains("s3cret"), "{}", response.uri());
}

#[test]
fn a_chain_keeps_each_hops_connection_and_ends_where_it_must() {
    let second = Server::ok();
    let there = second.url("/end");
    let chain: Vec<_> = (0..8)
        .map(|n| {
            let path: &'static str = format!("/{n}").leak();
            (path, found(&format!("/{}", n + 1)))
        })
        .chain([("/8", found(&there))])
        .collect();
    let server = server(chain);
    let session = Session::new().unwrap();
    for _ in 0..5 {
        let mut response = session.get(server.url("/0")).send().unwrap();
        assert_eq!(response.text().unwrap(), "hello");
    }
    assert_eq!((server.accepted(), second.accepted()), (1, 1));
    assert_eq!(session.stats().requests, 5);
    // Ten are followed, and no more; the eleventh is an error.
    let few = Session::builder().max_redirects(8).build().unwrap();
    let error = few.get(server.url("/0")).send().unwrap_err();
    assert!(error.may_have_run() && error.to_string().contains("last of 8"), "{error}");
    let enough = Session::builder().max_redirects(9).build().unwrap();
    enough.get(server.url("/0")).send().unwrap();
}

#[test]
fn the_body_of_a_redirect_costs_little_however_long_it_is() {
    for endless in [false, true] {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let server = Server::start(move |conn| {
            while let Some(seen) = conn.request() {
                if seen.path == "/to" {
                    conn.ok("there");
                    continue;
                }
                let framing = if endless {
                    "Transfer-Encoding: chunked"
                } else {
                    "Content-Length: 9999999999"
                };
                conn.write(format!("HTTP/1.1 302 Found\r\nLocation: /to\r\n{framing}\r\n\r\n"));
                let piece = if endless {
                    format!("1000\r\n{}\r\n", "x".repeat(0x1000))
                } else {
                    "x".repeat(0x1000)
                };
                while conn.write(&piece) {
                    count.fetch_add(piece.len(), Ordering::SeqCst);
                }
            }
        });
        let session = Session::new().unwrap();
        let start = Instant::now();
        let mut response = session.get(server.url("/")).send().unwrap();
        assert_eq!(response.text().unwrap(), "there");
        assert!(start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
        assert_eq!(server.accepted(), 2, "that connection is lost");
        assert!(sent.load(Ordering::SeqCst) < 32 << 20, "{sent:?} bytes were taken");
    }
}

#[test]
fn the_body_of_a_redirect_that_does_not_come_is_not_waited_for() {
    let server = Server::start(|conn| {
        while let Some(seen) = conn.request() {
            if seen.path == "/to" {
                conn.ok("there");
            } else {
                conn.write("HTTP/1.1 302 Found\r\nLocation: /to\r\nContent-Length: 10\r\n\r\n");
                conn.idle(LIMIT);
            }
        }
    });
    let session = Session::new().unwrap();
    let start = Instant::now();
    let mut response = session.get(server.url("/")).send().unwrap();
    assert_eq!(response.text().unwrap(), "there");
    assert!(start.elapsed() < ms(2000), "{:?}", start.elapsed());
}
