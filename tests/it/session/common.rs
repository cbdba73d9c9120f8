//! What all requests of a session have in common: base URL, headers, https alone; and the fields of
//! a query and of a form.

use keepbeat::Session;

use super::server::{Seen, Server};

/// What the server has seen last.
fn last(server: &Server) -> Seen {
    server.seen().pop().unwrap()
}

#[test]
fn a_path_is_put_behind_the_base_and_a_whole_url_is_not() {
    let (server, other) = (Server::ok(), Server::ok());
    for (base, path, whole) in [
        ("", "/jobs", "/jobs"),
        ("/", "/jobs?x=1", "/jobs?x=1"),
        ("/v1", "/jobs/", "/v1/jobs/"),
        ("/v1/", "/", "/v1/"),
        ("/v1/", "/a/../b", "/v1/a/../b"),
    ] {
        let session = Session::builder().base_url(server.url(base)).build().unwrap();
        session.get(path).send().unwrap();
        assert_eq!(last(&server).path, whole, "{base} {path}");
        session.get(other.url("/jobs")).send().unwrap();
        assert_eq!(last(&other).path, "/jobs");
    }
    let base = format!("http://user:s3cret@{}/v1", server.address);
    let session = Session::builder().base_url(&base).build().unwrap();
    session.get("/jobs").send().unwrap();
    assert_eq!(last(&server).header("authorization"), Some("Basic dXNlcjpzM2NyZXQ="));
    // `jobs` alone is a host to `http::Uri`: it is refused, and not guessed at.
    assert!(session.get("jobs").send().unwrap_err().is_invalid());
}

#[test]
fn a_base_that_is_none_is_refused_without_its_password() {
    for base in ["/v1", "ftp://host", "http://host/?q", "http://u:s3cret@host:x/", "host", ""] {
        let error = Session::builder().base_url(base).build().unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("`base_url`"), "{base}: {error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}

#[test]
fn default_headers_give_way_to_the_requests_own_and_stay_with_their_origin() {
    let other = Server::ok();
    let to = other.url("/");
    let server = Server::start(move |conn| {
        while let Some(seen) = conn.request() {
            match seen.path.as_str() {
                "/away" => conn.write(format!(
                    "HTTP/1.1 307 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
                )),
                _ => conn.ok("hello"),
            };
        }
    });
    let builder = Session::builder()
        .default_header("Authorization", "Bearer t0ken")
        .default_header("X-Many", "1")
        .default_header("x-many", "2")
        .default_header("User-Agent", "mine");
    let session = builder.build().unwrap();
    session.get(server.url("/")).header("X-Other", "y").send().unwrap();
    let seen = last(&server);
    let all = |seen: &Seen, wanted: &str| {
        let named = seen.headers.iter().filter(|(name, _)| name == wanted);
        named.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(all(&seen, "authorization"), ["Bearer t0ken"]);
    assert_eq!(all(&seen, "x-many"), ["1", "2"]);
    assert_eq!(all(&seen, "user-agent"), ["mine"]);
    session.get(server.url("/")).header("x-many", "own").send().unwrap();
    assert_eq!(all(&last(&server), "x-many"), ["own"]);
    session.post(server.url("/away")).body("some").send().unwrap();
    let seen = last(&other);
    assert_eq!(all(&seen, "authorization"), [""; 0]);
    assert_eq!((all(&seen, "x-many"), seen.body), (vec!["1".into(), "2".into()], b"some".to_vec()));
}

#[test]
fn requests_of_the_agent_have_base_and_headers_as_well() {
    let server = Server::ok();
    let session = Session::builder()
        .base_url(format!("http://user:s3cret@{}/v1", server.address))
        .default_header("X-Own", "1")
        .default_header("User-Agent", "mine")
        .build()
        .unwrap();
    let read = |mut response: ureq::http::Response<ureq::Body>| {
        assert_eq!(response.body_mut().read_to_string().unwrap(), "hello");
    };
    read(session.agent().get("/jobs?x").call().unwrap());
    let seen = last(&server);
    assert_eq!((seen.path.as_str(), seen.header("x-own")), ("/v1/jobs?x", Some("1")));
    assert_eq!(seen.header("user-agent"), Some("mine"));
    assert_eq!(seen.header("authorization"), Some("Basic dXNlcjpzM2NyZXQ="));
    read(session.agent().get(server.url("/")).header("X-Own", "2").call().unwrap());
    let seen = last(&server);
    let own = seen.headers.iter().filter(|(name, _)| name == "x-own").count();
    assert_eq!((own, seen.header("x-own")), (1, Some("2")));
    assert_eq!(seen.path, "/");
    assert_eq!(session.stats().opened, 1, "on the same connection");
}

#[test]
fn a_default_header_that_belongs_to_one_request_is_refused() {
    for (name, value) in [
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Host", "other"),
        ("Expect", "100-continue"),
        ("Proxy-Authorization", "Basic eA=="),
        ("no token", "x"),
        ("x", "line\nend"),
    ] {
        let error = Session::builder().default_header(name, value).build().unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("`default_header`"), "{error}");
    }
}

#[test]
fn https_only_sends_nothing_without_tls_wherever_it_is_asked() {
    let server = Server::ok();
    let session = Session::builder().https_only(true).build().unwrap();
    let error = session.post(server.url("/?s3cret")).body("some").send().unwrap_err();
    assert!(error.is_invalid() && !error.may_have_run(), "{error:?}");
    assert!(error.to_string().contains("`https_only`"), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
    assert!(session.agent().get(server.url("/")).call().is_err());
    let error = Session::builder().https_only(true).base_url(server.url("/")).build().unwrap_err();
    assert!(error.is_invalid(), "{error}");
    assert_eq!(server.accepted(), 0);
}

#[test]
fn fields_of_a_query_and_of_a_form_are_encoded() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    for (path, expected) in [
        ("/", "/?a%20b=c%26d%3D%2B&n=5&%C3%A4=%23"),
        ("/?x", "/?x&a%20b=c%26d%3D%2B&n=5&%C3%A4=%23"),
        ("/?x=1&", "/?x=1&a%20b=c%26d%3D%2B&n=5&%C3%A4=%23"),
        ("?", "/?a%20b=c%26d%3D%2B&n=5&%C3%A4=%23"),
    ] {
        let request = session.get(server.url(path));
        request.query("a b", "c&d=+").query("n", 5).query("ä", "#").send().unwrap();
        assert_eq!(last(&server).path, expected, "{path}");
    }
    let error = session.get(server.url("/")).query("x", "y".repeat(70_000)).send().unwrap_err();
    assert!(error.is_invalid() && !error.may_have_run(), "{error}");
    session.post(server.url("/")).form([("a b", "c&d=+ä"), ("", "")]).send().unwrap();
    let seen = last(&server);
    assert_eq!(seen.body, b"a+b=c%26d%3D%2B%C3%A4&=");
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
    let empty: [(&str, &str); 0] = [];
    session.post(server.url("/")).form(empty).send().unwrap();
    assert_eq!((last(&server).header("content-length"), last(&server).body), (Some("0"), vec![]));
}
