//! The end of a connection between two beats of a one-minute heartbeat is known at once.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use keepbeat::{Cause, Heartbeat, State};

use crate::peer::{Peer, Visit};
use crate::watching::{Watch, ms};

/// From the end of the connection to its event in the user's hands. A noisy machine gets some
/// tries; waiting for the next beat would take half a minute each time.
fn noticed_within_50_ms(cause: Cause, end: fn(Visit)) {
    let mut tried = Vec::new();
    for _ in 0..5 {
        let (go, going): (_, Receiver<()>) = bounded(0);
        let (ended, at) = bounded(1);
        let peer = Peer::new(move |mut visit| {
            visit.ack(1)?;
            let _ = going.recv();
            ended.send(Instant::now()).unwrap();
            end(visit);
            Ok(())
        });
        let beat = Heartbeat::every(Duration::from_secs(60)).timeout(Duration::from_secs(5));
        let mut watch = Watch::tutorial(&peer, beat);
        watch.wait_state(State::Up);
        drop(go);
        assert_eq!(watch.wait_down().0, cause);
        let took = at.recv().unwrap().elapsed();
        if took <= ms(50) {
            return;
        }
        tried.push(took);
    }
    panic!("{cause} noticed only after {tried:?}");
}

#[test]
fn a_fin_between_two_beats_is_reported_within_50_ms() {
    noticed_within_50_ms(Cause::ClosedByPeer, drop);
}

#[test]
fn a_reset_between_two_beats_is_reported_within_50_ms() {
    noticed_within_50_ms(Cause::Reset, |visit| visit.reset().unwrap());
}
