//! Closing and handing back within the time that the caller gives, and what is gone afterwards.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use keepbeat::{Adopt, Connect, Coordinator, ErrorKind, EventKind, Received, Role};

use super::alone::alone;
use super::{LIMIT, answer_one, eventually, lines, ms, pair, rarely};

/// What a noisy machine may add.
const NOISE: Duration = ms(3000);

/// An address where nobody answers: its queue of connections is full.
fn silent() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let to = socket.local_addr().unwrap().as_socket().unwrap();
    let filling = || thread::spawn(move || TcpStream::connect_timeout(&to, LIMIT));
    (0..3).for_each(|_| drop(filling()));
    eventually("it is full", || TcpStream::connect_timeout(&to, ms(100)).is_err());
    (socket, to)
}

#[test]
fn a_close_of_a_link_that_cannot_connect_takes_no_longer_than_it_may() {
    let (_listening, to) = silent();
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator
        .connect(Connect::from(to).queue(8), rarely().connect_timeout(ms(25_000)), lines())
        .unwrap();
    link.send("never sent").unwrap();
    let id = link.id();
    let frames = link.frames().clone();
    let start = Instant::now();
    let error = link.close_within(ms(300)).unwrap_err();
    let took = start.elapsed();
    assert!(took >= ms(300) && took < ms(300) + NOISE, "{took:?}");
    assert_eq!((error.kind(), error.is_timeout()), (ErrorKind::Timeout, true));
    assert!(error.to_string().contains("1 frames still wait for a connection"), "{error}");
    // And it ends, at once, with what became of the frame.
    let last = frames.iter().last();
    assert!(matches!(last, Some(Received::Lost { unsent, .. }) if unsent == (1..2)));
    assert!(start.elapsed() < ms(300) + NOISE);
    eventually("gone", || coordinator.status(id).is_err());
}

#[test]
fn a_close_while_the_resolver_hangs_names_it_and_comes_back() {
    let (entered, begun) = bounded(2);
    let resolver = move |_: &str, _| {
        let _ = entered.try_send(()); // who waits for it is told
        thread::sleep(ms(8000));
        Err(io::ErrorKind::NotFound.into())
    };
    let coordinator = Coordinator::builder().resolver(resolver).build().unwrap();
    for within in [Some(ms(200)), None] {
        let link = coordinator.connect("nowhere.invalid:7", rarely(), lines()).unwrap();
        begun.recv_timeout(LIMIT).expect("it has begun to resolve");
        let start = Instant::now();
        let error = match within {
            Some(limit) => link.close_within(limit).unwrap_err(),
            None => link.close().unwrap_err(),
        };
        let took = start.elapsed();
        assert!(took < ms(1000) + NOISE, "{took:?}");
        assert!(error.is_left_behind() && error.to_string().contains("name resolution"), "{error}");
    }
}

#[test]
fn a_close_does_not_wait_longer_for_a_peer_that_does_not_close() {
    let (ours, mut theirs) = pair();
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.adopt(ours, rarely(), lines()).unwrap();
    answer_one(&mut theirs);
    let start = Instant::now();
    link.close_within(ms(200)).unwrap();
    let took = start.elapsed();
    assert!(took < ms(200) + NOISE, "{took:?}");
}

#[test]
fn a_close_does_not_wait_longer_for_a_peer_that_does_not_read() {
    let (ours, _theirs) = pair();
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.adopt(ours, rarely().role(Role::SendOnly), lines()).unwrap();
    let id = link.id();
    let deadline = Instant::now() + ms(300);
    while link.send_deadline(vec![b'x'; 60_000], deadline).is_ok() {}
    let start = Instant::now();
    let error = link.close_within(ms(300)).unwrap_err();
    assert!(start.elapsed() < ms(300) + NOISE);
    assert!(error.is_timeout() && error.to_string().contains("could not be written"), "{error}");
    // Too short a time blames nobody.
    let events = super::life(&coordinator, id);
    let down = |kind: &EventKind| kind.cause() == Some(keepbeat::Cause::WriteStalled);
    assert!(!events.iter().any(down), "{events:?}");
}

#[test]
fn handing_back_takes_no_longer_than_it_may() {
    let (_listening, to) = silent();
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.connect(to, rarely().connect_timeout(ms(25_000)), lines()).unwrap();
    let start = Instant::now();
    let error = link.into_stream_within(ms(200)).unwrap_err();
    let took = start.elapsed();
    assert!(took < ms(200) + NOISE, "{took:?}");
    assert!(error.is_timeout() && error.to_string().contains("being connected"), "{error}");
}

