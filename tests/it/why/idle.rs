//! A peer that ends its connections by a rule: once it may be anything; again it is known, told
//! with its length, and no trouble any more.

use super::*;
use crate::peer::Peer;

use Cause::{ClosedByPeer, IdleClosed, LifetimeClosed};

/// The pause that the peer allows. What ends within a second is no rule.
const LIMIT_OF_PEER: Duration = ms(1200);

fn ends(watch: &Watch) -> (usize, usize) {
    let expected = |is: bool| {
        watch.count(
            |kind| matches!(kind, EventKind::Disconnected { expected, .. } if *expected == is),
        )
    };
    (expected(false), expected(true))
}

#[test]
fn an_end_after_the_same_pause_is_explained_once_with_its_length_and_costs_no_state() {
    let mut relay = Relay::new();
    let hour = Duration::from_secs(3600);
    let beat = Heartbeat::every(hour).timeout(ms(5000)).backoff(ms(20), ms(50));
    let mut watch = Watch::new(relay.address, beat, tutorial());
    relay.set(Mood::IdleLimit(LIMIT_OF_PEER));
    watch.wait_state(State::Up);
    let first = down(&mut watch);
    assert_told(&first, ClosedByPeer, Confidence::Certain, &[IdleClosed], "look at the log of ");
    assert!(first.detail().contains("it had been idle for 1."), "{}", first.detail());
    watch.wait_state(State::Up);
    let turns = watch.states().len();
    let regular = |kind: &EventKind| matches!(kind, EventKind::Disconnected { expected: true, .. });
    watch.wait("the second end", regular);
    // Each connection had one beat, as it was opened: nothing tells the pause from the age.
    let second = told(&watch).pop().unwrap();
    let others = &[IdleClosed, LifetimeClosed];
    assert_told(&second, ClosedByPeer, Confidence::Certain, others, "nothing is lost: another ");
    assert!(second.detail().contains("for the second time"), "{}", second.detail());
    assert!(second.advice().contains(" of 1."), "{}", second.advice());
    let number = |name| match fact(&second, name) {
        Some(Fact::Number(number)) => number,
        other => panic!("{name}: {other:?}"),
    };
    assert!((1_190_000..1_900_000).contains(&number("idle_us")), "{second:?}");
    assert_eq!((number("idle_closes"), number("lifetime_closes")), (2, 2));
    watch.wait("the third end", regular);
    watch.wait("the fourth end", regular);
    assert_eq!((told(&watch).len(), ends(&watch)), (2, (1, 3)), "told once, and counted");
    let status = watch.status();
    assert_eq!((watch.states().len(), status.state), (turns, State::Up), "{status:?}");
    assert_eq!((status.renewals, status.missed), (3, 0), "{status:?}");
}

#[test]
fn a_lifetime_is_told_from_an_idle_limit_by_the_beats_in_between() {
    // It ends each connection at the same age, however busy that is.
    let age = ms(1500);
    let peer = Peer::new(move |mut visit| {
        let end = std::time::Instant::now() + age;
        while let Some(left) = end.checked_duration_since(std::time::Instant::now()) {
            visit.stream.set_read_timeout(Some(left.max(ms(1))))?;
            if visit.ack(1).is_err() {
                break; // the time is up
            }
        }
        Ok(())
    });
    let beat = Heartbeat::every(ms(200)).timeout(ms(5000)).backoff(ms(20), ms(50));
    let mut watch = Watch::new(peer.address, beat, tutorial());
    watch.wait_state(State::Up);
    let first = down(&mut watch);
    assert_eq!(first.cause(), ClosedByPeer, "{first}");
    let is = |kind: &EventKind| kind.diagnosis().is_some_and(|d| d.cause() == LifetimeClosed);
    let told = watch.wait("the rule", is);
    let told = told.kind().diagnosis().unwrap();
    assert!(told.detail().contains("it was 1.5s old, for the "), "{told}");
    assert!(told.advice().contains("nothing is lost: another connection"), "{told}");
    let beats = watch.status().acked;
    // Events lie in the channel a moment after they are counted.
    while watch.status().acked < beats + 20 {
        watch.wait_beats(1);
    }
    let status = watch.status();
    assert_eq!((status.state, status.missed), (State::Up, 0), "{status:?}");
    assert!(status.renewals >= 2, "{status:?}");
    assert_eq!(watch.count(is), 1, "told once");
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
