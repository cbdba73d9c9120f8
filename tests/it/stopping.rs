//! Stop: within one second, wherever the links are blocked; drop: at once.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use keepbeat::{Coordinator, EventKind, Exchange, Heartbeat, LinkId, State};

use crate::peer::Peer;
use crate::watching::{LIMIT, eventually, ms, quick, tutorial};

/// One second, and some room for a noisy machine; what a link was blocked in takes ten and more.
const STOP: Duration = Duration::from_millis(1500);

fn stops_in_time(coordinator: &Coordinator) {
    let start = Instant::now();
    coordinator.stop().unwrap();
    assert!(start.elapsed() < STOP, "{:?}", start.elapsed());
    assert!(coordinator.statuses().is_empty());
    // The queue ends after what was reported.
    let last = coordinator.events().iter().last();
    assert!(matches!(last.unwrap().kind(), EventKind::Ended));
}

fn wait_for(coordinator: &Coordinator, link: LinkId, state: State) {
    eventually(state.word(), || coordinator.status(link).unwrap().state == state);
}

#[test]
fn while_blocked_in_read_and_while_waiting_for_the_next_beat() {
    let silent = Peer::new(|mut visit| visit.swallow());
    let acks = Peer::new(|mut visit| visit.ack_for_ever());
    let coordinator = Coordinator::new().unwrap();
    let slow = Heartbeat::every(ms(60_000)).timeout(ms(60_000));
    let reading = coordinator.watch(silent.address, slow.clone(), tutorial()).unwrap();
    let resting = coordinator.watch(acks.address, slow, tutorial()).unwrap();
    wait_for(&coordinator, resting, State::Up);
    eventually("a beat waits for its ack", || coordinator.status(reading).unwrap().sent == 1);
    stops_in_time(&coordinator);
}

#[test]
fn while_blocked_in_write() {
    let (read, reading) = bounded(1);
    let never_reads = Peer::new(move |visit| {
        let mut byte = [0];
        visit.stream.peek(&mut byte)?;
        read.send(()).unwrap();
        std::thread::sleep(ms(20_000)); // the fault
        Ok(())
    });
    let coordinator = Coordinator::new().unwrap();
    let long = Exchange::new(vec![b'x'; 64 << 20], "ok");
    let beat = quick().write_timeout(ms(60_000));
    coordinator.watch(never_reads.address, beat, long).unwrap();
    reading.recv_timeout(LIMIT).unwrap();
    stops_in_time(&coordinator);
}

/// A listener whose queue is full: the kernel drops further SYNs, and a connect hangs.
fn black_hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let fill = || TcpStream::connect_timeout(&address, ms(200));
    let filling: Vec<_> = std::iter::from_fn(|| fill().ok()).take(64).collect();
    assert!(filling.len() < 64, "the queue never filled");
    (listener, filling, address)
}

#[test]
fn while_blocked_in_connect_and_a_connect_timeout_is_told_as_one() {
    let (_listener, _filling, address) = black_hole();
    let coordinator = Coordinator::new().unwrap();
    let beat = quick().connect_timeout(ms(300)).backoff(ms(60_000), ms(60_000));
    let link = coordinator.watch(address, beat, tutorial()).unwrap();
    wait_for(&coordinator, link, State::Down);
    let loss = coordinator.status(link).unwrap().loss.unwrap();
    assert_eq!(loss.cause, keepbeat::Cause::ConnectTimeout, "{loss}");

    let patient = quick().connect_timeout(ms(60_000));
    let link = coordinator.watch(address, patient, tutorial()).unwrap();
    // No event tells that a connect has begun: give it a moment to hang.
    std::thread::sleep(ms(100));
    assert_eq!(coordinator.status(link).unwrap().state, State::Connecting);
    stops_in_time(&coordinator);
}

