//! Followed links: the connection is the test's own; keepbeat sends by a function and is told what
//! came.

mod ends;
mod roles;
mod stuck;
mod transports;

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, unbounded};
use keepbeat::protocol::{Frame, Rejected};
use keepbeat::{Cause, Coordinator, EventKind, Follower, Heartbeat, Line, Protocol, State};

use crate::peer::{ACK, Peer};
use crate::watching::{LIMIT, Watch, ms, quick, tutorial};

/// Numbered lines; any other line is the application's.
#[derive(Clone, Copy)]
pub struct Chat;

impl Protocol for Chat {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        Line.beat(seq, out);
    }

    fn ack(&mut self, seq: Option<u64>, out: &mut Vec<u8>) {
        Line.ack(seq, out);
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        if bytes.starts_with(b"beat ") || bytes.starts_with(b"ack ") {
            return Line.parse(bytes);
        }
        Ok(Some((Frame::Data, end + 1)))
    }
}

/// A link without a wire: what it sends comes out here, and the test says what came.
pub struct Wire {
    pub watch: Watch,
    pub follower: Follower,
    pub frames: Receiver<Vec<u8>>,
}

impl Wire {
    pub fn new(beat: Heartbeat, protocol: impl Protocol + 'static) -> Wire {
        let (sent, frames) = unbounded();
        let (watch, follower) = following(beat, protocol, move |frame| {
            sent.send(frame.to_vec()).map_err(io::Error::other)
        });
        Wire { watch, follower, frames }
    }

    pub fn frame(&self) -> String {
        let frame = self.frames.recv_timeout(LIMIT).expect("a frame is sent");
        String::from_utf8(frame).unwrap()
    }

    pub fn hear(&self, text: &str) {
        self.follower.heard(text.as_bytes()).unwrap();
    }

    /// Answers so many beats as it should.
    pub fn ack(&self, beats: usize) {
        for _ in 0..beats {
            self.hear(&self.frame().replace("beat", "ack"));
        }
    }

    pub fn wait_ended(&mut self) {
        self.watch.wait("end", |kind| *kind == EventKind::Ended);
    }
}

pub fn following(
    beat: Heartbeat,
    protocol: impl Protocol + 'static,
    send: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
) -> (Watch, Follower) {
    let coordinator = Coordinator::new().unwrap();
    let follower = coordinator.follow(beat, protocol, send).unwrap();
    (Watch { coordinator, link: follower.id(), seen: Vec::new() }, follower)
}

/// The application's own reader.
fn read_for(follower: &Follower, mut stream: impl Read + Send + 'static) {
    let follower = follower.clone();
    thread::spawn(move || {
        let mut bytes = [0; 512];
        loop {
            match stream.read(&mut bytes) {
                Ok(0) => break follower.lost(Cause::ClosedByPeer),
                Ok(n) if follower.heard(&bytes[..n]).is_err() => break,
                Ok(_) => {}
                Err(error) => break follower.lost(error),
            }
        }
    });
}

fn check_beats(mut watch: Watch) {
    watch.wait_beats(10);
    let status = watch.status();
    assert_eq!((status.state, status.missed, status.late), (State::Up, 0, 0));
    assert!(status.sent >= status.acked && status.acked >= 10);
    let (last, max) = (status.rtt.last().unwrap(), status.rtt.max().unwrap());
    assert!(last > Duration::ZERO && max < ms(2000), "{:?}", status.rtt);
    watch.coordinator.stop().unwrap();
}

#[test]
fn beats_are_acked_over_a_tcp_connection_of_the_applications_own() {
    let peer = Peer::new(|mut visit| visit.ack_for_ever());
    let stream = TcpStream::connect(peer.address).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let beat = Heartbeat::every(ms(20)).timeout(ms(2000));
    let (watch, follower) = following(beat, tutorial(), move |beat| writer.write_all(beat));
    read_for(&follower, stream);
    check_beats(watch);
}

#[test]
fn beats_are_acked_over_a_pair_of_unix_sockets() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        let mut beat = [0; b"heartbeat".len()];
        while theirs.read_exact(&mut beat).is_ok() && theirs.write_all(ACK).is_ok() {}
    });
    let mut writer = ours.try_clone().unwrap();
    let beat = Heartbeat::every(ms(20)).timeout(ms(2000));
    let (watch, follower) = following(beat, tutorial(), move |beat| writer.write_all(beat));
    read_for(&follower, ours);
    check_beats(watch);
}

#[test]
fn two_followers_are_each_others_peer_and_answer_while_they_ask() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let other = listener.accept().unwrap().0;
    let both = [one, other].map(|stream| {
        let mut writer = stream.try_clone().unwrap();
        let beat = Heartbeat::every(ms(20)).timeout(ms(2000));
        let (watch, follower) = following(beat, Line, move |frame| writer.write_all(frame));
        read_for(&follower, stream);
        (watch, follower)
    });
    let [(mut one, _one), (mut other, _other)] = both;
    for watch in [&mut one, &mut other] {
        watch.wait_beats(10);
        assert_eq!((watch.misses(), watch.status().late), (0, 0));
    }
}

