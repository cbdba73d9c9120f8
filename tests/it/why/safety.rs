//! A diagnosis harms nobody: not whoever stops, removes or takes back a link meanwhile, and not the
//! link whose protocol panics when it is asked, or says its last words as the peer resets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use keepbeat::protocol::{Frame, Rejected};
use socket2::SockRef;

use super::filtered::{Filtered, longer_than};
use super::*;

/// The first miss starts an examination, and the link does not fall over it.
fn examined() -> Heartbeat {
    Heartbeat::every(ms(500)).timeout(ms(1000)).fall(50).diagnose(Diagnose::side_connections())
}

fn wait_miss(watch: &mut Watch) {
    watch.wait("miss", |kind| matches!(kind, EventKind::Missed { .. }));
}

#[test]
fn stop_takes_less_than_a_second_while_a_side_connection_is_being_opened() {
    let mut relay = Relay::new();
    let mut watch = up(&relay, examined().timeout(ms(4000)));
    relay.set(Mood::Full); // nothing answers it for more than a second
    wait_miss(&mut watch);
    let told = watch.status().diagnosis;
    let start = Instant::now();
    watch.coordinator.stop().unwrap();
    let took = start.elapsed();
    assert!(took < ms(900), "{took:?}");
    drop(told);
}

/// A path that passes what opens a connection and no data: three side connections in a row, each of
/// which takes its time.
fn side_connections_end_with(timeout: Duration, end: impl Fn(&Filtered, &mut Watch)) {
    let peer = Filtered::new();
    let mut watch = Watch::new(peer.address, examined().timeout(timeout), tutorial());
    watch.wait_beats(2);
    peer.filter_all(&longer_than(0));
    wait_miss(&mut watch);
    eventually("a side connection", || peer.accepted() == 2);
    end(&peer, &mut watch);
    let opened = peer.accepted();
    assert!(opened < 4, "it was over before");
    eventually("its end", || peer.ended() + 1 >= opened);
    thread::sleep(ms(300)); // there would be another one at once
    assert_eq!(peer.accepted(), opened, "another one for a link that wants to know no more");
}

#[test]
fn side_connections_end_with_a_link_that_is_removed() {
    side_connections_end_with(ms(1000), |_, watch| watch.coordinator.remove(watch.link).unwrap());
}

#[test]
fn side_connections_end_with_the_trouble() {
    // The kernel sends the beat again every second at least, and a side connection takes as long.
    side_connections_end_with(ms(3000), |peer, watch| {
        peer.heal_first();
        watch.wait_state(State::Up);
    });
}

#[test]
fn an_adopted_connection_is_handed_back_unharmed_while_it_is_examined() {
    let mut relay = Relay::new();
    let coordinator = Coordinator::new().unwrap();
    let stream = TcpStream::connect(relay.address).unwrap();
    let link = coordinator.adopt(stream, examined(), tutorial()).unwrap();
    let mut watch = Watch { coordinator, link: link.id(), seen: Vec::new() };
    watch.wait_beats(2);
    relay.set(Mood::Hung);
    wait_miss(&mut watch);
    eventually("a side connection", || relay.visits() == 2);
    let mut returned = link.into_stream().unwrap();
    relay.set(Mood::Well);
    returned.stream.set_read_timeout(Some(LIMIT)).unwrap();
    returned.stream.write_all(b"heartbeat").unwrap();
    let mut ack = [0; 13];
    returned.stream.read_exact(&mut ack).unwrap();
    assert_eq!(&ack, b"heartbeat_ack");
}

/// Which of its functions panics, and how often it was called since.
struct Fragile {
    at: &'static str,
    calls: Arc<AtomicUsize>,
    broken: std::cell::Cell<bool>,
}

impl Fragile {
    fn call(&self, name: &str) {
        if self.broken.get() {
            self.calls.fetch_add(1, Ordering::SeqCst);
        }
        if name == self.at {
            self.broken.set(true);
            panic!("{name} is broken");
        }
    }
}

impl Protocol for Fragile {
    fn beat(&mut self, _seq: u64, out: &mut Vec<u8>) {
        self.call("beat");
        out.extend_from_slice(b"heartbeat");
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        self.call("parse");
        Ok(bytes.starts_with(b"heartbeat_ack").then_some((Frame::Ack(None), 13)))
    }

