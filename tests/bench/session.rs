//! What a request of a session costs, beside stock ureq in the same run, against a real nginx: the
//! goals of `cargo bench --bench session`. Ratios of processor time, taken in turns; of each side
//! the tenth that was disturbed least.
//!
//! Prints what was measured and the goal; with `--check` it fails where a goal is missed. With
//! `--only ours` or `--only stock`, a URL and a number, it sends so many requests and nothing else:
//! to be counted by valgrind or strace, as the difference of two numbers.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Session, SessionBuilder, SessionEventKind};
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

const ROUNDS: usize = 25;
const REQUESTS: u32 = 1000;

/// Some goal was missed.
static MISSED: AtomicBool = AtomicBool::new(false);

fn main() {
    let words: Vec<_> = std::env::args().collect();
    if let [_, only, side, url, requests, ..] = &words[..] {
        if only == "--only" {
            return send_only(side, url, requests.parse().expect("a number of requests"));
        }
    }
    // `cargo test --benches` only asks whether it runs.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    // Client and server on one processor: where they are on two, waking the other one from its
    // sleep costs more than the request, and hides all else.
    pin(Some(0));
    let Some(nginx) = Nginx::start() else {
        println!("nginx is not installed: ./tests/run installs it, or install `nginx-light`");
        return;
    };
    per_request(&nginx);
    idle_hosts(&nginx);
    pin(None);
    threads(&nginx);
    noticing();
    if MISSED.load(Ordering::Relaxed) && std::env::args().any(|word| word == "--check") {
        std::process::exit(1);
    }
}

/// So many requests on one connection.
fn send_only(side: &str, url: &str, requests: u32) {
    match side {
        "ours" => ours(&Session::new().unwrap(), url, requests),
        _ => stock(&Agent::new_with_defaults(), url, requests),
    };
}

/// Lets this process and its children run on one processor, or on all.
fn pin(to: Option<usize>) {
    // SAFETY: a zeroed set is an empty one; the calls stay within it, and the kernel reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for processor in 0..64 {
            if to.is_none_or(|to| to == processor) {
                libc::CPU_SET(processor, &mut set);
            }
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

fn goal(what: &str, measured: f64, goal: f64) {
    let verdict = if measured <= goal { "met" } else { "MISSED" };
    MISSED.fetch_or(measured > goal, Ordering::Relaxed);
    println!("{what:<58} {measured:>8.3}   goal {goal:<5} {verdict}");
}

/// Processor time of this process.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec to a valid pointer to one.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn spent(mut run: impl FnMut()) -> f64 {
    let before = cpu();
    run();
    (cpu() - before).as_secs_f64()
}

/// The ratio of `a` to `b`, which run in turns, and the cost of each: at the tenth that was
/// disturbed least.
fn ratio(mut a: impl FnMut() -> f64, mut b: impl FnMut() -> f64) -> (f64, f64, f64) {
    a();
    b();
    let pairs: Vec<_> = (0..ROUNDS).map(|_| (a(), b())).collect();
    let (a, b) = pairs.into_iter().unzip();
    let (a, b) = (undisturbed(a), undisturbed(b));
    (a / b, a, b)
}

fn undisturbed(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 10]
}

fn ours(session: &Session, url: &str, n: u32) -> f64 {
    spent(|| {
        for _ in 0..n {
            session.get(url).send().unwrap().bytes().unwrap();
        }
    })
}

fn stock(agent: &Agent, url: &str, n: u32) -> f64 {
    spent(|| {
        for _ in 0..n {
            agent.get(url).call().unwrap().body_mut().read_to_vec().unwrap();
        }
    })
}

fn per_request(nginx: &Nginx) {
    let timeout = Duration::from_secs(30);
    let by_name = format!("http://localhost:{}/", nginx.address.port());
    let by_ip = format!("http://{}/", nginx.address);
    let timed = Config::builder().timeout_global(Some(timeout)).build();
    for (what, url, session, agent, wanted) in [
        ("an address", &by_ip, Session::builder(), Agent::new_with_defaults(), 0.95),
        ("a host name", &by_name, Session::builder(), Agent::new_with_defaults(), 0.6),
        ("with a timeout", &by_ip, Session::builder().timeout(timeout), timed.new_agent(), 0.14),
    ] {
        let session = session.build().unwrap();
        let (ratio, a, b) =
            ratio(|| ours(&session, url, REQUESTS), || stock(&agent, url, REQUESTS));
        let each = f64::from(REQUESTS) / 1e6;
        println!("{what}: {:.1} us a request, stock ureq {:.1} us", a / each, b / each);
        goal(&format!("processor time to stock ureq, {what}"), ratio, wanted);
    }
}

