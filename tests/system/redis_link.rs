//! A real Redis on connections that carry an application's commands and subscriptions, with PING in
//! between: killed, frozen, restarted; and an owner who is slow to read.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keepbeat::{Cause, Connect, Coordinator, EventKind, Heartbeat, Link, Received, Redis, State};
use libtest_mimic::Trial;

use crate::redis::{redis, redis_on};
use crate::server::{LIMIT, Server, eventually, ms, program, wait, wait_state};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    let need = || program("redis-server", "redis-server");
    vec![
        trial("redis_beats_among_subscribed_messages", need(), || survive(Kind::Subscriber)),
        trial("redis_beats_among_pipelined_commands", need(), || survive(Kind::Pipelined)),
        trial("redis_beats_though_the_owner_is_slow_to_read", need(), || survive(Kind::Slow)),
        trial("redis_with_a_password_is_ready_before_commands_flow", need(), password),
    ]
}

/// How the application uses its connection.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Subscriber,
    Pipelined,
    /// A subscriber that takes nothing for a while.
    Slow,
}

/// A command as an array of bulk strings.
fn command(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out += &format!("${}\r\n{word}\r\n", word.len());
    }
    out.into_bytes()
}

/// Beats often; a peer that answers nothing for 1.2 s is down.
fn beat() -> Heartbeat {
    Heartbeat::every(ms(30)).timeout(ms(400)).fall(3).backoff(ms(20), ms(50))
}

/// A link that subscribes on each new connection, if it is to.
fn open(coordinator: &Coordinator, server: SocketAddr, kind: Kind) -> Link {
    let connect = Connect::from(server).frames_capacity(16).login(move |login| {
        if kind != Kind::Pipelined {
            login.send(command(&["SUBSCRIBE", "news"]))?;
            login.receive()?;
        }
        Ok(())
    });
    coordinator.connect(connect, beat(), Redis::new().in_band()).unwrap()
}

fn next(link: &Link) -> Received {
    link.frames().recv_timeout(LIMIT).unwrap_or_else(|error| panic!("{error}: {:?}", link.status()))
}

fn frame(link: &Link) -> String {
    match next(link) {
        Received::Frame(data) => String::from_utf8(data).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Until the link is connected anew.
fn connected(link: &Link) -> u64 {
    loop {
        if let Received::Connected { connection } = next(link) {
            return connection;
        }
    }
}

/// Does what this kind of application does, with beats in between, and checks every answer.
fn work(link: &Link, kind: Kind, server: SocketAddr) {
    let acked = link.status().acked;
    let start = Instant::now();
    let mut rounds = 0;
    // Until some beats have gone out among it.
    while link.status().acked < acked + 5 || rounds < 5 {
        assert!(start.elapsed() < LIMIT, "no beats: {:?}", link.status());
        match kind {
            Kind::Pipelined => pipeline(link, rounds),
            Kind::Subscriber => subscription(link, server, Duration::ZERO),
            // Longer than a dead peer may be silent.
            Kind::Slow if rounds == 0 => subscription(link, server, ms(2000)),
            Kind::Slow => subscription(link, server, Duration::ZERO),
        }
        rounds += 1;
    }
    // What waited for a slow owner was late, and nobody's miss.
    let status = link.status();
    assert!(status.state == State::Up && (status.late == 0 || kind == Kind::Slow), "{status:?}");
}

/// A hundred commands in one call; their answers come in order, whatever beats do.
fn pipeline(link: &Link, round: u32) {
    let key = format!("key-{round}");
    let mut all = command(&["DEL", &key]);
    for _ in 0..98 {
        all.extend(command(&["INCR", &key]));
    }
    all.extend(command(&["GET", &key]));
    link.send(all).unwrap();
    assert!(matches!(frame(link).as_str(), ":0\r\n" | ":1\r\n"));
    for n in 1..=98 {
        assert_eq!(frame(link), format!(":{n}\r\n"));
    }
    assert_eq!(frame(link), "$2\r\n98\r\n");
}

/// Two hundred messages of somebody else, taken after a while.
fn subscription(link: &Link, server: SocketAddr, slow: Duration) {
    use std::io::{Read, Write};
    let mut publisher = std::net::TcpStream::connect(server).unwrap();
    let text = |n: usize| format!("{n:05}{}", "x".repeat(1000));
    let all: Vec<_> = (0..200).flat_map(|n| command(&["PUBLISH", "news", &text(n)])).collect();
    publisher.write_all(&all).unwrap();
    publisher.read_exact(&mut [0; 4 * 200]).unwrap(); // `:1\r\n` for each
    std::thread::sleep(slow); // the owner is busy
    for n in 0..200 {
        let message = format!("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1005\r\n{}\r\n", text(n));
        assert_eq!(frame(link), message);
    }
}

fn down(coordinator: &Coordinator) -> Cause {
    wait_state(coordinator.events(), State::Down).kind().cause().unwrap()
}

/// Killed, frozen, restarted.
fn survive(kind: Kind) {
    let mut server = redis(&[]);
    let address = server.address;
    let coordinator = Coordinator::new().unwrap();
    let link = open(&coordinator, address, kind);
    assert_eq!(connected(&link), 1);
    wait_state(coordinator.events(), State::Up);
    work(&link, kind, address);
    let missed = link.status().missed;
    if kind == Kind::Slow {
        assert_eq!(missed, 0, "a slow owner is nobody's death");
    }

    server.freeze();
    assert_eq!(down(&coordinator), Cause::PeerSilent, "its kernel goes on");
    server.signal(libc::SIGCONT);
    assert!(connected(&link) > 1);
    wait_state(coordinator.events(), State::Up);
    work(&link, kind, address);

    let start = Instant::now();
    server.kill();
    let cause = down(&coordinator);
    assert!(matches!(cause, Cause::ClosedByPeer | Cause::Reset), "{cause}");
    assert!(start.elapsed() < LIMIT / 10, "{:?}", start.elapsed());
    wait(coordinator.events(), "refused attempt", |kind| kind.cause() == Some(Cause::Refused));
    let error = link.send(command(&["GET", "x"])).unwrap_err();
    assert!(error.cause().is_some(), "{error}");

    let again: Server = redis_on(address.port(), &[]);
    connected(&link);
    wait_state(coordinator.events(), State::Up);
    work(&link, kind, address);
    link.close().unwrap();
    wait(coordinator.events(), "the end", |kind| matches!(kind, EventKind::Ended));
    drop(again);
}

fn password() {
    let server = redis(&["--requirepass", "s3cret"]);
    let coordinator = Coordinator::new().unwrap();
    let protocol = Redis::new().password("s3cret").in_band();
    let link = coordinator.connect(server.address, beat(), protocol).unwrap();
    assert_eq!(connected(&link), 1);
    link.send(command(&["SET", "a", "1"])).unwrap();
    assert_eq!(frame(&link), "+OK\r\n", "the answer to AUTH is nobody's");
    eventually("beats", || link.status().acked > 3);
    // An error is an answer to the application, and no end of the link.
    link.send(command(&["NO-SUCH-COMMAND"])).unwrap();
    assert!(frame(&link).starts_with("-ERR"));

    let protocol = Redis::new().password("wrong").in_band();
    let link = coordinator.connect(server.address, beat(), protocol).unwrap();
    let refused = wait_state(coordinator.events(), State::Down);
    assert_eq!(refused.kind().cause(), Some(Cause::LoginRefused), "{refused}");
    assert_eq!(link.send(command(&["GET", "a"])).unwrap_err().cause(), Some(Cause::LoginRefused));
}
