//! Proxies: what they are asked, what of their answers is understood, and whose words an error has.
//! As curl and Go do it, and RFC 9110 (9.3.6) and 9112 (3.2.2).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use keepbeat::{Cause, Error, Session, SessionBuilder};

use super::server::{Conn, LIMIT, Seen, Server, ms};
use crate::alone::{alone, is_alone, run_alone};
use crate::tls_link::Authority;

fn through(server: &Server) -> SessionBuilder {
    Session::builder().proxy(format!("http://user:s3cret@{}", server.address))
}

fn assert_refused(error: &Error, words: &str) {
    assert!(error.is_connect() && !error.may_have_run() && !error.is_timeout(), "{error:?}");
    assert_eq!(error.cause(), Some(Cause::ProxyFailed), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("proxy-failed") && text.contains(words), "{words}: {text}");
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[test]
fn plain_requests_are_asked_of_the_proxy_in_absolute_form() {
    let server = Server::ok();
    let session = through(&server).build().unwrap();
    session.get("http://target.test/a?b=c").header("x-own", "1").send().unwrap();
    session.post("http://target.test:81/").body("order").send().unwrap();
    session.get("http://[2001:db8::1]:82/").header("host", "other").send().unwrap();
    let mut response = session.agent().get("http://target.test/agent?q").call().unwrap();
    assert_eq!(response.body_mut().read_to_string().unwrap(), "hello");
    let mut response = session.agent().post("http://target.test:81/agent").send("order").unwrap();
    assert_eq!(response.body_mut().read_to_string().unwrap(), "hello");
    let seen = server.seen();
    let asked: Vec<_> = seen.iter().map(|s| (s.method.as_str(), s.path.as_str())).collect();
    let expected = [
        ("GET", "http://target.test/a?b=c"),
        ("POST", "http://target.test:81/"),
        ("GET", "http://[2001:db8::1]:82/"),
        ("GET", "http://target.test/agent?q"),
        ("POST", "http://target.test:81/agent"),
    ];
    assert_eq!(asked, expected);
    let hosts: Vec<_> = seen.iter().map(|seen| seen.header("host").unwrap()).collect();
    assert_eq!(hosts, ["target.test", "target.test:81", "other", "target.test", "target.test:81"]);
    let login = Some("Basic dXNlcjpzM2NyZXQ=");
    assert!(seen.iter().all(|seen| seen.header("proxy-authorization") == login), "{seen:?}");
    assert_eq!(seen[1].body, b"order");
    assert_eq!(server.accepted(), 3, "one connection for each server");
    assert!(session.stats().host("http://target.test:81").is_some_and(|host| host.idle == 1));
}

#[test]
fn what_the_proxy_says_to_a_forwarded_request_is_a_response() {
    let server = Server::answering(
        "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno",
    );
    let session = through(&server).build().unwrap();
    for _ in 0..2 {
        let response = session.get("http://target.test/").send().unwrap();
        assert_eq!(response.status(), 407);
    }
    assert_eq!(server.accepted(), 1);
}

/// What a proxy may answer before bytes go through it.
const OPENED: &[&str] = &[
    "HTTP/1.1 200 Connection established\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 299 Fine\r\n\r\n",
    "HTTP/1.1 200 OK\nVia: x\n\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n",
    "HTTP/1.1 200 OK\r\nConnection: close\r\nX: a\r\n b\r\n\r\n",
];

/// A proxy that opens a tunnel to the server with this answer, and joins it with the first bytes
/// that come from there.
fn opening(server: SocketAddr, answer: String) -> Server {
    Server::start(move |conn| {
        let Some(Seen { method, path, .. }) = conn.request() else { return };
        assert_eq!((method.as_str(), path.as_str()), ("CONNECT", "target.test:443"));
        let mut server = TcpStream::connect(server).unwrap();
        conn.write(&answer);
        relay(conn, &mut server);
    })
}

/// Both ways, until one of them ends.
fn relay(conn: &mut Conn, server: &mut TcpStream) {
    let mut theirs = server.try_clone().unwrap();
    let mut ours = conn.stream();
    let back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut theirs, &mut ours);
        let _ = ours.shutdown(std::net::Shutdown::Write);
    });
    while let Some(bytes) = conn.some() {
        if server.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Write);
    let _ = back.join();
}

