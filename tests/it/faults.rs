//! A peer with every fault: each gives the right state, cause and count, in time.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, SystemTime};

use keepbeat::protocol::{Frame, Rejected};
use keepbeat::{Cause, ConnectOnly, EventKind, Exchange, Heartbeat, Protocol, State};

use crate::peer::{ACK, Peer, Visit};
use crate::watching::{Watch, ms, quick};

/// A peer whose first connection runs `fault`, and which is healthy on every later one.
fn once(fault: impl Fn(Visit) -> io::Result<()> + Send + Sync + 'static) -> Peer {
    Peer::new(move |mut visit| match visit.nth {
        0 => fault(visit),
        _ => visit.ack_for_ever(),
    })
}

/// Watches it go Down and come back.
fn falls_and_recovers(peer: &Peer, beat: Heartbeat) -> (Watch, Cause, String) {
    let mut watch = Watch::tutorial(peer, beat);
    let (cause, detail) = watch.wait_down();
    watch.wait_state(State::Up);
    (watch, cause, detail)
}

fn has_disconnected(watch: &Watch, cause: Cause) -> bool {
    watch.count(|kind| matches!(kind, EventKind::Disconnected { loss, .. } if loss.cause == cause))
        == 1
}

#[test]
fn a_peer_that_acks_is_up() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let mut watch = Watch::tutorial(&peer, Heartbeat::every(ms(30)).timeout(ms(2000)));
    watch.wait_beats(20);
    assert_eq!((watch.states(), watch.misses(), peer.visits()), (vec![State::Up], 0, 1));
}

#[test]
fn a_peer_that_falls_silent_is_suspect_then_down() {
    let peer = once(|mut visit| {
        visit.ack(4)?;
        visit.swallow()
    });
    let (watch, cause, _) = falls_and_recovers(&peer, quick());
    assert_eq!(cause, Cause::PeerSilent, "its kernel acknowledged the beats");
    assert_eq!(watch.states(), [State::Up, State::Suspect, State::Down, State::Up]);
    assert_eq!(watch.misses(), 3);
    assert!(has_disconnected(&watch, Cause::PeerSilent));
    let missed = |kind: &EventKind| matches!(kind, EventKind::Missed { seq: 5, good: 4, .. });
    assert_eq!(watch.count(missed), 1, "after 4 good beats");
}

/// The bound of rule 4. A machine that stalled while it was measured says nothing, so there are
/// tries.
#[test]
fn silence_is_known_within_the_bound() {
    let (interval, timeout, fall) = (ms(400), ms(300), 3);
    let bound = interval.mul_f64(1.05) + fall * timeout + ms(50);
    let mut tried = Vec::new();
    for _ in 0..5 {
        let silent_since = Arc::new(Mutex::new(SystemTime::now()));
        let since = Arc::clone(&silent_since);
        let peer = once(move |mut visit| {
            visit.ack(3)?;
            *since.lock().unwrap() = SystemTime::now();
            visit.swallow()
        });
        let mut watch = Watch::tutorial(&peer, quick_with(interval, timeout, fall));
        let down = watch.wait_state(State::Down).time();
        let took = down.duration_since(*silent_since.lock().unwrap()).unwrap();
        if took <= bound {
            return;
        }
        tried.push(took);
    }
    panic!("over {bound:?} each time: {tried:?}");
}

fn quick_with(interval: Duration, timeout: Duration, fall: u32) -> Heartbeat {
    Heartbeat::every(interval).timeout(timeout).fall(fall)
}

#[test]
fn a_slow_peer_is_up_as_long_as_it_answers_in_time() {
    let peer = Peer::new(|mut visit| {
        loop {
            visit.beat()?;
            thread::sleep(ms(60)); // the fault
            visit.say(ACK)?;
        }
    });
    let mut watch = Watch::tutorial(&peer, Heartbeat::every(ms(100)).timeout(ms(3000)));
    watch.wait_beats(5);
    assert_eq!((watch.states(), watch.misses()), (vec![State::Up], 0));
    assert!(watch.status().rtt.min().unwrap() >= ms(60));
}

