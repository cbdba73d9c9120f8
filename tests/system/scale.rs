//! Thousands of links in one process: none misses a beat, and nothing is left of them.

use std::time::{Duration, Instant};

use keepbeat::{Coordinator, Heartbeat, Responder, State};
use libtest_mimic::Trial;

use crate::limits::set_files;
use crate::server::{LIMIT, answering, eventually, ms, tutorial};
use crate::{Need, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("thousands_started_together_come_up_at_the_bounded_rate", files(), start),
        trial("2000_links_for_a_minute_miss_no_beat_and_leave_nothing", files(), minute),
        trial("10000_links_in_turn_leak_nothing", files(), turns),
        trial("links_that_end_by_themselves_give_back_their_stacks", files(), ended),
    ]
}

/// Both ends live in this process.
pub fn files() -> Need {
    let most = set_files(u64::MAX);
    let (need, proc) = (8000, std::fs::exists("/proc/self/task").unwrap_or(false));
    match (most >= need, proc) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("needs {need} descriptors, `ulimit -Hn` allows {most}")),
        (_, false) => Err("needs /proc".to_owned()),
    }
}

fn entries(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

fn threads() -> usize {
    entries("/proc/self/task")
}

fn descriptors() -> usize {
    entries("/proc/self/fd")
}

fn responder() -> Responder {
    Responder::builder().max_clients(10_000).bind("127.0.0.1:0", answering).unwrap()
}

fn watch(coordinator: &Coordinator, responder: &Responder, beat: &Heartbeat) -> keepbeat::LinkId {
    coordinator.watch(responder.local_addr(), beat.clone(), tutorial()).unwrap()
}

fn all_up(coordinator: &Coordinator) -> bool {
    coordinator.statuses().iter().all(|status| status.state == State::Up)
}

fn start() {
    const LINKS: usize = 3000;
    let before = threads();
    let responder = responder();
    let coordinator = Coordinator::new().unwrap();
    let begin = Instant::now();
    for _ in 0..LINKS {
        watch(&coordinator, &responder, &Heartbeat::default());
    }
    eventually("all are up", || all_up(&coordinator));
    let took = begin.elapsed();
    let rate = LINKS as f64 / took.as_secs_f64();
    println!(
        "{LINKS} links up in {took:.2?}: {rate:.0} a second, at a bound of 1000 and a start of 100"
    );
    // Not faster than the bound allows, whatever the machine.
    assert!(took >= Duration::from_millis(2800), "{took:?}");
    // How soon is asked with 2,000 of them; here all must be gone in the end, however busy it is.
    if let Err(error) = coordinator.stop() {
        assert!(error.is_left_behind(), "{error}");
    }
    responder.stop();
    eventually("all threads have ended", || threads() <= before);
}

fn minute() {
    let (threads_before, descriptors_before) = (threads(), descriptors());
    let responder = responder();
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(Duration::from_secs(1)).timeout(Duration::from_secs(5));
    for _ in 0..2000 {
        watch(&coordinator, &responder, &beat);
    }
    eventually("all are up", || all_up(&coordinator));
    let begin = Instant::now();
    // Read as a user would; the beats go on whether or not.
    let mut events = 0_u64;
    while begin.elapsed() < Duration::from_secs(60) {
        events += u64::from(coordinator.events().recv_timeout(ms(100)).is_ok());
    }
    let statuses = coordinator.statuses();
    let acked: u64 = statuses.iter().map(|status| status.acked).sum();
    let least = statuses.iter().map(|status| status.acked).min().unwrap();
    let begin = Instant::now();
    coordinator.stop().unwrap();
    let stopping = begin.elapsed();
    println!(
        "{acked} beats acked, {least} on the slowest link, {events} events, stop {stopping:.2?}"
    );
    for status in &statuses {
        assert_eq!((status.state, status.missed, status.late), (State::Up, 0, 0), "{status:?}");
    }
    // Jittered by 5 % and started up to two seconds before the minute.
    assert!(least >= 55, "{least} beats in a minute");
    assert!(acked >= 2000 * 59, "{acked}");
    responder.stop();
    assert!(threads() <= threads_before, "{} threads, {threads_before} before", threads());
    drop((coordinator, responder));
    eventually("no descriptor is left", || descriptors() <= descriptors_before);
}

fn turns() {
    let (threads_before, descriptors_before) = (threads(), descriptors());
    let responder = responder();
    let coordinator = Coordinator::builder().connects_per_second(100_000).build().unwrap();
    let beat = Heartbeat::every(Duration::from_secs(1)).timeout(LIMIT);
    for _ in 0..100 {
        let links: Vec<_> = (0..100).map(|_| watch(&coordinator, &responder, &beat)).collect();
        eventually("all are up", || all_up(&coordinator));
        for link in links {
            coordinator.remove(link).unwrap();
        }
    }
    assert!(coordinator.statuses().is_empty());
    coordinator.stop().unwrap();
    responder.stop();
    assert!(threads() <= threads_before, "{} threads, {threads_before} before", threads());
    drop((coordinator, responder));
    eventually("no descriptor is left", || descriptors() <= descriptors_before);
}

/// Never removed, and yet only their status stays.
fn ended() {
    let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let responder = responder();
    let coordinator = Coordinator::builder().connects_per_second(100_000).build().unwrap();
    let once = Heartbeat::every(Duration::from_secs(1)).timeout(LIMIT).rounds(1);
    let mut before = 0;
    for round in 1..=10 {
        for _ in 0..100 {
            watch(&coordinator, &responder, &once);
        }
        eventually("all have ended", || coordinator.statuses().iter().all(|s| s.ended));
        if round == 2 {
            before = mappings();
        }
    }
    let after = mappings();
    assert_eq!(coordinator.statuses().len(), 1000);
    // A stack and its guard for each would be 1600 more.
    assert!(after < before + 800, "{before} mappings after 200 links, {after} after 1000");
    coordinator.stop().unwrap();
    responder.stop();
}
