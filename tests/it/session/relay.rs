//! A relay that delays everything, FINs too: a network path of some milliseconds on loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;

/// Relays to the server for as long as the test runs; each way takes so long.
pub fn relay(server: SocketAddr, one_way: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(server) else { continue };
            pump(&client, &server, one_way);
            pump(&server, &client, one_way);
        }
    });
    address
}

fn pump(from: &TcpStream, to: &TcpStream, delay: Duration) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    to.set_nodelay(true).unwrap();
    let (sender, receiver) = unbounded();
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        loop {
            let n = from.read(&mut buffer).unwrap_or(0);
            let sent = sender.send((Instant::now() + delay, buffer[..n].to_vec()));
            if n == 0 || sent.is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now())); // this is the path
            if bytes.is_empty() || to.write_all(&bytes).is_err() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    });
}
