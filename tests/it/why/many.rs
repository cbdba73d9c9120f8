//! Many links at once: one alarm for a network that many hosts share, none for servers that hang,
//! and side connections within their budget.

use std::net::SocketAddr;
use std::time::Instant;

use super::*;
use crate::observe::drop_all;
use socket2::SockRef;

/// Hosts of their own, on this machine: the whole of 127.0.0.0/8 is.
fn hosts(last: std::ops::Range<u8>) -> Vec<SocketAddr> {
    last.map(|n| SocketAddr::from(([127, 0, 0, n], 0))).collect()
}

fn alarms(watch: &Watch) -> Vec<Arc<Diagnosis>> {
    let of_none = watch.seen.iter().filter(|event| event.link().is_none());
    of_none.filter_map(|event| event.kind().diagnosis().cloned()).collect()
}

/// Each link's last state event, once all are down.
fn all_down(watch: &mut Watch, links: usize) -> Vec<Arc<Diagnosis>> {
    (0..links).map(|_| down(watch)).collect()
}

#[test]
fn hosts_that_fall_silent_together_are_one_alarm_of_the_own_network() {
    let coordinator = Coordinator::new().unwrap();
    let mut peers = Vec::new();
    for host in hosts(11..16) {
        let listener = std::net::TcpListener::bind(host).unwrap();
        let address = listener.local_addr().unwrap();
        coordinator.watch(address, falls(Diagnose::kernel()), tutorial()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let kept = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            let mut beat = [0; 9];
            while stream.read_exact(&mut beat).is_ok() && stream.write_all(b"heartbeat_ack").is_ok()
            {
            }
        });
        peers.push((listener, kept));
    }
    let link = coordinator.statuses()[0].link;
    let mut watch = Watch { coordinator, link, seen: Vec::new() };
    (0..5).for_each(|_| drop(watch.wait_state(State::Up)));
    for (_, stream) in &peers {
        SockRef::from(stream).attach_filter(&[drop_all()]).unwrap();
    }
    let all = all_down(&mut watch, 5);
    let alarms = alarms(&watch);
    let [alarm] = &alarms[..] else { panic!("{alarms:#?}") };
    let likely = Confidence::Likely;
    assert_told(alarm, Cause::LocalNetwork, likely, &[Cause::PathDead], "the own uplink");
    assert!(alarm.detail().contains(" of 5 hosts fell silent at the same time"), "{alarm}");
    for told in all {
        let causes = (told.cause(), told.confidence());
        assert_eq!(causes, (Cause::LocalNetwork, likely), "{told}");
    }
}

#[test]
fn hosts_that_hang_together_are_no_trouble_of_the_own_network() {
    let coordinator = Coordinator::new().unwrap();
    let mut relays: Vec<_> = hosts(21..25).into_iter().map(|host| Relay::at(host, None)).collect();
    for relay in &relays {
        coordinator.watch(relay.address, falls(Diagnose::kernel()), tutorial()).unwrap();
    }
    let link = coordinator.statuses()[0].link;
    let mut watch = Watch { coordinator, link, seen: Vec::new() };
    (0..4).for_each(|_| drop(watch.wait_state(State::Up)));
    relays.iter_mut().for_each(|relay| relay.set(Mood::Hung));
    for told in all_down(&mut watch, 4) {
        assert_eq!(told.cause(), Cause::PeerSilent, "{told}");
    }
    assert!(alarms(&watch).is_empty(), "{:?}", alarms(&watch));
}

#[test]
fn links_that_hang_at_once_share_the_budget_and_say_so() {
    let mut relay = Relay::new();
    let coordinator = Coordinator::builder().side_connections(2, 12).build().unwrap();
    let beat = falls(Diagnose::side_connections()).fall(50);
    for _ in 0..20 {
        coordinator.watch(relay.address, beat.clone(), tutorial()).unwrap();
    }
    let link = coordinator.statuses()[0].link;
    let mut watch = Watch { coordinator, link, seen: Vec::new() };
    (0..20).for_each(|_| drop(watch.wait_state(State::Up)));
    let start = Instant::now();
    relay.set(Mood::Hung);
    for _ in 0..20 * 6 {
        watch.wait("miss", |kind| matches!(kind, EventKind::Missed { .. }));
    }
    // A quarter of a minute's worth, and what came back since: one each five seconds.
    let side = relay.visits() - 20;
    let most = 3 + start.elapsed().as_secs() as usize / 5 + 1;
    assert!((1..=most).contains(&side), "{side} side connections, {most} at most");
    let kept = |told: &Diagnosis| text(told, "side").as_deref() == Some("budget");
    let refused: Vec<_> = told(&watch).into_iter().filter(|told| kept(told)).collect();
    assert!(!refused.is_empty(), "nobody was told that the budget is spent");
    assert!(refused[0].detail().contains("their budget is spent"), "{}", refused[0].detail());
    let statuses = watch.coordinator.statuses();
    assert!(
        statuses.iter().all(|one| one.diagnosis.as_ref().unwrap().cause() == Cause::PeerSilent)
    );
}
