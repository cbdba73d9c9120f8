//! The other end: one thread accepts, one answers whatever comes, by epoll, so that it disturbs the
//! contestants as little as it can.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

use socket2::{Domain, Socket, Type};

use crate::measure::{Epoll, receive, send};

pub const BEAT: &[u8] = b"heartbeat";
pub const ACK: &[u8] = b"heartbeat_ack";

/// Until its standard input ends, or it is killed.
pub fn answer() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).expect("a port");
    socket.listen(i32::from(u16::MAX)).expect("a listener");
    let epoll: &'static Epoll = Box::leak(Box::new(Epoll::new()));
    println!("{}", socket.local_addr().unwrap().as_socket().unwrap().port());
    std::thread::spawn(move || accept(&socket, epoll));
    std::thread::spawn(move || serve(epoll));
    let _ = std::io::stdin().read(&mut [0]); // whatever it says, it is over
}

fn accept(socket: &Socket, epoll: &Epoll) {
    loop {
        let (client, _) = socket.accept().expect("a client");
        client.set_tcp_nodelay(true).expect("an option");
        let fd = OwnedFd::from(client).into_raw_fd(); // closed by whoever serves it
        epoll.add(fd, fd as u64);
    }
}

fn serve(epoll: &Epoll) {
    let mut bytes = [0; 512];
    loop {
        for fd in epoll.wait(-1) {
            let fd = fd as RawFd;
            match receive(fd, &mut bytes) {
                Some(1..) => drop(send(fd, ACK)),
                _ => Epoll::close(fd),
            }
        }
    }
}
