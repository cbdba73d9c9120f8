//! How a peer meets us, before its health is asked about: it says why it ends, it speaks another
//! protocol, it hangs up at once, it says that it is not ready. And what is told of that.

mod first_contact;
mod last_words;
mod redis;
mod stand_ins;
mod steps;

use std::io::Read;
use std::sync::Arc;

use keepbeat::{Confidence, Diagnosis, EventKind, Heartbeat, Protocol, State, Target};

use crate::peer::{Peer, Visit};
use crate::watching::{Watch, ms};

/// A second attempt comes soon, and a connection that says nothing is no trouble for long.
fn beat() -> Heartbeat {
    Heartbeat::every(ms(60_000)).timeout(ms(5000)).backoff(ms(20), ms(50))
}

/// A link to the peer under the name that a person would have typed.
fn watch(scheme: &str, peer: &Peer, protocol: impl Protocol + 'static) -> Watch {
    let target: Target = format!("{scheme}://{}", peer.address).parse().unwrap();
    let coordinator = keepbeat::Coordinator::new().unwrap();
    let link = coordinator.watch(target, beat(), protocol).unwrap();
    Watch { coordinator, link, seen: Vec::new() }
}

/// What is told of the next fall; its headline is that of the diagnosis.
fn fall(watch: &mut Watch) -> (String, Arc<Diagnosis>) {
    let event = watch.wait_state(State::Down);
    let EventKind::State { loss: Some(loss), diagnosis: Some(told), .. } = event.kind() else {
        panic!("no diagnosis: {event}");
    };
    assert!(told.confidence() >= Confidence::Likely, "{told}");
    assert_eq!(loss.cause, told.cause(), "{event}");
    (loss.detail.clone(), Arc::clone(told))
}

/// Reads what has come, so that an end is no reset.
fn read(visit: &mut Visit) -> std::io::Result<Vec<u8>> {
    let mut bytes = [0; 1024];
    let n = visit.stream.read(&mut bytes)?;
    Ok(bytes[..n].to_vec())
}
