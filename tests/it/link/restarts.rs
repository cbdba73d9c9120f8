//! A server that is restarted a hundred times under load: every frame is delivered or told as not
//! delivered, the login is repeated, nothing leaks.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use keepbeat::{Connect, Coordinator, Heartbeat, Link, Received};

use crate::watching::{LIMIT, eventually, ms};

use super::lines;

const RESTARTS: usize = 100;
const WRITERS: u64 = 3;

/// A server that can be killed: its listener and its connections end with a reset, whatever lies in
/// them.
struct Server {
    stop: Arc<AtomicBool>,
    live: Arc<Mutex<Vec<TcpStream>>>,
    address: SocketAddr,
    thread: JoinHandle<()>,
}

/// What the server has read, and how many logins it saw.
#[derive(Default)]
struct Account {
    frames: Mutex<Vec<u64>>,
    logins: AtomicUsize,
}

impl Server {
    fn start(address: SocketAddr, account: &Arc<Account>) -> Server {
        let domain = socket2::Domain::IPV4;
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(16).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let live = Arc::new(Mutex::new(Vec::new()));
        let (stopped, account, lives) = (Arc::clone(&stop), Arc::clone(account), Arc::clone(&live));
        let thread = thread::spawn(move || {
            let mut clients = Vec::new();
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let stream = stream.unwrap();
                lives.lock().unwrap().push(stream.try_clone().unwrap());
                let account = Arc::clone(&account);
                clients.push(thread::spawn(move || serve(stream, &account)));
            }
            drop(listener);
            clients.into_iter().for_each(|client| client.join().unwrap());
        });
        Server { stop, live, address, thread }
    }

    fn kill(self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        for stream in self.live.lock().unwrap().drain(..) {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(std::net::Shutdown::Read);
        }
        self.thread.join().unwrap();
    }
}

/// One client: nothing counts before its login.
fn serve(stream: TcpStream, account: &Account) {
    let mut out = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    if lines.next().as_deref() != Some("LOGIN") {
        return;
    }
    account.logins.fetch_add(1, Ordering::SeqCst);
    if out.write_all(b"WELCOME\n").is_err() {
        return;
    }
    for line in lines {
        if line == "PING" {
            let _ = out.write_all(b"PONG\n");
        } else if line.len() == 200 {
            account.frames.lock().unwrap().push(line.trim_end().parse().unwrap());
        }
    }
}

fn threads_and_files() -> (usize, usize) {
    let count = |dir: &str| std::fs::read_dir(dir).unwrap().count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

/// Sends frames until told to stop: the number that the link gave to each.
fn write(link: Link, writer: u64, stop: Arc<AtomicBool>) -> JoinHandle<Results> {
    thread::spawn(move || {
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for n in 0.. {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            let id = n * WRITERS + writer;
            match link.send(format!("{id:<200}")) {
                Ok(number) => taken.push((number, id)),
                Err(_) => refused.push(id),
            }
            if n % 8 == 0 {
                thread::sleep(Duration::from_micros(300)); // a load, not a flood
            }
        }
        (taken, refused)
    })
}

/// Of each writer: frames that were taken, with their numbers, and frames that were refused.
type Results = (Vec<(u64, u64)>, Vec<u64>);

fn check(account: &Account, changes: &[Received], results: &[Results], queue: usize) {
    let got = account.frames.lock().unwrap().clone();
    let set: HashSet<u64> = got.iter().copied().collect();
    assert_eq!(set.len(), got.len(), "none twice");
    let mut doubtful = HashSet::new();
    let (mut connected, mut lost) = (0, 0);
    for change in changes {
        match change {
            Received::Connected { connection } => {
                assert!(*connection > connected, "new connections are told");
                connected = *connection;
            }
            Received::Lost { in_doubt, unsent, .. } => {
                lost += 1;
                doubtful.extend(in_doubt.clone());
                if lost == changes.len() {
                    doubtful.extend(unsent.clone());
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(lost >= RESTARTS && connected as usize >= RESTARTS, "{lost} {connected}");
    let (mut taken, mut missing) = (0, 0);
    for (numbers, refused) in results {
        taken += numbers.len();
        for (number, id) in numbers {
            let delivered = set.contains(id);
            missing += usize::from(!delivered);
            assert!(delivered || doubtful.contains(number), "frame {number} vanished");
        }
        for id in refused {
            assert!(!set.contains(id), "an error means that nobody has got it");
        }
    }
    let refused: usize = results.iter().map(|(_, refused)| refused.len()).sum();
    println!(
        "{taken} taken, {missing} not delivered and told so, {} in doubt, {refused} refused, \
         {} logins",
        doubtful.len(),
        account.logins.load(Ordering::SeqCst)
    );
    if queue > 0 {
        assert_eq!(refused, 0, "with a queue nothing is refused");
    }
    assert!(doubtful.len() < taken, "acks prove some");
}

fn restart_under_load(queue: usize) {
    let account = Arc::new(Account::default());
    let mut server = Server::start("127.0.0.1:0".parse().unwrap(), &account);
    let address = server.address;
    let coordinator = Coordinator::builder().connects_per_second(100_000).build().unwrap();
    let heartbeat = Heartbeat::every(ms(2)).timeout(ms(20_000)).backoff(ms(1), ms(3)).rise(1);
    let connect = Connect::from(address).queue(queue).login(|login| {
        login.send("LOGIN")?;
        login.receive().map(drop)
    });
    let before = threads_and_files();
    let link = coordinator.connect(connect, heartbeat, lines()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| write(link.try_clone().unwrap(), writer, Arc::clone(&stop)))
        .collect();
    let reading = thread::spawn({
        let link = link.try_clone().unwrap();
        move || link.frames().iter().collect::<Vec<_>>()
    });
    for n in 1..=RESTARTS {
        eventually("a login", || account.logins.load(Ordering::SeqCst) >= n);
        let some = account.frames.lock().unwrap().len() + 10;
        eventually("frames", || account.frames.lock().unwrap().len() >= some);
        server.kill();
        server = Server::start(address, &account);
    }
    stop.store(true, Ordering::SeqCst);
    let results: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    eventually("the last login", || account.logins.load(Ordering::SeqCst) > RESTARTS);
    eventually("a way out", || link.try_send("all is through").is_ok());
    link.close().unwrap();
    let changes = reading.join().unwrap();
    coordinator.stop().unwrap();
    server.kill();

    check(&account, &changes, &results, queue);
    drop(coordinator);
    let deadline = std::time::Instant::now() + LIMIT;
    while threads_and_files().1 > before.1 + 40 {
        assert!(std::time::Instant::now() < deadline, "{before:?} {:?}", threads_and_files());
        thread::sleep(ms(10)); // between two looks
    }
}

#[test]
fn a_hundred_restarts_lose_no_frame_without_telling() {
    restart_under_load(0);
}

#[test]
fn a_hundred_restarts_lose_no_frame_without_telling_where_frames_wait_in_a_queue() {
    restart_under_load(100_000);
}
