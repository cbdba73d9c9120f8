//! A start beyond the machine's limits is refused with the numbers and the remedy, and the process
//! lives.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use keepbeat::{Coordinator, Error, Heartbeat, LinkId, State};
use libtest_mimic::Trial;

use crate::server::tutorial;
use crate::{Need, child, trial};

pub fn trials() -> Vec<Trial> {
    let linux = if cfg!(target_os = "linux") { Ok(()) } else { Err("needs Linux".to_owned()) };
    vec![
        trial("a_start_beyond_the_descriptors_is_refused", linux, || child_lives("few-files")),
        trial("a_start_beyond_all_threads_is_refused", memory(), || child_lives("all-threads")),
    ]
}

/// Sixteen thousand threads take half a gigabyte.
fn memory() -> Need {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(|error| error.to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: u64 = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0);
    if kib > 3 << 20 { Ok(()) } else { Err("needs 3 GiB of free memory".to_owned()) }
}

fn child_lives(part: &str) {
    let output = child::start(&[part]).wait_with_output().unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{part}: {:?}", output.status);
}

/// A link that costs nobody anything: nobody listens there, and it backs off for a minute.
fn watch(coordinator: &Coordinator, port: u16) -> Result<LinkId, Error> {
    let minute = Duration::from_secs(60);
    let beat = Heartbeat::every(minute).backoff(minute, minute);
    coordinator.watch(format!("127.0.0.1:{port}"), beat, tutorial())
}

/// Starts links until one is refused.
fn start_all(coordinator: &Coordinator, port: u16, most: usize, links: &mut Vec<LinkId>) -> Error {
    loop {
        match watch(coordinator, port) {
            Ok(link) => links.push(link),
            Err(error) => return error,
        }
        assert!(links.len() < most, "{} links and no refusal", links.len());
    }
}

/// Starts links until one is refused; then all of them still work, and one less makes room for one.
fn fill(most: usize) -> (usize, Error) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Nobody listens, so nobody is hurt by so many attempts a second.
    let coordinator = Coordinator::builder().connects_per_second(1_000_000).build().unwrap();
    let mut links = Vec::new();
    let refused = loop {
        let before = links.len();
        let refused = start_all(&coordinator, port, most, &mut links);
        assert!(refused.is_limit(), "{refused}");
        if links.len() == before {
            break refused;
        }
        // A descriptor that is just being opened or closed counts twice, so that it never counts as
        // free: it is full when none can start while all of them rest.
        let rest = |status: &keepbeat::Status| status.state == State::Down;
        let start = Instant::now();
        while !coordinator.statuses().iter().all(rest) {
            assert!(start.elapsed() < Duration::from_secs(60), "not all of them rest");
            std::thread::sleep(Duration::from_millis(50)); // between two looks
        }
    };
    assert_eq!(coordinator.statuses().len(), links.len());
    assert!(watch(&coordinator, port).is_err(), "still full");
    let count = links.len();
    for link in links.drain(..count.min(8)) {
        coordinator.remove(link).unwrap();
    }
    watch(&coordinator, port).expect("there is room again");
    // Sixteen thousand threads may take more than a second to end on a busy machine: that is said.
    if let Err(error) = coordinator.stop() {
        assert!(count > 10_000 && error.is_left_behind(), "{error}");
    }
    (count, refused)
}

pub fn few_files() {
    set_files(64);
    let (count, error) = fill(64);
    assert!((20..64).contains(&count), "{count} links");
    let text = error.to_string();
    assert!(text.contains("of 64 file descriptors") && text.contains("ulimit -n"), "{text}");
    println!("{count} links, then: {text}");
}

pub fn all_threads() {
    set_files(u64::MAX);
    let (count, error) = fill(200_000);
    println!("{count} links, then: {error}");
}

/// The soft limit, as far as the hard one allows.
pub fn set_files(most: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a valid pointer to one rlimit.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max.min(most);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    limit.rlim_cur
}
