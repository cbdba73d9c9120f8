//! Secrets: what is printed for a log holds none.

use keepbeat::Session;

use super::server::Server;

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
    let session = Session::new().unwrap();
    let url = format!("http://user:s3cret@{}/?token=s3cret", server.address);
    session.get(&url).header("Cookie", "s3cret").send().unwrap();
    session.agent().get(&url).call().unwrap();
    assert_eq!(session.stats().requests, 1);
    assert_no_secret(&format!("{session:?} {session:#?} {:?}", session.stats()));
}
