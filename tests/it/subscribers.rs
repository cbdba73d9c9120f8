//! Readers of events: each at its own pace, and none at the cost of another or of a heartbeat.

use keepbeat::{Coordinator, EventKind, Heartbeat, State};

use crate::peer::Peer;
use crate::watching::{LIMIT, eventually, ms, tutorial};

#[test]
fn a_subscriber_that_never_reads_costs_nobody_and_is_told_what_it_lost() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    // The main queue is not read either.
    let coordinator = Coordinator::builder().events_capacity(16).build().unwrap();
    let (never, reads) = (coordinator.subscribe(8), coordinator.subscribe(100_000));
    let beat = Heartbeat::every(ms(1)).timeout(ms(5000));
    let links: Vec<_> = (0..4)
        .map(|_| coordinator.watch(peer.address, beat.clone(), tutorial()).unwrap())
        .collect();
    let acked = || coordinator.statuses().iter().map(|status| status.acked).collect::<Vec<_>>();
    eventually("two thousand beats", || acked().iter().all(|acked| *acked > 500));
    for link in &links {
        let status = coordinator.status(*link).unwrap();
        assert_eq!((status.state, status.missed), (State::Up, 0), "heartbeats are unaffected");
    }
    assert_eq!((never.len(), coordinator.events().len()), (8, 16), "memory is bounded");
    coordinator.stop().unwrap();

    let all: Vec<_> = reads.iter().collect();
    assert!(all.len() > 2000);
    let lost = |event: &keepbeat::Event| matches!(event.kind(), EventKind::Overflowed { .. });
    assert!(!all.iter().any(lost), "the reader with room loses nothing");
    for id in &links {
        // Every beat, in order, none twice.
        let seqs: Vec<_> = all
            .iter()
            .filter(|event| event.link() == Some(*id))
            .filter_map(|event| match event.kind() {
                EventKind::Beat { seq, .. } => Some(*seq),
                _ => None,
            })
            .collect();
        assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "{seqs:?}");
    }
    let kept: Vec<_> = never.iter().collect();
    assert_eq!(kept.len(), 9, "and how many it lost");
    let count = all.len() as u64 - 8;
    assert_eq!(kept[8].kind(), &EventKind::Overflowed { count });
}

#[test]
fn the_loss_is_counted_to_the_event() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let coordinator = Coordinator::new().unwrap();
    let (slow, all) = (coordinator.subscribe(5), coordinator.subscribe(100_000));
    let beat = Heartbeat::every(ms(2)).timeout(ms(5000));
    coordinator.watch(peer.address, beat, tutorial()).unwrap();
    // Told in the right place: first what fitted, then the count, then what came after.
    let mut read = 0;
    let mut lost = 0;
    let deadline = std::time::Instant::now() + LIMIT;
    while lost == 0 {
        assert!(std::time::Instant::now() < deadline, "no loss is told");
        eventually("the slow queue is full", || slow.len() == 5);
        eventually("something is lost", || all.len() > 5 + read);
        while let Ok(event) = slow.try_recv() {
            match event.kind() {
                EventKind::Overflowed { count } => lost += count,
                _ => read += 1,
            }
        }
    }
    coordinator.stop().unwrap();
    for event in slow.iter() {
        match event.kind() {
            EventKind::Overflowed { count } => lost += count,
            _ => read += 1,
        }
    }
    let total = all.iter().count() as u64;
    assert_eq!(read as u64 + lost, total, "{read} read, {lost} lost");
    assert!(lost > 0);
}

#[test]
fn a_loss_is_told_though_nothing_else_happens() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let coordinator = Coordinator::new().unwrap();
    let slow = coordinator.subscribe(1);
    // Connected, a beat, up: then a minute of nothing.
    let beat = Heartbeat::every(ms(60_000));
    let link = coordinator.watch(peer.address, beat, tutorial()).unwrap();
    eventually("up", || coordinator.status(link).unwrap().state == State::Up);
    eventually("handed out", || coordinator.events().len() == 3);
    assert!(matches!(slow.recv_timeout(LIMIT).unwrap().kind(), EventKind::Connected { .. }));
    let event = slow.recv_timeout(LIMIT).unwrap();
    assert_eq!(event.kind(), &EventKind::Overflowed { count: 2 });
    assert_eq!((event.link(), event.name()), (None, "keepbeat"));
}

#[test]
fn a_change_is_told_after_the_beats_before_it() {
    let peer = Peer::new(|mut visit| visit.ack(50));
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(1)).timeout(ms(5000)).backoff(ms(9000), ms(9000));
    coordinator.watch(peer.address, beat, tutorial()).unwrap();
    let mut beats = 0;
    loop {
        let event = coordinator.events().recv_timeout(LIMIT).unwrap();
        match event.kind() {
            EventKind::Beat { .. } => beats += 1,
            EventKind::State { to: State::Down, .. } => break,
            _ => {}
        }
    }
    assert_eq!(beats, 50, "nobody sees Down before the last beat");
}

#[test]
fn a_queue_that_no_memory_holds_is_refused() {
    let error = Coordinator::builder().events_capacity(usize::MAX).build().unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("1048576"), "{error}");
}
