//! Queues of the application's own, and descriptors for those who wait in poll; readers that take
//! nothing, and what they cost.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::crossbeam_channel::{TryRecvError, bounded};
use keepbeat::{
    Adopt, Cause, Connect, Coordinator, EventKind, Heartbeat, Line, Received, Responder, Role,
    State,
};

use super::alone::alone;
use super::{LIMIT, answer_one, eventually, lines, ms, pair, rarely};

fn is_readable(fd: BorrowedFd<'_>, within: Duration) -> bool {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd, which outlives the call.
    unsafe { libc::poll(&mut entry, 1, within.as_millis() as i32) == 1 }
}

#[test]
fn events_come_by_a_descriptor_that_is_readable_while_some_wait_and_after_the_end() {
    let responder = Responder::bind("127.0.0.1:0", || Line).unwrap();
    let coordinator = Coordinator::new().unwrap();
    let queue = coordinator.event_queue(1000).unwrap();
    assert!(!is_readable(queue.as_fd(), Duration::ZERO));
    assert_eq!(queue.try_next().unwrap_err(), TryRecvError::Empty);
    coordinator.watch(responder.local_addr(), rarely(), Line).unwrap();
    let mut seen = Vec::new();
    while !seen.contains(&"state") {
        assert!(is_readable(queue.as_fd(), LIMIT), "{seen:?}");
        while let Ok(event) = queue.try_next() {
            seen.push(event.kind().word());
        }
        // A descriptor that were left readable would make the loop spin.
        let quiet = !is_readable(queue.as_fd(), Duration::ZERO);
        assert!(quiet || queue.try_next().map(|event| seen.push(event.kind().word())).is_ok());
    }
    coordinator.stop().unwrap();
    while queue.try_next().is_ok() {}
    assert!(is_readable(queue.as_fd(), Duration::ZERO));
    assert_eq!(queue.try_next().unwrap_err(), TryRecvError::Disconnected);
    assert!(is_readable(queue.as_fd(), Duration::ZERO), "for ever");
    let late = coordinator.event_queue(1).unwrap();
    assert!(is_readable(late.as_fd(), Duration::ZERO));
    assert_eq!(late.try_next().unwrap_err(), TryRecvError::Disconnected);
}

#[test]
fn a_queue_that_was_full_says_so_by_its_descriptor_too() {
    let responder = Responder::bind("127.0.0.1:0", || Line).unwrap();
    let coordinator = Coordinator::new().unwrap();
    let queue = coordinator.event_queue(1).unwrap();
    let beat = Heartbeat::every(ms(20)).timeout(LIMIT);
    let link = coordinator.watch(responder.local_addr(), beat, Line).unwrap();
    eventually("many", || coordinator.status(link).unwrap().acked > 20);
    let mut lost = 0;
    while lost == 0 {
        assert!(is_readable(queue.as_fd(), LIMIT));
        if let Ok(event) = queue.try_next() {
            if let EventKind::Overflowed { count } = event.kind() {
                lost = *count;
            }
        }
    }
}

#[test]
fn frames_come_by_a_descriptor_too_also_those_that_came_before_it_was_asked_for() {
    let coordinator = Coordinator::new().unwrap();
    let (ours, mut theirs) = pair();
    let link = coordinator.adopt(ours, rarely(), lines()).unwrap();
    answer_one(&mut theirs);
    theirs.write_all(b"one\n").unwrap();
    eventually("it has come", || link.frames().len() == 1);
    assert!(is_readable(link.frames_fd().unwrap(), Duration::ZERO));
    assert_eq!(link.try_frame(), Ok(Received::Frame(b"one".to_vec())));
    assert_eq!(link.try_frame(), Err(TryRecvError::Empty));
    assert!(!is_readable(link.frames_fd().unwrap(), Duration::ZERO));
    theirs.write_all(b"two\nthree\n").unwrap();
    for word in ["two", "three"] {
        assert!(is_readable(link.frames_fd().unwrap(), LIMIT));
        let deadline = Instant::now() + LIMIT;
        let next = loop {
            match link.try_frame() {
                Err(TryRecvError::Empty) if Instant::now() < deadline => thread::yield_now(),
                other => break other,
            }
        };
        assert_eq!(next, Ok(Received::Frame(word.into())));
    }
    drop(theirs);
    assert!(is_readable(link.frames_fd().unwrap(), LIMIT));
    eventually("the end", || matches!(link.try_frame(), Ok(Received::Lost { .. })));
    for _ in 0..3 {
        assert!(is_readable(link.frames_fd().unwrap(), LIMIT), "for ever");
        assert_eq!(link.try_frame(), Err(TryRecvError::Disconnected));
    }
}