#[test]
fn a_late_ack_never_counts_for_the_next_beat() {
    let peer = Peer::new(|mut visit| {
        visit.ack(1)?;
        // The second and third beat are answered together, after the second's timeout.
        visit.beat()?;
        visit.beat()?;
        visit.say(ACK)?;
        visit.say(ACK)?;
        visit.ack_for_ever()
    });
    let mut watch = Watch::tutorial(&peer, quick().fall(5));
    watch.wait_state(State::Suspect);
    watch.wait_state(State::Up);
    let beats: Vec<_> = watch
        .seen
        .iter()
        .filter_map(|event| match event.kind() {
            EventKind::Beat { seq, rtt, late } => Some((*seq, rtt.is_some(), *late)),
            _ => None,
        })
        .collect();
    assert_eq!(beats, [(1, true, false), (2, false, true), (3, true, false)]);
    let status = watch.status();
    assert_eq!((status.late, status.missed), (1, 1));
    assert_eq!(peer.visits(), 1);
}

#[test]
fn a_reply_in_pieces_is_an_ack() {
    let peer = Peer::new(|mut visit| {
        loop {
            visit.beat()?;
            for byte in ACK {
                visit.say(&[*byte])?;
                thread::sleep(ms(2)); // the fault
            }
        }
    });
    let mut watch = Watch::tutorial(&peer, Heartbeat::every(ms(100)).timeout(ms(3000)));
    watch.wait_beats(5);
    assert_eq!((watch.states(), watch.misses(), peer.visits()), (vec![State::Up], 0, 1));
}

#[test]
fn part_of_a_reply_extends_the_wait_once_and_is_told() {
    let peer = once(|mut visit| {
        visit.ack(1)?;
        visit.beat()?;
        visit.say(b"heart")?;
        visit.swallow()
    });
    let (watch, cause, _) = falls_and_recovers(&peer, quick().fall(1));
    assert_eq!(cause, Cause::PartialReply);
    let partial = |kind: &EventKind| kind.cause() == Some(Cause::PartialReply);
    assert_eq!((watch.misses(), watch.count(partial)), (1, 3), "a miss, a state, a disconnect");
}

#[test]
fn garbage_is_shown_and_the_link_goes_down_at_once() {
    let peer = once(|mut visit| {
        visit.ack(1)?;
        visit.beat()?;
        visit.say(b"\x00SSH-2.0\r\n")?;
        visit.swallow()
    });
    let (watch, cause, detail) = falls_and_recovers(&peer, quick());
    assert_eq!(cause, Cause::WrongReply);
    assert_eq!(detail, r"expected `heartbeat_ack`, got `\x00SSH-2.0\r\n`");
    assert_eq!(watch.misses(), 0);
}

#[test]
fn more_acks_than_beats_are_a_wrong_reply() {
    let peer = once(|mut visit| {
        visit.beat()?;
        visit.say(ACK)?;
        visit.say(ACK)?;
        visit.swallow()
    });
    let (_, cause, detail) = falls_and_recovers(&peer, quick());
    assert_eq!((cause, detail.as_str()), (Cause::WrongReply, "more acks than beats"));
}

#[test]
fn a_flood_of_acks_or_of_garbage_is_a_wrong_reply() {
    for bytes in [ACK, b"x".as_slice()] {
        let peer = once(move |mut visit| {
            visit.beat()?;
            loop {
                visit.say(&bytes.repeat(1000))?;
            }
        });
        let (_, cause, _) = falls_and_recovers(&peer, quick());
        assert_eq!(cause, Cause::WrongReply);
    }
}

/// A protocol to which everything is data: a flood of it must not put off the verdict for ever.
struct AllData;

impl Protocol for AllData {
    fn beat(&mut self, _seq: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"heartbeat");
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        Ok((!bytes.is_empty()).then_some((Frame::Data, 1)))
    }
}

#[test]
fn a_flood_of_valid_data_does_not_put_off_the_verdict() {
    let peer = Peer::new(|mut visit| {
        loop {
            visit.say(&[b'x'; 65536])?;
        }
    });
    let mut watch = Watch::new(peer.address, quick(), AllData);
    assert_eq!(watch.wait_down().0, Cause::PeerSilent);
    assert_eq!(watch.misses(), 3);
}

