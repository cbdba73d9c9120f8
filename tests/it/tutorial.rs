//! The tutorial that started this: every 60 s `heartbeat`, expecting `heartbeat_ack` within 5 s,
//! three tries, then a reconnect. Those settings and bytes work as written.

use std::time::Duration;

use keepbeat::{Cause, EventKind, Heartbeat, State};

use crate::peer::{ACK, BEAT, Peer};
use crate::watching::{LIMIT, Watch};

fn settings() -> Heartbeat {
    Heartbeat::every(Duration::from_secs(60)).timeout(Duration::from_secs(5)).fall(3)
}

#[test]
fn the_first_beat_is_answered_at_once() {
    assert_eq!((BEAT, ACK), (b"heartbeat".as_slice(), b"heartbeat_ack".as_slice()));
    let (heard, beats) = crossbeam_channel::unbounded();
    let peer = Peer::new(move |mut visit| {
        visit.beat()?;
        heard.send(()).unwrap();
        visit.say(ACK)?;
        visit.ack_for_ever()
    });
    let mut watch = Watch::tutorial(&peer, settings());
    let up = watch.wait_state(State::Up);
    assert!(beats.recv_timeout(LIMIT).is_ok());
    assert_eq!(up.to_string(), format!("tcp://{}: up", peer.address));
    assert_eq!(watch.misses(), 0);
}

#[test]
fn three_silences_of_five_seconds_and_it_reconnects() {
    let peer = Peer::new(|mut visit| match visit.nth {
        0 => visit.swallow(),
        _ => visit.ack_for_ever(),
    });
    let mut watch = Watch::tutorial(&peer, settings());
    let (cause, detail) = watch.wait_down();
    assert_eq!(cause, Cause::PeerSilent);
    assert_eq!(detail, "no ack of 3 beats in a row, each within 5s");
    let misses: Vec<_> = watch
        .seen
        .iter()
        .filter_map(|event| match event.kind() {
            EventKind::Missed { seq, timeout, misses, .. } => Some((*seq, *timeout, *misses)),
            _ => None,
        })
        .collect();
    let five = Duration::from_secs(5);
    assert_eq!(misses, [(1, five, 1), (2, five, 2), (3, five, 3)]);
    watch.wait_state(State::Up);
    assert_eq!(watch.status().reconnects, 1);
    assert_eq!(watch.states(), [State::Down, State::Up], "the first state event is a verdict");
}
