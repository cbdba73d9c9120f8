//! Closing while anything else happens, and what is known of frames when a connection ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::protocol::{Frame, Framing, Protocol, Rejected};
use keepbeat::{
    Cause, Connect, Coordinator, EventKind, Framed, Heartbeat, Link, Received, Role, State,
};

use crate::watching::{LIMIT, eventually, ms};

use super::{adopted, line, lines, next, pair, rarely, wait, wait_state};

/// Runs it on a thread of its own, which is left behind if it hangs.
pub fn within<T: Send + 'static>(
    most: Duration,
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (told, done) = mpsc::channel();
    thread::spawn(move || told.send(f()));
    done.recv_timeout(most).map_err(|_| format!("it hangs: not done within {most:?}"))
}

pub fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Everything up to the last word.
pub fn all(link: &Link) -> Vec<Received> {
    std::iter::from_fn(|| link.frames().recv_timeout(LIMIT).ok()).collect()
}

/// Never ready, so that frames never flow.
struct NeverReady(Framed);

impl Protocol for NeverReady {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        self.0.beat(seq, out)
    }
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        self.0.parse(bytes)
    }
    fn framing(&self) -> Box<dyn Framing> {
        self.0.framing()
    }
    fn is_ready(&self) -> bool {
        false
    }
}

// --- commands that nobody takes ---

#[test]
fn a_close_is_answered_though_the_link_ends_before_it_takes_the_command() {
    let (ours, _theirs) = pair();
    let coordinator = Coordinator::new().unwrap();
    let heartbeat = rarely().connect_timeout(ms(300));
    let link = coordinator.adopt(ours, heartbeat, NeverReady(lines())).unwrap();
    let closed = within(ms(5000), move || link.close().map_err(|error| error.to_string()));
    println!("{closed:?}");
    assert!(closed.is_ok(), "{closed:?}");
}

#[test]
fn a_close_in_a_login_ends_with_the_coordinator_that_stops() {
    let (listener, address) = listen();
    let coordinator = Coordinator::new().unwrap();
    let connect = Connect::from(address).login(|login| login.receive().map(drop));
    let link = coordinator.connect(connect, rarely(), lines()).unwrap();
    let _peer = listener.accept().unwrap();
    let (told, done) = mpsc::channel();
    thread::spawn(move || told.send(link.close().map_err(|error| error.to_string())));
    thread::sleep(ms(200)); // into the close
    coordinator.stop().unwrap();
    let closed = done.recv_timeout(ms(3000));
    assert!(closed.is_ok(), "close() hangs after the coordinator has stopped");
}

#[test]
fn closes_that_race_with_a_stop_come_back() {
    let coordinator = Coordinator::new().unwrap();
    let mut peers = Vec::new();
    let (told, done) = mpsc::channel();
    let go = Arc::new(std::sync::Barrier::new(41));
    for _ in 0..40 {
        let (ours, theirs) = pair();
        let link = coordinator.adopt(ours, rarely(), lines()).unwrap();
        peers.push(theirs);
        let (told, go) = (told.clone(), Arc::clone(&go));
        thread::spawn(move || {
            go.wait();
            let _ = link.close();
            told.send(()).unwrap();
        });
    }
    thread::sleep(ms(100)); // all of them stand
    go.wait();
    coordinator.stop().unwrap();
    let back = (0..40).take_while(|_| done.recv_timeout(ms(3000)).is_ok()).count();
    assert_eq!(back, 40, "so many of 40 came back");
}

// --- the end of links ---

#[test]
fn closing_a_link_that_is_down_with_frames_in_its_queue_does_not_spin() {
    let (listener, address) = listen();
    drop(listener);
    let coordinator = Coordinator::new().unwrap();
    let heartbeat = rarely().write_timeout(ms(3000));
    let link = coordinator.connect(Connect::from(address).queue(10), heartbeat, lines()).unwrap();
    wait_state(&coordinator, State::Down);
    link.send("queued").unwrap();
    let start = Instant::now();
    let closing = thread::spawn(move || link.close().map_err(|error| error.to_string()));
    let error = closing.join().unwrap().unwrap_err();
    assert!(error.contains("1 frame waited for a connection"), "{error}");
    assert!(start.elapsed() < ms(2000), "nothing is waited for: {:?}", start.elapsed());
}