/// Every name is this address.
#[derive(Debug)]
struct Everywhere(SocketAddr);

impl Resolver for Everywhere {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut all = self.empty();
        all.push(self.0);
        Ok(all)
    }
}

fn idle_hosts(nginx: &Nginx) {
    const MANY: usize = 1000;
    let address = nginx.address;
    let with_idle = |builder: SessionBuilder, hosts: usize| {
        let session = builder.resolver(move |_, _| Ok(vec![address])).build().unwrap();
        for host in 0..hosts {
            session.get(format!("http://h{host}.test/")).send().unwrap();
        }
        assert_eq!(session.stats().idle, hosts);
        session
    };
    let (one, many) = (with_idle(Session::builder(), 1), with_idle(Session::builder(), MANY));
    let run = |session: &Session| ours(session, "http://h0.test/", REQUESTS);
    let (growth, ..) = ratio(|| run(&many), || run(&one));
    goal("processor time with 1000 idle hosts to that with 1", growth, 1.1);
    let with_idle = |hosts: usize| {
        let config = Config::builder().max_idle_connections(2 * MANY).build();
        let everywhere = Everywhere(address);
        let agent = Agent::with_parts(config, DefaultConnector::new(), everywhere);
        for host in 0..hosts {
            stock(&agent, &format!("http://h{host}.test/"), 1);
        }
        agent
    };
    let (one, many) = (with_idle(1), with_idle(MANY));
    let growth =
        stock(&many, "http://h0.test/", 5) / 5.0 / (stock(&one, "http://h0.test/", 500) / 500.0);
    println!("the same for stock ureq: {growth:.0}");
}

fn threads(nginx: &Nginx) {
    const THREADS: u32 = 8;
    let url = format!("http://{}/", nginx.address);
    let run = |sessions: &[Session]| {
        spent(|| {
            thread::scope(|scope| {
                for session in sessions {
                    scope.spawn(|| ours(session, &url, REQUESTS / 4));
                }
            });
        })
    };
    let shared = Session::new().unwrap();
    let shared: Vec<_> = (0..THREADS).map(|_| shared.clone()).collect();
    let own: Vec<_> = (0..THREADS).map(|_| Session::new().unwrap()).collect();
    let (ratio, ..) = ratio(|| run(&shared), || run(&own));
    goal("processor time of 8 threads, one session to 8 sessions", ratio, 1.05);
}

/// From a FIN on an idle connection to its event.
fn noticing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let session = Session::new().unwrap();
    let events = session.events();
    let mut took = Vec::new();
    for _ in 0..300 {
        let server = thread::spawn({
            let listener = listener.try_clone().unwrap();
            move || answer_one(&listener)
        });
        session.get(&url).send().unwrap();
        let stream = server.join().unwrap();
        thread::sleep(Duration::from_millis(2)); // idle, and the watcher asleep
        let start = Instant::now();
        drop(stream);
        loop {
            let event = events.recv_timeout(Duration::from_secs(5)).unwrap();
            if matches!(event.kind, SessionEventKind::Evicted { .. }) {
                break;
            }
        }
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    println!("a FIN to its event: p50 {:.3} ms", took[150]);
    goal("a FIN on an idle connection to its event, p99 in ms", took[297], 1.0);
}

fn answer_one(listener: &TcpListener) -> TcpStream {
    use std::io::{Read, Write};
    let (mut stream, _) = listener.accept().unwrap();
    assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    stream
}

/// A real nginx on loopback, in a process of its own.
struct Nginx {
    child: Child,
    address: SocketAddr,
    folder: std::path::PathBuf,
}

impl Nginx {
    fn start() -> Option<Nginx> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = std::env::temp_dir().join(format!("keepbeat-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {what};"))
            .concat();
        let text = format!(
            "daemon off; master_process off; pid pid; error_log error.log;\n\
             events {{ worker_connections 8192; }}\n\
             http {{ {temp} access_log off; keepalive_requests 100000000; keepalive_timeout 600s;\n\
             server {{ listen {address}; location / {{ return 200 hello; }} }} }}\n"
        );
        std::fs::write(folder.join("nginx.conf"), text).unwrap();
        let child = Command::new("nginx")
            .arg("-p")
            .arg(&folder)
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        while TcpStream::connect(address).is_err() {
            thread::sleep(Duration::from_millis(5)); // between two tries
        }
        Some(Nginx { child, address, folder })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
