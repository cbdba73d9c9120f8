//! The contestants beside keepbeat: what everybody writes first, the least that a thread for each
//! socket can do, and one loop for all sockets.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::far_end::{ACK, BEAT};
use crate::measure::{self, resident};
use crate::measure::{Epoll, Figures, INTERVAL, Run, Usage};
use crate::ours;

/// In the order of their turns. All others are compared with the first.
pub const NAMES: [&str; 7] =
    ["naive", "keepbeat", "keepbeat-bare", "floor", "floor-slack", "floor-slack-batch", "epoll"];

/// Those that an older version knows, too.
pub const BEFORE: [&str; 2] = ["keepbeat", "keepbeat-bare"];

pub fn run(name: &str, run: &Run) -> Figures {
    match name {
        "naive" => threads(run, naive),
        "floor" => threads(run, eager),
        "floor-slack" => threads(run, |stream, shared, spread| {
            measure::set_slack(Duration::from_millis(5));
            eager(stream, shared, spread);
        }),
        "floor-slack-batch" => threads(run, |stream, shared, spread| {
            measure::set_slack(Duration::from_millis(5));
            measure::set_batch();
            eager(stream, shared, spread);
        }),
        "epoll" => one_loop(run),
        ours => ours::run(ours, run),
    }
}

#[derive(Default)]
struct Shared {
    up: AtomicU64,
    beats: AtomicU64,
    late: measure::Lateness,
}

/// A thread for each socket, with as large a stack as a link has.
fn threads(run: &Run, body: fn(&TcpStream, &Shared, Duration)) -> Figures {
    let mut figures = Figures::default();
    let shared = Arc::new(Shared::default());
    let (before, begin) = (resident(), Instant::now());
    let address = run.address;
    let mut all = Vec::with_capacity(run.links);
    for n in 0..run.links {
        let (shared, stream) = (Arc::clone(&shared), Arc::new(OnceLock::new()));
        let theirs = Arc::clone(&stream);
        let spread = INTERVAL.mul_f64(n as f64 / run.links as f64);
        let life = move || {
            let stream = theirs.get_or_init(|| TcpStream::connect(address).expect("a connection"));
            stream.set_nodelay(true).expect("an option");
            (&mut &*stream).write_all(BEAT).expect("a beat");
            (&mut &*stream).read_exact(&mut [0; ACK.len()]).expect("an ack");
            shared.up.fetch_add(1, Ordering::SeqCst);
            body(stream, &shared, spread);
        };
        let thread = thread::Builder::new().stack_size(256 * 1024).spawn(life).expect("a thread");
        all.push((stream, thread));
    }
    while shared.up.load(Ordering::SeqCst) < run.links as u64 {
        thread::sleep(Duration::from_millis(1)); // between two looks
    }
    figures.set("start", begin.elapsed().as_secs_f64());
    measure_beats(run, &shared, before, &mut figures);
    let begin = Instant::now();
    let streams = all.iter().filter_map(|(stream, _)| stream.get());
    streams.for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    all.into_iter().for_each(|(_, thread)| drop(thread.join()));
    figures.set("stop", begin.elapsed().as_secs_f64());
    figures.set("all beats", shared.beats.load(Ordering::SeqCst) as f64);
    figures
}

fn measure_beats(run: &Run, shared: &Shared, before: f64, figures: &mut Figures) {
    thread::sleep(2 * INTERVAL); // the pace of all
    let usage = Usage::now();
    let beats = shared.beats.load(Ordering::SeqCst);
    shared.late.clear();
    thread::sleep(Duration::from_secs(run.seconds));
    usage.cost(shared.beats.load(Ordering::SeqCst) - beats, figures);
    figures.set("late", shared.late.p99());
    figures.set("memory", (resident() - before) / run.links as f64);
}

/// Sleep, set the timeout, write, read. It ends when its socket does.
fn naive(mut stream: &TcpStream, shared: &Shared, spread: Duration) {
    thread::sleep(spread);
    loop {
        let start = Instant::now();
        let asked = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let sent = asked.and_then(|()| stream.write_all(BEAT));
        if sent.and_then(|()| stream.read_exact(&mut [0; ACK.len()])).is_err() {
            return;
        }
        shared.beats.fetch_add(1, Ordering::Relaxed);
        thread::sleep(INTERVAL.saturating_sub(start.elapsed()));
    }
}

/// The same that a link does, and nothing beside it: send, receive, wait on the socket.
fn eager(stream: &TcpStream, shared: &Shared, spread: Duration) {
    stream.set_read_timeout(Some(Duration::from_millis(4375))).expect("an option");
    let fd = stream.as_raw_fd();
    let mut next = Instant::now() + spread;
    loop {
        if measure::poll(fd, next.saturating_duration_since(Instant::now())) {
            return; // nothing is due but the end
        }
        shared.late.note(next.elapsed());
        next += INTERVAL;
        let sent = measure::send(fd, BEAT);
        if sent.is_none() || measure::receive(fd, &mut [0; 512]).is_none_or(|came| came == 0) {
            return;
        }
        shared.beats.fetch_add(1, Ordering::Relaxed);
    }
}

/// One thread for all of them; beats that are due within a millisecond go out together.
fn one_loop(run: &Run) -> Figures {
    let mut figures = Figures::default();
    let (before, begin) = (resident(), Instant::now());
    let epoll = Epoll::new();
    let mut streams = Vec::with_capacity(run.links);
    let mut due = BinaryHeap::with_capacity(run.links);
    for n in 0..run.links {
        let stream = TcpStream::connect(run.address).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        epoll.add(stream.as_raw_fd(), n as u64);
        streams.push(stream);
    }
    figures.set("start", begin.elapsed().as_secs_f64());
    let start = Instant::now();
    due.extend((0..run.links).map(|n| {
        let spread = INTERVAL.mul_f64(n as f64 / run.links as f64);
        Reverse((start + spread, n))
    }));
    let mut beat = |until: Instant| {
        let mut beats = 0;
        while Instant::now() < until {
            let now = Instant::now();
            while let Some(Reverse((at, n))) = due.peek().copied().filter(|due| due.0.0 <= now) {
                due.pop();
                due.push(Reverse((at + INTERVAL, n)));
                measure::send(streams[n].as_raw_fd(), BEAT).expect("a beat");
            }
            for n in epoll.wait(1) {
                measure::receive(streams[n as usize].as_raw_fd(), &mut [0; 512]).expect("an ack");
                beats += 1;
            }
        }
        beats
    };
    let few = beat(start + 2 * INTERVAL);
    let usage = Usage::now();
    let beats = beat(start + 2 * INTERVAL + Duration::from_secs(run.seconds));
    usage.cost(beats, &mut figures);
    figures.set("memory", (resident() - before) / run.links as f64);
    let begin = Instant::now();
    drop(streams);
    figures.set("stop", begin.elapsed().as_secs_f64());
    figures.set("all beats", (few + beats) as f64);
    figures
}
