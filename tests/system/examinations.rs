//! A thousand links that die at once, with side connections allowed: their number keeps to the
//! budget, a healthy link beside them keeps its pace, and nothing is left of the threads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::protocol::{Frame, Rejected};
use keepbeat::{Cause, Coordinator, Diagnose, Exchange, Heartbeat, Protocol, Responder, State};
use libtest_mimic::Trial;
use socket2::{Domain, Socket, Type};

use crate::scale::files;
use crate::server::{answering, eventually, ms, tutorial};
use crate::trial;

const LINKS: usize = 1000;

/// So many of them at once, and so many connections a minute.
const BUDGET: (usize, u32) = (8, 60);

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_thousand_dying_links_keep_to_the_budget_and_disturb_nobody", files(), thousand),
        trial("stop_ends_examinations_at_a_full_accept_queue_within_a_second", files(), full_queue),
    ]
}

/// Threads of examinations.
fn examining() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("keepbeat-why")).count()
}

/// Answers until it hangs; then it takes everything and says nothing.
struct Moody {
    inner: Exchange,
    hangs: Arc<AtomicBool>,
}

impl Protocol for Moody {
    fn beat(&mut self, _seq: u64, _out: &mut Vec<u8>) {}

    fn ack(&mut self, seq: Option<u64>, out: &mut Vec<u8>) {
        if !self.hangs.load(Ordering::SeqCst) {
            self.inner.ack(seq, out);
        }
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        self.inner.parse(bytes)
    }
}

/// How often it was connected to, and whether it hangs.
fn moody() -> (Responder, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let (accepted, hangs) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let (count, mood) = (Arc::clone(&accepted), Arc::clone(&hangs));
    let protocol = move || {
        count.fetch_add(1, Ordering::SeqCst);
        Moody { inner: answering(), hangs: Arc::clone(&mood) }
    };
    let responder = Responder::builder().max_clients(2 * LINKS).bind("127.0.0.1:0", protocol);
    (responder.unwrap(), accepted, hangs)
}

fn coordinator() -> Coordinator {
    Coordinator::builder()
        .side_connections(BUDGET.0, BUDGET.1)
        .connects_per_second(100_000)
        .build()
        .unwrap()
}

/// A link whose beats are timed by the other end.
fn healthy(coordinator: &Coordinator) -> (Arc<Mutex<Vec<Instant>>>, keepbeat::LinkId) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = Arc::clone(&times);
    let beat = Heartbeat::every(ms(50)).timeout(ms(5000)).jitter(0.0);
    let address = listener.local_addr().unwrap();
    let link = coordinator.watch(address, beat, tutorial()).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.read_exact(&mut [0; 9]).is_ok() {
            seen.lock().unwrap().push(Instant::now());
            if stream.write_all(b"heartbeat_ack").is_err() {
                break;
            }
        }
    });
    (times, link)
}

fn thousand() {
    let (responder, accepted, hangs) = moody();
    let address = responder.local_addr();
    let coordinator = coordinator();
    let beat = Heartbeat::every(Duration::from_secs(2)).timeout(ms(2000)).fall(100);
    let beat = beat.diagnose(Diagnose::side_connections());
    for _ in 0..LINKS {
        coordinator.watch(address, beat.clone(), tutorial()).unwrap();
    }
    let (times, beside) = healthy(&coordinator);
    eventually("all are up", || {
        coordinator.statuses().iter().all(|status| status.state == State::Up)
    });
    hangs.store(true, Ordering::SeqCst);
    let (start, before) = (Instant::now(), times.lock().unwrap().len());
    let mut most_at_once = 0;
    // Each has missed three times: already the first time each of them would like to know more.
    eventually("all have missed", || {
        most_at_once = most_at_once.max(examining());
        let statuses = coordinator.statuses();
        statuses.iter().filter(|status| status.missed >= 3).count() == LINKS
    });
    let took = start.elapsed();
    let side = accepted.load(Ordering::SeqCst) - LINKS;
    let most =
        BUDGET.1 as usize / 4 + (took.as_secs_f64() * f64::from(BUDGET.1) / 60.0) as usize + 1;
    println!("{side} side connections in {took:.1?}, {most_at_once} links at once");
    assert!((1..=most).contains(&side), "{side} side connections, {most} at most in {took:?}");
    assert!((1..=BUDGET.0).contains(&most_at_once), "{most_at_once} threads");
    let status = coordinator.status(beside).unwrap();
    assert_eq!((status.state, status.missed, status.late), (State::Up, 0, 0));
    // Planned every 50 ms, so a few that are late by scheduling do not add up.
    let beats = times.lock().unwrap().len() - before;
    let planned = (took.as_millis() / 50) as usize;
    println!("{beats} beats beside them, {planned} planned");
    assert!(beats + 5 + planned / 20 >= planned, "{beats} beats of {planned}");
    let dying = coordinator.statuses().into_iter().filter(|status| status.link != beside);
    for status in dying {
        assert_eq!(status.diagnosis.unwrap().cause(), Cause::PeerSilent);
    }
    let begin = Instant::now();
    coordinator.stop().unwrap();
    let stopping = begin.elapsed();
    assert!(stopping < Duration::from_secs(1), "{stopping:?}");
    assert_eq!(examining(), 0, "threads are left");
    responder.stop();
}

/// All that may be examined at once are, and each waits for a connection that nobody accepts.
fn full_queue() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(64).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let coordinator = coordinator();
    let beat = Heartbeat::every(ms(500)).timeout(ms(4000)).fall(100);
    let beat = beat.diagnose(Diagnose::side_connections());
    let mut kept = Vec::new();
    for _ in 0..BUDGET.0 {
        coordinator.watch(address, beat.clone(), tutorial()).unwrap();
        kept.push(socket.accept().unwrap());
    }
    socket.listen(0).unwrap();
    let fill: Vec<_> = (0..2).map(|_| TcpStream::connect_timeout(&address, ms(50))).collect();
    assert!(fill.iter().any(Result::is_err), "its queue is full");
    eventually("all are examined", || examining() == BUDGET.0);
    let begin = Instant::now();
    coordinator.stop().unwrap();
    let stopping = begin.elapsed();
    println!("stopped within {stopping:.1?}");
    assert!(stopping < Duration::from_secs(1), "{stopping:?}");
    assert_eq!(examining(), 0, "threads are left");
}
