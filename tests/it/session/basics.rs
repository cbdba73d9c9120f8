//! What everybody does: requests of each method, one after the other, on one connection.

use keepbeat::{Eviction, Session};

use super::server::{Server, eventually};

#[test]
fn many_requests_take_one_connection() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    for n in 0..200 {
        let mut response = session.get(server.url(&format!("/{n}"))).send().unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.reused(), n > 0);
        assert_eq!(response.idle_before().is_some(), n > 0);
        assert!(!response.replayed());
        assert_eq!(response.text().unwrap(), "hello");
    }
    assert_eq!(server.accepted(), 1);
    let stats = session.stats();
    assert_eq!((stats.requests, stats.opened, stats.reused), (200, 1, 199));
    assert_eq!((stats.open, stats.idle, stats.waiting), (1, 1, 0));
    drop(session);
    eventually("the connection closed with its session", || server.open().0 == 0);
}

#[test]
fn every_method_sends_what_it_says() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    let url = server.url("/path?query=1");
    session.get(&url).header("x-one", "1").header("X-One", "2").send().unwrap();
    // This server sends a body with it: so its connection is not kept.
    session.head(&url).send().unwrap();
    session.post(&url).body("text").send().unwrap();
    session.put(&url).body(b"bytes").send().unwrap();
    session.patch(&url).send().unwrap();
    session.delete(&url).send().unwrap();
    session.options(&url).send().unwrap();
    let request = ureq::http::Request::post(&url).header("a", "b").body("http").unwrap();
    session.request(request).send().unwrap();
    let seen = server.seen();
    let methods: Vec<_> = seen.iter().map(|seen| seen.method.as_str()).collect();
    assert_eq!(methods, ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "POST"]);
    assert!(seen.iter().all(|seen| seen.path == "/path?query=1"));
    let ones: Vec<_> = seen[0].headers.iter().filter(|(name, _)| name == "x-one").collect();
    assert_eq!(ones.len(), 2);
    assert_eq!(seen[2].body, b"text");
    assert_eq!(seen[4].header("content-length"), Some("0"));
    assert_eq!((seen[7].header("a"), seen[7].body.as_slice()), (Some("b"), &b"http"[..]));
    assert!(seen.iter().all(|s| s.header("user-agent").unwrap().starts_with("keepbeat/")));
    assert_eq!(session.stats().evicted(Eviction::MadeRoom), 0);
}

#[test]
fn user_and_password_of_the_url_go_into_a_header_and_into_no_error() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    let url = format!("http://us%40er:p%3Ass@{}/?token=1", server.address);
    session.get(&url).send().unwrap();
    session.get(&url).header("Authorization", "Bearer own").send().unwrap();
    let seen = server.seen();
    assert_eq!(seen[0].header("authorization"), Some("Basic dXNAZXI6cDpzcw=="));
    assert_eq!(seen[0].header("host"), Some(server.address.to_string().as_str()));
    assert_eq!(seen[1].header("authorization"), Some("Bearer own"));
    assert_eq!(server.accepted(), 1, "with or without them, it is the same connection");
    let error = session.get("http://user:s3cret@127.0.0.1:1/?s3cret").send().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    let error = session.get("http://us%er:s3cret@host/").send().unwrap_err();
    assert!(error.is_invalid() && !format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[test]
fn what_is_no_request_is_refused_before_it_is_sent() {
    let session = Session::new().unwrap();
    for url in ["example.com/x", "ftp://host/", "http://", "/path", "", "http://a b/", "http:///x"]
    {
        let error = session.get(url).send().unwrap_err();
        assert!(error.is_invalid() && !error.may_have_run(), "{url}: {error}");
    }
    let error = session.get("http://host/").header("a b", "c").send().unwrap_err();
    assert!(error.is_invalid(), "{error}");
    let error = session.get("http://host/").header("a", "b\r\nc: d").send().unwrap_err();
    assert!(error.is_invalid(), "{error}");
}

#[test]
fn json_goes_and_comes() {
    let server = Server::start(|conn| {
        while let Some(seen) = conn.request() {
            let body = String::from_utf8(seen.body).unwrap();
            conn.ok(&format!("{{\"echo\": {body}}}"));
        }
    });
    let session = Session::new().unwrap();
    let value = serde_json::json!({"name": "nightly", "runs": [1, 2]});
    let mut response = session.post(server.url("/")).json(&value).send().unwrap();
    let echo: serde_json::Value = response.json().unwrap();
    assert_eq!(echo["echo"], value);
    assert_eq!(server.seen()[0].header("content-type"), Some("application/json"));
    let mut response = session.post(server.url("/")).body("nonsense").send().unwrap();
    let error = response.json::<serde_json::Value>().unwrap_err().to_string();
    assert!(error.contains("POST http://") && error.contains("JSON"), "{error}");
}
