//! Streams: bodies much larger than the memory that they may take.

use std::io::{self, Read};
use std::time::Duration;

use keepbeat::{Body, Session};

use super::alone::{alone, memory};
use super::server::Server;

const GIB: u64 = 1 << 30;

/// What the memory may grow by meanwhile: the server's and the kernel's share of it included.
const GROWTH: u64 = 32 * 1024;

/// Takes and gives a GiB, in blocks of 128 KiB.
fn server() -> Server {
    let block = vec![b'd'; 128 * 1024];
    Server::start(move |conn| {
        while let Some(head) = conn.head() {
            match head.path.as_str() {
                "/down" => {
                    conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n"));
                    for _ in 0..GIB / block.len() as u64 {
                        conn.write(&block);
                    }
                }
                "/up" => {
                    assert_eq!(head.header("content-length"), Some(GIB.to_string().as_str()));
                    for _ in 0..GIB / block.len() as u64 {
                        assert_eq!(conn.bytes(block.len()).unwrap()[0], b'u');
                    }
                    conn.ok("taken");
                }
                _ => assert!(conn.ok("hello")),
            }
        }
    })
}

#[test]
fn a_gib_either_way_takes_no_memory() {
    let name = "session::streams::a_gib_either_way_takes_no_memory";
    if !alone(name, Duration::from_secs(60)) {
        return;
    }
    let server = server();
    let session = Session::new().unwrap();
    session.get(server.url("/")).send().unwrap();
    let before = memory("VmHWM:");
    let mut response = session.get(server.url("/down")).send().unwrap();
    let read = io::copy(response.reader(), &mut io::sink()).unwrap();
    assert_eq!(read, GIB);
    drop(response);
    let down = memory("VmHWM:") - before;
    assert!(down < GROWTH, "down: {down} KiB");
    let body = Body::sized_reader(io::repeat(b'u').take(GIB), GIB);
    let mut response = session.post(server.url("/up")).body(body).send().unwrap();
    assert_eq!(response.text().unwrap(), "taken");
    let up = memory("VmHWM:") - before;
    assert!(up < GROWTH, "up: {up} KiB");
    assert_eq!(server.accepted(), 1);
}
