//! Bodies that are empty, packed or not; ranges; and text in other charsets than UTF-8.

use std::io::Read;

use keepbeat::Session;
use ureq::http::Method;

use super::server::Server;

fn get(session: &Session, server: &Server, method: Method) -> (u16, String) {
    let mut response = session.method(method, server.url("/")).send().unwrap();
    (response.status().as_u16(), response.text().unwrap())
}

#[test]
fn what_has_no_body_is_not_unpacked() {
    let session = Session::new().unwrap();
    for coding in ["gzip", "GZIP", "x-gzip", "br", "identity", "gzip, gzip", "zstd"] {
        for (status, framing, method) in [
            ("200 OK", "Content-Length: 1000", Method::HEAD),
            ("200 OK", "Transfer-Encoding: chunked", Method::HEAD),
            ("200 OK", "Content-Length: 0", Method::HEAD),
            ("200 OK", "Content-Length: 0", Method::GET),
            ("204 No Content", "X: y", Method::GET),
            ("204 No Content", "Content-Length: 5", Method::GET),
            ("304 Not Modified", "Content-Length: 1000", Method::GET),
            ("304 Not Modified", "Transfer-Encoding: chunked", Method::GET),
        ] {
            let server = Server::answering(format!(
                "HTTP/1.1 {status}\r\n{framing}\r\nContent-Encoding: {coding}\r\n\r\n"
            ));
            for _ in 0..2 {
                let (code, text) = get(&session, &server, method.clone());
                assert_eq!(text, "", "{method} {status} {framing} {coding}");
                assert!(status.starts_with(&code.to_string()));
            }
            assert_eq!(server.accepted(), 1, "{method} {status} {framing} {coding}");
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n");
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        let server = Server::answering(chunked);
        for _ in 0..2 {
            assert_eq!(get(&session, &server, Method::GET).1, "", "chunked, {coding}");
        }
        assert_eq!(server.accepted(), 1, "chunked, {coding}");
        let until_closed = Server::start(move |conn| {
            conn.request();
            conn.write(format!("{head}\r\n"));
        });
        assert_eq!(get(&session, &until_closed, Method::GET).1, "", "until closed, {coding}");
    }
}

#[test]
fn a_packed_body_that_breaks_off_or_is_broken_is_an_error_in_words() {
    let session = Session::new().unwrap();
    for (body, words) in [("\u{1f}", "gzip"), ("hello", "gzip"), ("\u{1f}\u{8b}", "gzip")] {
        let bytes: Vec<u8> = body.chars().map(|c| c as u8).collect();
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            bytes.len()
        )
        .into_bytes();
        answer.extend(bytes);
        let server = Server::answering(answer);
        let mut response = session.get(server.url("/")).send().unwrap();
        let error = response.text().unwrap_err();
        assert!(error.to_string().contains(words), "{body:?}: {error}");
        assert!(response.reader().read(&mut [0; 9]).is_err(), "{body:?}");
    }
}

/// Of a part of something packed, nobody can unpack anything.
#[test]
fn a_range_is_asked_for_as_it_is_and_given_as_it_comes() {
    let part = "HTTP/1.1 206 Partial Content\r\nContent-Encoding: gzip\r\n\
                Content-Range: bytes 5-9/100\r\nContent-Length: 5\r\n\r\nraw!!";
    let server = Server::answering(part);
    let session = Session::new().unwrap();
    let mut response = session.get(server.url("/")).header("Range", "bytes=5-9").send().unwrap();
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert_eq!(response.text().unwrap(), "raw!!");
    session.get(server.url("/")).send().unwrap();
    let own = session.get(server.url("/")).header("Range", "bytes=5-9");
    own.header("Accept-Encoding", "gzip").send().unwrap();
    let asked: Vec<_> =
        server.seen().iter().map(|s| s.header("accept-encoding").map(str::to_owned)).collect();
    assert_eq!(asked, [None, Some("gzip".to_owned()), Some("gzip".to_owned())]);
    assert_eq!(server.accepted(), 1);
}

#[test]
fn a_text_is_read_in_its_charset_or_the_charset_is_named() {
    let session = Session::new().unwrap();
    let text = |content_type: &str, body: &[u8]| {
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend(body);
        let server = Server::answering(answer);
        let mut response = session.get(server.url("/")).send().unwrap();
        response.text().map_err(|error| error.to_string())
    };
    assert_eq!(text("text/plain; charset=ISO-8859-1", b"gr\xfcn").as_deref(), Ok("grün"));
    assert_eq!(text("text/html;charset=\"windows-1252\"", b"\x80 5").as_deref(), Ok("€ 5"));
    assert_eq!(text("text/plain", "grün".as_bytes()).as_deref(), Ok("grün"));
    assert_eq!(text("application/json", "ü".as_bytes()).as_deref(), Ok("ü"));
    assert_eq!(text("text/plain; charset=utf-16le", b"a\0").as_deref(), Ok("a"));
    let error = text("text/plain; charset=Shift_JIS", b"\x83\x41").unwrap_err();
    assert!(error.contains("`shift_jis`") && error.contains("`bytes`"), "{error}");
}

/// As the error says it.
#[test]
fn a_text_in_an_unknown_charset_is_left_to_be_read_as_bytes() {
    let server = Server::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=koi8-r\r\nContent-Length: 5\r\n\r\n\
         hello",
    );
    let mut response = Session::new().unwrap().get(server.url("/")).send().unwrap();
    assert!(response.text().unwrap_err().to_string().contains("`koi8-r`"));
    assert_eq!(response.bytes().unwrap(), b"hello");
}

#[cfg(feature = "brotli")]
#[test]
fn what_is_packed_with_brotli_is_unpacked_whole_or_not_at_all() {
    // `hello ` forty times, by Google's own encoder.
    let packed: &[u8] = b"\x1b\xef\x00\xf8\x8d\x94n\xdeDU\x86\x96l o1[\x1c\x80\x14\x07";
    let session = Session::builder().default_header("Accept-Encoding", "br, gzip").build().unwrap();
    for (body, whole) in [(packed, true), (&packed[..15], false), (b"hello", false)] {
        for framing in ["Content-Length", "Transfer-Encoding"] {
            let mut answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: BR\r\n".to_vec();
            match framing {
                "Content-Length" => {
                    answer.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                    answer.extend(body);
                }
                _ => {
                    let head = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len());
                    answer.extend(head.bytes());
                    answer.extend(body);
                    answer.extend(b"\r\n0\r\n\r\n");
                }
            }
            let server = Server::answering(answer);
            for _ in 0..2 {
                let mut response = session.get(server.url("/")).send().unwrap();
                assert_eq!(response.header("content-encoding"), None);
                match response.text() {
                    Ok(text) => assert!(whole && text == "hello ".repeat(40), "{text}"),
                    Err(error) => {
                        assert!(!whole && error.to_string().contains("brotli"), "{error}");
                        assert!(response.reader().read(&mut [0; 9]).is_err(), "an error stays");
                    }
                }
            }
            if whole {
                assert_eq!(server.accepted(), 1, "{framing}");
            }
            let asked = server.seen()[0].header("accept-encoding").map(str::to_owned);
            assert_eq!(asked.as_deref(), Some("br, gzip"));
        }
    }
}