#[test]
fn a_tunnel_is_open_after_any_2xx_however_it_is_said() {
    let authority = Authority::new(|params| {
        params.subject_alt_names.push(rcgen::SanType::DnsName("target.test".try_into().unwrap()));
    });
    let peer = authority.serve(|mut stream, _| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? > 0 {
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
        stream.flush()?;
        stream.read(&mut byte).map(drop)
    });
    let many: String = (0..100).map(|n| format!("X-{n}: y\r\n")).collect();
    let many = format!("HTTP/1.1 200 OK\r\n{many}\r\n");
    for answer in OPENED.iter().copied().chain([many.as_str()]) {
        let proxy = opening(peer.address, answer.to_owned());
        let session = through(&proxy).tls(authority.tls()).build().unwrap();
        let response = session.get("https://target.test/").send();
        let mut response = response.unwrap_or_else(|error| panic!("{answer:?}: {error}"));
        assert_eq!(response.text().unwrap(), "hello", "{answer:?}");
        let seen = proxy.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].header("proxy-authorization"), Some("Basic dXNlcjpzM2NyZXQ="));
        assert_eq!(seen[0].header("host"), Some("target.test:443"));
    }
}

#[test]
fn bytes_of_tls_in_the_same_segment_as_the_answer_are_not_lost() {
    // What is no TLS is told by its own bytes: so they came to where they belong.
    let server = Server::start(|conn| {
        conn.request();
        conn.write("HTTP/1.1 200 OK\r\n\r\nSSH-2.0-OpenSSH\r\n");
        conn.idle(LIMIT);
    });
    let session = through(&server).build().unwrap();
    let error = session.get("https://target.test/").send().unwrap_err();
    assert!(error.is_connect() && error.to_string().contains("plaintext"), "{error}");
}

#[test]
fn a_refused_tunnel_has_the_proxys_own_words_and_takes_one_connect() {
    for (answer, words) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            "407 Proxy Auth",
        ),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 15\r\n\r\nnot from there\n", "not from there"),
        (
            "HTTP/1.1 503 Unavailable\r\nContent-Type: text/html\r\n\r\n\
             <html><title>ERROR: the host \
             is unknown</title>",
            "ERROR: the host is unknown",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nnot f\r\n9\r\nrom there\r\n0\r\n\r\n",
            "403 Forbidden: not from there",
        ),
        ("HTTP/1.1 407 \r\n\r\n", "answered 407; user"),
        ("HTTP/1.0 502 Bad Gateway\r\n\r\n", "502 Bad Gateway"),
        ("HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n", "302 Found"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Later\r\n\r\n", "403 Later"),
        ("SSH-2.0-OpenSSH\r\n", "SSH"),
        ("HTTP/2.0 200 OK\r\n\r\n", "another version"),
        ("", "without an answer"),
    ] {
        let server = Server::start(move |conn| {
            conn.request();
            conn.write(answer);
        });
        let session = through(&server).build().unwrap();
        let error = session.post("https://target.test/").body("order").send().unwrap_err();
        assert_refused(&error, words);
        assert_eq!((server.accepted(), server.seen().len()), (1, 1), "{answer:?}");
    }
}