#[test]
fn a_link_that_could_not_be_handed_back_does_not_live_on_for_ever() {
    let (listener, address) = listen();
    let coordinator = Coordinator::new().unwrap();
    let heartbeat = Heartbeat::every(ms(200)).timeout(ms(5000)).backoff(ms(10), ms(50));
    let link = coordinator.connect(address, heartbeat.write_timeout(ms(500)), lines()).unwrap();
    let (first, _) = listener.accept().unwrap(); // it never reads
    assert_eq!(next(&link), Received::Connected { connection: 1 });
    // Full for longer than an interval: a beat waits, which cannot be handed back.
    let mut full_since = Instant::now();
    while full_since.elapsed() < ms(400) {
        match link.try_send([b'y'; 60_000]) {
            Err(error) if error.is_busy() => thread::sleep(ms(10)), // until the beat is due
            _ => full_since = Instant::now(),
        }
    }
    let id = link.id();
    let error = link.into_stream().unwrap_err(); // and with it the last handle is gone
    println!("{error}");
    listener.set_nonblocking(true).unwrap();
    let (mut again, start) = (Vec::new(), Instant::now());
    while start.elapsed() < ms(3000) {
        again.extend(listener.accept());
        thread::sleep(ms(20));
    }
    let ended = coordinator.status(id).map_or(true, |status| status.ended);
    drop(first);
    assert!(
        ended && again.is_empty(),
        "{} connections were opened for a link that nobody holds; ended: {ended}",
        again.len()
    );
}

#[test]
fn a_close_ends_though_the_peer_goes_on_talking() {
    let (coordinator, link, theirs) = adopted(rarely(), lines());
    let stop = Arc::new(AtomicBool::new(false));
    for _ in 0..8 {
        let (mut out, stop) = (theirs.try_clone().unwrap(), Arc::clone(&stop));
        thread::spawn(move || {
            let flood = b"0123456789\n".repeat(100_000);
            while !stop.load(Ordering::SeqCst) && out.write_all(&flood).is_ok() {}
        });
    }
    let reading = link.frames().clone();
    thread::spawn(move || reading.iter().count());
    thread::sleep(ms(200)); // it floods
    let start = Instant::now();
    let closed = within(ms(6000), move || link.close().map_err(|error| error.to_string()));
    let took = start.elapsed();
    let stopped = within(ms(3000), move || coordinator.stop().map_err(|error| error.to_string()));
    stop.store(true, Ordering::SeqCst);
    println!("{closed:?} after {took:?}; stop: {stopped:?}");
    assert!(closed.is_ok() && took < ms(2500), "{closed:?} after {took:?}; stop: {stopped:?}");
}

#[test]
fn a_close_reads_while_it_writes() {
    // An echo: it reads what it has room to write.
    let heartbeat = rarely().write_timeout(ms(3000));
    let (_coordinator, link, theirs) = adopted(heartbeat, lines());
    let (got, told) = mpsc::channel();
    thread::spawn(move || {
        let mut out = theirs.try_clone().unwrap();
        let (mut theirs, mut chunk, mut n) = (theirs, vec![0; 65_536], 0);
        while let Ok(read @ 1..) = theirs.read(&mut chunk) {
            n += chunk[..read].iter().filter(|byte| **byte == b'y').count();
            let _ = out.write_all(&chunk[..read]); // back to who sent it, as long as that reads
        }
        let _ = got.send(n / 50_000);
    });
    // Until all is full: nobody takes what comes back. It is not yet the write timeout.
    let deadline = || Instant::now() + ms(200);
    let sent = (0..).take_while(|_| link.send_deadline([b'y'; 50_000], deadline()).is_ok()).count();
    // Now somebody does, and the link is closed in good order.
    let frames = link.frames().clone();
    let taken = thread::spawn(move || frames.iter().count());
    let start = Instant::now();
    let closed = link.close().map_err(|error| error.to_string());
    let took = start.elapsed();
    let got = told.recv_timeout(ms(5000));
    taken.join().unwrap();
    assert!(
        closed.is_ok() && got == Ok(sent),
        "{closed:?} after {took:?}; {got:?} of {sent} frames arrived"
    );
}

