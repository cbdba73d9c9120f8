//! Each mood of the peer, with what this machine's kernel tells of it, and with what other
//! connections add; and with diagnosis off.

use super::*;

use Cause::*;
use Confidence::{Certain, Likely};

#[test]
fn a_slow_peer_is_no_trouble_and_nothing_is_told() {
    let mut relay = Relay::new();
    let beat = Heartbeat::every(ms(100)).timeout(ms(5000)).diagnose(Diagnose::side_connections());
    let mut watch = up(&relay, beat);
    relay.set(Mood::Slow(ms(150))); // longer than the first look
    watch.wait_beats(5);
    assert_eq!((told(&watch).len(), watch.states()), (0, vec![State::Up]));
    assert!(watch.status().rtt.max().unwrap() >= ms(150));
    assert_eq!((watch.status().diagnosis, relay.visits()), (None, 1));
}

#[test]
fn a_hung_peer_is_silent_and_what_its_kernel_cannot_tell_stands_beside_it() {
    let (watch, relay, told) = fallen(Mood::Hung, falls(Diagnose::kernel()));
    let others = [RepliesFiltered, ConversationSilent, AcceptQueueFull];
    let advice = format!("look at the process behind {}", relay.address);
    assert_told(&told, PeerSilent, Likely, &others, &advice);
    assert!(told.detail().contains("the peer's kernel acknowledged it"), "{}", told.detail());
    assert_agrees(&watch, &told);
    assert_eq!(relay.visits(), 1, "a device that accepts one client alone is not disturbed");
    assert_eq!(fact(&told, "unacked"), Some(Fact::Number(0)));
    assert_eq!(fact(&told, "misses"), Some(Fact::Number(3)));
}

#[test]
fn a_hung_peer_does_not_answer_a_fresh_connection_either() {
    let (mut watch, relay, _) = fallen(Mood::Hung, falls(Diagnose::side_connections()));
    let told = with_others(&mut watch);
    assert_told(&told, PeerSilent, Likely, &[RepliesFiltered], "look at the process behind");
    assert_eq!(text(&told, "fresh_beat").as_deref(), Some("acked"));
    eventually("the status", || watch.status().diagnosis.as_deref() == Some(&*told));
    assert_eq!(relay.visits(), 2, "one is enough, where the path is no riddle");
}

#[test]
fn without_diagnosis_it_is_silence_and_no_more() {
    let mut relay = Relay::new();
    let mut watch = up(&relay, returns(Diagnose::off()));
    relay.set(Mood::Hung);
    let event = watch.wait_state(State::Suspect);
    assert!(event.kind().diagnosis().is_none() && event.kind().cause() == Some(AckTimeout));
    assert_eq!(watch.wait_down().0, AckTimeout);
    watch.wait("miss on the next connection", |kind| matches!(kind, EventKind::Missed { .. }));
    let status = watch.status();
    assert!(status.diagnosis.is_none() && status.loss.unwrap().cause == AckTimeout);
    relay.set(Mood::Gone);
    watch.wait("refusal", |kind| kind.cause() == Some(Refused));
    assert!(told(&watch).is_empty(), "{:?}", told(&watch));
}

#[test]
fn a_peer_that_does_not_read_has_a_closed_window_and_is_alive() {
    let mut relay = Relay::narrow(4096);
    let long = || keepbeat::Exchange::new(vec![b'x'; 20_000], "ok").with_any_rest();
    relay.set(Mood::Answers(b"ok\n"));
    let mut watch = Watch::new(relay.address, falls(Diagnose::kernel()), long());
    watch.wait_state(State::Up);
    relay.set(Mood::Deaf);
    let told = down(&mut watch);
    assert_told(&told, PeerNotReading, Certain, &[], "it does not read");
    assert!(told.detail().contains("the peer's window is closed"), "{}", told.detail());
    assert_eq!(fact(&told, "window_bytes"), Some(Fact::Number(0)));
    assert_agrees(&watch, &told);
}

