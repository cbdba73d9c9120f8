//! What a beat costs. `cargo bench` prints the pulse's speed, the processor time of a beat on
//! loopback, and the ratio to the naive loop, taken in turns in one run.
//!
//! The other end runs in a process of its own, so that only our side is counted.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use keepbeat::pulse::{Input, Output, Pulse};
use keepbeat::{Coordinator, Diagnose, EventKind, Exchange, Heartbeat, Responder};

fn main() {
    if std::env::args().nth(1).as_deref() == Some("--responder") {
        return answer();
    }
    let mut criterion = Criterion::default().configure_from_args();
    pulse(&mut criterion);
    loopback(&mut criterion);
    criterion.final_summary();
    // `cargo test --benches` only asks whether it runs.
    if std::env::args().any(|word| word == "--bench") {
        noticing();
        side_by_side();
    }
}

/// One beat and its ack, without a socket.
fn pulse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pulse");
    group.throughput(Throughput::Elements(1));
    group.bench_function("beat", |bencher| {
        let mut now = Instant::now();
        let mut pulse = Pulse::new(Heartbeat::every(Duration::from_secs(1)), 7, now);
        pulse.handle(now, Input::Connected);
        bencher.iter(|| {
            loop {
                match pulse.poll() {
                    Output::Beat(seq) => {
                        pulse.handle(now, Input::Sent { seq, at: now });
                        now += Duration::from_micros(200);
                        pulse.handle(now, Input::Ack(None));
                        break;
                    }
                    Output::Wait(Some(until)) => {
                        now = until;
                        pulse.handle(now, Input::Tick);
                    }
                    other => drop(black_box(other)),
                }
            }
        });
    });
    group.finish();
}

/// Processor time, user and system, of this whole process.
fn cpu() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: getrusage fills the whole struct; it cannot fail with these arguments.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// The other end, in a process of its own.
struct Other {
    child: Child,
    address: SocketAddr,
}

