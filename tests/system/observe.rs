//! Observing the connection of a client library that knows of nothing, to a real server: idle,
//! frozen, restarted; and with our own process stopped.

use std::io::{BufRead, BufReader, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use keepbeat::{Cause, Coordinator, EventKind, Heartbeat, State};
use libtest_mimic::Trial;
use socket2::SockRef;

use crate::lent::with_socket_to;
use crate::server::{
    LIMIT, Nginx, Server, free_port, freeze, ms, program, signal_to, wait, wait_state,
};
use crate::{child, trial};

pub fn trials() -> Vec<Trial> {
    let nginx = || program("nginx", "nginx-light");
    let redis = || program("redis-server", "redis-server");
    vec![
        trial(
            "a_library_is_observed_without_knowing_and_its_restarted_server_told",
            nginx(),
            library,
        ),
        trial("a_frozen_server_whose_kernel_answers_is_up_to_an_observer", redis(), frozen),
        trial("an_observer_that_was_stopped_looks_before_it_judges", redis(), stopped),
    ]
}

fn often() -> Heartbeat {
    Heartbeat::every(ms(2000)).fall(2)
}

fn library() {
    let nginx = Nginx::start(
        "server { listen 127.0.0.1:PORT; keepalive_timeout 600s; \
         location / { return 200 \"$connection_requests\"; } }",
    );
    let agent = ureq::Agent::new_with_defaults();
    let get = || {
        let mut response = agent.get(nginx.url("/")).call().unwrap();
        response.body_mut().read_to_string().unwrap()
    };
    assert_eq!(get(), "1");
    let options = || {
        with_socket_to(nginx.address, |socket| {
            let socket = SockRef::from(&socket);
            (
                socket.keepalive().unwrap(),
                socket.tcp_keepalive_time().unwrap(),
                socket.tcp_keepalive_interval().unwrap(),
                socket.tcp_keepalive_retries().unwrap(),
            )
        })
    };
    let before = options();
    let coordinator = Coordinator::new().unwrap();
    let observed =
        with_socket_to(nginx.address, |socket| coordinator.observe(&socket, often()).unwrap());
    wait_state(coordinator.events(), State::Up);
    assert_ne!(options(), before);
    assert!(coordinator.events().recv_timeout(ms(5000)).is_err(), "idle for two intervals");
    assert_eq!(get(), "2", "the same connection");
    assert_eq!(observed.status().state, State::Up);
    let start = Instant::now();
    nginx.reload(); // the old processes close what is idle
    let down = wait_state(coordinator.events(), State::Down);
    assert_eq!(down.kind().cause(), Some(Cause::ClosedByPeer), "{down}");
    assert!(start.elapsed() < LIMIT / 10, "{:?}", start.elapsed());
    wait(coordinator.events(), "end", |kind| *kind == EventKind::Ended);
    assert!(observed.look().unwrap().fin_waits);
    assert_eq!(options(), before);
    assert_eq!(get(), "1", "the library sees to itself");
    assert!(observed.look().is_err());
}

fn redis() -> Server {
    let port = free_port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    Server::start(&mut command, port)
}

/// What an observer cannot see, and says so.
fn frozen() {
    let mut server = redis();
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    let coordinator = Coordinator::new().unwrap();
    let observed = coordinator.observe(&stream, often()).unwrap();
    wait_state(coordinator.events(), State::Up);
    server.freeze();
    stream.write_all(b"PING\r\n").unwrap();
    assert!(coordinator.events().recv_timeout(ms(5000)).is_err(), "its kernel answers");
    let snapshot = observed.look().unwrap();
    assert_eq!((snapshot.unacked, snapshot.bytes_received), (0, Some(0)), "{snapshot}");
    server.signal(libc::SIGCONT);
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    assert_eq!(line, "+PONG\r\n", "not a byte was taken");
    let start = Instant::now();
    server.kill();
    let down = wait_state(coordinator.events(), State::Down);
    assert_eq!(down.kind().cause(), Some(Cause::ClosedByPeer), "{down}");
    assert!(start.elapsed() < LIMIT / 10, "{:?}", start.elapsed());
}

/// The part of the child: each event is a line.
pub fn tell(address: &str) {
    let address: std::net::SocketAddr = address.parse().unwrap();
    let stream = std::net::TcpStream::connect(address).unwrap();
    let coordinator = Coordinator::new().unwrap();
    let _observed = coordinator.observe(&stream, often()).unwrap();
    for event in coordinator.events() {
        println!("{} {}", event.kind().word(), event.kind());
    }
}

fn stopped() {
    let mut server = redis();
    let mut child = child::start(&["observe", &server.address.to_string()]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("connect connected already"));
    assert_eq!(lines.next().as_deref(), Some("state up"));
    for _ in 0..2 {
        freeze(child.id());
        // The fault: more than `fall` intervals. The kernel goes on asking, and is answered.
        std::thread::sleep(Duration::from_secs(5));
        signal_to(child.id(), libc::SIGCONT);
        std::thread::sleep(ms(500)); // the moment in which it would convict
    }
    server.kill();
    let next = lines.next().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(next.starts_with("state down: closed-by-peer"), "{next}");
}