#[test]
fn a_proxy_that_is_silent_takes_the_connect_timeout_and_no_longer() {
    let server = Server::start(|conn| while conn.bytes(1).is_some() {});
    let session = through(&server).connect_timeout(ms(200)).build().unwrap();
    let start = std::time::Instant::now();
    let error = session.get("https://target.test/").send().unwrap_err();
    assert!(error.is_connect() && !error.may_have_run(), "{error:?}");
    assert!(start.elapsed() >= ms(190) && start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let session = Session::builder().proxy(format!("http://{closed}")).build().unwrap();
    let error = session.get("http://target.test/").send().unwrap_err();
    assert!(error.is_connect() && error.to_string().contains("the proxy 127.0.0.1"), "{error}");
}

/// What is sent, in turns with what is answered.
type Talk = &'static [(&'static [u8], &'static [u8])];

const OK4: &[u8] = &[0, 90, 1, 2, 3, 4, 5, 6];
const OK5: &[u8] = &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
const BY_ADDRESS: &[u8] = &[5, 1, 0, 1, 10, 9, 8, 7, 0, 80];
const BY_NAME: &[u8] = b"\x05\x01\x00\x03\x0btarget.test\x00\x50";

/// RFC 1928, RFC 1929, and what version 4 has instead.
const TALKS: &[(&str, Talk)] = &[
    ("socks4://", &[(&[4, 1, 0, 80, 10, 9, 8, 7, 0], OK4)]),
    ("socks4a://me@", &[(b"\x04\x01\x00\x50\x00\x00\x00\x01me\x00target.test\x00", OK4)]),
    ("socks5://", &[(&[5, 1, 0], &[5, 0]), (BY_ADDRESS, OK5)]),
    ("socks5h://", &[(&[5, 1, 0], &[5, 0]), (BY_NAME, b"\x05\x00\x00\x03\x02hi\x00\x00")]),
    (
        "socks5h://u:p%20w@",
        &[
            (&[5, 2, 0, 2], &[5, 2]),
            (b"\x01\x01u\x03p w", &[1, 0]),
            (BY_NAME, &[5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ],
    ),
    ("socks://u:p@", &[(&[5, 2, 0, 2], &[5, 0]), (BY_ADDRESS, OK5)]),
];

#[test]
fn socks_is_spoken_in_every_version() {
    let by_name = |_: &str, port| Ok(vec![SocketAddr::from(([10, 9, 8, 7], port))]);
    for (url, talk) in TALKS {
        let server = Server::start(move |conn| {
            for (asked, answer) in *talk {
                let bytes = conn.bytes(asked.len());
                assert_eq!(bytes.as_deref(), Some(*asked), "{url}");
                conn.write(answer);
            }
            while conn.request().is_some() && conn.ok("hello") {}
        });
        let builder = Session::builder().proxy(format!("{url}{}", server.address));
        let session = builder.resolver(by_name).build().unwrap();
        for n in 0..3 {
            let response = session.get("http://target.test/x").send();
            let mut response = response.unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((response.text().unwrap().as_str(), response.reused()), ("hello", n > 0));
        }
        assert_eq!((server.accepted(), server.seen()[0].path.as_str()), (1, "/x"));
    }
}

const REFUSALS: &[(&str, &[&[u8]], &str)] = &[
    ("socks5h://", &[&[5, 0], &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]], "rules forbid"),
    ("socks5h://", &[&[5, 0], &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]], "refused there"),
    ("socks5h://", &[&[5, 255]], "asks for a login"),
    ("socks5h://u:s3cret@", &[&[5, 255]], "neither this user nor none"),
    ("socks5h://u:s3cret@", &[&[5, 2], &[1, 1]], "refused user and password"),
    ("socks5h://", &[b"HTTP/1.1 400"], "not SOCKS5"),
    ("socks5h://", &[&[5]], "without an answer"),
    ("socks4a://", &[&[0, 91, 0, 0, 0, 0, 0, 0]], "could not connect"),
    ("socks4a://", &[&[4, 90, 0, 0, 0, 0, 0, 0]], "not SOCKS4"),
    ("socks4://", &[], "IPv6"),
];

#[test]
fn what_socks_says_is_told() {
    for (url, answers, words) in REFUSALS {
        let server = Server::start(move |conn| {
            for answer in *answers {
                conn.some();
                conn.write(answer);
            }
        });
        let session = Session::builder().proxy(format!("{url}{}", server.address)).build().unwrap();
        let host = if *url == "socks4://" { "[2001:db8::1]" } else { "target.test" };
        let error = session.post(format!("http://{host}/")).body("order").send().unwrap_err();
        if *url != "socks4://" {
            assert_eq!(server.accepted(), 1, "{words}");
        }
        assert_refused(&error, words);
    }
}

#[test]
fn a_proxy_may_be_under_tls_itself() {
    let authority = Authority::new(|_| ());
    let peer = authority.serve(|mut stream, _| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? > 0 {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("GET http://target.test/ HTTP/1.1\r\n"), "{head}");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
        stream.flush()?;
        stream.read(&mut byte).map(drop)
    });
    let builder = Session::builder().proxy(format!("https://{}", peer.address));
    let session = builder.tls(authority.tls()).build().unwrap();
    assert_eq!(session.get("http://target.test/").send().unwrap().text().unwrap(), "hello");
}

