//! Bodies of requests: every kind, and servers that do not want them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use keepbeat::{Body, Replay, Response, Session};

use super::server::{LIMIT, Server, in_time, ms};

const TOO_LARGE: &str = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge";

/// A file that is gone with its handle, standing at this position.
pub fn file(content: &[u8], at: u64) -> File {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("keepbeat-upload-{}-{n}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut file = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file.write_all(content).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file
}

#[test]
fn bodies_of_every_kind_arrive_whole_on_one_connection() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    let long: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let kinds: Vec<(Body, &[u8], bool)> = vec![
        ("text".into(), b"text", true),
        (String::from("string").into(), b"string", true),
        ("".into(), b"", true),
        (long.clone().into(), &long, true),
        (file(b"skip: file", 6).into(), b"file", true),
        (file(&long, 0).into(), &long, true),
        (file(b"at its end", 10).into(), b"", true),
        (Body::reader(io::Cursor::new(long.clone())), &long, false),
        (Body::reader(io::empty()), b"", false),
        (Body::sized_reader(io::repeat(b'r'), 70_000), &[b'r'; 70_000], true),
        (Body::sized_reader(io::empty(), 0), b"", true),
    ];
    for (body, expected, sized) in kinds {
        let what = format!("{body:?}");
        let mut response = session.post(server.url("/")).body(body).send().unwrap();
        assert_eq!(response.text().unwrap(), "hello", "{what}");
        let seen = server.seen().pop().unwrap();
        assert!(seen.body == expected, "{what}: {} bytes came", seen.body.len());
        let length = expected.len().to_string();
        let chunked = seen.header("transfer-encoding");
        let header = seen.header("content-length");
        assert_eq!(header, sized.then_some(length.as_str()), "{what}");
        assert_eq!(chunked, (!sized).then_some("chunked"), "{what}");
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
fn a_reader_that_gives_little_at_a_time_is_sent_whole() {
    struct Drops(u8);
    impl Read for Drops {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                200.. => Ok(0),
                n if n % 7 == 0 => Err(io::ErrorKind::Interrupted.into()),
                n => {
                    buffer[0] = n;
                    Ok(1)
                }
            }
        }
    }
    let expected: Vec<u8> = (1..200).filter(|n| n % 7 != 0).collect();
    let server = Server::ok();
    let session = Session::new().unwrap();
    session.post(server.url("/")).body(Body::reader(Drops(0))).send().unwrap();
    let sized = Body::sized_reader(Drops(0), expected.len() as u64);
    session.post(server.url("/")).body(sized).send().unwrap();
    for seen in server.seen() {
        assert_eq!(seen.body, expected);
    }
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_reader_shorter_than_said_fails_and_the_server_sees_no_whole_request() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    session.get(server.url("/")).send().unwrap();
    let url = server.url("/short");
    let ours = session.clone();
    let error = in_time("a reader that is too short", move || {
        ours.put(url).body(Body::sized_reader(&b"short"[..], 6)).send().unwrap_err()
    });
    assert!(!error.is_timeout() && !error.is_stale(), "{error}");
    assert!(error.to_string().contains("body"), "it names the body: {error}");
    assert_eq!(session.get(server.url("/")).send().unwrap().text().unwrap(), "hello");
    assert!(server.seen().iter().all(|seen| seen.path == "/"), "{:?}", server.seen());
    assert_eq!((server.seen().len(), session.stats().replayed), (2, 0));
}

