//! Stop: within one second, wherever the links are blocked; drop: at once.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use keepbeat::{Coordinator, EventKind, Exchange, Heartbeat, LinkId, State};

use crate::peer::Peer;
use crate::watching::{LIMIT, eventually, ms, quick, tutorial};

/// A stop gives up waiting after 0.9 s and says so, which fails these tests; the rest is room for a
/// machine that is starved. What the links are blocked in takes twenty seconds and more.
const STOP: Duration = Duration::from_secs(5);

fn stops_in_time(coordinator: &Coordinator) {
    while coordinator.events().try_recv().is_ok() {}
    let start = Instant::now();
    coordinator.stop().unwrap();
    assert!(start.elapsed() < STOP, "{:?}", start.elapsed());
    let statuses = coordinator.statuses();
    assert!(!statuses.is_empty() && statuses.iter().all(|status| status.ended), "still readable");
    // The queue ends after what was reported, and nobody is blamed for our own shutdown.
    let events: Vec<_> = coordinator.events().iter().collect();
    assert!(matches!(events.last().unwrap().kind(), EventKind::Ended));
    let blamed = |event: &&keepbeat::Event| {
        let ours = [keepbeat::Cause::Stopped, keepbeat::Cause::Refused];
        event.kind().cause().is_some_and(|cause| !ours.contains(&cause))
    };
    assert!(!events.iter().any(|event| blamed(&event)), "{events:#?}");
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
pub fn black_hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
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

/// Its resolver says when it is asked, and answers only when the last value is dropped.
fn with_slow_resolver() -> (Coordinator, Receiver<()>, Sender<()>) {
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
    (coordinator, asking, answer)
}

#[test]
fn a_thread_inside_name_resolution_is_left_behind_and_that_is_said() {
    let (coordinator, asking, answer) = with_slow_resolver();
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
    coordinator.stop().expect("a second stop has nothing to do");
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

#[test]
fn a_second_stop_waits_for_the_first_and_no_last_word_is_lost() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let (coordinator, asking, answer) = with_slow_resolver();
    let beat = Heartbeat::every(ms(5)).timeout(ms(5000));
    let links: Vec<_> = (0..20)
        .map(|_| coordinator.watch(peer.address, beat.clone(), tutorial()).unwrap())
        .collect();
    coordinator.watch("slow.test:1", quick(), tutorial()).unwrap();
    asking.recv_timeout(LIMIT).unwrap();
    for link in &links {
        wait_for(&coordinator, *link, State::Up);
    }
    let copy = coordinator.subscribe(100_000);
    std::thread::scope(|scope| {
        // The one that takes the threads waits for the resolver; the other one for it.
        let stops: Vec<_> = (0..2).map(|_| scope.spawn(|| coordinator.stop().is_err())).collect();
        let failed = stops.into_iter().map(|stop| stop.join().unwrap());
        assert_eq!(failed.filter(|failed| *failed).count(), 1);
    });
    drop(answer);
    let ends = copy.iter().filter(|event| *event.kind() == EventKind::Ended).count();
    assert_eq!(ends, links.len());
}

#[test]
fn dropping_lets_the_links_say_their_last_words() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(5)).timeout(ms(5000));
    for _ in 0..20 {
        let link = coordinator.watch(peer.address, beat.clone(), tutorial()).unwrap();
        wait_for(&coordinator, link, State::Up);
    }
    let copy = coordinator.subscribe(100_000);
    drop(coordinator);
    let ends = copy.iter().filter(|event| *event.kind() == EventKind::Ended).count();
    assert_eq!(ends, 20);
}

/// A beat that takes its time, so that a stop comes between the look at the flag and the write.
struct SlowBeat;

impl keepbeat::Protocol for SlowBeat {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        if seq == 2 {
            std::thread::sleep(ms(200)); // the fault
        }
        out.extend_from_slice(b"heartbeat");
    }

    fn parse(
        &mut self,
        bytes: &[u8],
    ) -> Result<Option<(keepbeat::protocol::Frame, usize)>, keepbeat::protocol::Rejected> {
        let whole = bytes.len() >= 13;
        Ok(whole.then_some((keepbeat::protocol::Frame::Ack(None), 13)))
    }
}

