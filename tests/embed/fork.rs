//! A forked child drops and calls whatever it has inherited: nothing of its parent's is shut down,
//! written to or waited for.

use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Coordinator, ErrorKind, EventKind, Exchange, Heartbeat, Line, Responder, State};

use super::{LIMIT, answer_one, eventually, lines, ms, pair, rarely};

/// Runs `child` in a forked process, which must come to its end in time. What it returns is whether
/// all was well.
fn in_child(child: impl FnOnce() -> bool) {
    // SAFETY: the child calls what is to work in a child, and leaves without destructors of others.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::alarm(20); // who waits for a lock that nobody gives back is killed
            let well = child();
            libc::_exit(i32::from(!well));
        }
        let mut status = -1;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        assert_eq!(status, 0, "14: the child hung; 256: it was told something wrong");
    }
}

/// What a child inherits: dropped there, and there alone.
fn copy<T>(of: &T) -> ManuallyDrop<T> {
    // SAFETY: it is only taken out of its wrapping in a child, which has its own memory.
    ManuallyDrop::new(unsafe { std::ptr::read(of) })
}

fn is_forked<T>(result: Result<T, keepbeat::Error>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::Forked && error.is_forked())
}

#[test]
fn a_child_that_drops_a_link_which_is_being_connected_does_not_end_the_attempt() {
    // A full queue of connections: who connects is not answered.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let to = socket.local_addr().unwrap().as_socket().unwrap();
    let filling = || thread::spawn(move || TcpStream::connect_timeout(&to, LIMIT));
    let _full: Vec<_> = (0..3).map(|_| filling()).collect();
    eventually("it is full", || TcpStream::connect_timeout(&to, ms(100)).is_err());
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.connect(to, rarely().connect_timeout(ms(1500)), lines()).unwrap();
    thread::sleep(ms(300)); // it is on its way
    let copies = (copy(&link), copy(&coordinator));
    in_child(move || {
        drop((ManuallyDrop::into_inner(copies.0), ManuallyDrop::into_inner(copies.1)));
        true
    });
    let event = coordinator_event(&coordinator);
    assert!(event.contains("did not answer within"), "{event}");
}

fn coordinator_event(coordinator: &Coordinator) -> String {
    coordinator.events().recv_timeout(LIMIT).unwrap().to_string()
}

#[test]
fn a_parent_whose_child_dropped_everything_beats_on_and_serves_on() {
    let coordinator = Coordinator::new().unwrap();
    let answering = || Exchange::answering("PING", "PONG");
    let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
    let beat = Heartbeat::every(ms(50)).timeout(ms(10_000));
    let exchange = Exchange::new("PING", "PONG");
    let watched = coordinator.watch(responder.local_addr(), beat.clone(), exchange).unwrap();
    let (ours, mut theirs) = pair();
    let adopted = Arc::new(coordinator.adopt(ours, rarely(), lines()).unwrap());
    answer_one(&mut theirs);
    let (socket, _other) = pair();
    let before = keepalive(&socket);
    let observed = coordinator.observe(&socket, rarely()).unwrap();
    eventually("observed", || keepalive(&socket) != before);
    let during = keepalive(&socket);
    let sent = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&sent);
    let follower = coordinator
        .follow(rarely(), Line, move |bytes| {
            into.lock().unwrap().extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
    let acked = || coordinator.status(watched).unwrap().acked;
    eventually("up", || acked() > 0 && adopted.status().state == State::Up);
    let copies =
        (copy(&adopted), copy(&observed), copy(&responder), copy(&follower), copy(&coordinator));
    in_child(move || {
        use ManuallyDrop as M;
        let (a, b, c, d, e) = copies;
        let a = M::into_inner(a);
        let told = is_forked(a.send("never")) && a.loss().is_some() && a.read_by_peer() == 0;
        let d = M::into_inner(d);
        let told = told && is_forked(d.heard(b"ack 1\n")) && is_forked(d.alive());
        d.lost(keepbeat::Cause::Reset);
        d.stop();
        let (b, c) = (M::into_inner(b), M::into_inner(c));
        let told = told && is_forked(b.stop());
        c.close_clients();
        c.reset_clients();
        c.stop();
        let e = M::into_inner(e);
        let told = told && is_forked(e.stop()) && is_forked(e.remove(a.id()));
        let told = told && is_forked(e.status(a.id())) && e.statuses().is_empty();
        drop((a, b, c, d, e));
        told
    });
    let (so_far, clients) = (acked(), responder.clients());
    eventually("it beats on", || acked() > so_far + 3);
    assert_eq!((responder.clients(), clients), (1, 1));
    assert_eq!(coordinator.status(watched).unwrap().reconnects, 0);
    assert_eq!(keepalive(&socket), during, "the options are the parent's");
    assert!(follower.alive().is_ok());
    adopted.send("still here").unwrap();
    let mut said = [0; 11];
    theirs.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"still here\n");
    let mut late = TcpStream::connect(responder.local_addr()).unwrap();
    late.write_all(b"PING").unwrap();
    late.read_exact(&mut [0; 4]).expect("it listens and answers still");
}

fn keepalive(socket: &TcpStream) -> (bool, Duration) {
    let socket = socket2::SockRef::from(socket);
    (socket.keepalive().unwrap(), socket.tcp_keepalive_time().unwrap())
}

#[test]
fn locks_that_are_held_at_the_fork_do_not_hang_the_child() {
    let coordinator = Arc::new(Coordinator::new().unwrap());
    let (ours, mut theirs) = pair();
    let link = Arc::new(coordinator.adopt(ours, rarely(), lines()).unwrap());
    let reading = thread::spawn(move || io::copy(&mut theirs, &mut io::sink()));
    let follower = coordinator.follow(rarely(), Line, |_| Ok(())).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..3)
        .map(|_| {
            let (link, follower) = (Arc::clone(&link), follower.clone());
            let (over, coordinator) = (Arc::clone(&over), Arc::clone(&coordinator));
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    link.send("data").unwrap();
                    follower.wrote().unwrap();
                    let _ = (link.status(), follower.status(), coordinator.statuses());
                }
            })
        })
        .collect();
    let start = Instant::now();
    let mut forks = 0;
    while start.elapsed() < ms(1500) {
        forks += 1;
        in_child(|| {
            let told = is_forked(link.send("x")) && is_forked(follower.wrote());
            let told = told && is_forked(coordinator.stop()) && link.loss().is_some();
            let told = told && link.status().link == link.id() && coordinator.statuses().is_empty();
            drop(ManuallyDrop::into_inner(copy(&link)));
            drop(ManuallyDrop::into_inner(copy(&follower)));
            told
        });
    }
    over.store(true, Ordering::Relaxed);
    busy.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(forks > 10, "{forks}");
    drop(link);
    reading.join().unwrap().unwrap();
    let ended = coordinator.events().iter().find(|event| *event.kind() == EventKind::Ended);
    assert!(ended.is_some());
}

#[test]
fn a_child_may_make_a_coordinator_of_its_own() {
    let parents = Coordinator::new().unwrap();
    let responder = Responder::bind("127.0.0.1:0", || Line).unwrap();
    let address = responder.local_addr();
    in_child(|| {
        let own = Coordinator::new().unwrap();
        let link = own.watch(address, rarely(), Line).unwrap();
        let up = own
            .events()
            .iter()
            .find(|event| matches!(event.kind(), EventKind::State { to: State::Up, .. }));
        up.is_some_and(|up| up.link() == Some(link))
            && own.stop().is_ok()
            && is_forked(parents.stop())
    });
}