#[test]
fn a_second_into_stream_says_what_it_is() {
    // A login that never ends keeps the link's thread from the first.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let coordinator = Coordinator::new().unwrap();
    let connect = Connect::from(listener.local_addr().unwrap());
    let connect = connect.login(|login| login.receive().map(drop));
    let link = coordinator.connect(connect, rarely(), lines()).unwrap();
    let _server = listener.accept().unwrap();
    let told = Arc::<AtomicBool>::default();
    let asking = [link.try_clone().unwrap(), link].map(|link| {
        let told = Arc::clone(&told);
        thread::spawn(move || {
            let start = Instant::now();
            while !told.load(Ordering::SeqCst) && start.elapsed() < LIMIT {
                let other = link.try_clone().unwrap();
                let error = other.into_stream_within(ms(50)).unwrap_err();
                if error.to_string().contains("being handed back to another caller") {
                    assert_eq!(error.kind(), ErrorKind::Down);
                    told.store(true, Ordering::SeqCst);
                }
            }
        })
    });
    asking.into_iter().for_each(|asking| asking.join().unwrap());
    assert!(told.load(Ordering::SeqCst), "nobody was told");

    let (ours, _theirs) = pair();
    let link = coordinator.adopt(ours, rarely(), lines()).unwrap();
    let second = link.try_clone().unwrap();
    link.into_stream().unwrap();
    let error = second.into_stream().unwrap_err();
    assert!(error.to_string().contains("the connection was handed back"), "{error}");
}

#[test]
fn a_stop_and_a_removal_take_no_longer_than_they_may() {
    let (entered, begun) = bounded(2);
    let resolver = move |_: &str, _| {
        let _ = entered.try_send(());
        thread::sleep(ms(2500));
        Err(io::ErrorKind::NotFound.into())
    };
    let coordinator = Coordinator::builder().resolver(resolver).build().unwrap();
    let exchange = || keepbeat::Exchange::new("PING", "PONG");
    let links: Vec<_> = (0..2)
        .map(|_| coordinator.watch("nowhere.invalid:7", rarely(), exchange()).unwrap())
        .collect();
    (0..2).for_each(|_| begun.recv_timeout(LIMIT).expect("they have begun to resolve"));
    let start = Instant::now();
    let error = coordinator.remove_within(links[0], ms(50)).unwrap_err();
    assert!(error.is_left_behind() && start.elapsed() < ms(600), "{:?} {error}", start.elapsed());
    let start = Instant::now();
    let error = coordinator.stop_within(ms(50)).unwrap_err();
    assert!(error.is_left_behind() && start.elapsed() < ms(600), "{:?} {error}", start.elapsed());
    // Whoever comes after it waits for what is left, and the queues end.
    coordinator.stop().unwrap();
    let deadline = Instant::now() + LIMIT;
    while coordinator.events().recv_deadline(deadline).is_ok() {}
    assert!(Instant::now() < deadline);
}

#[test]
fn a_link_that_is_told_to_end_is_not_waited_for_and_is_forgotten_when_it_has() {
    let (_listening, to) = silent();
    let coordinator = Coordinator::new().unwrap();
    let beat = rarely().connect_timeout(ms(25_000));
    let id = coordinator.watch(to, beat, keepbeat::Exchange::new("PING", "PONG")).unwrap();
    coordinator.end(id).unwrap();
    assert_eq!(super::life(&coordinator, id).last(), Some(&EventKind::Ended));
    eventually("it is forgotten", || coordinator.statuses().is_empty());
    assert!(coordinator.end(id).unwrap_err().is_unknown_link());
    coordinator.stop_within(LIMIT).unwrap();
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// In a process of its own, for its descriptors are counted.
#[test]
fn descriptors_and_statuses_of_a_link_go_with_its_last_handle() {
    let name = "closing::descriptors_and_statuses_of_a_link_go_with_its_last_handle";
    if !alone(name, LIMIT) {
        return;
    }
    let coordinator = Coordinator::new().unwrap();
    let before = descriptors();
    let (mut links, mut observed, mut sockets) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..50 {
        let (ours, theirs) = pair();
        let adopt = Adopt::new(ours);
        links.push(coordinator.adopt(adopt, rarely(), lines()).unwrap());
        links.last().unwrap().frames_fd().unwrap();
        drop(theirs);
        let (ours, theirs) = pair();
        observed.push(coordinator.observe(&ours, rarely()).unwrap());
        sockets.push((ours, theirs));
    }
    eventually("they are over", || links.iter().all(|link| link.status().ended));
    assert_eq!(coordinator.statuses().len(), 100, "what is held can be asked");
    drop(links);
    drop(observed);
    drop(sockets);
    eventually("nothing is left", || descriptors() == before);
    eventually("nothing is known", || coordinator.statuses().is_empty());
    // Also when the coordinator has stopped before.
    let (ours, _theirs) = pair();
    let link = coordinator.adopt(ours, rarely(), lines()).unwrap();
    coordinator.stop().unwrap();
    let with = descriptors();
    drop(link);
    assert!(descriptors() < with, "its bell goes at once");
    assert!(coordinator.statuses().is_empty());
}
