//! What the tests look through: a coordinator with one link, its events, and waits with a limit.
//! Also the tests of watching itself: pause, resume, status, names.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keepbeat::{
    Cause, Coordinator, Event, EventKind, Exchange, Heartbeat, LinkId, Protocol, State, Status,
};

use crate::peer::Peer;

/// No wait of a test is longer; a noisy machine gets its time, a broken program an end.
pub const LIMIT: Duration = Duration::from_secs(30);

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn tutorial() -> Exchange {
    Exchange::new("heartbeat", "heartbeat_ack")
}

/// Short, and with room for a noisy machine between interval, timeout and noise.
pub fn quick() -> Heartbeat {
    Heartbeat::every(ms(300)).timeout(ms(200)).fall(3).backoff(ms(50), ms(200))
}

pub struct Watch {
    pub coordinator: Coordinator,
    pub link: LinkId,
    pub seen: Vec<Event>,
}

impl Watch {
    pub fn new(address: SocketAddr, beat: Heartbeat, protocol: impl Protocol + 'static) -> Watch {
        let coordinator = Coordinator::new().unwrap();
        let link = coordinator.watch(address, beat, protocol).unwrap();
        Watch { coordinator, link, seen: Vec::new() }
    }

    pub fn tutorial(peer: &Peer, beat: Heartbeat) -> Watch {
        Watch::new(peer.address, beat, tutorial())
    }

    /// Reads events up to the first that is wanted.
    pub fn wait(&mut self, what: &str, wanted: impl Fn(&EventKind) -> bool) -> Event {
        let deadline = Instant::now() + LIMIT;
        loop {
            let Ok(event) = self.coordinator.events().recv_deadline(deadline) else {
                let seen: Vec<_> = self.seen.iter().map(ToString::to_string).collect();
                panic!("no {what} within {LIMIT:?}, but {seen:#?}");
            };
            self.seen.push(event.clone());
            if wanted(event.kind()) {
                return event;
            }
        }
    }

    pub fn wait_state(&mut self, state: State) -> Event {
        self.wait(state.word(), |kind| matches!(kind, EventKind::State { to, .. } if *to == state))
    }

    /// The cause with which the link went Down, and its detail.
    pub fn wait_down(&mut self) -> (Cause, String) {
        match self.wait_state(State::Down).kind() {
            EventKind::State { loss: Some(loss), .. } => (loss.cause, loss.detail.clone()),
            other => panic!("Down without a cause: {other:?}"),
        }
    }

    pub fn wait_beats(&mut self, beats: usize) {
        for _ in 0..beats {
            self.wait("beat", |kind| matches!(kind, EventKind::Beat { .. }));
        }
    }

    pub fn count(&self, counted: impl Fn(&EventKind) -> bool) -> usize {
        self.seen.iter().filter(|event| counted(event.kind())).count()
    }

    pub fn misses(&self) -> usize {
        self.count(|kind| matches!(kind, EventKind::Missed { .. }))
    }

    /// The states that it went through, in order.
    pub fn states(&self) -> Vec<State> {
        self.seen
            .iter()
            .filter_map(|event| match event.kind() {
                EventKind::State { to, .. } => Some(*to),
                _ => None,
            })
            .collect()
    }

    pub fn status(&self) -> Status {
        self.coordinator.status(self.link).unwrap()
    }
}

/// Waits for a condition that no channel tells.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
        std::thread::sleep(ms(1)); // between two looks
    }
}

#[test]
fn events_and_status_tell_the_same_truth() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let mut watch = Watch::tutorial(&peer, Heartbeat::every(ms(20)).timeout(ms(2000)));
    watch.wait_beats(10);
    let status = watch.status();
    assert_eq!((status.state, status.peer), (State::Up, Some(peer.address)));
    assert_eq!((status.missed, status.late, status.reconnects), (0, 0, 0));
    assert!(status.acked >= 10 && status.sent >= status.acked);
    let rtt = &status.rtt;
    assert!(rtt.min() <= rtt.avg() && rtt.avg() <= rtt.max() && rtt.last().is_some());
    assert_eq!(watch.states(), [State::Up]);
    let event = &watch.seen[0];
    assert!(matches!(event.kind(), EventKind::Connected { attempt: 1, .. }), "{event}");
    assert_eq!((event.link(), event.peer()), (Some(watch.link), Some(peer.address)));
    assert_eq!(event.target(), format!("tcp://{}", peer.address));
    assert_eq!(watch.coordinator.statuses().len(), 1);
}

#[test]
fn a_paused_link_sends_nothing_keeps_its_connection_and_resumes() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let mut watch = Watch::tutorial(&peer, Heartbeat::every(ms(20)).timeout(ms(2000)));
    watch.wait_beats(3);
    watch.coordinator.pause(watch.link).unwrap();
    assert!(watch.status().paused);
    // One beat may be on its way at this moment. None is planned after it.
    std::thread::sleep(ms(10));
    let before = watch.status().sent;
    std::thread::sleep(ms(200)); // ten intervals: the fault injected here is "no beat"
    assert_eq!(watch.status().sent, before, "beats while paused");
    assert_eq!((watch.status().state, peer.visits()), (State::Up, 1));
    watch.coordinator.resume(watch.link).unwrap();
    let sent = watch.status().sent;
    eventually("beats after resume", || watch.status().sent > sent + 2);
    assert_eq!((watch.misses(), peer.visits()), (0, 1));
}