impl Other {
    fn start() -> Other {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("--responder")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        Other { child, address: line.trim().parse().unwrap() }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer() {
    let answering = || Exchange::answering("heartbeat", "heartbeat_ack");
    let responder = Responder::builder().max_clients(5000).bind("127.0.0.1:0", answering).unwrap();
    println!("{}", responder.local_addr());
    let _ = std::io::stdin().read(&mut [0]);
}

/// Links that have come up and beat on.
trait Loop {
    /// All of them up; then the processor time of `beats` beats, in sum.
    fn cost(address: SocketAddr, links: usize, interval: Duration, beats: u64) -> Duration;
}

/// With the evidence that a diagnosis needs, as it is by default.
struct Keepbeat;

impl Loop for Keepbeat {
    fn cost(address: SocketAddr, links: usize, interval: Duration, beats: u64) -> Duration {
        Undiagnosed::cost_of(address, links, &Heartbeat::every(interval), beats)
    }
}

/// Without.
struct Undiagnosed;

impl Loop for Undiagnosed {
    fn cost(address: SocketAddr, links: usize, interval: Duration, beats: u64) -> Duration {
        let beat = Heartbeat::every(interval).diagnose(Diagnose::off());
        Undiagnosed::cost_of(address, links, &beat, beats)
    }
}

impl Undiagnosed {
    fn cost_of(address: SocketAddr, links: usize, beat: &Heartbeat, beats: u64) -> Duration {
        let builder = Coordinator::builder().connects_per_second(10_000).events_capacity(1 << 16);
        let coordinator = builder.build().unwrap();
        for _ in 0..links {
            let exchange = Exchange::new("heartbeat", "heartbeat_ack");
            coordinator.watch(address, beat.clone(), exchange).unwrap();
        }
        let beat = |kind: &EventKind| matches!(kind, EventKind::Beat { .. });
        let acked = |n: u64| {
            let events = coordinator.events().iter().filter(|event| beat(event.kind()));
            assert_eq!(events.take(n as usize).count() as u64, n);
        };
        // The first beats come with the connections; the second are spread, the rest is the pace.
        acked(2 * links as u64);
        let before = cpu();
        acked(beats);
        let cost = cpu() - before;
        coordinator.stop().unwrap();
        cost
    }
}

/// The loop that everybody writes first.
struct Naive;

impl Loop for Naive {
    fn cost(address: SocketAddr, links: usize, interval: Duration, beats: u64) -> Duration {
        let (report, reports) = crossbeam_channel::bounded(1 << 16);
        for n in 0..links {
            let report = report.clone();
            let spread = interval.mul_f64(n as f64 / links as f64);
            let body = move || -> std::io::Result<()> {
                let mut stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                thread::sleep(spread);
                loop {
                    let start = Instant::now();
                    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                    stream.write_all(b"heartbeat")?;
                    stream.read_exact(&mut [0; 13])?;
                    if report.send(start.elapsed()).is_err() {
                        return Ok(());
                    }
                    thread::sleep(interval.saturating_sub(start.elapsed()));
                }
            };
            thread::Builder::new().stack_size(256 * 1024).spawn(body).unwrap();
        }
        assert_eq!(reports.iter().take(2 * links).count(), 2 * links);
        let before = cpu();
        assert_eq!(reports.iter().take(beats as usize).count() as u64, beats);
        cpu() - before
    }
}

/// The processor time of a beat, reports to the user included.
fn loopback(criterion: &mut Criterion) {
    let other = Other::start();
    let (links, interval) = (100, Duration::from_millis(50));
    let mut group = criterion.benchmark_group("processor time of a loopback beat");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(10))
        .throughput(Throughput::Elements(1));
    let address = other.address;
    group.bench_function("keepbeat", |bencher| {
        bencher.iter_custom(|beats| Keepbeat::cost(address, links, interval, beats));
    });
    group.bench_function("naive", |bencher| {
        bencher.iter_custom(|beats| Naive::cost(address, links, interval, beats));
    });
    group.finish();
}

/// From a peer's close to the event in the user's hands, between two beats of a minute.
fn noticing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let coordinator = Coordinator::new().unwrap();
    let mut took = Vec::new();
    for _ in 0..500 {
        let beat = Heartbeat::every(Duration::from_secs(60)).rounds(2);
        let address = listener.local_addr().unwrap();
        let silent = keepbeat::ConnectOnly;
        let link = coordinator.watch(address, beat, silent).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let wait = |wanted: fn(&EventKind) -> bool| {
            coordinator.events().iter().find(|event| wanted(event.kind())).unwrap();
        };
        wait(|kind| matches!(kind, EventKind::State { .. }));
        let closed = Instant::now();
        drop(peer);
        wait(|kind| matches!(kind, EventKind::Disconnected { .. }));
        took.push(closed.elapsed());
        coordinator.remove(link).unwrap();
        while coordinator.events().try_recv().is_ok() {}
    }
    took.sort_unstable();
    println!("a FIN is told to the user after {:.1?} p50, {:.1?} p99", took[250], took[495]);
}

/// 1,000 links at one beat a second, in turns; the ratio of each pair, and the median.
fn side_by_side() {
    let other = Other::start();
    let (links, second, beats) = (1000, Duration::from_secs(1), 8000);
    let mut ratios = Vec::new();
    for round in 1..=5 {
        let ours = Keepbeat::cost(other.address, links, second, beats);
        let without = Undiagnosed::cost(other.address, links, second, beats);
        let naive = Naive::cost(other.address, links, second, beats);
        // Its threads end with their next beat.
        thread::sleep(2 * second);
        let ratio = |cost: Duration| cost.as_secs_f64() / naive.as_secs_f64();
        let (with, off) = (ratio(ours), ratio(without));
        println!(
            "round {round}: keepbeat {ours:.1?}, without diagnosis {without:.1?}, \
             naive {naive:.1?}, ratios {with:.2} {off:.2}"
        );
        ratios.push((with, off));
    }
    let median = |pick: fn(&(f64, f64)) -> f64| {
        let mut all: Vec<_> = ratios.iter().map(pick).collect();
        all.sort_by(f64::total_cmp);
        all[2]
    };
    let (with, off) = (median(|both| both.0), median(|both| both.1));
    println!(
        "{links} links at one beat a second: median ratios {with:.2}, {off:.2} without diagnosis"
    );
}
