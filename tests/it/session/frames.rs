//! Framing of answers (RFC 9112, sections 6 and 7): what is read, what is refused, and what costs
//! the connection. Beside each stands what curl 8 does, where it differs.

use keepbeat::Session;

use super::server::Server;

/// The body of the answer, and whether its connection was used again; or the error.
fn ask(answer: &[u8]) -> Result<(String, bool), String> {
    let answer = answer.to_vec();
    let server = Server::start(move |conn| {
        while conn.request().is_some() && conn.write(&answer) {
            if memchr::memmem::find(&answer, b"until-closed").is_some() {
                return;
            }
        }
    });
    let session = Session::new().unwrap();
    let mut texts = Vec::new();
    for _ in 0..2 {
        let mut response =
            session.get(server.url("/")).timeout(super::server::LIMIT).send().map_err(text)?;
        texts.push(response.text().map_err(text)?);
    }
    assert_eq!(texts[0], texts[1]);
    Ok((texts.remove(0), server.accepted() == 1))
}

fn text(error: keepbeat::Error) -> String {
    assert!(!error.is_timeout() && error.may_have_run(), "{error:?}");
    error.to_string()
}

#[test]
fn whatever_says_where_a_body_ends_is_understood() {
    for (head, body, kept) in [
        ("Content-Length: 5", "hello", true),
        ("content-length:5", "hello", true),
        ("Content-Length: 0005", "hello", true),
        ("Content-Length: 5\r\nContent-Length: 5", "hello", true),
        ("Content-Length: 5, 5", "hello", true),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n", true),
        ("Transfer-Encoding: CHUNKED", "5\r\nhello\r\n0\r\n\r\n", true),
        ("Transfer-Encoding: identity\r\nContent-Length: 5", "hello", true),
        ("Transfer-Encoding: chunked", "5;a=\"b;c\"\r\nhello\r\n0;d\r\nX: y\r\n\r\n", true),
        ("Transfer-Encoding: chunked", "5  \r\nhello\r\n000\r\n\r\n", true),
        ("Transfer-Encoding: chunked", "0000000000000000000000005\r\nhello\r\n0\r\n\r\n", true),
        // curl and most others let these pass; after them nobody knows what the peer thinks.
        ("Transfer-Encoding: chunked\r\nContent-Length: 3", "5\r\nhello\r\n0\r\n\r\n", false),
        ("Content-Length : 5", "hello", false),
        ("X: folded\r\n line\r\nContent-Length: 5", "hello", false),
        ("no colon here\r\nContent-Length: 5", "hello", false),
        ("X: until-closed", "hello", false),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
        assert_eq!(ask(answer.as_bytes()), Ok(("hello".to_owned(), kept)), "{head:?} {body:?}");
    }
    let long = "x".repeat(100_000);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;{long}\r\nhello\r\n0;{long}\r\n\r\n"
    );
    assert_eq!(ask(answer.as_bytes()), Ok(("hello".to_owned(), true)), "a long extension");
    let bare = "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello";
    assert_eq!(ask(bare.as_bytes()), Ok(("hello".to_owned(), true)), "bare LF in a head");
    let many: String = (0..500).map(|n| format!("X-{n}: y\r\n")).collect();
    let answer = format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 5\r\n\r\nhello");
    assert_eq!(ask(answer.as_bytes()), Ok(("hello".to_owned(), true)), "500 fields");
    let early = "HTTP/1.1 103 X\r\nX: y\r\n\r\n".repeat(100);
    let answer = format!("{early}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(ask(answer.as_bytes()), Ok(("hello".to_owned(), true)), "100 interim answers");
}

#[test]
fn what_two_readers_could_read_differently_is_an_error() {
    for (head, body) in [
        ("Content-Length: 5\r\nContent-Length: 6", "hello!"),
        ("Content-Length: 5, 6", "hello!"),
        ("Content-Length: +5", "hello"),
        ("Content-Length: -5", "hello"),
        ("Content-Length: 5 5", "hello"),
        ("Content-Length: 0x5", "hello"),
        ("Content-Length: 5.0", "hello"),
        ("Content-Length:", "hello"),
        ("Content-Length: 99999999999999999999", "hello"),
        ("Transfer-Encoding: xchunked", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked, chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: gzip, chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked, gzip", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "+5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", " 5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "5 5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "-5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "5\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "5;a\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "4\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\n0\r\n\r\n"),
        ("X: a\0b\r\nContent-Length: 5", "hello"),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
        let error = ask(answer.as_bytes());
        assert!(error.is_err(), "{head:?} {body:?}: {error:?}");
    }
}

#[test]
fn what_is_no_answer_is_told_at_once_and_in_words() {
    for (bytes, words) in [
        ("SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        ("\u{16}\u{3}\u{1}\0\u{5}", "https"),
        ("HTTP/2.0 200 OK\r\n\r\n", "another version"),
        ("<html>", "not HTTP"),
        ("HTTP/1.1 099 Odd\r\n\r\n", "099"),
    ] {
        // The server stays there: what it said is enough.
        let server = Server::start(move |conn| {
            conn.request();
            conn.write(bytes);
            conn.idle(super::server::LIMIT);
        });
        let session = Session::new().unwrap();
        let start = std::time::Instant::now();
        let error = session.get(server.url("/")).send().unwrap_err();
        assert!(error.to_string().contains(words), "{bytes:?}: {error}");
        assert!(start.elapsed() < super::server::LIMIT / 2, "{:?}", start.elapsed());
    }
}
