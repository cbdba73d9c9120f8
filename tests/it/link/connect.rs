//! A link that keepbeat opens and opens again: login, queue, what is told of it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use keepbeat::protocol::Rejected;
use keepbeat::{Cause, Connect, Coordinator, EventKind, Received, State};

use crate::watching::{LIMIT, eventually, ms};

use super::{frame, lines, next, often, rarely, wait, wait_state};

/// Lines of one connection; beats are answered and not told.
struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn accept(listener: &TcpListener) -> Client {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Client { reader: BufReader::new(stream) }
    }

    /// Passes over beats, and answers them.
    fn line(&mut self) -> String {
        loop {
            match self.raw() {
                beat if beat == "PING" => self.say("PONG"),
                other => return other,
            }
        }
    }

    fn raw(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn say(&mut self, line: &str) {
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn it_logs_in_again_on_each_new_connection_before_frames_flow() {
    let (listener, address) = listen();
    let coordinator = Coordinator::new().unwrap();
    let logins = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&logins);
    let connect = Connect::from(address).queue(10).login(move |login| {
        counted.fetch_add(1, Ordering::SeqCst);
        assert_eq!(login.peer(), address);
        login.send(format!("LOGIN {}", login.connection()))?;
        match login.receive()?.as_slice() {
            b"WELCOME" => Ok(()),
            other => Err(Rejected::wrong_reply(format!("{other:?}"))),
        }
    });
    let link = coordinator.connect(connect, often(), lines()).unwrap();
    link.send("early").unwrap();
    for n in 1..=3 {
        let mut client = Client::accept(&listener);
        assert_eq!(client.line(), format!("LOGIN {n}"), "nothing comes before it");
        client.say("WELCOME");
        client.say("news");
        assert_eq!(next(&link), Received::Connected { connection: n });
        assert_eq!(next(&link), frame("news"), "the answer to the login is none of them");
        assert_eq!(client.line(), if n == 1 { "early" } else { "meanwhile" });
        link.send("now").unwrap();
        assert_eq!(client.line(), "now");
        drop(client);
        match next(&link) {
            Received::Lost { loss, .. } => assert_eq!(loss.cause, Cause::ClosedByPeer),
            other => panic!("{other:?}"),
        }
        link.send("meanwhile").unwrap();
    }
    assert!(logins.load(Ordering::SeqCst) >= 3);
    assert!(link.loss().is_none(), "down is not over");
}

#[test]
fn a_login_that_is_refused_or_silent_or_panics_is_told_as_what_it_is() {
    let (listener, address) = listen();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut line = String::new();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
                if line == "bad\n" {
                    stream.write_all(b"NO\n").unwrap();
                }
                thread::sleep(LIMIT); // until the test is over
            });
        }
    });
    let cases: [(&str, Cause, &str); 3] = [
        ("bad", Cause::LoginRefused, "not welcome"),
        ("silent", Cause::ConnectTimeout, "login was not through within 300ms"),
        ("panic", Cause::ProtocolPanicked, "the login panicked: on purpose"),
    ];
    for (name, cause, words) in cases {
        let coordinator = Coordinator::new().unwrap();
        let connect = Connect::from(address).login(move |login| {
            assert!(name != "panic", "on purpose");
            login.send(name)?;
            login.receive()?;
            Err(Rejected::login_refused("not welcome"))
        });
        let heartbeat = often().connect_timeout(ms(300));
        let link = coordinator.connect(connect, heartbeat, lines()).unwrap();
        let down = wait_state(&coordinator, State::Down);
        let EventKind::State { loss: Some(loss), .. } = down.kind() else { panic!("{down}") };
        assert_eq!(loss.cause, cause, "{loss}");
        assert!(loss.detail.contains(words), "{loss}");
        let error = link.send("x").unwrap_err();
        assert_eq!(error.cause(), Some(cause), "{error}");
        let start = Instant::now();
        coordinator.stop().unwrap();
        assert!(start.elapsed() < ms(1000), "also in the middle of a login");
    }
}

#[test]
fn frames_are_refused_with_the_cause_while_it_is_down_unless_a_queue_was_asked_for() {
    let (listener, address) = listen();
    drop(listener);
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.connect(address, often(), lines()).unwrap();
    wait_state(&coordinator, State::Down);
    let error = link.send("x").unwrap_err();
    assert_eq!(error.cause(), Some(Cause::Refused), "{error}");
    let queued = coordinator.connect(Connect::from(address).queue(2), often(), lines()).unwrap();
    assert_eq!((queued.send("1").unwrap(), queued.send("2").unwrap()), (1, 2));
    assert!(queued.try_send("3").unwrap_err().is_busy());
    let start = Instant::now();
    let error = queued.send_deadline("3", start + ms(100)).unwrap_err();
    assert!(error.is_timeout() && start.elapsed() >= ms(100), "{error}");
    assert!(error.to_string().contains("queue is full"), "{error}");
    let listener = TcpListener::bind(address).unwrap();
    let mut clients = [Client::accept(&listener), Client::accept(&listener)];
    // One of the two is the queue's; the other says nothing but beats.
    let (told, heard) = crossbeam_channel::bounded(2);
    for client in clients.iter_mut() {
        let stream = client.reader.get_ref().try_clone().unwrap();
        let mut client = Client { reader: BufReader::new(stream) };
        let told = told.clone();
        thread::spawn(move || told.send((client.line(), client.line())));
    }
    assert_eq!(heard.recv_timeout(LIMIT).unwrap(), ("1".into(), "2".into()));
    queued.send("4").unwrap();
}