/// Runs the test in a process of its own with these variables, and all others of proxies away.
fn with_environment(test: &str, variables: &[(&str, &str)]) {
    run_alone(test, LIMIT, |child| {
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            child.env_remove(name).env_remove(name.to_uppercase());
        }
        child.envs(variables.iter().copied());
    });
}

/// In such a process: which proxy a request goes to, as its name; none if to the server itself.
fn asked(url: &str) -> Result<Option<String>, Error> {
    let names = Arc::new(std::sync::Mutex::new(Vec::new()));
    let ours = Arc::clone(&names);
    let session = Session::builder().resolver(move |name, port| {
        ours.lock().unwrap().push(format!("{name}:{port}"));
        Err(std::io::ErrorKind::NotFound.into())
    });
    let error = session.build()?.get(url).send().unwrap_err();
    assert!(error.is_connect(), "{error}");
    let names = names.lock().unwrap().clone();
    let direct = url.contains(names.first().map_or("-", |name| name.split(':').next().unwrap()));
    Ok(names.into_iter().next().filter(|_| !direct))
}

const ENVIRONMENT: &str = "session::proxies::the_environment_is_read_as_curl_reads_it";

#[test]
fn the_environment_is_read_as_curl_reads_it() {
    if is_alone(ENVIRONMENT) {
        let expected = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let urls = std::env::var("EXPECT_FOR").unwrap();
        for (n, url) in urls.split(' ').enumerate() {
            match asked(url) {
                Ok(proxy) => assert_eq!(proxy, expected(&format!("EXPECT_{n}")), "{url}"),
                Err(error) => {
                    let name = expected("EXPECT_ERROR").unwrap_or_else(|| panic!("{error}"));
                    assert!(error.is_invalid() && !error.may_have_run(), "{error:?}");
                    assert!(error.to_string().contains(&format!("`{name}`")), "{name}: {error}");
                    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
                }
            }
        }
        return;
    }
    let both = "http://target.test/ https://target.test/";
    let is = |variables: &[(&str, &str)], http: &str, https: &str| {
        let mut all = vec![("EXPECT_FOR", both), ("EXPECT_0", http), ("EXPECT_1", https)];
        all.extend_from_slice(variables);
        with_environment(ENVIRONMENT, &all);
    };
    let (a, b) = ("http://a.proxy:1", "http://b.proxy:2");
    is(&[("HTTPS_PROXY", b), ("http_proxy", a)], "a.proxy:1", "b.proxy:2");
    is(&[("ALL_PROXY", a), ("https_proxy", b)], "a.proxy:1", "b.proxy:2");
    is(&[("HTTP_PROXY", a), ("REQUEST_METHOD", "GET")], "", "");
    is(&[("all_proxy", a), ("no_proxy", "x, .test")], "", "");
    is(&[("all_proxy", a), ("NO_PROXY", "target.test:443")], "a.proxy:1", "");
    let broken = [("EXPECT_FOR", both), ("EXPECT_ERROR", "HTTP_PROXY")];
    for value in ["http://user:s3cret@h:99999", "ftp://user:s3cret@h", "http://"] {
        with_environment(ENVIRONMENT, &[broken[0], broken[1], ("HTTP_PROXY", value)]);
    }
}

const LOOPBACK: &str = "session::proxies::this_machine_is_never_asked_of_the_environments_proxy";

#[test]
fn this_machine_is_never_asked_of_the_environments_proxy() {
    if is_alone(LOOPBACK) {
        assert!(alone(LOOPBACK, LIMIT));
        let server = Server::ok();
        let session = Session::new().unwrap();
        assert_eq!(session.get(server.url("/")).send().unwrap().text().unwrap(), "hello");
        assert_eq!(server.seen()[0].path, "/");
        return;
    }
    with_environment(LOOPBACK, &[("all_proxy", "http://unknown.test:1")]);
}
