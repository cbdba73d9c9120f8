//! A trouble over its life: how often it is told, what the status says meanwhile, and that all is
//! taken back when it is over.

use super::*;

fn diagnosed(watch: &Watch) -> Vec<Cause> {
    let told = |kind: &EventKind| match kind {
        EventKind::Diagnosed { diagnosis } => Some(diagnosis.cause()),
        _ => None,
    };
    watch.seen.iter().filter_map(|event| told(event.kind())).collect()
}

fn wait_connects(watch: &mut Watch, connects: usize) {
    for _ in 0..connects {
        watch.wait("connection", |kind| matches!(kind, EventKind::Connected { .. }));
    }
}

/// Beats fast, falls fast, tries again fast.
fn fast(how: Diagnose) -> Heartbeat {
    Heartbeat::every(ms(60)).timeout(ms(60)).fall(2).backoff(ms(5), ms(10)).diagnose(how)
}

#[test]
fn a_trouble_that_lasts_is_told_once_and_not_at_each_attempt() {
    for how in [Diagnose::kernel(), Diagnose::side_connections()] {
        let mut relay = Relay::new();
        relay.set(Mood::Hung);
        let mut hung = Watch::new(relay.address, fast(how), tutorial());
        hung.wait_state(State::Down);
        wait_connects(&mut hung, 15);
        let told = diagnosed(&hung);
        assert!(told.len() <= 3, "{how:?}: {told:?}");
        assert_eq!(hung.states(), [State::Down]);
        assert_eq!(hung.status().diagnosis.unwrap().cause(), Cause::PeerSilent);
    }
}

#[test]
fn the_status_follows_a_trouble_as_it_changes_and_is_clean_after_it() {
    let mut relay = Relay::new();
    let mut watch = up(&relay, returns(Diagnose::kernel()));
    let cause = |watch: &Watch| watch.status().diagnosis.map(|told| told.cause());
    for round in 0..2 {
        assert_eq!(cause(&watch), None);
        relay.set(Mood::Hung);
        watch.wait_state(State::Suspect);
        assert_eq!(cause(&watch), Some(Cause::AckTimeout), "it may be busy");
        watch.wait_state(State::Down);
        assert_eq!(cause(&watch), Some(Cause::PeerSilent));
        relay.set(Mood::Gone);
        eventually("refused", || cause(&watch) == Some(Cause::Refused));
        relay.set(Mood::Well);
        watch.wait_state(State::Up);
        assert_eq!((cause(&watch), watch.status().loss), (None, None), "round {round}");
    }
    watch.coordinator.stop().unwrap();
}

#[test]
fn the_flight_recorder_shows_when_it_began() {
    use keepbeat::BeatEnd;
    let mut relay = Relay::new();
    let mut watch = Watch::new(relay.address, falls(Diagnose::kernel()), tutorial());
    watch.wait_beats(4);
    relay.set(Mood::Hung);
    let told = down(&mut watch);
    let ends: Vec<_> = told.beats().iter().map(|beat| beat.end).collect();
    let acked = ends.iter().take_while(|end| matches!(end, BeatEnd::Acked(_))).count();
    assert!(acked >= 4, "{ends:?}");
    assert_eq!(ends[acked..], [BeatEnd::Missed; 3]);
    let ages: Vec<_> = told.beats().iter().map(|beat| beat.age).collect();
    assert!(ages.windows(2).all(|pair| pair[0] > pair[1]), "the oldest first: {ages:?}");
    let facts = told.beats()[0].facts();
    assert!(facts.iter().any(|(name, _)| *name == "rto_us"), "what the kernel knew: {facts:?}");
}
