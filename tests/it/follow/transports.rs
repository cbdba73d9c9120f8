//! What is suspected of a followed connection fits what carries it: no firewall is blamed where a
//! cable came out.

use std::sync::Arc;

use keepbeat::{Cause, Coordinator, Diagnosis, Following, Line, Transport};

use crate::watching::{Watch, quick};

/// Up by one ack, then what `then` does; the diagnosis with which it goes Down.
fn diagnosis(following: Following, then: impl FnOnce(&keepbeat::Follower)) -> Arc<Diagnosis> {
    let coordinator = Coordinator::new().unwrap();
    let (sent, frames) = crossbeam_channel::unbounded();
    let send = move |_: &[u8]| sent.send(()).map_err(std::io::Error::other);
    let follower = coordinator.follow_as(following, quick(), Line, send).unwrap();
    frames.recv().unwrap();
    follower.acked(Some(1)).unwrap();
    let mut watch = Watch { coordinator, link: follower.id(), seen: Vec::new() };
    watch.wait_state(keepbeat::State::Up);
    then(&follower);
    let down = watch.wait_state(keepbeat::State::Down);
    Arc::clone(down.kind().diagnosis().expect("it is explained"))
}

/// Every cause for which somebody who runs a network would have to act.
const OF_A_NETWORK: &[Cause] = &[
    Cause::PathDead,
    Cause::SomePathsDead,
    Cause::PortFiltered,
    Cause::FlowDropped,
    Cause::FlowForgotten,
    Cause::PayloadFiltered,
    Cause::SizeFiltered,
    Cause::AllPayloadDropped,
    Cause::RateLimited,
    Cause::ResetByMiddlebox,
    Cause::RepliesFiltered,
];

fn blames_a_network(told: &Diagnosis) -> bool {
    let words = ["firewall", "network", "ss -tino", "tcpdump", "side connection"];
    told.alternatives().iter().any(|cause| OF_A_NETWORK.contains(cause))
        || words.iter().any(|word| told.to_string().contains(word))
}

#[test]
fn a_silent_line_without_a_network_blames_none_and_says_where_to_look() {
    for (transport, words) in [
        (Transport::Serial, "is it plugged in, powered and not busy"),
        (Transport::Pipe, "the process at the other end: it hangs"),
        (Transport::Other, "at what carries the connection"),
    ] {
        let told = diagnosis(Following::named("press 7").over(transport), |_| ());
        assert_eq!(told.cause(), Cause::AckTimeout);
        assert!(!blames_a_network(&told) && told.advice().contains(words), "{told}");
        let facts = told.evidence().facts();
        let fact = facts.iter().find(|(name, _)| *name == "transport").expect("it is recorded");
        assert_eq!(fact.1.to_string(), transport.word());
    }
}

#[test]
fn a_line_that_broke_blames_no_firewall_unless_there_is_one() {
    let broke = |transport| {
        let following = Following::named("press 7").over(transport);
        diagnosis(following, |follower| follower.lost(Cause::Reset))
    };
    let serial = broke(Transport::Serial);
    assert!(!blames_a_network(&serial) && serial.advice().contains("the cable"), "{serial}");
    let pipe = broke(Transport::Pipe);
    assert!(!blames_a_network(&pipe) && pipe.advice().contains("it has ended"), "{pipe}");
    let tls = broke(Transport::Tls);
    assert_eq!(tls.alternatives(), [Cause::ResetByMiddlebox]);
}

#[test]
fn where_a_network_is_told_the_list_of_suspects_is_short_enough_to_read() {
    let told = diagnosis(Following::named("broker").over(Transport::Tls), |_| ());
    let suspects = [Cause::PeerSilent, Cause::PathDead, Cause::FlowForgotten];
    assert_eq!(told.alternatives(), suspects);
}
