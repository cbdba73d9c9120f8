//! A peer that closes idle connections: once it may be anything, again it is likely, the third time
//! it is its rule.

use super::*;

use Cause::{ClosedByPeer, IdleClosed};

/// The pause that the peer allows.
const LIMIT_OF_PEER: Duration = ms(700);

#[test]
fn an_idle_limit_is_learnt_in_three_closes_and_told_with_its_length() {
    let mut relay = Relay::new();
    let hour = Duration::from_secs(3600);
    let beat = Heartbeat::every(hour).timeout(ms(5000)).backoff(ms(20), ms(50));
    let mut watch = Watch::new(relay.address, beat, tutorial());
    relay.set(Mood::IdleLimit(LIMIT_OF_PEER));
    watch.wait_state(State::Up);
    let first = down(&mut watch);
    assert_told(&first, ClosedByPeer, Confidence::Certain, &[IdleClosed], "look at the log of ");
    assert!(first.detail().contains("ms idle"), "{}", first.detail());
    watch.wait_state(State::Up);
    let second = down(&mut watch);
    assert_told(&second, IdleClosed, Confidence::Likely, &[ClosedByPeer], "beat more often");
    assert!(second.detail().contains("ms idle, for the second time"), "{}", second.detail());
    watch.wait_state(State::Up);
    let third = down(&mut watch);
    assert_told(&third, IdleClosed, Confidence::Certain, &[], "beat more often, every ");
    let address = relay.address.to_string();
    assert!(third.detail().contains("ms idle, for the third time"), "{}", third.detail());
    let advice = third.advice();
    assert!(
        advice.contains(&format!("{address} closes connections that are idle for ")),
        "{advice}"
    );
    let Some(Fact::Number(idle)) = fact(&third, "idle_us") else { panic!("{third}") };
    assert!((690_000..1_200_000).contains(&idle), "{idle} us");
    // The number in words: eight tenths of what was seen.
    let safe = format!("every {}.0ms say", idle / 1000 * 8 / 10);
    assert!(advice.contains(&safe), "{advice}, not {safe}");
    assert_eq!(fact(&third, "idle_closes"), Some(Fact::Number(3)));
}

#[test]
fn beats_that_keep_within_the_limit_never_meet_it() {
    let mut relay = Relay::new();
    relay.set(Mood::IdleLimit(ms(2000)));
    let beat = Heartbeat::every(ms(300)).timeout(ms(5000));
    let mut watch = up(&relay, beat);
    watch.wait_beats(10);
    assert_eq!((relay.visits(), told(&watch).len()), (1, 0));
}