#[test]
fn a_length_that_is_not_the_bodys_is_refused_before_anything_is_sent() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    type Make = fn() -> Body;
    let bodies: [(Make, &str); 5] = [
        (|| "hello".into(), "10"),
        (|| "hello".into(), "3"),
        (|| "hello".into(), "five"),
        (Body::empty, "5"),
        (|| Body::sized_reader(&b"hello"[..], 5), "10"),
    ];
    for (body, length) in bodies {
        let request = session.post(server.url("/")).header("Content-Length", length).body(body());
        let error = in_time("a wrong length", move || request.send().unwrap_err());
        assert!(error.is_invalid() && error.to_string().contains("Content-Length"), "{error}");
    }
    assert_eq!(server.accepted(), 0);
    // The right one may be said, and that of a reader is taken at its word.
    let say = |body: Body| session.post(server.url("/")).header("Content-Length", "5").body(body);
    for body in ["hello".into(), Body::reader(&b"hello, and more"[..])] {
        say(body).send().unwrap();
        assert_eq!(server.seen().pop().unwrap().body, b"hello");
    }
    let short = say(Body::reader(&b"hell"[..]));
    let error = in_time("a short reader", move || short.send().unwrap_err());
    assert!(error.to_string().contains("body"), "{error}");
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_file_that_shrinks_fails_and_one_that_grows_is_sent_as_it_was() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    let grows = file(b"before", 0);
    let mut writer = grows.try_clone().unwrap();
    let body = Body::from(grows);
    writer.seek(SeekFrom::End(0)).unwrap();
    writer.write_all(b" and after").unwrap();
    writer.seek(SeekFrom::Start(0)).unwrap();
    session.put(server.url("/")).body(body).send().unwrap();
    assert_eq!(server.seen()[0].body, b"before");

    let shrinks = file(b"before", 0);
    let writer = shrinks.try_clone().unwrap();
    let body = Body::from(shrinks);
    writer.set_len(3).unwrap();
    let (ours, url) = (session.clone(), server.url("/"));
    let error = in_time("a file that shrank", move || ours.put(url).body(body).send().unwrap_err());
    assert!(error.to_string().contains("body"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_reader_that_fails_says_so_and_no_connection_is_blamed() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::new(io::ErrorKind::ConnectionReset, "the disk is on fire"))
        }
    }
    let server = Server::ok();
    let session = Session::builder().replay(Replay::All).build().unwrap();
    for reused in [false, true] {
        if reused {
            session.get(server.url("/")).send().unwrap();
        }
        let error = session.put(server.url("/")).body(Body::reader(Fails)).send().unwrap_err();
        assert!(!error.is_stale(), "{error}");
        let text = error.to_string();
        assert!(text.contains("the disk is on fire") && text.contains("body"), "{text}");
        assert!(!text.contains("connection"), "{text}");
    }
    assert_eq!(server.seen().len(), 1);
    let stats = session.stats();
    assert_eq!((stats.open - stats.idle, stats.replayed), (0, 0));
}

