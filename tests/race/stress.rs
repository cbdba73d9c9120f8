//! Every thread that keepbeat has, and as many that use it, for some seconds. Whatever they share
//! without a lock is found by ThreadSanitizer, which then says where and ends with 66.

use std::cell::UnsafeCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::protocol::{Frame, Framing, Rejected};
use keepbeat::{
    Cause, Connect, Coordinator, Framed, Heartbeat, Line, Link, Protocol, Received, Responder, Role,
    Session,
};

const LASTS: Duration = Duration::from_secs(4);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How many beats all links have sent: under an atomic, or, where the race is planted, under
/// nothing.
struct Count {
    well: AtomicU64,
    badly: UnsafeCell<u64>,
    planted: bool,
}

// SAFETY: it is none where the race is planted, which is what it is for.
unsafe impl Sync for Count {}

/// A protocol of the application's, which counts in what all its links share.
struct Counting(Framed, Arc<Count>);

impl Protocol for Counting {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        if self.1.planted {
            // SAFETY: as above.
            unsafe { *self.1.badly.get() += 1 };
        } else {
            self.1.well.fetch_add(1, Ordering::Relaxed);
        }
        self.0.beat(seq, out);
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        self.0.parse(bytes)
    }

    fn ack(&mut self, seq: Option<u64>, out: &mut Vec<u8>) {
        self.0.ack(seq, out);
    }

    fn framing(&self) -> Box<dyn Framing> {
        self.0.framing()
    }
}

fn lines(count: &Arc<Count>) -> Counting {
    Counting(Framed::lines("PING", "PONG").expect("two lines"), Arc::clone(count))
}

fn beat() -> Heartbeat {
    Heartbeat::every(ms(3)).timeout(ms(2000)).backoff(ms(1), ms(5))
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    (ours, listener.accept().expect("loopback").0)
}

/// Writers, a reader through the descriptor, and somebody who asks and changes all the time.
fn used(threads: &mut Threads, coordinator: &Arc<Coordinator>, link: &Arc<Link>) {
    for writer in 0..2 {
        let link = Arc::clone(link);
        threads.add(move || {
            let _ = link.send_noted(vec![b'x'; 10 + writer * 3000], None, |_| {});
        });
    }
    let theirs = Arc::clone(link);
    threads.add(move || {
        let _ = theirs.frames_fd().map(|fd| fd.as_raw_fd());
        while let Ok(received) = theirs.try_frame() {
            if let Received::Frame(data) = received {
                theirs.answered(data.len() as u64 % 3);
            }
        }
        thread::sleep(ms(1));
    });
    let (link, coordinator) = (Arc::clone(link), Arc::clone(coordinator));
    threads.add(move || {
        let pace = beat().timeout(ms(1000 + link.status().sent % 100));
        let _ = coordinator.set_heartbeat(link.id(), &pace);
        let _ = (link.read_by_peer(), link.loss(), link.try_clone());
        let _ = (coordinator.pause(link.id()), coordinator.resume(link.id()));
        thread::sleep(ms(2));
    });
}

/// Threads that do a thing again and again, until it is over.
struct Threads(Vec<thread::JoinHandle<()>>, Arc<AtomicBool>);

impl Threads {
    fn add(&mut self, mut again: impl FnMut() + Send + 'static) {
        let over = Arc::clone(&self.1);
        self.0.push(thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                again();
            }
        }));
    }
}

/// A peer that answers beats, and hangs up now and then.
fn moody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut writer = stream.try_clone().expect("a descriptor");
            for line in BufReader::new(stream).lines().map_while(Result::ok).take(60) {
                let text: &[u8] = if line == "PING" { b"PONG\n" } else { b"ok\n" };
                if writer.write_all(text).is_err() {
                    break;
                }
            }
        }
    });
    address
}

