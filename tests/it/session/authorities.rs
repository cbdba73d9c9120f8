//! Authorities: what is not exactly one of RFC 3986 (section 3.2) leads nowhere. curl, Go and
//! browsers refuse such URLs; ureq 3.5.2 goes to port 80 with credentials and body.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keepbeat::{Error, Session};

use super::server::Server;

/// A session that counts who asks for an address, and knows none.
fn asked() -> (Session, Arc<AtomicUsize>) {
    let lookups = Arc::new(AtomicUsize::new(0));
    let ours = Arc::clone(&lookups);
    let builder = Session::builder().resolver(move |_, _| {
        ours.fetch_add(1, Ordering::SeqCst);
        Err(std::io::ErrorKind::NotFound.into())
    });
    (builder.build().unwrap(), lookups)
}

/// What a `http::Uri` takes for an authority, and is none.
const WRONG: &[&str] = &[
    "host:99999",
    "host:65536",
    "host:0",
    "host:8080x",
    "host:x",
    "host:80:80",
    "127.0.0.1:99999",
    "[::1]:99999",
    "[::1]x",
    "[::1%25lo]:80",
    "[127.0.0.1]:80",
    "a@b@host",
    ":80",
];

fn assert_refused(error: &Error, what: &str) {
    assert!(error.is_invalid() && !error.may_have_run(), "{what}: {error:?}");
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{what}: {error:?}");
}

#[test]
fn what_is_no_authority_is_refused_before_a_byte_is_sent() {
    let (session, lookups) = asked();
    for authority in WRONG {
        for login in ["", "user:s3cret@"] {
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{login}{authority}/path?s3cret");
                let error = session.post(&url).body("s3cret").send().unwrap_err();
                assert_refused(&error, &url);
            }
        }
    }
    // A password with a `/` in it ends the authority, and must not show in the error either.
    let error = session.post("http://user:s3cret/s3cret@host/").send().unwrap_err();
    assert_refused(&error, "a slash in the password");
    assert_eq!((lookups.load(Ordering::SeqCst), session.stats().opened), (0, 0));
}

/// `Host` says where a request is meant to go: what is no authority there, two servers read in two
/// ways (RFC 9112, section 3.2).
#[test]
fn a_host_header_that_is_no_authority_is_refused() {
    let (session, lookups) = asked();
    for host in WRONG.iter().copied().chain(["a, b", "a/b", "a b", "user:s3cret@host", "h#x", "é"])
    {
        let request = session.post("http://name.test/").header("Host", host.as_bytes());
        let error = request.body("x").send().unwrap_err();
        assert_refused(&error, host);
        assert!(error.to_string().contains("`Host`"), "{host}: {error}");
    }
    assert_eq!(lookups.load(Ordering::SeqCst), 0);
    let server = Server::ok();
    let session = Session::new().unwrap();
    for host in ["other", "OTHER.test:81", "[::1]:80", "a_b", ""] {
        session.get(server.url("/")).header("Host", host).send().unwrap();
        assert_eq!(server.seen().pop().unwrap().header("host"), Some(host));
    }
}

#[test]
fn the_agent_refuses_it_too() {
    let (session, lookups) = asked();
    for authority in WRONG {
        let url = format!("http://user:s3cret@{authority}/");
        let error = session.agent().post(&url).send("s3cret").unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{url}: {error}");
    }
    assert_eq!((lookups.load(Ordering::SeqCst), session.stats().opened), (0, 0));
}

#[test]
fn a_redirect_to_one_has_run_and_leads_nowhere() {
    let to = Arc::new(std::sync::Mutex::new(String::new()));
    let ours = Arc::clone(&to);
    let server = Server::start(move |conn| {
        while conn.request().is_some() {
            let to = ours.lock().unwrap().clone();
            conn.write(format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
            ));
        }
    });
    let (session, lookups) = asked();
    for authority in WRONG {
        *to.lock().unwrap() = format!("http://user:s3cret@{authority}/");
        let error = session.get(server.url("/")).send().unwrap_err();
        assert!(error.may_have_run() && !error.is_connect(), "{authority}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{authority}: {error:?}");
    }
    assert_eq!((lookups.load(Ordering::SeqCst), server.accepted()), (0, 1));
}

#[test]
fn a_proxy_whose_url_is_none_is_refused() {
    for authority in WRONG {
        for scheme in ["http", "socks5", "socks4a"] {
            let url = format!("{scheme}://user:s3cret@{authority}");
            let error = Session::builder().proxy(&url).build().unwrap_err();
            assert_refused(&error, &url);
            assert!(error.to_string().contains("`proxy`"), "{url}: {error}");
        }
    }
}

#[test]
fn whatever_says_the_same_shares_a_connection() {
    let server = Server::ok();
    let port = server.address.port();
    let address = server.address;
    let builder = Session::builder().resolver(move |_, _| Ok(vec![address]));
    let session = builder.build().unwrap();
    for authority in [
        format!("name.test:{port}"),
        format!("NAME.test:{port}"),
        format!("user:pass@name.test:{port}"),
        format!("name.test:000{port}"),
    ] {
        let mut response = session.get(format!("http://{authority}/")).send().unwrap();
        assert_eq!(response.text().unwrap(), "hello", "{authority}");
    }
    for authority in ["name.test", "name.test:", "name.test:80", "name.test:0080"] {
        session.get(format!("http://{authority}/")).send().unwrap();
    }
    assert_eq!(server.accepted(), 2, "one for each port");
    let hosts: Vec<_> =
        server.seen()[4..].iter().map(|s| s.header("host").unwrap().to_owned()).collect();
    assert_eq!(hosts, ["name.test"; 4]);
}
