//! What is measured of a process by itself, and the few system calls that the contestants make.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a contestant is to do.
pub struct Run {
    pub address: SocketAddr,
    pub links: usize,
    /// How long it is measured.
    pub seconds: u64,
}

/// One beat a second.
pub const INTERVAL: Duration = Duration::from_secs(1);

impl Run {
    pub fn words(&self) -> [String; 3] {
        [self.address.to_string(), self.links.to_string(), self.seconds.to_string()]
    }

    pub fn parse(words: &[&str]) -> Run {
        let [address, links, seconds] = words else { panic!("address, links, seconds") };
        Run {
            address: address.parse().expect("an address"),
            links: links.parse().expect("a number"),
            seconds: seconds.parse().expect("a number"),
        }
    }
}

/// Figures under their names, as one process prints and another reads them.
#[derive(Default)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub fn set(&mut self, name: &str, figure: f64) {
        self.0.insert(name.to_owned(), figure);
    }

    /// Not a number where it was not measured.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(f64::NAN)
    }

    pub fn parse(text: &str) -> Figures {
        let figure = |line: &str| {
            let (name, figure) = line.split_once('=')?;
            Some((name.to_owned(), figure.parse().ok()?))
        };
        Figures(text.lines().filter_map(figure).collect())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, figure)| writeln!(f, "{name}={figure}"))
    }
}

/// What this process has used up so far, all its threads together, also those that ended.
#[derive(Clone, Copy)]
pub struct Usage {
    cpu: Duration,
    switches: i64,
}

impl Usage {
    pub fn now() -> Usage {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: getrusage fills the whole struct; it cannot fail with these arguments.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
            usage.assume_init()
        };
        let time = |t: libc::timeval| {
            Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64)
        };
        let cpu = time(usage.ru_utime) + time(usage.ru_stime);
        Usage { cpu, switches: usage.ru_nvcsw + usage.ru_nivcsw }
    }

    /// What `beats` have cost since then.
    pub fn cost(self, beats: u64, figures: &mut Figures) {
        let now = Usage::now();
        let beats = beats as f64;
        figures.set("beats", beats);
        figures.set("cpu", (now.cpu - self.cpu).as_secs_f64() * 1e6 / beats);
        figures.set("switches", (now.switches - self.switches) as f64 / beats);
    }
}

/// Resident memory of this process, in KiB.
pub fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("the status of this process");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// As many descriptors as are allowed.
pub fn raise_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls take a valid rlimit.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}

/// How many bytes were sent; none after an error.
pub fn send(fd: RawFd, bytes: &[u8]) -> Option<usize> {
    let flags = libc::MSG_NOSIGNAL;
    // SAFETY: the bytes are valid for their length.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent).ok()
}

/// How many bytes came; 0 at the end, none after an error.
pub fn receive(fd: RawFd, bytes: &mut [u8]) -> Option<usize> {
    // SAFETY: the bytes are valid for their length.
    let came = unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    usize::try_from(came).ok()
}

/// Waits until something comes, or the time passed. True if something came.
pub fn poll(fd: RawFd, most: Duration) -> bool {
    let mut entry = libc::pollfd { fd, events: libc::POLLIN | libc::POLLRDHUP, revents: 0 };
    let (tv_sec, tv_nsec) = (most.as_secs() as _, most.subsec_nanos() as _);
    let limit = libc::timespec { tv_sec, tv_nsec };
    // SAFETY: one valid pollfd and a valid timespec; a null mask leaves the signals alone.
    unsafe { libc::ppoll(&mut entry, 1, &limit, std::ptr::null()) > 0 }
}

/// The kernel may wake this thread so much late.
pub fn set_slack(slack: Duration) {
    // SAFETY: this option takes an integer.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack.as_nanos() as libc::c_ulong) };
}

/// This thread is no interactive one.
pub fn set_batch() {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: a valid parameter, for this thread alone.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &param) };
}

pub struct Epoll(RawFd);

impl Epoll {
    pub fn new() -> Epoll {
        // SAFETY: it takes an integer.
        Epoll(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
    }

    pub fn add(&self, fd: RawFd, token: u64) {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: a valid event for the call.
        let done = unsafe { libc::epoll_ctl(self.0, libc::EPOLL_CTL_ADD, fd, &mut event) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }

    /// Those of which something came; waits so many milliseconds at most.
    pub fn wait(&self, millis: i32) -> impl Iterator<Item = u64> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 1024];
        // SAFETY: there is room for so many events.
        let came = unsafe { libc::epoll_wait(self.0, events.as_mut_ptr(), 1024, millis) };
        events.into_iter().take(came.max(0) as usize).map(|event| event.u64)
    }

    pub fn close(fd: RawFd) {
        // SAFETY: whoever calls it owns the descriptor and does not use it any more.
        unsafe { libc::close(fd) };
    }
}

/// How late beats go out, in microseconds: counts by powers of the square root of two.
pub struct Lateness([AtomicU64; 64]);

impl Default for Lateness {
    fn default() -> Lateness {
        Lateness([const { AtomicU64::new(0) }; 64])
    }
}

impl Lateness {
    pub fn note(&self, late: Duration) {
        let micros = late.as_micros().max(1) as f64;
        let place = (2.0 * micros.log2()) as usize;
        self.0[place.min(63)].fetch_add(1, Ordering::Relaxed);
    }

    pub fn clear(&self) {
        self.0.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// The upper border of the class in which it lies; not a number where nothing was noted.
    pub fn p99(&self) -> f64 {
        let counts: Vec<_> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count;
            seen * 100 >= all * 99 && all > 0
        };
        let place = counts.iter().position(reached);
        place.map_or(f64::NAN, |place| 2_f64.powf((place + 1) as f64 / 2.0))
    }
}