/// A server of HTTP that ends every third connection.
fn web() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for (n, stream) in listener.incoming().flatten().enumerate() {
            thread::spawn(move || {
                let mut writer = stream.try_clone().expect("a descriptor");
                let requests = BufReader::new(stream).lines().map_while(Result::ok);
                let many = if n % 3 == 0 { 2 } else { usize::MAX };
                for _ in requests.filter(String::is_empty).take(many) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if writer.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn links(threads: &mut Threads, coordinator: &Arc<Coordinator>, count: &Arc<Count>) {
    let (ours, theirs) = pair();
    let active = coordinator.adopt(ours, beat(), lines(count)).expect("adopted");
    let passive = beat().role(Role::Passive);
    let passive = coordinator.adopt(theirs, passive, lines(count)).expect("adopted");
    for link in [active, passive] {
        used(threads, coordinator, &Arc::new(link));
    }
    let connect = Connect::from(moody()).queue(8);
    let again = coordinator.connect(connect, beat(), lines(count)).expect("connected");
    used(threads, coordinator, &Arc::new(again));
}

/// Made, used and let go of all the time.
fn short_lives(threads: &mut Threads, coordinator: &Arc<Coordinator>) {
    let theirs = Arc::clone(coordinator);
    threads.add(move || {
        let (ours, mut peer) = pair();
        let observed = theirs.observe(&ours, Heartbeat::every(ms(5000))).expect("observed");
        let _ = (observed.look(), observed.status());
        let (told, beats) = keepbeat::crossbeam_channel::bounded(4);
        let send = move |bytes: &[u8]| {
            let _ = told.try_send(bytes.len());
            Ok(())
        };
        let follower = theirs.follow(beat(), Line, send).expect("followed");
        for seq in 1..4 {
            let _ = beats.recv_timeout(ms(100));
            let _ = (follower.acked(Some(seq)), follower.alive(), follower.wrote());
        }
        let other = follower.clone();
        let losing = thread::spawn(move || other.lost(Cause::ClosedByPeer));
        let _ = follower.heard(b"ack 9\n");
        losing.join().expect("it returns");
        drop((follower, ours));
        let _ = peer.read(&mut [0; 1]);
    });
    let responder = Responder::bind("127.0.0.1:0", || Line).expect("loopback");
    let theirs = Arc::clone(coordinator);
    threads.add(move || {
        let link = theirs.watch(responder.local_addr(), beat(), Line).expect("watched");
        thread::sleep(ms(5));
        let _ = theirs.status(link);
        let _ = theirs.remove(link);
        while responder.events().try_recv().is_ok() {}
    });
}

fn sessions(threads: &mut Threads) {
    let session = Arc::new(Session::builder().max_per_host(3).build().expect("a session"));
    let url = format!("http://{}/", web());
    for _ in 0..4 {
        let (session, url) = (Arc::clone(&session), url.clone());
        threads.add(move || {
            let _ = session.get(&url).send().and_then(|mut response| response.bytes());
        });
    }
    let events = session.events();
    threads.add(move || {
        let _ = (session.stats(), events.try_iter().count());
        thread::sleep(ms(1));
    });
}

fn main() {
    let planted = std::env::args().nth(1).is_some_and(|arg| arg == "planted");
    let count = Count { well: AtomicU64::new(0), badly: UnsafeCell::new(0), planted };
    let count = Arc::new(count);
    let coordinator = Arc::new(Coordinator::new().expect("threads"));
    let mut threads = Threads(Vec::new(), Arc::default());
    links(&mut threads, &coordinator, &count);
    short_lives(&mut threads, &coordinator);
    sessions(&mut threads);
    let queue = coordinator.event_queue(64).expect("a descriptor");
    threads.add(move || {
        while queue.try_next().is_ok() {}
        thread::sleep(ms(1));
    });
    let theirs = Arc::clone(&coordinator);
    threads.add(move || {
        let some = theirs.subscribe(16);
        let _ = (some.recv_timeout(ms(20)), theirs.statuses(), theirs.events().try_recv());
    });
    let end = Instant::now() + LASTS;
    while Instant::now() < end {
        thread::sleep(ms(20)); // meanwhile they all run
    }
    threads.1.store(true, Ordering::Relaxed);
    threads.0.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let _ = coordinator.stop(); // in time or not: that is for other tests
    println!("{} beats of links that carry data", count.well.load(Ordering::Relaxed));
    assert!(planted || count.well.load(Ordering::Relaxed) > 100, "nothing was looked at");
}