#[test]
fn short_beats_that_are_not_read_look_like_a_hung_peer() {
    let (watch, _relay, told) = fallen(Mood::Deaf, falls(Diagnose::kernel()));
    let others = [RepliesFiltered, ConversationSilent, AcceptQueueFull];
    assert_told(&told, PeerSilent, Likely, &others, "it hangs or is overloaded");
    assert_agrees(&watch, &told);
}

#[test]
fn a_close_and_half_a_close_are_certain() {
    for mood in [Mood::Closing, Mood::HalfClosing] {
        for how in [Diagnose::kernel(), Diagnose::side_connections()] {
            let (watch, relay, told) = fallen(mood, falls(how));
            assert_told(&told, ClosedByPeer, Certain, &[], "look at the log of ");
            assert!(told.detail().contains(&relay.address.to_string()), "{}", told.detail());
            assert_agrees(&watch, &told);
            assert_eq!(relay.visits(), 1, "nothing is to be found out");
        }
    }
}

#[test]
fn a_reset_is_certain_and_who_sent_it_is_not() {
    let (watch, _relay, told) = fallen(Mood::Resetting, falls(Diagnose::kernel()));
    assert_told(&told, Reset, Certain, &[ResetByMiddlebox], "look at the log of ");
    assert_agrees(&watch, &told);
}

#[test]
fn a_process_that_is_gone_is_a_close_and_then_nobody_listens() {
    let (mut watch, relay, told) = fallen(Mood::Gone, returns(Diagnose::kernel()));
    assert_told(&told, ClosedByPeer, Certain, &[], "look at the log of ");
    let refused = |kind: &EventKind| {
        matches!(kind, EventKind::Diagnosed { .. }) && kind.cause() == Some(Refused)
    };
    let event = watch.wait("refusal", refused);
    let told = event.kind().diagnosis().unwrap();
    let advice = format!("start what should listen on {}", relay.address);
    assert_told(told, Refused, Certain, &[], &advice);
    assert_agrees(&watch, told);
    for _ in 0..5 {
        watch.wait("attempt", |kind| matches!(kind, EventKind::Disconnected { .. }));
    }
    let again = watch.count(refused);
    assert_eq!(again, 1, "told once, however often it is tried");
}

#[test]
fn where_nobody_ever_listened_the_first_word_is_refused() {
    let mut relay = Relay::new();
    relay.set(Mood::Gone);
    let mut watch = Watch::new(relay.address, falls(Diagnose::kernel()), tutorial());
    let told = down(&mut watch);
    assert_told(&told, Refused, Certain, &[], "start what should listen");
    assert_agrees(&watch, &told);
}

#[test]
fn a_full_accept_queue_is_one_of_several_until_another_connection_is_tried() {
    let beat = |how| falls(how).connect_timeout(ms(400));
    let (watch, _relay, told) = fallen(Mood::Full, beat(Diagnose::kernel()));
    assert_eq!(told.cause(), PeerSilent);
    assert!(told.alternatives().contains(&AcceptQueueFull));
    assert_agrees(&watch, &told);
    let (watch, _relay, _) = fallen(Mood::Full, beat(Diagnose::side_connections()));
    // A lost packet looks the same, until another one is not answered either.
    let again = |told: &Diagnosis| text(told, "fresh_again").is_some();
    eventually("a second one", || watch.status().diagnosis.is_some_and(|told| again(&told)));
    let told = watch.status().diagnosis.unwrap();
    assert_told(&told, AcceptQueueFull, Likely, &[PeerSilent], "it accepts nobody");
    assert!(told.detail().contains("a fresh connection got no answer"), "{}", told.detail());
    eventually("the status", || watch.status().diagnosis.as_deref() == Some(&*told));
}

