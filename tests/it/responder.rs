//! The other end: answers, bounds, silence, drills.

use std::io::{Read, Write};
use std::net::TcpStream;

use keepbeat::{Cause, ClientEventKind, Exchange, Heartbeat, Responder, State};

use crate::watching::{LIMIT, Watch, eventually, ms, quick, tutorial};

fn answering() -> Exchange {
    Exchange::answering("heartbeat", "heartbeat_ack")
}

fn wait_for(responder: &Responder, what: &str, wanted: impl Fn(&ClientEventKind) -> bool) {
    loop {
        let event = responder.events().recv_timeout(LIMIT);
        let event = event.unwrap_or_else(|_| panic!("no {what} within {LIMIT:?}"));
        if wanted(&event.kind) {
            return;
        }
    }
}

#[test]
fn a_link_and_a_responder_beat_on_and_each_tells_the_end() {
    let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
    let mut watch = Watch::new(responder.local_addr(), quick(), tutorial());
    watch.wait_beats(3);
    assert_eq!(responder.clients(), 1);
    watch.coordinator.stop().unwrap();
    wait_for(&responder, "end", |kind| match kind {
        ClientEventKind::Disconnected { loss, beats, .. } => {
            assert_eq!(loss.cause, Cause::ClosedByPeer);
            *beats >= 3
        }
        _ => false,
    });
    eventually("nobody is left", || responder.clients() == 0);
}

#[test]
fn a_silent_client_is_reported_and_closed_though_it_drips_bytes() {
    let responder =
        Responder::builder().silent_after(ms(300)).bind("127.0.0.1:0", answering).unwrap();
    let mut client = TcpStream::connect(responder.local_addr()).unwrap();
    // Parts of a beat are no life: a slow drip must not hold a thread for ever.
    let drip = std::thread::spawn(move || {
        for byte in b"heartbeat".iter().cycle().take(8) {
            std::thread::sleep(ms(30)); // the fault
            client.write_all(&[*byte]).ok();
        }
        client.read(&mut [0; 16]).unwrap_or(0)
    });
    wait_for(
        &responder,
        "silence",
        |kind| matches!(kind, ClientEventKind::Silent { silent } if *silent >= ms(300)),
    );
    wait_for(&responder, "end", |kind| matches!(kind, ClientEventKind::Disconnected { .. }));
    assert_eq!(drip.join().unwrap(), 0, "closed");
    eventually("nobody is left", || responder.clients() == 0);
}

#[test]
fn one_client_too_many_is_turned_away_and_the_others_stay() {
    let responder = Responder::builder().max_clients(2).bind("127.0.0.1:0", answering).unwrap();
    let address = responder.local_addr();
    let mut first: Vec<_> = (0..2).map(|_| Watch::new(address, quick(), tutorial())).collect();
    for watch in &mut first {
        watch.wait_state(State::Up);
    }
    let mut third = Watch::new(address, quick(), tutorial());
    let cause = third.wait_down().0;
    assert!(matches!(cause, Cause::DroppedAtOnce | Cause::ClosedByPeer), "{cause}");
    wait_for(&responder, "refusal", |kind| *kind == ClientEventKind::TurnedAway);
    for watch in &mut first {
        watch.wait_beats(2);
        assert_eq!(watch.status().state, State::Up);
    }
    first.pop().unwrap().coordinator.stop().unwrap();
    third.wait_state(State::Up);
}

#[test]
fn drills_close_and_reset_the_clients() {
    let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
    let mut watch = Watch::new(responder.local_addr(), quick(), tutorial());
    watch.wait_state(State::Up);
    responder.close_clients();
    assert_eq!(watch.wait_down().0, Cause::ClosedByPeer);
    watch.wait_state(State::Up);
    responder.reset_clients();
    assert_eq!(watch.wait_down().0, Cause::Reset);
    watch.wait_state(State::Up);
}

#[test]
fn it_stops_with_clients_connected_and_its_port_can_be_had_again() {
    let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
    let address = responder.local_addr();
    let mut watch = Watch::new(address, quick(), tutorial());
    watch.wait_state(State::Up);
    responder.stop();
    responder.stop();
    assert_eq!(watch.wait_down().0, Cause::ClosedByPeer);
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    let again = Responder::bind(address, answering).unwrap();
    watch.wait_state(State::Up);
    let error = Responder::bind(again.local_addr(), answering).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
}

#[test]
fn garbage_ends_that_client_alone() {
    let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
    let mut good = Watch::new(responder.local_addr(), Heartbeat::every(ms(50)), tutorial());
    good.wait_state(State::Up);
    let mut bad = TcpStream::connect(responder.local_addr()).unwrap();
    bad.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    wait_for(&responder, "wrong reply", |kind| {
        matches!(kind, ClientEventKind::Disconnected { loss, .. }
            if loss.cause == Cause::WrongReply)
    });
    good.wait_beats(3);
    assert_eq!(good.status().state, State::Up);
}

#[test]
fn a_factory_that_panics_costs_its_own_client_only() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let responder = Responder::bind("127.0.0.1:0", move || {
        assert!(asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0, "on purpose");
        answering()
    })
    .unwrap();
    let mut first = TcpStream::connect(responder.local_addr()).unwrap();
    assert_eq!(first.read(&mut [0; 1]).unwrap_or(0), 0, "closed");
    wait_for(&responder, "panic", |kind| match kind {
        ClientEventKind::Disconnected { loss, .. } => loss.detail.contains("on purpose"),
        _ => false,
    });
    eventually("nobody is left", || responder.clients() == 0);
    let mut watch = Watch::new(responder.local_addr(), quick(), tutorial());
    watch.wait_state(State::Up);
}

#[test]
fn limits_that_cannot_work_are_refused() {
    let builder = Responder::builder();
    for (builder, words) in [
        (builder.clone().max_clients(0), "0 clients"),
        (builder.clone().silent_after(ms(0)), "0ns of silence"),
        (builder.silent_after(std::time::Duration::MAX), "30 days"),
    ] {
        let error = builder.bind("127.0.0.1:0", answering).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(words), "{error}");
    }
}
