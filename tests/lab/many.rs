//! Many at once: hosts that fall silent together, paths that lie side by side, and clients of which
//! there may be one.

use keepbeat::{Cause, Coordinator, EventKind, Heartbeat, State};

use crate::net::{Lab, MORE_SERVERS, SERVER};
use crate::server::SINGLE;
use crate::watching::{
    TIMES, Watched, beat, eventually, eventually_none, ms, number, protocol, with_side,
};
use crate::{Test, recording};

pub const TESTS: &[Test] = &[
    ("many_hosts_that_fall_silent_at_once_are_one_alarm", many_hosts),
    ("a_device_for_one_client_is_not_disturbed", single_client),
    ("one_dead_path_of_two_is_told", two_paths),
];

/// Waits for all to be in that state.
fn all(coordinator: &Coordinator, state: State) {
    eventually(state.word(), || coordinator.statuses().iter().all(|link| link.state == state));
}

fn many_hosts() {
    let lab = Lab::quick();
    let coordinator = Coordinator::new().unwrap();
    let often = Heartbeat::every(ms(200)).timeout(ms(400)).fall(20);
    for address in MORE_SERVERS.iter().chain(&[SERVER]) {
        coordinator.watch(format!("{address}:7000"), often.clone(), protocol()).unwrap();
    }
    for _ in 0..TIMES {
        all(&coordinator, State::Up);
        coordinator.events().try_iter().for_each(drop);
        lab.rule("drop");
        // Each of them says so in the end, whichever noticed first.
        eventually_none("local-network", || {
            let is_local = |told: &keepbeat::Diagnosis| told.cause() == Cause::LocalNetwork;
            let mut others = coordinator.statuses();
            others.retain(|link| !link.diagnosis.as_deref().is_some_and(is_local));
            others
        });
        lab.heal();
        all(&coordinator, State::Up);
        let events: Vec<_> = coordinator.events().try_iter().collect();
        let told = events.iter().filter(|event| event.kind().word() == "diagnosis");
        let alarms: Vec<_> = told.filter(|event| event.link().is_none()).collect();
        assert_eq!(alarms.len(), 1, "{events:#?}");
        let diagnosis = alarms[0].kind().diagnosis().unwrap();
        assert_eq!(diagnosis.cause(), Cause::LocalNetwork);
        println!("{diagnosis}");
        recording::record("local-network", diagnosis);
    }
}

/// Nobody asked for side connections, so there are none, whatever happens.
fn single_client() {
    let mut lab = Lab::quick();
    let often = Heartbeat::every(ms(200)).timeout(ms(400)).fall(20);
    let mut link = Watched::new(&format!("{SERVER}:{SINGLE}"), often, protocol);
    for _ in 0..TIMES {
        link.up(2);
        lab.server.freeze();
        link.until("Suspect", |_, status| status.state == State::Suspect);
        lab.server.thaw();
        link.up(2);
        lab.rule("drop");
        link.until("Suspect", |_, status| status.state == State::Suspect);
        lab.heal();
    }
    link.up(2);
    assert_eq!(lab.server.order("count"), 1);
    assert_eq!(link.status().reconnects, 0);
}

fn two_paths() {
    let lab = Lab::with_two_paths();
    let address = format!("{SERVER}:7000");
    let watch = |_| Watched::new(&address, with_side(beat()), protocol);
    let mut links: Vec<_> = (0..16).map(watch).collect();
    links.iter_mut().for_each(|link| link.up(3));
    lab.rule("oifname rs2 drop");
    let (mut lost, mut lucky, mut best) = (0, 0, None);
    for link in &mut links {
        // Answered as often as this, it goes the other way.
        let mut beats = 0;
        let event = link.until("a miss or beats", |event, _| {
            beats += u32::from(matches!(event.kind(), EventKind::Beat { .. }));
            beats == 6 || matches!(event.kind(), EventKind::Missed { .. })
        });
        if !matches!(event.kind(), EventKind::Missed { .. }) {
            continue;
        }
        lost += 1;
        link.down();
        let (_, last) = link.diagnoses().pop().unwrap();
        println!("{last}");
        // By luck all fresh connections have gone the dead way, too.
        let dead = [Cause::PathDead, Cause::PortFiltered].contains(&last.cause());
        let all_dead = dead && number(&last, "more_fresh") == Some(4);
        lucky += u32::from(all_dead);
        let named = last.alternatives().contains(&Cause::SomePathsDead);
        assert!(last.cause() == Cause::SomePathsDead || named || all_dead, "{last}");
        if last.cause() == Cause::SomePathsDead {
            best = Some(last);
        }
    }
    assert!((1..16).contains(&lost), "{lost} of 16 went the dead way");
    assert!(lucky <= 2, "{lucky} of {lost}");
    recording::record("some-paths-dead", &best.expect("some were mixed"));
}
