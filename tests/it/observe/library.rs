//! A client library that knows of nothing: its socket is found by its peer, and what goes over it
//! is the same, byte for byte, with and without an observer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Sender, bounded};
use keepbeat::{Cause, Coordinator, State};

use super::lent::with_socket_to;
use super::{keepalive, often};
use crate::watching::{Watch, eventually, ms};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Answers each request alike, and closes when it is told to.
fn server() -> (SocketAddr, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (close, closing) = bounded::<()>(0);
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = BufReader::new(stream);
        let ending = stream.get_ref().try_clone().unwrap();
        thread::spawn(move || {
            let _ = closing.recv();
            let _ = ending.shutdown(Shutdown::Both);
        });
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|n| n > 0) {
            if line == "\r\n" {
                stream.get_mut().write_all(ANSWER).unwrap();
            }
            line.clear();
        }
    });
    (address, close)
}

/// What went over the relay: out, and back.
type Record = [Arc<Mutex<Vec<u8>>>; 2];

/// A relay that writes down all that goes through it.
fn recorder(server: SocketAddr) -> (SocketAddr, Record) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let record = Record::default();
    let [out, back] = record.clone();
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(server).unwrap();
        let (client_reads, server_reads) =
            (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || pump(client_reads, server, &out));
        pump(server_reads, client, &back);
    });
    (address, record)
}

fn pump(mut from: TcpStream, mut to: TcpStream, record: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    loop {
        let n = from.read(&mut buffer).unwrap_or(0);
        record.lock().unwrap().extend(&buffer[..n]);
        if n == 0 || to.write_all(&buffer[..n]).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}

/// Some requests of the library with rests between them; what went over the wire.
fn traffic(observed: bool) -> [Vec<u8>; 2] {
    let (server, close) = server();
    let (address, record) = recorder(server);
    let agent = ureq::Agent::new_with_defaults();
    let get = || {
        let mut response =
            agent.get(format!("http://{address}/")).header("host", "example.com").call().unwrap();
        assert_eq!(response.body_mut().read_to_string().unwrap(), "hello");
    };
    get();
    let options = || with_socket_to(address, |socket| keepalive(&socket));
    let before = options();
    let coordinator = Coordinator::new().unwrap();
    let observation = observed
        .then(|| with_socket_to(address, |socket| coordinator.observe(&socket, often()).unwrap()));
    for _ in 0..3 {
        thread::sleep(ms(1200)); // the idle time in which the kernel asks
        get();
    }
    if let Some(observation) = observation {
        let link = observation.id();
        let mut watch = Watch { coordinator, link, seen: Vec::new() };
        watch.wait_state(State::Up);
        let status = observation.status();
        assert_eq!((status.state, status.missed), (State::Up, 0));
        assert_ne!(options(), before, "the kernel asks");
        drop(close);
        assert_eq!(watch.wait_down().0, Cause::ClosedByPeer);
        watch.wait_ended();
        assert_eq!(options(), before);
    }
    eventually("all of it", || record[1].lock().unwrap().len() >= 4 * ANSWER.len());
    record.map(|bytes| bytes.lock().unwrap().clone())
}

#[test]
fn the_traffic_of_a_library_that_is_observed_is_the_same_byte_for_byte() {
    let plain = thread::spawn(|| traffic(false));
    let [out, back] = traffic(true);
    let [plain_out, plain_back] = plain.join().unwrap();
    assert_eq!(String::from_utf8(out), String::from_utf8(plain_out));
    assert_eq!(String::from_utf8(back), String::from_utf8(plain_back));
}