#[test]
fn the_round_trip_ends_when_it_is_heard_though_the_links_thread_is_busy() {
    /// Its answers take as long as the test likes.
    struct Slow(crossbeam_channel::Sender<()>, Receiver<()>);
    impl Protocol for Slow {
        fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
            Line.beat(seq, out);
        }
        fn ack(&mut self, _seq: Option<u64>, _out: &mut Vec<u8>) {
            self.0.send(()).unwrap();
            let _ = self.1.recv_timeout(LIMIT);
        }
        fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
            Line.parse(bytes)
        }
    }
    for by_bytes in [true, false] {
        let ((enter, entered), (leave, left)) = (bounded(1), bounded(1));
        let beat = Heartbeat::every(ms(60_000)).timeout(ms(20_000));
        let mut wire = Wire::new(beat, Slow(enter, left));
        assert_eq!(wire.frame(), "beat 1\n");
        wire.hear("beat 9\n");
        entered.recv_timeout(LIMIT).unwrap();
        let (call, calling) = bounded(1);
        let follower = wire.follower.clone();
        let hearing = thread::spawn(move || {
            call.send(()).unwrap();
            match by_bytes {
                true => follower.heard(b"ack 1\n").unwrap(),
                false => follower.acked(Some(1)).unwrap(),
            }
        });
        calling.recv_timeout(LIMIT).unwrap();
        thread::sleep(ms(1000)); // the fault: so long the link's thread does something else
        leave.send(()).unwrap();
        hearing.join().unwrap();
        wire.watch.wait_beats(1);
        let rtt = wire.watch.status().rtt.last().unwrap();
        assert!(rtt < ms(900), "{rtt:?}, by bytes: {by_bytes}");
    }
}

#[test]
fn the_applications_data_between_beats_is_life() {
    let mut wire = Wire::new(quick(), Chat);
    for _ in 0..4 {
        assert!(wire.frame().starts_with("beat "));
        wire.hear("how do you do\n");
        wire.watch.wait("sign of life", |kind| matches!(kind, EventKind::Alive { .. }));
    }
    let status = wire.follower.status();
    assert_eq!((status.state, status.acked, status.missed), (State::Up, 0, 0));
    assert_eq!(wire.watch.states(), [State::Up]);
}

#[test]
fn an_application_that_parses_by_itself_says_what_it_found() {
    let mut wire = Wire::new(quick(), Chat);
    wire.frame();
    wire.follower.acked(Some(1)).unwrap();
    wire.watch.wait_state(State::Up);
    wire.frame();
    wire.follower.alive().unwrap();
    wire.watch.wait("sign of life", |kind| matches!(kind, EventKind::Alive { .. }));
    assert_eq!((wire.follower.state(), wire.watch.misses()), (State::Up, 0));
}

#[test]
fn with_when_idle_no_beat_is_sent_while_both_directions_carry_bytes() {
    // Only a pause of this test itself as long as the interval could let a beat out.
    let mut wire = Wire::new(Heartbeat::every(ms(3000)).timeout(ms(5000)).when_idle(), Chat);
    wire.ack(1);
    wire.watch.wait_state(State::Up);
    let traffic = crossbeam_channel::tick(ms(20));
    let start = Instant::now();
    while start.elapsed() < ms(5000) {
        traffic.recv().unwrap();
        wire.hear("hello\n");
        wire.follower.wrote().unwrap();
    }
    assert!(wire.frames.is_empty(), "{:?}", wire.frame());
    assert_eq!(wire.frame(), "beat 2\n", "as soon as the connection is idle");
}

#[test]
fn bytes_may_be_cut_anywhere() {
    let bytes = b"hello\nbeat 5\nack 1\n";
    for cut in 0..=bytes.len() {
        let mut wire = Wire::new(Heartbeat::every(ms(60_000)).timeout(ms(20_000)), Chat);
        assert_eq!(wire.frame(), "beat 1\n");
        wire.follower.heard(&bytes[..cut]).unwrap();
        wire.follower.heard(&bytes[cut..]).unwrap();
        wire.watch.wait_beats(1);
        assert_eq!(wire.frame(), "ack 5\n", "cut at {cut}");
    }
    let wire = Wire::new(Heartbeat::every(ms(10)).timeout(ms(20_000)), Chat);
    for _ in 0..20 {
        wire.frame().replace("beat", "ack").bytes().for_each(|byte| {
            wire.follower.heard(&[byte]).unwrap();
        });
    }
}

#[test]
fn what_opens_the_conversation_is_sent_first_in_every_role_that_may_speak() {
    struct Login;
    impl Protocol for Login {
        fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
            Line.beat(seq, out);
        }
        fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
            Line.parse(bytes)
        }
        fn connected(&mut self, out: &mut Vec<u8>) {
            out.extend_from_slice(b"login\n");
        }
    }
    let active = Wire::new(quick(), Login);
    assert_eq!((active.frame(), active.frame()), ("login\n".into(), "beat 1\n".into()));
    let passive = Wire::new(quick().role(keepbeat::Role::Passive), Login);
    assert_eq!(passive.frame(), "login\n");
}

#[test]
fn links_have_a_number_or_a_name() {
    let coordinator = Coordinator::new().unwrap();
    let one = coordinator.follow(quick(), Line, |_| Ok(())).unwrap();
    let other = coordinator.follow_named("plc-7", quick(), Line, |_| Ok(())).unwrap();
    assert_eq!(one.status().name, "follow-1");
    assert_eq!((other.status().name, other.id()), ("plc-7".to_owned(), other.status().link));
    let refused = coordinator.follow(quick().fall(0), Line, |_| Ok(()));
    assert!(refused.unwrap_err().is_invalid());
}
