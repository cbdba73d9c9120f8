//! Why a link died: each fault that needs no kernel trick, made by a relay with a mood, with what
//! is told of it, how surely, who should act, and what else it could be.

pub mod filtered;
mod idle;
mod kinds;
mod many;
mod moods;
mod relay;
mod safety;
mod single;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use keepbeat::{
    Cause, Confidence, Coordinator, Diagnose, Diagnosis, EventKind, Fact, Heartbeat, Protocol,
    State, Status,
};

use crate::watching::{LIMIT, Watch, eventually, ms, tutorial};

use relay::{Mood, Relay};

/// Falls within a second, and stays down: what is told then is not overtaken by a next attempt.
fn falls(how: Diagnose) -> Heartbeat {
    let far = Duration::from_secs(3600);
    Heartbeat::every(ms(300)).timeout(ms(300)).fall(3).backoff(far, far).diagnose(how)
}

/// Falls as soon, and tries again at once.
fn returns(how: Diagnose) -> Heartbeat {
    falls(how).backoff(ms(20), ms(50))
}

/// A link through the relay that has been Up for two beats.
fn up(relay: &Relay, beat: Heartbeat) -> Watch {
    up_with(relay, beat, tutorial())
}

fn up_with(relay: &Relay, beat: Heartbeat, protocol: impl Protocol + 'static) -> Watch {
    let mut watch = Watch::new(relay.address, beat, protocol);
    watch.wait_beats(2);
    watch
}

/// A link through the relay that falls after it was Up.
fn fallen(mood: Mood, beat: Heartbeat) -> (Watch, Relay, Arc<Diagnosis>) {
    let mut relay = Relay::new();
    let mut watch = up(&relay, beat);
    relay.set(mood);
    let diagnosis = down(&mut watch);
    (watch, relay, diagnosis)
}

/// What is told of the fall, and that the headline is the same where it is more than possible.
fn down(watch: &mut Watch) -> Arc<Diagnosis> {
    let event = watch.wait_state(State::Down);
    let EventKind::State { loss: Some(loss), diagnosis: Some(diagnosis), .. } = event.kind() else {
        panic!("no diagnosis: {event}");
    };
    if diagnosis.confidence() >= Confidence::Likely {
        assert_eq!(loss.cause, diagnosis.cause(), "{event}");
    }
    assert!(event.to_string().contains(diagnosis.cause().word()), "{event}");
    Arc::clone(diagnosis)
}

/// What is told of it once other connections, or the next one, have been tried.
fn with_others(watch: &mut Watch) -> Arc<Diagnosis> {
    let tried = |told: &Diagnosis| text(told, "fresh").is_some();
    if let Some(told) = told(watch).into_iter().rev().find(|told| tried(told)) {
        return told;
    }
    let event = watch.wait("other connections", |kind| kind.diagnosis().is_some_and(|d| tried(d)));
    Arc::clone(event.kind().diagnosis().unwrap())
}

/// All that has been told so far.
fn told(watch: &Watch) -> Vec<Arc<Diagnosis>> {
    watch.seen.iter().filter_map(|event| event.kind().diagnosis().cloned()).collect()
}

fn fact(diagnosis: &Diagnosis, name: &str) -> Option<Fact> {
    diagnosis.evidence().facts().into_iter().find(|(known, _)| *known == name).map(|(_, fact)| fact)
}

fn text(diagnosis: &Diagnosis, name: &str) -> Option<String> {
    fact(diagnosis, name).map(|fact| fact.to_string())
}

/// Cause, confidence, alternatives, who is told to act; and that the same evidence says the same
/// again, elsewhere.
#[track_caller]
fn assert_told(
    diagnosis: &Diagnosis,
    cause: Cause,
    confidence: Confidence,
    alternatives: &[Cause],
    advice: &str,
) {
    assert_eq!(
        (diagnosis.cause(), diagnosis.confidence(), diagnosis.alternatives()),
        (cause, confidence, alternatives),
        "{diagnosis}"
    );
    assert!(diagnosis.advice().contains(advice), "{}", diagnosis.advice());
    assert!(!diagnosis.detail().is_empty());
    let again = Diagnosis::of(diagnosis.evidence().clone());
    assert_eq!((again.cause(), again.alternatives()), (cause, alternatives));
}

/// The status tells the same, headline included: at the latest with the next event.
#[track_caller]
fn assert_agrees(watch: &Watch, diagnosis: &Diagnosis) {
    let same = |status: Status| {
        let known = status.diagnosis.map(|known| known.cause());
        let headline = status.loss.map(|loss| loss.cause);
        (known, headline) == (Some(diagnosis.cause()), Some(diagnosis.cause()))
    };
    eventually(&format!("a status that says {diagnosis}"), || same(watch.status()));
}