#[test]
fn a_full_accept_queue_from_the_start_is_a_connect_timeout_that_names_it() {
    let mut relay = Relay::new();
    relay.set(Mood::Full);
    let beat = falls(Diagnose::kernel()).connect_timeout(ms(300));
    let mut watch = Watch::new(relay.address, beat, tutorial());
    let told = down(&mut watch);
    let others = [PathDead, PortFiltered, AcceptQueueFull, SomePathsDead, NotTransmitted];
    assert_told(
        &told,
        ConnectTimeout,
        Certain,
        &others,
        "ask whoever runs the network: nothing answers",
    );
    assert_agrees(&watch, &told);
}

#[test]
fn garbage_is_certain_and_shown() {
    let garbage = Mood::Answers(b"\x00SSH-2.0\r\n");
    for how in [Diagnose::kernel(), Diagnose::side_connections()] {
        let (watch, relay, told) = fallen(garbage, falls(how));
        assert_told(&told, WrongReply, Certain, &[], "check what listens on ");
        assert!(told.detail().contains(r"got `\x00SSH-2.0\r\n`"), "{}", told.detail());
        assert_agrees(&watch, &told);
        assert_eq!(relay.visits(), 1);
    }
}

#[test]
fn a_part_of_a_reply_is_certain() {
    for how in [Diagnose::kernel(), Diagnose::side_connections()] {
        let (watch, relay, told) = fallen(Mood::Answers(b"h"), falls(how).fall(1));
        assert_told(&told, PartialReply, Certain, &[], "it stopped in the middle of an answer");
        assert_agrees(&watch, &told);
        assert_eq!(relay.visits(), 1);
    }
}

#[test]
fn bytes_that_nobody_asked_for_are_told_from_a_wrong_answer() {
    for how in [Diagnose::kernel(), Diagnose::off()] {
        let mut relay = Relay::new();
        let mut watch = up(&relay, falls(how));
        relay.set(Mood::Talking); // between two beats: the next is due in 0.3 s
        let (cause, detail) = watch.wait_down();
        assert_eq!(cause, UnaskedBytes, "{detail}");
        assert!(detail.contains("got `hello`"), "{detail}");
        if how == Diagnose::kernel() {
            let told = told(&watch).pop().unwrap();
            assert_told(&told, UnaskedBytes, Certain, &[], "check what listens on ");
            assert_agrees(&watch, &told);
        }
    }
}

#[test]
fn where_only_this_conversation_hangs_a_fresh_one_tells() {
    let (watch, _relay, told) = fallen(Mood::FreshOnly, falls(Diagnose::kernel()));
    assert_eq!((told.cause(), told.confidence()), (PeerSilent, Likely));
    assert!(told.alternatives().contains(&ConversationSilent), "{told}");
    assert_agrees(&watch, &told);
    let beat = falls(Diagnose::side_connections()).timeout(ms(600));
    let (watch, relay, told) = fallen(Mood::FreshOnly, beat);
    assert_told(&told, ConversationSilent, Likely, &[SingleClient], "this session of it hangs");
    assert!(told.detail().contains("a fresh connection was answered at once"), "{told}");
    eventually("the status", || watch.status().diagnosis.as_deref() == Some(&*told));
    assert_eq!(relay.visits(), 2);
}

#[test]
fn a_late_answer_is_silence_first_and_all_is_taken_back_with_the_first_in_time() {
    let mut relay = Relay::new();
    let mut watch = up(&relay, falls(Diagnose::kernel()));
    relay.set(Mood::Slow(ms(450)));
    let event = watch.wait_state(State::Suspect);
    let told = event.kind().diagnosis().unwrap();
    assert_eq!(told.cause(), AckTimeout, "busy servers pause as long: {told}");
    assert!(told.alternatives().contains(&PeerSilent), "{told}");
    assert!(watch.status().diagnosis.is_some());
    watch.wait("late ack", |kind| matches!(kind, EventKind::Beat { late: true, .. }));
    relay.set(Mood::Well);
    watch.wait_state(State::Up);
    let status = watch.status();
    assert_eq!((status.diagnosis, status.loss), (None, None));
    assert_eq!(relay.visits(), 1);
}
