//! The steps of a link's loop have one order, whatever carries the link: what had happened before a
//! stop is told before it, and what is counted or handed out counts what is known.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use keepbeat::protocol::{Frame, Protocol, Rejected};
use keepbeat::{
    Cause, Coordinator, Diagnose, Event, EventKind, Exchange, Framed, Heartbeat, LinkId, Received,
    State,
};

use crate::follow::{Chat, Wire};
use crate::watching::{LIMIT, Watch, ms, tutorial};

/// Takes connections, and nobody reads on them.
fn hung() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Ends its own link as it is asked for a fresh protocol, and panics.
struct Breaks {
    coordinator: Arc<Coordinator>,
    link: Receiver<LinkId>,
}

impl Protocol for Breaks {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        tutorial().beat(seq, out);
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        tutorial().parse(bytes)
    }

    fn fresh(&self) -> Option<Box<dyn Protocol>> {
        let link = self.link.recv_timeout(LIMIT).expect("the test says which");
        self.coordinator.end(link).unwrap();
        panic!("a test's panic");
    }
}

fn ends_after(events: &Receiver<Event>) -> Vec<EventKind> {
    let mut seen = Vec::new();
    while seen.last() != Some(&EventKind::Ended) {
        seen.push(events.recv_timeout(LIMIT).expect("the end").kind().clone());
    }
    seen
}

#[test]
fn a_panic_that_came_before_a_stop_is_told_before_it() {
    let beat = Heartbeat::every(ms(300)).timeout(ms(200)).fall(3);
    let beat = beat.diagnose(Diagnose::side_connections());
    let by_panic = |kind: &EventKind| {
        matches!(kind, EventKind::State { to: State::Down, loss: Some(loss), .. }
            if loss.cause == Cause::ProtocolPanicked)
    };
    for carries_data in [false, true] {
        let (listener, coordinator) = (hung(), Arc::new(Coordinator::new().unwrap()));
        let (tell, link) = bounded(1);
        let address = listener.local_addr().unwrap();
        let breaks = Breaks { coordinator: Arc::clone(&coordinator), link };
        let held = if carries_data {
            let link = coordinator.connect(address, beat.clone(), breaks).unwrap();
            tell.send(link.id()).unwrap();
            Some(link)
        } else {
            tell.send(coordinator.watch(address, beat.clone(), breaks).unwrap()).unwrap();
            None
        };
        let seen = ends_after(coordinator.events());
        assert!(seen.iter().any(by_panic), "{carries_data}: {seen:#?}");
        drop(held);
    }
}

#[test]
fn the_last_round_of_a_link_with_data_waits_for_its_side_connections_and_its_reader_does_not() {
    let listener = hung();
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(500)).timeout(ms(400)).fall(1).rounds(1);
    let beat = beat.diagnose(Diagnose::side_connections());
    let protocol = Framed::lines("PING", "PONG").unwrap();
    let link = coordinator.connect(listener.local_addr().unwrap(), beat, protocol).unwrap();
    let first = link.frames().recv_timeout(LIMIT).unwrap();
    assert!(matches!(first, Received::Connected { .. }), "{first:?}");
    let seen = ends_after(coordinator.events());
    let last = seen.iter().rev().find_map(EventKind::diagnosis).expect("a diagnosis");
    let names: Vec<_> = last.evidence().facts().into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"fresh") && !names.contains(&"side"), "{last}\n{names:?}");
    // It is over for the reader, too.
    let lost = link.frames().recv_timeout(LIMIT).unwrap();
    assert!(matches!(lost, Received::Lost { .. }), "{lost:?}");
}

#[test]
fn what_a_follower_wrote_is_traffic_as_on_any_other_link() {
    let beat = Heartbeat::every(ms(500)).timeout(ms(300)).fall(1);
    let mut wire = Wire::new(beat, Chat);
    wire.ack(2);
    wire.watch.wait_beats(2);
    let writer = wire.follower.clone();
    let (stop, stopped) = bounded::<()>(0);
    let writing = thread::spawn(move || {
        while stopped.recv_timeout(ms(10)).is_err_and(|error| error.is_timeout()) {
            writer.wrote().unwrap();
        }
    });
    let event = wire.watch.wait_state(State::Down);
    drop(stop);
    writing.join().unwrap();
    let EventKind::State { diagnosis: Some(diagnosis), .. } = event.kind() else {
        panic!("no diagnosis: {event}");
    };
    let idle = diagnosis.evidence().facts().into_iter().find(|(name, _)| *name == "idle_us");
    let (_, idle) = idle.expect("how long it was idle");
    let idle: f64 = idle.to_string().parse().expect("a number");
    assert!(idle < 300_000.0, "it wrote every 10 ms, and was idle for {idle} us");
}

/// Waits, before it makes a certain beat, until it may.
struct Waits<P> {
    inner: P,
    at: u64,
    asked: Sender<()>,
    may: Receiver<()>,
}

impl<P: Protocol> Protocol for Waits<P> {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        if seq == self.at {
            let _ = self.asked.try_send(());
            self.may.recv_timeout(LIMIT).expect("the test lets it go on");
        }
        self.inner.beat(seq, out);
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        self.inner.parse(bytes)
    }
}

fn waiting<P>(inner: P, at: u64) -> (Waits<P>, Receiver<()>, Sender<()>) {
    let ((asked, is_asked), (go, may)) = (bounded(1), bounded(1));
    (Waits { inner, at, asked, may }, is_asked, go)
}

#[test]
fn an_ack_that_is_found_as_the_connection_is_handed_back_is_not_due_any_more() {
    let listener = hung();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut theirs, _) = listener.accept().unwrap();
    let (protocol, is_asked, go) = waiting(Framed::lines("PING", "PONG").unwrap(), 2);
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(100)).timeout(ms(150)).fall(100);
    let link = coordinator.adopt(ours, beat, protocol).unwrap();
    is_asked.recv_timeout(LIMIT).expect("a second beat, the first being missed");
    theirs.write_all(b"PONG\n").unwrap();
    let asking = thread::spawn(move || link.into_stream());
    thread::sleep(ms(100)); // so long the protocol blocks, while the request waits
    go.send(()).unwrap();
    let returned = asking.join().unwrap().unwrap();
    assert_eq!((returned.acks_due, returned.unread.as_slice()), (1, &b""[..]));
}

#[test]
fn a_beat_counts_as_sent_once_it_is_written() {
    let listener = hung();
    let address = listener.local_addr().unwrap();
    let (protocol, is_asked, go) = waiting::<Exchange>(tutorial(), 1);
    let mut watch = Watch::new(address, Heartbeat::every(ms(1000)).rounds(1), protocol);
    is_asked.recv_timeout(LIMIT).expect("a first beat");
    drop(listener.accept().unwrap());
    go.send(()).unwrap();
    watch.wait("end", |kind| *kind == EventKind::Ended);
    let status = watch.status();
    let cause = status.loss.as_ref().map(|loss| loss.cause);
    assert_eq!((status.sent, cause), (0, Some(Cause::DroppedAtOnce)), "{status:?}");
}