    fn fresh(&self) -> Option<Box<dyn Protocol>> {
        self.call("fresh");
        None
    }

    fn neutral(&self, len: usize) -> Option<Vec<u8>> {
        // The first question comes with the first beat.
        self.call(if len == 1 { "neutral" } else { "" });
        None
    }
}

#[test]
fn a_protocol_that_panics_as_it_is_examined_is_not_called_again() {
    for at in ["fresh", "neutral"] {
        for adopted in [false, true] {
            let mut relay = Relay::new();
            let calls = Arc::new(AtomicUsize::new(0));
            let broken = std::cell::Cell::new(false);
            let protocol = Fragile { at, calls: Arc::clone(&calls), broken };
            let coordinator = Coordinator::new().unwrap();
            let mut held = None;
            let link = if adopted {
                let stream = TcpStream::connect(relay.address).unwrap();
                held.insert(coordinator.adopt(stream, examined(), protocol).unwrap()).id()
            } else {
                coordinator.watch(relay.address, examined(), protocol).unwrap()
            };
            let mut watch = Watch { coordinator, link, seen: Vec::new() };
            watch.wait_beats(1);
            relay.set(Mood::Hung);
            let told = down(&mut watch);
            assert_eq!(told.cause(), Cause::ProtocolPanicked, "{at}: {told}");
            assert!(told.detail().contains(&format!("{at} is broken")), "{told}");
            watch.wait("end", |kind| *kind == EventKind::Ended);
            assert_eq!(calls.load(Ordering::SeqCst), 0, "{at}, adopted: {adopted}");
        }
    }
}

/// Takes its time over the beginning of an ack.
struct Thoughtful {
    begun: Sender<()>,
    go_on: Receiver<()>,
}

impl Protocol for Thoughtful {
    fn beat(&mut self, _seq: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"heartbeat");
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        if bytes == b"heart" {
            self.begun.send(()).unwrap();
            self.go_on.recv().unwrap();
        }
        Ok(bytes.starts_with(b"heartbeat_ack").then_some((Frame::Ack(None), 13)))
    }
}

#[test]
fn an_ack_that_came_before_a_reset_counts_though_a_look_was_due() {
    for adopted in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ((begun, begins), (go, go_on)) = (bounded(1), bounded(1));
        let protocol = Thoughtful { begun, go_on };
        let far = Duration::from_secs(3600);
        let beat = Heartbeat::every(far).timeout(ms(10_000)).backoff(far, far);
        let coordinator = Coordinator::new().unwrap();
        let mut held = None;
        let link = if adopted {
            let stream = TcpStream::connect(address).unwrap();
            held.insert(coordinator.adopt(stream, beat, protocol).unwrap()).id()
        } else {
            coordinator.watch(address, beat, protocol).unwrap()
        };
        let mut watch = Watch { coordinator, link, seen: Vec::new() };
        let (mut theirs, _) = listener.accept().unwrap();
        theirs.read_exact(&mut [0; 9]).unwrap();
        theirs.write_all(b"heart").unwrap();
        begins.recv_timeout(LIMIT).unwrap();
        theirs.write_all(b"beat_ack").unwrap();
        SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
        drop(theirs);
        thread::sleep(ms(100)); // so long it is busy, and looks would have been due
        go.send(()).unwrap();
        watch.wait_state(State::Up);
        assert_eq!(down(&mut watch).cause(), Cause::Reset, "adopted: {adopted}");
    }
}

/// A server's side: the client has opened the connection, and nobody listens at its end.
#[test]
fn a_client_that_hangs_is_never_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let coordinator = Coordinator::new().unwrap();
    let beat = falls(Diagnose::side_connections());
    let link = coordinator.adopt(accepted, beat, tutorial()).unwrap();
    let mut watch = Watch { coordinator, link: link.id(), seen: Vec::new() };
    let mut bytes = [0; 9];
    client.read_exact(&mut bytes).unwrap();
    client.write_all(b"heartbeat_ack").unwrap();
    watch.wait_beats(1);
    let told = down(&mut watch); // it answers no more
    assert_eq!(told.cause(), Cause::PeerSilent, "{told}");
    assert_eq!((text(&told, "side"), text(&told, "fresh")), (Some("needless".to_owned()), None));
}