#[test]
fn a_flood_on_a_port_that_speaks_unasked_is_no_trouble() {
    let peer = Peer::new(|mut visit| {
        loop {
            visit.say(&[b'x'; 65536])?;
        }
    });
    let beat = Heartbeat::every(ms(50)).timeout(ms(2000));
    let mut watch = Watch::new(peer.address, beat, ConnectOnly);
    watch.wait_beats(10);
    assert_eq!((watch.states(), watch.misses()), (vec![State::Up], 0));
}

#[test]
fn a_half_close_is_an_end() {
    let peer = once(|mut visit| {
        visit.ack(2)?;
        visit.half_close()
    });
    let (watch, cause, _) = falls_and_recovers(&peer, quick());
    assert_eq!(cause, Cause::ClosedByPeer);
    assert!(has_disconnected(&watch, Cause::ClosedByPeer));
    let two_beats = |kind: &EventKind| matches!(kind, EventKind::Disconnected { beats: 2, .. });
    assert_eq!(watch.count(two_beats), 1);
}

#[test]
fn a_reset_is_told_as_one() {
    let peer = once(|mut visit| {
        visit.ack(2)?;
        visit.reset()
    });
    let (watch, cause, detail) = falls_and_recovers(&peer, quick());
    assert_eq!(cause, Cause::Reset, "{detail}");
    assert_eq!((watch.misses(), peer.visits()), (0, 2));
}

#[test]
fn a_peer_that_never_reads_stalls_a_long_beat_and_that_is_told() {
    let peer = once(|visit| {
        // Neither reads nor closes while the link lives.
        let _ = (&visit.stream).read(&mut [0; 1]);
        thread::sleep(ms(4000)); // the fault
        Ok(())
    });
    let long = Exchange::new(vec![b'x'; 64 << 20], "ok");
    let mut watch = Watch::new(peer.address, quick().write_timeout(ms(500)), long);
    let (cause, detail) = watch.wait_down();
    assert_eq!(cause, Cause::WriteStalled);
    assert!(detail.contains("of 67108864 bytes"), "{detail}");
}

#[test]
fn a_peer_that_never_reads_short_beats_is_silent() {
    let peer = once(|visit| {
        thread::sleep(ms(3000)); // the fault
        drop(visit);
        Ok(())
    });
    let (_, cause, _) = falls_and_recovers(&peer, quick());
    assert_eq!(cause, Cause::PeerSilent, "there is room for them in its kernel");
}

#[test]
fn a_peer_that_accepts_and_closes_is_down_and_tried_again_ever_more_slowly() {
    let peer = Peer::new(|_| Ok(()));
    let beat = quick().backoff(ms(200), Duration::from_secs(60));
    let mut watch = Watch::tutorial(&peer, beat);
    let (cause, _) = watch.wait_down();
    assert_eq!(cause, Cause::DroppedAtOnce);
    let start = std::time::Instant::now();
    for _ in 0..4 {
        watch.wait("disconnect", |kind| matches!(kind, EventKind::Disconnected { .. }));
    }
    // Spinning, four attempts would take a millisecond. Drawn from 0..0.2, 0.4, 0.8 s, they all but
    // never sum up to so little.
    assert!(start.elapsed() > ms(5), "{:?}", start.elapsed());
    assert_eq!(watch.states(), [State::Down], "Down stays Down through all attempts");
}

#[test]
fn nobody_listening_is_refused_at_once_and_the_link_comes_up_when_somebody_does() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut watch = Watch::new(free, quick(), crate::watching::tutorial());
    let (cause, detail) = watch.wait_down();
    assert_eq!(cause, Cause::Refused);
    assert!(detail.contains(&free.to_string()), "{detail}");
    let answering = || Exchange::answering("heartbeat", "heartbeat_ack");
    let _responder = keepbeat::Responder::bind(free, answering).unwrap();
    let up = watch.wait_state(State::Up);
    assert!(matches!(up.kind(), EventKind::State { down: Some(_), .. }));
}

