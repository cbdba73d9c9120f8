//! A wire between two hosts, in user space: what the kernel's own emulation would do elsewhere. It
//! delays, reorders, doubles, loses, queues and polices what passes, each way on its own, and may
//! be changed while it runs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

/// What becomes of packets that go one way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    pub delay: Duration,
    /// Up to so much more for each packet.
    pub jitter: Duration,
    /// Whether one packet may overtake another for it.
    pub reorders: bool,
    /// The share of packets that are lost.
    pub loss: f64,
    /// So much of each round is lost, from the moment when this was set.
    pub outage: Option<(Duration, Duration)>,
    /// The share of packets that come twice.
    pub twice: f64,
    /// Bytes a second, and how many may wait.
    pub rate: Option<(f64, f64)>,
    /// Packets a second, and how many at once; the rest is dropped.
    pub police: Option<(f64, f64)>,
    /// Somebody else fills a queue: so much more delay a second, and how much at most.
    pub filling: Option<(f64, Duration)>,
    /// Longer packets are lost without a word.
    pub longest: Option<usize>,
}

/// What has passed so far.
struct Passing {
    way: Way,
    since: Instant,
    /// When the queue is empty.
    free: Instant,
    tokens: f64,
    counted: Instant,
    last: Instant,
}

impl Passing {
    fn new(way: Way, now: Instant) -> Passing {
        let tokens = way.police.map_or(0.0, |(_, most)| most);
        Passing { way, since: now, free: now, tokens, counted: now, last: now }
    }

    /// When it comes out, if it does; and once more.
    fn admit(&mut self, len: usize, now: Instant, rng: &mut Rng) -> [Option<Instant>; 2] {
        let Way { loss, outage, twice, longest, .. } = self.way;
        let in_outage = outage.is_some_and(|(lasts, every)| {
            let at = now.duration_since(self.since).as_secs_f64() % every.as_secs_f64();
            at < lasts.as_secs_f64()
        });
        let too_long = longest.is_some_and(|longest| len > longest);
        if in_outage || too_long || rng.f64() < loss || !self.has_token(now) {
            return [None; 2];
        }
        let Some(due) = self.due(len, now, rng) else { return [None; 2] };
        [Some(due), (rng.f64() < twice).then_some(due)]
    }

    fn has_token(&mut self, now: Instant) -> bool {
        let Some((rate, most)) = self.way.police else { return true };
        let back = now.duration_since(self.counted).as_secs_f64() * rate;
        (self.tokens, self.counted) = ((self.tokens + back).min(most), now);
        let has = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(has));
        has
    }

    fn due(&mut self, len: usize, now: Instant, rng: &mut Rng) -> Option<Instant> {
        let mut due = now;
        if let Some((rate, room)) = self.way.rate {
            let begin = self.free.max(now);
            if (begin - now).as_secs_f64() * rate > room {
                return None;
            }
            self.free = begin + Duration::from_secs_f64(len as f64 / rate);
            due = self.free;
        }
        if let Some((growth, most)) = self.way.filling {
            let grown = now.duration_since(self.since).as_secs_f64() * growth;
            due += Duration::from_secs_f64(grown).min(most);
        }
        due += self.way.delay + self.way.jitter.mul_f64(rng.f64());
        if !self.way.reorders {
            due = due.max(self.last);
            self.last = due;
        }
        Some(due)
    }
}

/// Both ways: from the first host to the second, and back.
#[derive(Clone)]
pub struct Wire(Arc<Mutex<[Passing; 2]>>);

impl Wire {
    /// A device of this name in each of the two namespaces, and what lies between.
    pub fn between(hosts: [&str; 2], name: &str, seed: u64) -> Wire {
        let ends = hosts.map(|host| end(host, name));
        let now = Instant::now();
        let passing = [Passing::new(Way::default(), now), Passing::new(Way::default(), now)];
        let wire = Wire(Arc::new(Mutex::new(passing)));
        let theirs = wire.clone();
        thread::spawn(move || theirs.carry(ends, Rng::with_seed(seed)));
        wire
    }

    /// Both ways alike.
    pub fn set(&self, way: Way) {
        self.set_each(way, way);
    }

    pub fn set_each(&self, there: Way, back: Way) {
        let mut passing = self.0.lock().unwrap();
        let now = Instant::now();
        for (passing, way) in passing.iter_mut().zip([there, back]) {
            let last = passing.last;
            *passing = Passing { last, ..Passing::new(way, now) };
        }
    }

    fn carry(&self, mut ends: [File; 2], mut rng: Rng) {
        let mut queue = BinaryHeap::new();
        let mut room = [0; 2048];
        let mut number = 0_u64;
        loop {
            let next = queue.peek().map(|Reverse((due, ..)): &Reverse<Held>| *due);
            wait(&ends, next);
            for (from, end) in ends.iter_mut().enumerate() {
                while let Some(len) = read(end, &mut room) {
                    let now = Instant::now();
                    let admitted = self.0.lock().unwrap()[from].admit(len, now, &mut rng);
                    for due in admitted.into_iter().flatten() {
                        number += 1;
                        queue.push(Reverse((due, number, 1 - from, room[..len].to_vec())));
                    }
                }
            }
            while queue.peek().is_some_and(|Reverse((due, ..))| *due <= Instant::now()) {
                let Some(Reverse((_, _, to, packet))) = queue.pop() else { break };
                let _ = ends[to].write(&packet); // a device that is down takes none
            }
        }
    }
}

/// When it comes out, its number, to which end, and the packet.
type Held = (Instant, u64, usize, Vec<u8>);

fn read(end: &mut File, room: &mut [u8]) -> Option<usize> {
    match end.read(room) {
        Ok(len) => Some(len),
        // A device that is down has nothing to read.
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(_) => None,
    }
}

fn wait(ends: &[File; 2], until: Option<Instant>) {
    let mut polled = ends.each_ref().map(|end| libc::pollfd {
        fd: end.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    let left = left.map(|left| libc::timespec {
        tv_sec: left.as_secs() as _,
        tv_nsec: left.subsec_nanos().into(),
    });
    let left = left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: two pollfds and a time that live while it waits; no signals are masked.
    unsafe { libc::ppoll(polled.as_mut_ptr(), 2, left, std::ptr::null()) };
}

/// A device of its own in that namespace, for whole packets.
fn end(host: &str, name: &str) -> File {
    let (host, name) = (format!("/run/netns/{host}"), name.to_owned());
    // The thread alone goes there: what it opens stays there.
    let made = thread::spawn(move || {
        let there = File::open(host).unwrap();
        // SAFETY: setns touches no memory.
        assert_eq!(unsafe { libc::setns(there.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
        let path = c"/dev/net/tun";
        let flags = libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC;
        // SAFETY: the path is a string that ends with 0.
        let fd = unsafe { libc::open(path.as_ptr(), flags) };
        assert!(fd >= 0, "no /dev/net/tun: {}", std::io::Error::last_os_error());
        // SAFETY: the descriptor was just opened and is nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        // SAFETY: an ifreq of zeroes is one without a name.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as _;
        // SAFETY: the request lives, and is what this call expects.
        let set = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &mut request) };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
        file
    });
    made.join().unwrap()
}