#[test]
fn many_links_deliver_into_one_queue_each_with_its_number_and_its_end() {
    let coordinator = Coordinator::new().unwrap();
    let (all, frames) = bounded(3); // far too small: it makes backpressure, and loses nothing
    let count = 10;
    let (mut links, mut peers) = (Vec::new(), Vec::new());
    for n in 0..count {
        let (ours, theirs) = pair();
        let adopt = Adopt::new(ours).deliver_to(all.clone());
        let link = coordinator.adopt(adopt, rarely().role(Role::Passive), lines()).unwrap();
        assert!(link.frames().recv().is_err(), "they go elsewhere");
        peers.push((link.id(), n, theirs));
        links.push(link);
    }
    drop(all);
    let (ids, threads): (Vec<_>, Vec<_>) = peers
        .into_iter()
        .map(|(id, n, mut theirs)| {
            let writing = thread::spawn(move || {
                for frame in 0..50 {
                    theirs.write_all(format!("{n} {frame}\n").as_bytes()).unwrap();
                }
            });
            ((id, n), writing)
        })
        .unzip();
    let mut seen = std::collections::BTreeMap::<_, Vec<_>>::new();
    for (link, received) in &frames {
        seen.entry(link).or_default().push(received);
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for (id, n) in ids {
        let (last, data) = seen[&id].split_last().unwrap();
        let wanted: Vec<_> =
            (0..50).map(|f| Received::Frame(format!("{n} {f}").into_bytes())).collect();
        assert_eq!(data, wanted);
        assert!(
            matches!(last, Received::Lost { loss, .. } if loss.cause == Cause::ClosedByPeer),
            "{last:?}"
        );
    }
    let mut of_connect = Connect::to("127.0.0.1:1").unwrap();
    let (one, it) = bounded(8);
    of_connect = of_connect.deliver_to(one);
    let link = coordinator.connect(of_connect, rarely(), lines()).unwrap();
    let id = link.id();
    drop(link);
    let last = it.iter().last().unwrap();
    assert!(last.0 == id && matches!(last.1, Received::Lost { .. }));
}

fn switches() -> i64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: it writes one rusage.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    usage.ru_nvcsw
}

/// In a process of its own, for its wake-ups are counted.
#[test]
fn readers_that_take_nothing_cost_no_wakeups_and_get_the_rest_when_they_do() {
    let name = "queues::readers_that_take_nothing_cost_no_wakeups_and_get_the_rest_when_they_do";
    if !alone(name, LIMIT) {
        return;
    }
    let coordinator = Coordinator::new().unwrap();
    let (mut links, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let (ours, mut theirs) = pair();
        theirs.write_all(&b"data\n".repeat(200)).unwrap();
        let beat = Heartbeat::every(ms(60_000)).role(Role::SendOnly);
        links.push(coordinator.adopt(ours, beat, lines()).unwrap());
        peers.push(theirs);
    }
    eventually("none takes anything", || links.iter().all(|link| link.status().unread));
    thread::sleep(ms(500)); // the links have given up to look
    let (before, start) = (switches(), Instant::now());
    thread::sleep(ms(2000)); // the time that is measured
    let a_second = (switches() - before) as f64 / start.elapsed().as_secs_f64();
    assert!(a_second < 500.0, "{a_second:.0} wake-ups a second"); // it was 5,000 before
    for link in &links {
        let taken = (0..200).filter_map(|_| link.frames().recv_timeout(LIMIT).ok()).count();
        assert_eq!(taken, 200);
    }
    assert!(links.iter().all(|link| link.status().state == State::Up));
}