#[test]
fn a_body_waits_for_100_continue() {
    let server = Server::start(|conn| {
        while let Some(head) = conn.head() {
            assert_eq!(head.header("expect"), Some("100-continue"));
            let early = conn.has_more(ms(100));
            conn.write("HTTP/1.1 100 Continue\r\n\r\n");
            let body = conn.bytes(4).unwrap();
            assert_eq!(body, b"body");
            conn.ok(if early { "early" } else { "waited" });
        }
    });
    let session = Session::new().unwrap();
    for _ in 0..3 {
        let post = session.post(server.url("/")).header("expect", "100-continue").body("body");
        assert_eq!(post.send().unwrap().text().unwrap(), "waited");
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
fn a_refusal_in_place_of_100_continue_is_the_response() {
    let server = Server::start(|conn| while conn.head().is_some() && conn.write(TOO_LARGE) {});
    let session = Session::new().unwrap();
    let post = || session.post(server.url("/")).header("expect", "100-continue").body("body");
    for _ in 0..3 {
        let mut response = post().send().unwrap();
        assert_eq!((response.status().as_u16(), response.text().unwrap()), (413, "large".into()));
    }
    let stats = session.stats();
    assert_eq!(stats.open, stats.idle);
}

#[test]
fn a_server_that_knows_no_100_continue_gets_the_body_all_the_same_and_keeps_its_connection() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    for _ in 0..2 {
        let post = session.post(server.url("/")).header("expect", "100-continue").body("body");
        assert_eq!(post.send().unwrap().text().unwrap(), "hello");
    }
    assert!(server.seen().iter().all(|seen| seen.body == b"body"));
    assert_eq!(server.accepted(), 1);
}

/// The response to an upload that is much longer than what the kernel takes.
fn upload(server: &Server, body: impl FnOnce() -> Body + Send + 'static) -> Response {
    let session = Session::new().unwrap();
    let url = server.url("/");
    let response = in_time("an early response", move || {
        let response = session.post(&url).body(body()).send().unwrap();
        let stats = session.stats();
        drop(session);
        (response, stats)
    });
    assert_eq!(response.1.replayed, 0);
    response.0
}

fn large() -> Body {
    Body::sized_reader(io::repeat(b'x'), 1 << 30)
}

fn assert_refused(mut response: Response) {
    assert_eq!(response.status().as_u16(), 413);
    assert_eq!(response.text().unwrap(), "large");
}

#[test]
fn a_refusal_before_the_end_of_an_upload_is_the_response_though_the_server_closes() {
    for reset in [false, true] {
        let server = Server::start(move |conn| {
            conn.head();
            conn.bytes(100_000);
            conn.write(TOO_LARGE);
            if reset {
                conn.reset(); // as the kernel does, if bytes are left unread
            } else {
                conn.end_both();
            }
        });
        assert_refused(upload(&server, large));
        assert_refused(upload(&server, || vec![b'x'; 100 << 20].into()));
        assert_refused(upload(&server, || Body::reader(io::repeat(b'x').take(1 << 30))));
    }
}

#[test]
fn a_refusal_is_the_response_though_the_server_reads_no_more_and_does_not_close() {
    let server = Server::start(|conn| {
        conn.head();
        conn.write(TOO_LARGE);
        conn.stop_reading();
    });
    assert_refused(upload(&server, large));
    assert_refused(upload(&server, || vec![b'x'; 100 << 20].into()));
}

#[test]
fn a_connection_whose_upload_was_refused_is_not_used_again() {
    let server = Server::start(|conn| {
        if conn.number > 0 {
            while conn.request().is_some() && conn.ok("hello") {}
        } else if conn.head().is_some() && conn.write(TOO_LARGE) {
            conn.stop_reading();
        }
    });
    let session = Session::builder().timeout(LIMIT / 2).build().unwrap();
    let mut response = session.post(server.url("/")).body(large()).send().unwrap();
    assert_eq!(response.text().unwrap(), "large");
    let mut next = session.get(server.url("/")).send().unwrap();
    assert!(!next.reused());
    assert_eq!((next.text().unwrap(), server.accepted()), ("hello".to_owned(), 2));
}

#[test]
fn a_refusal_ends_an_upload_that_has_no_end() {
    let server = Server::start(|conn| {
        conn.head();
        conn.write(TOO_LARGE);
        conn.stop_reading();
    });
    assert_refused(upload(&server, || Body::reader(io::repeat(b'x'))));
}

#[test]
fn an_interim_response_does_not_hide_the_refusal_behind_it() {
    let server = Server::start(|conn| {
        conn.head();
        conn.write("HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n");
        conn.bytes(20_000_000); // until the client has met the first, and waits for room
        conn.write(TOO_LARGE);
        conn.stop_reading();
    });
    assert_refused(upload(&server, large));
}

#[test]
fn a_refusal_that_comes_in_pieces_is_noticed() {
    let (go, when) = mpsc::channel::<()>();
    let when = Arc::new(std::sync::Mutex::new(when));
    let server = Server::start(move |conn| {
        conn.head();
        conn.write(&TOO_LARGE[..5]);
        let _ = when.lock().unwrap().recv_timeout(LIMIT);
        conn.write(&TOO_LARGE[5..]);
        conn.stop_reading();
    });
    // The client has filled what the kernel takes and has waited for a while.
    struct Counted(mpsc::Sender<()>, u64);
    impl Read for Counted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1 == 1 {
                let go = self.0.clone();
                thread::spawn(move || {
                    thread::sleep(ms(500)); // the fault
                    go.send(())
                });
            }
            buffer.fill(b'x');
            Ok(buffer.len())
        }
    }
    assert_refused(upload(&server, move || Body::sized_reader(Counted(go, 0), 1 << 30)));
}

#[test]
fn a_body_that_sends_requests_of_its_own_is_not_confused_with_them() {
    struct Asking(ureq::Agent, String, usize);
    impl std::io::Read for Asking {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let mut response = self.0.get(&self.1).call().unwrap();
            let text = response.body_mut().read_to_string().unwrap();
            self.2 -= 1;
            buffer[..text.len()].copy_from_slice(text.as_bytes());
            Ok(if self.2 == 0 { 0 } else { text.len() })
        }
    }
    let server = Server::ok();
    let session = Session::new().unwrap();
    let asking = Asking(session.agent().clone(), server.url("/inner"), 3);
    let response = session.post(server.url("/")).body(Body::reader(asking)).send().unwrap();
    assert!(!response.reused(), "it was sent on the first of two connections");
    assert_eq!(server.accepted(), 2);
    let posted = server.seen().into_iter().find(|seen| seen.method == "POST").unwrap();
    assert_eq!(posted.body, b"hellohello");
}

#[test]
fn a_length_and_a_transfer_encoding_are_never_sent_together() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    let post = || {
        let request = session.post(server.url("/")).header("Transfer-Encoding", "chunked");
        request.body(Body::sized_reader(&b"abc"[..], 3))
    };
    post().send().unwrap();
    let seen = server.seen().pop().unwrap();
    assert_eq!(
        (seen.header("transfer-encoding"), seen.body.as_slice()),
        (Some("chunked"), &b"abc"[..])
    );
    assert_eq!(seen.header("content-length"), None);
    let error = post().header("Content-Length", "3").send().unwrap_err();
    assert!(error.is_invalid() && !error.may_have_run(), "{error:?}");
    assert_eq!(server.seen().len(), 1);
}