#[test]
fn all_addresses_of_a_name_are_tried_and_each_is_named() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let good = peer.address;
    let coordinator = keepbeat::Coordinator::builder()
        .resolver(move |host, _| match host {
            "both.test" => Ok(vec![dead, good]),
            "dead.test" => Ok(vec![dead, dead]),
            "none.test" => Ok(vec![]),
            "again.test" => Err(io::Error::other(words_of_std())),
            _ => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody answered")),
        })
        .build()
        .unwrap();
    let mut seen = std::collections::HashMap::new();
    for host in ["both.test", "dead.test", "none.test", "mute.test", "again.test"] {
        let target = format!("{host}:7000");
        coordinator.watch(target, quick(), crate::watching::tutorial()).unwrap();
    }
    while seen.len() < 5 {
        let event = coordinator.events().recv_timeout(crate::watching::LIMIT).unwrap();
        if let EventKind::State { to, loss, diagnosis, .. } = event.kind() {
            if let Some((told, loss)) = diagnosis.as_ref().zip(loss.as_ref()) {
                let sure = (told.cause(), told.confidence());
                assert_eq!(sure, (loss.cause, keepbeat::Confidence::Certain), "{told}");
                assert!(told.detail().contains(&loss.detail), "{told}");
            }
            seen.entry(event.target().to_owned()).or_insert((*to, loss.clone()));
        }
    }
    let cause = |target: &str| seen[target].1.clone().map(|loss| (loss.cause, loss.detail));
    assert_eq!(seen["tcp://both.test:7000"].0, State::Up);
    let (refused, detail) = cause("tcp://dead.test:7000").unwrap();
    assert_eq!((refused, detail.matches(&dead.to_string()).count()), (Cause::Refused, 2));
    assert_eq!(cause("tcp://none.test:7000").unwrap().0, Cause::NameNotResolved);
    assert_eq!(cause("tcp://mute.test:7000").unwrap().0, Cause::NameServerSilent);
    assert_eq!(cause("tcp://again.test:7000").unwrap().0, Cause::NameServerSilent);
}

/// What std says for a silent name server, in the words of this C library.
fn words_of_std() -> String {
    // SAFETY: gai_strerror returns a text that ends with a zero byte and is not freed.
    let words = unsafe { std::ffi::CStr::from_ptr(libc::gai_strerror(libc::EAI_AGAIN)) };
    format!("failed to lookup address information: {}", words.to_string_lossy())
}

#[test]
fn names_are_resolved_anew_at_each_attempt() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (good, asked) = (peer.address, std::sync::atomic::AtomicUsize::new(0));
    let coordinator = keepbeat::Coordinator::builder()
        .resolver(move |_, _| {
            let first = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            Ok(vec![if first { dead } else { good }])
        })
        .build()
        .unwrap();
    let link = coordinator.watch("moved.test:7000", quick(), crate::watching::tutorial()).unwrap();
    let up =
        |event: &keepbeat::Event| matches!(event.kind(), EventKind::State { to: State::Up, .. });
    let limit = std::time::Instant::now() + crate::watching::LIMIT;
    while !up(&coordinator.events().recv_deadline(limit).unwrap()) {}
    assert_eq!(coordinator.status(link).unwrap().peer, Some(good));
}

#[test]
fn patience_from_rtt_waits_as_long_as_the_path_deserves_and_no_longer() {
    let peer = Peer::new(|mut visit| {
        visit.ack(5)?;
        visit.swallow()
    });
    // The kernel's own timeout is 0.2 s on loopback; three retransmissions take 15 of those.
    let beat = Heartbeat::every(ms(20)).timeout(Duration::from_secs(60)).fall(1);
    let mut watch = Watch::tutorial(&peer, beat.patience(keepbeat::Patience::FromRtt));
    assert_eq!(watch.wait_down().0, Cause::PeerSilent);
    let timeout = watch.seen.iter().find_map(|event| match event.kind() {
        EventKind::Missed { timeout, .. } => Some(*timeout),
        _ => None,
    });
    let (least, most) = (ms(2900), ms(8000));
    assert!(timeout.is_some_and(|t| t >= least && t <= most), "{timeout:?}");
}

#[test]
fn a_connection_that_is_given_up_is_closed_though_the_next_attempt_is_far_away() {
    let (tell, told) = crossbeam_channel::bounded(1);
    let peer = Peer::new(move |mut visit| {
        visit.ack(1)?;
        visit.swallow()?;
        tell.send(()).unwrap();
        Ok(())
    });
    let far = Duration::from_secs(3600);
    let mut watch = Watch::tutorial(&peer, quick().backoff(far, far));
    watch.wait_down();
    told.recv_timeout(crate::watching::LIMIT).expect("the peer sees the end");
}