#[test]
fn a_stop_in_the_middle_of_a_login_is_nobodys_fault() {
    let (listener, address) = listen();
    let coordinator = Coordinator::new().unwrap();
    let connect = Connect::from(address).login(|login| login.receive().map(drop));
    let link = coordinator.connect(connect, rarely(), lines()).unwrap();
    let _peer = listener.accept().unwrap();
    thread::sleep(ms(100)); // into the login
    coordinator.stop().unwrap();
    let Some(Received::Lost { loss, .. }) = all(&link).pop() else { panic!("no end") };
    let events: Vec<_> = coordinator.events().iter().map(|event| event.to_string()).collect();
    assert_eq!(loss.cause, Cause::Stopped, "{loss}; {events:#?}");
}

#[test]
fn a_link_that_is_closed_while_it_is_down_says_the_same_to_everybody() {
    let (listener, address) = listen();
    drop(listener);
    let coordinator = Coordinator::new().unwrap();
    let heartbeat = rarely().backoff(ms(60_000), ms(60_000));
    let link = coordinator.connect(address, heartbeat, lines()).unwrap();
    wait_state(&coordinator, State::Down);
    let frames = link.frames().clone();
    let other = link.try_clone().unwrap();
    link.close().unwrap();
    let Some(Received::Lost { loss, .. }) = frames.iter().last() else { panic!("no end") };
    assert_eq!(Some(loss), other.loss(), "frames() and loss() differ");
}

