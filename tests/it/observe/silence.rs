//! Silence: a healthy idle peer is heard, a dead one is found, whatever the application does.

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Cause, EventKind, Observe, State};
use socket2::SockRef;

use super::{Pair, observe, often};
use crate::watching::{LIMIT, Watch, eventually, ms};

fn silences(watch: &Watch) -> usize {
    watch.count(|kind| matches!(kind, EventKind::Silent { .. }))
}

/// Down within `interval x fall`, and what a noisy machine takes.
fn wait_found(watch: &mut Watch, start: Instant) -> String {
    let (cause, detail) = watch.wait_down();
    let took = start.elapsed();
    assert_eq!(cause, Cause::AckTimeout, "{detail}");
    assert!(took < ms(4000 + 1000), "{took:?}");
    assert_eq!(silences(watch), 2, "one miss an interval");
    assert_eq!(watch.states(), [State::Up, State::Suspect, State::Down]);
    detail
}

#[test]
fn a_healthy_idle_peer_stays_up_and_sees_not_a_byte() {
    let pair = Pair::new();
    let (mut watch, observed) = observe(&pair.ours, often());
    watch.wait_state(State::Up);
    pair.theirs.set_read_timeout(Some(ms(6500))).unwrap();
    let error = (&pair.theirs).read(&mut [0; 8]).unwrap_err(); // three intervals
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    let snapshot = observed.look().unwrap();
    assert!(snapshot.since_ack < ms(1900), "the keepalive asked: {snapshot}");
    assert_eq!((snapshot.bytes_sent, snapshot.bytes_received), (Some(0), Some(0)), "{snapshot}");
    let status = observed.status();
    assert_eq!((status.state, status.missed, status.sent), (State::Up, 0, 0));
    assert!(status.rtt.last().is_none(), "nothing was sent to measure one");
    observed.stop().unwrap();
    watch.wait_ended();
    assert_eq!(silences(&watch), 0);
}

#[test]
fn a_dead_path_is_found_while_the_application_is_blocked_in_read_and_up_again_when_it_heals() {
    let pair = Pair::new();
    let mut reads = pair.ours.try_clone().unwrap();
    let reader = thread::spawn(move || reads.read(&mut [0; 8]).unwrap());
    let (mut watch, observed) = observe(&pair.ours, often());
    watch.wait_state(State::Up);
    let start = Instant::now();
    pair.cut();
    let detail = wait_found(&mut watch, start);
    assert!(detail.contains("keepalive probes unanswered"), "{detail}");
    assert!(observed.look().unwrap().probes_unanswered > 1);
    assert!(!observed.status().ended, "the connection stays, and so does the link");
    pair.heal();
    let up = watch.wait_state(State::Up);
    assert!(matches!(up.kind(), EventKind::State { down: Some(_), .. }), "{up}");
    (&pair.theirs).write_all(b"!").unwrap();
    assert_eq!(reader.join().unwrap(), 1, "the read never knew");
}

#[test]
fn a_dead_path_is_found_though_the_application_writes_and_never_reads() {
    let mut pair = Pair::new();
    let (mut watch, _observed) = observe(&pair.ours, often());
    watch.wait_state(State::Up);
    let start = Instant::now();
    pair.cut();
    pair.ours.write_all(b"anybody there?").unwrap();
    let detail = wait_found(&mut watch, start);
    assert!(detail.contains("1 segment unacked"), "{detail}");
    assert!(detail.contains("retransmissions in a row"), "{detail}");
}

#[test]
fn looking_only_nobody_asks_an_idle_peer_and_its_silence_is_no_news() {
    let mut pair = Pair::new();
    let (mut watch, observed) = observe(Observe::of(&pair.ours).without_keepalive(), often());
    watch.wait_state(State::Up);
    pair.cut();
    // Half a second before the second interval is over: what is written then is not to be blamed for
    // the silence before it.
    let silence = watch.coordinator.events().recv_timeout(ms(3500));
    assert!(silence.is_err(), "{silence:?}");
    assert_eq!(observed.status().state, State::Up);
    let start = Instant::now();
    pair.ours.write_all(b"anybody there?").unwrap();
    watch.wait_state(State::Suspect);
    // It counts from the write, or from the last look before it.
    let took = start.elapsed();
    assert!(took > ms(900), "{took:?}");
    wait_found(&mut watch, start);
}

#[test]
fn nobody_is_convicted_where_the_application_has_switched_the_keepalive_off_again() {
    let pair = Pair::new();
    let (mut watch, observed) = observe(&pair.ours, often());
    watch.wait_state(State::Up);
    SockRef::from(&pair.ours).set_keepalive(false).unwrap();
    pair.cut();
    let silence = watch.coordinator.events().recv_timeout(ms(4500));
    assert!(silence.is_err(), "nobody asked: {silence:?}");
    assert_eq!(observed.status().state, State::Up);
}

#[test]
fn a_peer_that_does_not_read_is_alive_and_its_closed_window_is_seen() {
    let mut pair = Pair::new();
    SockRef::from(&pair.theirs).set_recv_buffer_size(4096).unwrap();
    let (mut watch, observed) = observe(&pair.ours, often());
    watch.wait_state(State::Up);
    pair.ours.set_nonblocking(true).unwrap();
    while pair.ours.write(&[0; 65536]).is_ok() {}
    eventually("a closed window", || observed.look().unwrap().window_closed);
    let snapshot = observed.look().unwrap();
    assert!(snapshot.unsent_bytes.unwrap() > 0, "{snapshot}");
    assert!(snapshot.to_string().contains("the peer's window is closed"), "{snapshot}");
    assert!(watch.coordinator.events().recv_timeout(ms(3000)).is_err(), "it is no death");
    assert_eq!(observed.status().state, State::Up);
}

#[test]
fn a_look_tells_what_waits_for_an_answer() {
    let mut pair = Pair::new();
    let (_watch, observed) = observe(&pair.ours, often());
    pair.ours.write_all(&[7; 100]).unwrap();
    pair.theirs.set_read_timeout(Some(LIMIT)).unwrap();
    pair.theirs.read_exact(&mut [0; 100]).unwrap();
    pair.theirs.write_all(b"thanks").unwrap();
    eventually("six bytes", || observed.look().unwrap().bytes_received == Some(6));
    let calm = observed.look().unwrap();
    assert_eq!((calm.state, calm.unacked, calm.unsent_bytes), ("established", 0, Some(0)));
    assert_eq!((calm.bytes_sent, calm.bytes_acked), (Some(100), Some(101)), "the opening, too");
    assert!(calm.rtt > Duration::ZERO && calm.since_received.is_some(), "{calm}");
    assert!(!calm.fin_waits && !calm.window_closed, "{calm}");
    pair.cut();
    pair.ours.write_all(&[7; 50]).unwrap();
    eventually("retransmissions", || observed.look().unwrap().retransmits > 0);
    let waiting = observed.look().unwrap();
    assert_eq!((waiting.unacked, waiting.bytes_sent), (1, Some(150)), "{waiting}");
    assert!(waiting.total_retransmits > 0, "{waiting}");
}

#[test]
fn a_paused_observation_convicts_nobody_and_still_tells_the_end() {
    let pair = Pair::new();
    let (mut watch, _observed) = observe(&pair.ours, often());
    watch.wait_state(State::Up);
    watch.coordinator.pause(watch.link).unwrap();
    pair.cut();
    assert!(watch.coordinator.events().recv_timeout(ms(4500)).is_err());
    Pair::reset(pair.theirs);
    assert_eq!(watch.wait_down().0, Cause::Reset);
}