#[test]
fn our_own_stop_is_never_told_as_the_peers_death() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(1)).timeout(ms(5000));
    let link = coordinator.watch(peer.address, beat, SlowBeat).unwrap();
    wait_for(&coordinator, link, State::Up);
    // Within the second beat by now, most likely.
    std::thread::sleep(ms(50));
    coordinator.stop().unwrap();
    let events: Vec<_> = coordinator.events().iter().collect();
    let blamed = |event: &&keepbeat::Event| {
        event.kind().cause().is_some_and(|cause| cause != keepbeat::Cause::Stopped)
    };
    assert!(!events.iter().any(|event| blamed(&event)), "{events:#?}");
}

#[test]
fn a_stop_from_within_a_protocol_does_not_wait_for_its_own_link() {
    use std::sync::{Arc, OnceLock};
    struct StopsAll(Arc<OnceLock<Arc<Coordinator>>>, crossbeam_channel::Sender<bool>);
    impl keepbeat::Protocol for StopsAll {
        fn beat(&mut self, _seq: u64, _out: &mut Vec<u8>) {
            if let Some(coordinator) = self.0.get() {
                let start = Instant::now();
                let result = coordinator.stop();
                self.1.send(result.is_ok() && start.elapsed() < ms(500)).unwrap();
            }
        }
        fn parse(
            &mut self,
            _bytes: &[u8],
        ) -> Result<Option<(keepbeat::protocol::Frame, usize)>, keepbeat::protocol::Rejected>
        {
            Ok(None)
        }
    }
    let peer = Peer::new(|mut visit| visit.swallow());
    let (told, telling) = bounded(10);
    let itself = Arc::new(OnceLock::new());
    let coordinator = Arc::new(Coordinator::new().unwrap());
    let protocol = StopsAll(Arc::clone(&itself), told);
    coordinator.watch(peer.address, Heartbeat::every(ms(50)), protocol).unwrap();
    assert!(itself.set(Arc::clone(&coordinator)).is_ok());
    assert!(telling.recv_timeout(LIMIT).unwrap(), "it waited for itself");
}

#[test]
fn a_forked_child_cannot_end_the_connections_of_its_parent() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(20)).timeout(ms(5000));
    let link = coordinator.watch(peer.address, beat, tutorial()).unwrap();
    wait_for(&coordinator, link, State::Up);
    // SAFETY: the child only reads and drops what it has, and leaves without destructors of others.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let refused = coordinator.stop().is_err();
            drop(coordinator);
            libc::_exit(i32::from(!refused));
        }
        let mut status = -1;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0, "the child may not stop it");
    }
    let acked = coordinator.status(link).unwrap().acked;
    eventually("it beats on", || coordinator.status(link).unwrap().acked > acked + 3);
    // A late ack on a busy machine may be looked into by a side connection: a visit proves nothing.
    let status = coordinator.status(link).unwrap();
    assert_eq!((status.state, status.reconnects), (State::Up, 0), "on the same connection");
}

/// Protocols that end one after the other, each after a while.
#[derive(Debug)]
struct EndsSlowly(std::sync::Arc<std::sync::Mutex<()>>);

impl keepbeat::protocol::Protocol for EndsSlowly {
    fn beat(&mut self, _: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"heartbeat");
    }

    fn parse(
        &mut self,
        bytes: &[u8],
    ) -> Result<Option<(keepbeat::protocol::Frame, usize)>, keepbeat::protocol::Rejected> {
        Ok((bytes.len() >= 13).then_some((keepbeat::protocol::Frame::Ack(None), 13)))
    }
}

impl Drop for EndsSlowly {
    fn drop(&mut self) {
        let _turn = self.0.lock().unwrap();
        std::thread::sleep(ms(60)); // the fault
    }
}

#[test]
fn threads_that_go_on_ending_are_waited_for_however_many_there_are() {
    let acks = Peer::new(|mut visit| visit.ack_for_ever());
    let coordinator = Coordinator::new().unwrap();
    let turn = std::sync::Arc::default();
    for _ in 0..20 {
        let protocol = EndsSlowly(std::sync::Arc::clone(&turn));
        coordinator.watch(acks.address, quick(), protocol).unwrap();
    }
    eventually("all are up", || {
        coordinator.statuses().iter().all(|status| status.state == State::Up)
    });
    // It takes 1.2 s in all, and a stop has 0.9 s for threads that do not end.
    coordinator.stop().unwrap();
}
