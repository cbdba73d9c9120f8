//! Whoever accepts in a service's place and hangs up at once; and services that hang up over bytes
//! that they do not know.

use std::thread::sleep;

use keepbeat::{Cause, Confidence, ConnectOnly, EventKind, Exchange, State};

use super::{fall, read, watch};
use crate::peer::Peer;
use crate::watching::{Watch, ms};

fn tutorial() -> Exchange {
    Exchange::new("heartbeat", "heartbeat_ack")
}

#[test]
fn where_no_byte_is_sent_a_stand_in_is_never_up() {
    for reset in [false, true] {
        let peer = Peer::new(move |visit| {
            sleep(ms(20)); // or a reset would end the connect itself
            if reset { visit.reset() } else { Ok(()) }
        });
        let mut watch = watch("connect", &peer, ConnectOnly);
        let (detail, told) = fall(&mut watch);
        assert_eq!((told.cause(), told.confidence()), (Cause::DroppedAtOnce, Confidence::Certain));
        assert!(detail.contains("after it was accepted"), "{detail}");
        assert!(told.advice().contains("living backend") && !told.advice().contains("crash"));
        for _ in 0..2 {
            watch.wait("end", |kind| matches!(kind, EventKind::Disconnected { .. }));
        }
        assert_eq!(watch.states(), [State::Down]);
        assert_eq!(watch.status().acked, 0);
    }
}

/// The causes of the first ends of connections.
fn ends(watch: &mut Watch, n: usize) -> Vec<Cause> {
    let mut next = || {
        let end = watch.wait("end", |kind| matches!(kind, EventKind::Disconnected { .. }));
        end.kind().cause().unwrap()
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn who_hangs_up_whatever_is_sent_is_a_stand_in_and_who_waits_for_our_bytes_is_not() {
    let stand_in = Peer::new(|visit| {
        sleep(ms(20)); // or it would end the connect itself
        visit.reset()
    });
    let mut watch = watch("tcp", &stand_in, tutorial());
    assert_eq!(ends(&mut watch, 3), [Cause::DroppedAtOnce; 3]);
    let told = watch.status().diagnosis.unwrap();
    assert_eq!(told.confidence(), Confidence::Certain, "the second heard no byte: {told}");

    // As PostgreSQL does over bytes that it does not know.
    let picky = Peer::new(|mut visit| {
        read(&mut visit)?;
        Ok(())
    });
    let mut watch = super::watch("tcp", &picky, tutorial());
    assert_eq!(ends(&mut watch, 3), [Cause::ClosedByPeer; 3]);
    let told = watch.status().diagnosis.unwrap();
    assert!(told.advice().starts_with("the service at"), "{told}");
    let command = format!("`keepbeat connect://{}`", picky.address);
    assert!(told.advice().contains(&command), "{told}");
    assert!(told.alternatives().is_empty(), "it stood until the bytes came: {told}");
}

#[test]
fn a_backend_that_goes_behind_its_proxy_is_told_though_it_had_answered() {
    let beat = keepbeat::Heartbeat::every(ms(30)).timeout(ms(5000)).backoff(ms(20), ms(50));
    let peer = Peer::new(|mut visit| match visit.nth {
        0 => visit.ack(2),
        _ => {
            sleep(ms(20));
            visit.reset()
        }
    });
    let mut watch = Watch::new(peer.address, beat, tutorial());
    assert!(matches!(watch.wait_down().0, Cause::ClosedByPeer | Cause::Reset));
    watch.wait("end", |kind| matches!(kind, EventKind::Disconnected { .. }));
    assert_eq!(ends(&mut watch, 2), [Cause::DroppedAtOnce; 2]);
    let told = watch.status().diagnosis.unwrap();
    assert_eq!((told.cause(), told.confidence()), (Cause::DroppedAtOnce, Confidence::Certain));
    assert!(!told.advice().contains("PostgreSQL"), "it has answered these bytes: {told}");
}
