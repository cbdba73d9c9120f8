//! Bodies of responses: every kind of end that HTTP knows, and what it does to the connection.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use keepbeat::{Eviction, Response, Session};

use super::server::{LIMIT, Server, ms};

/// Twenty requests, each response used up like this; on so many connections.
fn twenty(server: &Server, connects: usize, use_up: impl Fn(Response)) {
    let session = Session::new().unwrap();
    for n in 0..20 {
        use_up(session.get(server.url(&format!("/{n}"))).send().unwrap());
    }
    assert_eq!(server.accepted(), connects);
    assert_eq!(server.seen().len(), 20, "nothing is sent twice");
    let stats = session.stats();
    assert_eq!(stats.open, stats.idle, "no place has leaked");
}

fn reads(expected: &str) -> impl Fn(Response) {
    move |mut response| assert_eq!(response.text().unwrap(), expected)
}

fn of_length(status: &str, len: usize) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\n\r\n").into_bytes();
    bytes.resize(bytes.len() + len, b'x');
    bytes
}

#[test]
fn a_404_keeps_its_connection_though_nobody_reads_its_body() {
    let server = Server::answering(of_length("404 Not Found", 3000));
    twenty(&server, 1, |response| {
        let error = response.error_for_status().unwrap_err();
        assert_eq!(error.status(), Some(404), "{error}");
    });
}

#[test]
fn a_body_that_nobody_reads_costs_no_connection() {
    twenty(&Server::answering(of_length("200 OK", 20_000)), 1, drop);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    twenty(&Server::answering(chunked), 1, drop);
}

#[test]
fn a_body_read_in_part_costs_no_connection_if_little_is_left() {
    twenty(&Server::answering(of_length("200 OK", 60_000)), 1, |mut response| {
        response.reader().read_exact(&mut [0; 10]).unwrap();
    });
    // 64 KiB are left to the byte.
    twenty(&Server::answering(of_length("200 OK", 65_536 + 10)), 1, |mut response| {
        response.reader().read_exact(&mut [0; 10]).unwrap();
    });
}

#[test]
fn a_body_of_which_much_is_left_costs_its_connection_and_no_more() {
    let server = Server::answering(of_length("200 OK", 65_536 + 11));
    twenty(&server, 20, |mut response| response.reader().read_exact(&mut [0; 10]).unwrap());
    // Without a length that shows only while it is read.
    let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n".to_vec();
    bytes.extend([b'x'; 0x20000]);
    bytes.extend(b"\r\n0\r\n\r\n");
    twenty(&Server::answering(bytes), 20, drop);
}

#[test]
fn a_rest_that_does_not_come_is_not_waited_for() {
    let server = Server::start(|conn| {
        while conn.request().is_some()
            && conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
            && conn.idle(LIMIT)
        {}
    });
    let session = Session::new().unwrap();
    for n in 1..4 {
        let response = session.get(server.url("/")).send().unwrap();
        let start = Instant::now();
        drop(response);
        assert!(start.elapsed() < LIMIT / 2, "it waited {:?}", start.elapsed());
        assert_eq!(session.stats().evicted(Eviction::NotReusable), n);
    }
    assert_eq!(session.stats().open, 0);
}

#[test]
fn a_body_read_to_exactly_its_length_gives_its_connection_back() {
    let session = Session::new().unwrap();
    let server = Server::answering(of_length("200 OK", 5));
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut response = session.get(server.url("/")).send().unwrap();
        response.reader().read_exact(&mut [0; 5]).unwrap();
        held.push(response); // not by its drop
    }
    assert_eq!(server.accepted(), 1);
    for mut response in held {
        assert_eq!(response.reader().read(&mut [0; 5]).unwrap(), 0);
    }
}

#[test]
fn responses_that_have_no_body_are_not_waited_for() {
    let session = Session::builder().timeout(ms(5000)).build().unwrap();
    let with_length = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    let server = Server::answering(with_length);
    for _ in 0..20 {
        let mut response = session.head(server.url("/")).send().unwrap();
        assert_eq!(response.header("content-length"), Some("1000"));
        assert_eq!(response.text().unwrap(), "");
    }
    assert_eq!(server.accepted(), 1, "HEAD");
    twenty(&Server::answering("HTTP/1.1 204 No Content\r\n\r\n"), 1, reads(""));
    twenty(&Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 1, drop);
    for use_up in [drop, |mut response: Response| assert_eq!(response.text().unwrap(), "")] {
        let not_modified = "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n";
        twenty(&Server::answering(not_modified), 1, use_up);
    }
}