#[test]
fn while_backing_off_and_while_waiting_for_a_turn_to_connect() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let coordinator = Coordinator::builder().connects_per_second(1).build().unwrap();
    let beat = quick().backoff(ms(60_000), ms(60_000));
    let first = coordinator.watch(dead, beat.clone(), tutorial()).unwrap();
    for _ in 0..20 {
        coordinator.watch(dead, beat.clone(), tutorial()).unwrap();
    }
    wait_for(&coordinator, first, State::Down);
    stops_in_time(&coordinator);
}

#[test]
fn a_thread_inside_name_resolution_is_left_behind_and_that_is_said() {
    let (answer, answers) = bounded::<()>(0);
    let (asked, asking) = bounded(1);
    let coordinator = Coordinator::builder()
        .resolver(move |_, _| {
            let _ = asked.try_send(());
            let _ = answers.recv();
            Err(io::Error::other("too late"))
        })
        .build()
        .unwrap();
    let removed = coordinator.watch("one.test:7000", quick(), tutorial()).unwrap();
    asking.recv_timeout(LIMIT).unwrap();
    assert!(coordinator.remove(removed).unwrap_err().is_left_behind());

    coordinator.watch("slow.test:7000", quick(), tutorial()).unwrap();
    asking.recv_timeout(LIMIT).unwrap();
    let start = Instant::now();
    let error = coordinator.stop().unwrap_err();
    assert!(start.elapsed() < STOP, "{:?}", start.elapsed());
    assert!(error.is_left_behind());
    let text = error.to_string();
    assert!(text.contains("name resolution") && text.contains("slow.test"), "{text}");
    coordinator.stop().expect("a second stop does nothing");
    drop(answer);
}

#[test]
fn dropping_signals_and_does_not_hang() {
    let (closed, closing) = bounded(1);
    let peer = Peer::new(move |mut visit| {
        visit.ack(1)?;
        let end = visit.ack_for_ever();
        closed.send(()).unwrap();
        end
    });
    let (_listener, _filling, hole) = black_hole();
    let coordinator = Coordinator::new().unwrap();
    let slow = Heartbeat::every(ms(60_000));
    let link = coordinator.watch(peer.address, slow.clone(), tutorial()).unwrap();
    coordinator.watch(hole, slow.connect_timeout(ms(60_000)), tutorial()).unwrap();
    wait_for(&coordinator, link, State::Up);
    let events = coordinator.events().clone();
    let start = Instant::now();
    drop(coordinator);
    assert!(start.elapsed() < STOP, "{:?}", start.elapsed());
    closing.recv_timeout(LIMIT).expect("the connection was closed");
    // What is left to read ends.
    while events.recv_timeout(LIMIT).is_ok() {}
    assert!(events.is_empty());
}

#[test]
fn a_link_removed_from_within_its_own_protocol_ends_without_waiting_for_itself() {
    use std::sync::{Arc, OnceLock};
    struct RemovesItself(Arc<OnceLock<(Arc<Coordinator>, LinkId)>>);
    impl keepbeat::Protocol for RemovesItself {
        fn beat(&mut self, _seq: u64, out: &mut Vec<u8>) {
            out.extend_from_slice(b"heartbeat");
        }
        fn parse(
            &mut self,
            bytes: &[u8],
        ) -> Result<Option<(keepbeat::protocol::Frame, usize)>, keepbeat::protocol::Rejected>
        {
            if let Some((coordinator, link)) = self.0.get() {
                coordinator.remove(*link).unwrap();
            }
            Ok(Some((keepbeat::protocol::Frame::Ack(None), bytes.len())))
        }
    }
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let coordinator = Arc::new(Coordinator::new().unwrap());
    let itself = Arc::new(OnceLock::new());
    let protocol = RemovesItself(Arc::clone(&itself));
    let beat = Heartbeat::every(ms(20)).timeout(ms(2000));
    let link = coordinator.watch(peer.address, beat, protocol).unwrap();
    let _ = itself.set((Arc::clone(&coordinator), link));
    eventually("it is gone", || coordinator.statuses().is_empty());
    let ended = coordinator.events().iter().any(|event| *event.kind() == EventKind::Ended);
    assert!(ended);
}