#[test]
fn a_paused_link_tells_its_end_and_does_not_reconnect_until_resumed() {
    let (close, closing) = crossbeam_channel::bounded::<()>(0);
    let peer = Peer::new(move |mut visit| match visit.nth {
        0 => {
            visit.ack(1)?;
            let _ = closing.recv();
            Ok(())
        }
        _ => visit.ack_for_ever(),
    });
    let beat = Heartbeat::every(ms(50)).timeout(ms(2000)).backoff(ms(1), ms(1));
    let mut watch = Watch::tutorial(&peer, beat);
    watch.wait_state(State::Up);
    watch.coordinator.pause(watch.link).unwrap();
    drop(close);
    watch.wait_down();
    std::thread::sleep(ms(300)); // many backoffs and intervals
    assert_eq!(peer.visits(), 1, "an attempt while paused");
    watch.coordinator.resume(watch.link).unwrap();
    watch.wait_state(State::Up);
}

#[test]
fn pause_and_resume_are_in_force_from_the_next_planned_beat_on() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let beat = Heartbeat::every(ms(1000)).timeout(ms(5000));
    let mut watch = Watch::tutorial(&peer, beat);
    watch.wait_beats(2);
    watch.coordinator.pause(watch.link).unwrap();
    std::thread::sleep(ms(2500)); // two planned beats and a half
    assert_eq!(watch.status().sent, 2, "the very next beat is left out");
    watch.coordinator.resume(watch.link).unwrap();
    let start = Instant::now();
    eventually("a beat", || watch.status().sent == 3);
    // Half an interval is left to the next planned one; a round late it would be one and a half.
    let took = start.elapsed();
    assert!(took < ms(1200), "{took:?}");
}

#[test]
fn the_longest_settings_that_are_accepted_work() {
    let day = Duration::from_secs(24 * 3600);
    let hour = Duration::from_secs(3600);
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    for beat in [
        Heartbeat::every(7 * day).timeout(hour).fall(100).rise(1).jitter(0.5).backoff(day, day),
        Heartbeat::every(ms(1)).user_timeout(24 * day).write_timeout(hour).connect_timeout(hour),
        Heartbeat::every(ms(1)).timeout(ms(1)).connect_timeout(ms(1000)).fall(100),
    ] {
        beat.check().unwrap();
        Watch::tutorial(&peer, beat).wait_state(State::Up);
    }
}

#[test]
fn links_come_and_go_from_any_thread_and_unknown_ones_are_named() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let coordinator = Coordinator::new().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let link = coordinator.watch(peer.address, quick(), tutorial()).unwrap();
                    coordinator.status(link).unwrap();
                    coordinator.remove(link).unwrap();
                    assert!(coordinator.status(link).unwrap_err().is_unknown_link());
                    assert!(coordinator.remove(link).unwrap_err().is_unknown_link());
                }
            });
        }
    });
    assert!(coordinator.statuses().is_empty());
    coordinator.stop().unwrap();
    let error = coordinator.watch(peer.address, quick(), tutorial()).unwrap_err();
    assert!(error.is_stopped(), "{error}");
}

#[test]
fn names_and_targets_are_told_without_credentials() {
    let coordinator = Coordinator::new().unwrap();
    let target: keepbeat::Target = "redis://bob:s3cret@127.0.0.1:1".parse().unwrap();
    let link = coordinator.watch(target.named("cache"), quick(), keepbeat::Redis::new()).unwrap();
    let event = coordinator.events().recv_timeout(LIMIT).unwrap();
    assert_eq!((event.name(), event.target()), ("cache", "redis://127.0.0.1:1"));
    let status = coordinator.status(link).unwrap();
    assert!(!format!("{event:?} {status:?}").contains("s3cret"));
}

#[test]
fn a_target_or_heartbeat_that_cannot_work_is_refused_and_nothing_starts() {
    let coordinator = Coordinator::new().unwrap();
    let refused = [
        coordinator.watch("nowhere", quick(), tutorial()),
        coordinator.watch("127.0.0.1:99999", quick(), tutorial()),
        coordinator.watch("127.0.0.1:1", quick().timeout(Duration::ZERO), tutorial()),
    ];
    for result in refused {
        assert!(result.unwrap_err().is_invalid());
    }
    assert!(coordinator.statuses().is_empty());
}

#[test]
fn a_link_ends_by_itself_after_its_rounds() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let beat = Heartbeat::every(ms(10)).timeout(ms(2000)).rounds(5);
    let mut watch = Watch::tutorial(&peer, beat);
    watch.wait("end", |kind| *kind == EventKind::Ended);
    let status = watch.status();
    assert_eq!((status.sent, status.acked, status.state), (5, 5, State::Up));
    assert!(status.ended);
    watch.coordinator.remove(watch.link).unwrap();
}