#[test]
fn chunks_of_any_kind_make_one_body() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
    let plain = format!("{head}\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    twenty(&Server::answering(plain), 1, reads("hello world"));
    let extended = format!("{head}\r\n005;name=value\r\nhello\r\n0\r\n\r\n");
    twenty(&Server::answering(extended), 1, reads("hello"));
    let trailers =
        format!("{head}Trailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Two: 2\r\n\r\n");
    twenty(&Server::answering(trailers), 1, reads("hello"));
    twenty(&Server::answering(format!("{head}\r\n0\r\n\r\n")), 1, reads(""));
}

#[test]
fn a_response_that_comes_byte_by_byte_is_the_same() {
    let server = Server::start(|conn| {
        let bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                     1\r\nh\r\n2\r\nel\r\n2\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n";
        while conn.request().is_some() && bytes.bytes().all(|byte| conn.write([byte])) {}
    });
    twenty(&server, 1, reads("hello"));
}

#[test]
fn a_server_that_says_close_gets_a_new_connection_for_each_request() {
    let close = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    twenty(&Server::answering(close), 20, reads("hello"));
    twenty(&Server::answering(close), 20, drop);
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    twenty(&Server::answering(old), 20, reads("hello"));
}

#[test]
fn an_old_server_that_says_keep_alive_is_believed() {
    let old = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello";
    twenty(&Server::answering(old), 1, reads("hello"));
}

#[test]
fn a_body_may_end_with_its_connection() {
    let script = |head: &'static str| {
        Server::start(move |conn| {
            conn.request();
            conn.write(format!("{head}\r\n\r\nhello"));
        })
    };
    for head in ["HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 200 OK\r\nConnection: close"] {
        twenty(&script(head), 20, reads("hello"));
        twenty(&script(head), 20, drop);
    }
}

/// A gzip file with one block that is stored as it is (RFC 1951, 3.2.4; RFC 1952, 2.3).
fn gzipped(text: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01".to_vec();
    let len = u16::try_from(text.len()).unwrap();
    bytes.extend(len.to_le_bytes());
    bytes.extend((!len).to_le_bytes());
    bytes.extend(text);
    let mut sum = !0_u32;
    for byte in text {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
        }
    }
    bytes.extend((!sum).to_le_bytes());
    bytes.extend(u32::from(len).to_le_bytes());
    bytes
}

#[test]
fn a_packed_body_is_unpacked_and_its_connection_kept() {
    let packed = gzipped(&b"packed ".repeat(3000));
    let text = "packed ".repeat(3000);
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip";
    let mut known = format!("{head}\r\nContent-Length: {}\r\n\r\n", packed.len()).into_bytes();
    known.write_all(&packed).unwrap();
    let mut chunked = format!("{head}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for piece in packed.chunks(999) {
        write!(chunked, "{:x}\r\n", piece.len()).unwrap();
        chunked.extend(piece);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    for bytes in [known, chunked] {
        let server = Server::answering(bytes.clone());
        twenty(&server, 1, reads(&text));
        assert_eq!(server.seen()[0].header("accept-encoding"), Some("gzip"));
        twenty(&Server::answering(bytes.clone()), 1, drop);
        twenty(&Server::answering(bytes), 1, |mut response| {
            response.reader().read_exact(&mut [0; 21_000]).unwrap();
        });
    }
}

#[test]
fn a_body_beyond_the_limit_is_an_error_that_names_the_remedy() {
    let server = Server::answering(of_length("200 OK", 1001));
    let session = Session::new().unwrap();
    let mut response = session.get(server.url("/")).send().unwrap();
    let error = response.limit(1000).text().unwrap_err().to_string();
    assert!(error.contains("1000 bytes") && error.contains("`limit`"), "{error}");
    assert!(error.contains("`reader`"), "{error}");
    drop(response);
    let mut response = session.get(server.url("/")).send().unwrap();
    assert_eq!(response.limit(1001).bytes().unwrap().len(), 1001);
    assert_eq!(server.accepted(), 1);
}

#[test]
fn bodies_held_by_many_responses_do_not_mix() {
    let server = Server::start(|conn| while conn.request().is_some_and(|s| conn.ok(&s.path)) {});
    let session = Session::new().unwrap();
    let get = |n: usize| session.get(server.url(&format!("/{n}"))).send().unwrap();
    let mut held: Vec<_> = (0..10).map(get).collect();
    for (n, response) in held.iter_mut().enumerate() {
        assert_eq!(response.text().unwrap(), format!("/{n}"));
    }
    assert!(server.accepted() <= 10);
    let mut reader = get(11).into_reader();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "/11");
}

#[test]
fn a_response_outlives_its_session() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    let mut response = session.get(server.url("/")).send().unwrap();
    drop(session);
    assert_eq!(response.text().unwrap(), "hello");
    let wait = Duration::from_millis(1);
    drop(response);
    super::server::eventually("its connection closes at last", || {
        std::thread::sleep(wait); // between two looks
        server.open().0 == 0
    });
}