#[test]
fn what_is_never_sent_is_told_at_the_end() {
    let (listener, address) = listen();
    drop(listener);
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.connect(Connect::from(address).queue(10), often(), lines()).unwrap();
    for n in 0..3 {
        link.send(n.to_string()).unwrap();
    }
    coordinator.stop().unwrap();
    let Received::Lost { in_doubt, unsent, .. } = next(&link) else { panic!("no end") };
    assert_eq!((in_doubt.is_empty(), unsent), (true, 1..4));
}

#[test]
fn an_ack_proves_all_frames_before_it() {
    let (listener, address) = listen();
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.connect(address, rarely(), lines()).unwrap();
    let mut client = Client::accept(&listener);
    assert_eq!(next(&link), Received::Connected { connection: 1 });
    // The first beat goes before both frames.
    assert_eq!(client.raw(), "PING");
    client.say("PONG");
    link.send("before").unwrap();
    assert_eq!(client.line(), "before");
    link.send("doubtful").unwrap();
    assert_eq!(client.line(), "doubtful");
    drop(client);
    let Received::Lost { in_doubt, unsent, .. } = next(&link) else { panic!("not lost") };
    assert_eq!((in_doubt, unsent), (1..3, 3..3), "no beat was acked behind them");

    drop(link);
    wait(&coordinator, "its end", |kind| matches!(kind, EventKind::Ended));
    drop(listener);
    let (listener, address) = listen();
    let link = coordinator.connect(address, often(), lines()).unwrap();
    let mut client = Client::accept(&listener);
    link.send("mine").unwrap();
    assert_eq!(client.line(), "mine");
    let acked = link.status().acked;
    let serving = thread::spawn(move || while client.line() != "end" {});
    eventually("a beat behind the frame", || link.status().acked >= acked + 2);
    link.send("end").unwrap();
    serving.join().unwrap();
    let in_doubt = loop {
        match next(&link) {
            Received::Lost { in_doubt, .. } => break in_doubt,
            Received::Connected { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(in_doubt, 2..3, "the first was proven");
    drop(link);
}

#[test]
fn an_ack_proves_nothing_of_what_went_out_behind_its_beat() {
    let (listener, address) = listen();
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.connect(Connect::from(address).queue(10), rarely(), lines()).unwrap();
    for n in 1..=6 {
        link.send(n.to_string()).unwrap();
    }
    let mut client = Client::accept(&listener);
    assert_eq!(next(&link), Received::Connected { connection: 1 });
    // The first beat goes out beside the queue, and is acked; of the frames two are read.
    assert_eq!(client.raw(), "PING");
    client.say("PONG");
    eventually("an ack", || link.status().acked == 1);
    assert_eq!((client.raw(), client.raw()), ("1".into(), "2".into()));
    drop(client);
    let Received::Lost { in_doubt, .. } = next(&link) else { panic!("not lost") };
    assert_eq!(in_doubt, 1..7);
}

#[test]
fn it_is_closed_and_handed_back_as_any_other() {
    let (listener, address) = listen();
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.connect(address, rarely(), lines().farewell("BYE").unwrap()).unwrap();
    let mut client = Client::accept(&listener);
    link.send("x").unwrap();
    let closing = thread::spawn(move || link.close());
    assert_eq!((client.line(), client.line()), ("x".into(), "BYE".into()));
    drop(client);
    closing.join().unwrap().unwrap();
    wait(&coordinator, "the end", |kind| matches!(kind, EventKind::Ended));
    let link = coordinator.connect(address, rarely(), lines()).unwrap();
    let mut client = Client::accept(&listener);
    link.send("y").unwrap();
    let mut returned = link.into_stream().unwrap();
    returned.stream.write_all(b"by hand\n").unwrap();
    assert_eq!((client.line(), client.line()), ("y".into(), "by hand".into()));
    assert_eq!(returned.stream.write_timeout().unwrap(), None);
}

#[cfg(feature = "tls")]
#[test]
fn under_tls_it_talks_both_ways_and_cannot_be_handed_back() {
    let authority = crate::tls_link::Authority::new(|_| {});
    let peer = authority.serve(|mut stream, _| {
        let (mut line, mut byte) = (Vec::new(), [0]);
        loop {
            std::io::Read::read_exact(&mut stream, &mut byte)?;
            line.push(byte[0]);
            if byte[0] == b'\n' {
                let answer = if line == b"PING\n" { b"PONG\n".to_vec() } else { line.clone() };
                stream.write_all(&answer)?;
                line.clear();
            }
        }
    });
    let coordinator = Coordinator::new().unwrap();
    let target = keepbeat::Target::from(peer.address).tls(authority.tls());
    let link = coordinator.connect(target, often(), lines()).unwrap();
    assert_eq!(next(&link), Received::Connected { connection: 1 });
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let link = link.try_clone().unwrap();
            thread::spawn(move || (0..500).for_each(|n| drop(link.send(format!("{writer} {n}")))))
        })
        .collect();
    let mut seen = [0; 3];
    for _ in 0..1500 {
        let Received::Frame(data) = next(&link) else { panic!("lost") };
        let text = String::from_utf8(data).unwrap();
        let (writer, n) = text.split_once(' ').unwrap();
        let place = &mut seen[writer.parse::<usize>().unwrap()];
        assert_eq!(n.parse(), Ok(*place));
        *place += 1;
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    eventually("beats", || link.status().acked >= 3);
    let error = link.try_clone().unwrap().into_stream().unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("TLS"), "{error}");
    link.send("still open").unwrap();
    assert_eq!(next(&link), frame("still open"));
    link.close().unwrap();
}