#[test]
fn a_drop_of_the_last_handle_ends_a_login() {
    let (listener, address) = listen();
    let coordinator = Coordinator::new().unwrap();
    let connect = Connect::from(address).login(|login| login.receive().map(drop));
    let heartbeat = rarely().connect_timeout(ms(20_000));
    let link = coordinator.connect(connect, heartbeat, lines()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    drop(link);
    peer.set_read_timeout(Some(ms(3000))).unwrap();
    let end = peer.read(&mut [0; 64]);
    assert!(matches!(end, Ok(0)), "still logging in for nobody: {end:?}");
}

#[test]
fn a_close_does_not_wait_for_a_connect_that_nobody_answers() {
    let (_listener, _filling, address) = crate::stopping::black_hole();
    let coordinator = Coordinator::new().unwrap();
    let heartbeat = rarely().connect_timeout(ms(20_000));
    let link = coordinator.connect(address, heartbeat, lines()).unwrap();
    thread::sleep(ms(200)); // into the connect
    let start = Instant::now();
    let closed = within(ms(5000), move || link.close().map_err(|error| error.to_string()));
    assert_eq!(closed, Ok(Ok(())), "after {:?}", start.elapsed());
    wait(&coordinator, "the end", |kind| matches!(kind, EventKind::Ended));
}

#[test]
fn a_close_waits_for_a_connect_while_frames_wait_for_it() {
    for _ in 0..50 {
        let (listener, address) = listen();
        let coordinator = Coordinator::new().unwrap();
        let connect = Connect::from(address).queue(10);
        let link = coordinator.connect(connect, rarely(), lines()).unwrap();
        link.send("last words").unwrap();
        let closing = thread::spawn(move || link.close().map_err(|error| error.to_string()));
        let (mut peer, _) = listener.accept().unwrap();
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert_eq!(all.replace("PING\n", ""), "last words\n");
        drop(peer);
        assert_eq!(closing.join().unwrap(), Ok(()));
    }
}

// --- what is known of frames ---

#[test]
fn an_ack_proves_nothing_about_frames_behind_its_beat() {
    let (listener, address) = listen();
    let coordinator = Coordinator::new().unwrap();
    let connect = Connect::from(address).queue(100);
    let link = coordinator.connect(connect, rarely(), lines()).unwrap();
    for n in 0..10 {
        let _ = link.try_send(format!("frame {n}"));
    }
    let (mut peer, _) = listener.accept().unwrap();
    let first = line(&mut peer);
    assert_eq!(first, "PING", "else this tells nothing");
    // It has read the beat, and no frame.
    peer.write_all(b"PONG\n").unwrap();
    eventually("the ack", || link.status().acked == 1);
    reset(peer);
    let lost = loop {
        match next(&link) {
            Received::Lost { in_doubt, unsent, .. } => break (in_doubt, unsent),
            Received::Connected { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lost, (1..11, 11..11), "none of ten frames was read by the peer");
}

#[test]
fn without_acks_nothing_is_proven() {
    let heartbeat = Heartbeat::every(ms(50)).timeout(ms(2000)).role(Role::SendOnly);
    let (_coordinator, link, theirs) = adopted(heartbeat, lines().unanswered());
    link.send("never read").unwrap();
    let sent = link.status().sent;
    eventually("beats behind it", || link.status().sent >= sent + 3);
    reset(theirs); // it has read nothing at all
    let Some(Received::Lost { in_doubt, .. }) = all(&link).pop() else { panic!("no end") };
    assert_eq!(in_doubt, 1..2, "told as read by the peer, which has read nothing");
}

#[test]
fn numbers_stay_right_when_connections_end_under_writers() {
    let (listener, address) = listen();
    let got = Arc::new(Mutex::new(Vec::<u64>::new()));
    let seen = Arc::clone(&got);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut out = stream.try_clone().unwrap();
            let mut lines = BufReader::new(stream).lines();
            let mut n = 0;
            while let Some(Ok(line)) = lines.next() {
                if line == "PING" {
                    let _ = out.write_all(b"PONG\n");
                } else if let Ok(id) = line.parse() {
                    seen.lock().unwrap().push(id);
                    n += 1;
                    if n == 60 {
                        // More acks than beats: the link gives the connection up, which is well.
                        let _ = out.write_all(&b"PONG\n".repeat(10));
                    }
                }
            }
        }
    });
    let coordinator = Coordinator::builder().connects_per_second(100_000).build().unwrap();
    let heartbeat = Heartbeat::every(ms(5)).timeout(ms(20_000)).backoff(ms(1), ms(2));
    let connect = Connect::from(address).queue(1_000_000);
    let link = coordinator.connect(connect, heartbeat, lines()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..6_u64)
        .map(|writer| {
            let (link, stop) = (link.try_clone().unwrap(), Arc::clone(&stop));
            thread::spawn(move || {
                let mut taken = Vec::new();
                for n in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let id = n * 6 + writer;
                    taken.push((link.send(id.to_string()).unwrap(), id));
                    if n % 4 == 0 {
                        thread::sleep(Duration::from_micros(100));
                    }
                }
                taken
            })
        })
        .collect();
    let start = Instant::now();
    let (mut wrong, mut losses, mut doubtful) = (None, 0, std::collections::HashSet::new());
    while start.elapsed() < ms(12_000) && wrong.is_none() {
        if let Ok(Received::Lost { in_doubt, unsent, .. }) = link.frames().recv_timeout(ms(100)) {
            losses += 1;
            doubtful.extend(in_doubt.clone());
            if unsent.start > unsent.end {
                wrong = Some(format!("loss {losses}: in doubt {in_doubt:?}, unsent {unsent:?}"));
            }
        }
    }
    stop.store(true, Ordering::SeqCst);
    writers.into_iter().for_each(|writer| drop(writer.join().unwrap()));
    println!("{losses} losses, {} frames", got.lock().unwrap().len());
    assert_eq!(wrong, None);
}
