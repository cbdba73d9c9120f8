//! Cookies: what a store keeps, and what goes along with which request. The rules themselves (RFC
//! 6265) have their tests beside them, in `src/session/cookies`.

use keepbeat::Session;
use keepbeat::session::Cookies;

use super::server::{Seen, Server};

/// Sets what its path says: `/set/a=1; Path=/` sets `a`, `/go/TARGET` redirects, and sets `hop`.
fn setting() -> Server {
    Server::start(|conn| {
        while let Some(seen) = conn.request() {
            let path = seen.path.replace("%20", " ");
            // Behind a proxy the whole URL stands there.
            let path = path
                .split_once("//")
                .map_or(path.as_str(), |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
            let head = match path.split_at_checked(5) {
                Some(("/set/", cookie)) => format!("HTTP/1.1 200 OK\r\nSet-Cookie: {cookie}\r\n"),
                _ => match path.strip_prefix("/go/") {
                    Some(to) => format!(
                        "HTTP/1.1 302 Found\r\nset-cookie: hop=1; Path=/\r\nLocation: http://{to}\r\n"
                    ),
                    None => "HTTP/1.1 200 OK\r\n".to_owned(),
                },
            };
            conn.write(format!("{head}Content-Length: 0\r\n\r\n"));
        }
    })
}

/// All names lead to this server.
fn session(server: &Server, cookies: Option<&Cookies>) -> Session {
    let address = server.address;
    let mut builder = Session::builder().resolver(move |_, _| Ok(vec![address]));
    if let Some(cookies) = cookies {
        builder = builder.cookies(cookies.clone());
    }
    builder.build().unwrap()
}

fn last(server: &Server) -> Seen {
    server.seen().pop().unwrap()
}

fn sent(session: &Session, server: &Server, url: &str) -> Option<String> {
    session.get(url).send().unwrap();
    last(server).header("cookie").map(str::to_owned)
}

#[test]
fn a_session_keeps_no_cookies_unless_it_is_told_to() {
    let server = setting();
    let plain = session(&server, None);
    plain.get("http://a.test/set/a=1").send().unwrap();
    assert_eq!(sent(&plain, &server, "http://a.test/"), None);
}

#[test]
fn what_a_server_sets_goes_back_to_it_and_to_nobody_else() {
    let (server, cookies) = (setting(), Cookies::new());
    let session = session(&server, Some(&cookies));
    for set in ["a=1;%20Path=/", "b=2;%20Path=/;%20Domain=example.com", "c=3;%20Path=/deep"] {
        session.get(format!("http://www.example.com/set/{set}")).send().unwrap();
    }
    for (url, expected) in [
        ("http://www.example.com/", Some("a=1; b=2")),
        ("http://WWW.example.COM:81/x", Some("a=1; b=2")),
        ("http://www.example.com/deep/x", Some("c=3; a=1; b=2")),
        ("http://other.example.com/", Some("b=2")),
        ("http://example.org/", None),
    ] {
        assert_eq!(sent(&session, &server, url).as_deref(), expected, "{url}");
    }
    // One who sets a cookie for all of `com`, or for a neighbour, sets none.
    for domain in ["com", "example.com", "evil.example.com.evil.test"] {
        session.get(format!("http://evil.test/set/d=4;%20Domain={domain}")).send().unwrap();
    }
    assert_eq!(cookies.len(), 3, "{cookies:?}");
    session.get("http://www.example.com/set/a=;%20Path=/;%20Max-Age=0").send().unwrap();
    assert_eq!(sent(&session, &server, "http://www.example.com/").as_deref(), Some("b=2"));
    cookies.clear();
    assert_eq!(sent(&session, &server, "http://www.example.com/"), None);
    assert!(cookies.is_empty());
}

#[test]
fn a_redirect_sets_cookies_and_each_hop_has_its_own() {
    let (server, cookies) = (setting(), Cookies::new());
    let session = session(&server, Some(&cookies));
    cookies.set("http://b.test/", "theirs=1").unwrap();
    assert_eq!(sent(&session, &server, "http://a.test/go/a.test/there").as_deref(), Some("hop=1"));
    // Another host gets its own, and none of the one that sent it there.
    assert_eq!(sent(&session, &server, "http://a.test/go/b.test/").as_deref(), Some("theirs=1"));
    let before = server.seen().len();
    session.post("http://a.test/go/b.test/").body("x").send().unwrap();
    let seen: Vec<_> = server.seen()[before..]
        .iter()
        .map(|seen| seen.header("cookie").map(str::to_owned))
        .collect();
    assert_eq!(seen, [Some("hop=1".to_owned()), Some("theirs=1".to_owned())]);
}

#[test]
fn a_cookie_of_the_requests_own_is_sent_alone() {
    let (server, cookies) = (setting(), Cookies::new());
    cookies.set("http://a.test/", "kept=1").unwrap();
    let with = session(&server, Some(&cookies));
    with.get("http://a.test/").header("Cookie", "own=1").send().unwrap();
    let seen = last(&server);
    let all: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "cookie").collect();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].1, "own=1");
    // Behind a redirect to another host it is dropped, and that host's own go along.
    cookies.set("http://b.test/", "theirs=1").unwrap();
    with.get("http://a.test/go/b.test/").header("Cookie", "own=1").send().unwrap();
    assert_eq!(last(&server).header("cookie"), Some("theirs=1"));
    // The agent has none.
    with.agent().get("http://a.test/").call().unwrap();
    assert_eq!(last(&server).header("cookie"), None);
}

#[test]
fn what_cannot_be_a_cookie_is_refused_and_no_value_is_printed() {
    let cookies = Cookies::new();
    for (url, cookie) in [
        ("no url", "a=s3cret"),
        ("ftp://a.test/", "a=s3cret"),
        ("http://a.test:99999/", "a=s3cret"),
        ("http://a.test/", "s3cret"),
        ("http://a.test/", "a=s3cret\r\nb: c"),
        ("http://a.test/", "a=s3cret; Secure"),
        ("http://a.test/", "a=s3cret; Domain=test"),
        ("http://a.test/", "a=s3cret; Domain=b.test"),
    ] {
        let error = cookies.set(url, cookie).unwrap_err();
        assert!(error.is_invalid(), "{cookie}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
    cookies.set("http://a.test/", "a=s3cret").unwrap();
    let session = Session::builder().cookies(cookies.clone()).build().unwrap();
    assert!(!format!("{cookies:?} {session:?}").contains("s3cret"));
    assert_eq!(cookies.header("http://a.test/x").as_deref(), Some("a=s3cret"));
}

#[test]
fn a_proxy_that_asks_for_its_password_sets_no_cookie_of_the_server() {
    let proxy = Server::start(|conn| {
        while let Some(seen) = conn.request() {
            let status = if seen.path.ends_with("/no") { "407 No" } else { "200 OK" };
            conn.write(format!(
                "HTTP/1.1 {status}\r\nSet-Cookie: a={}\r\nContent-Length: 0\r\n\r\n",
                &status[..3]
            ));
        }
    });
    let cookies = Cookies::new();
    let session = Session::builder().proxy(proxy.url("")).cookies(cookies.clone()).build().unwrap();
    session.get("http://a.test/no").send().unwrap();
    assert!(cookies.is_empty());
    session.get("http://a.test/yes").send().unwrap();
    assert_eq!(cookies.header("http://a.test/").as_deref(), Some("a=200"));
}
