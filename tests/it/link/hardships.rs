//! Slow peers and slow readers, ends behind unread bytes, panics of a protocol, signs of life.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Instant;

use keepbeat::protocol::{Frame, Framing, Protocol, Rejected};
use keepbeat::pulse::{Input, Output, Pulse, Report};
use keepbeat::{Adopt, Connect, Coordinator, Error, Framed, Heartbeat, Received, Role, State};

use crate::watching::{LIMIT, eventually, ms};

use super::{adopted, frame, line, lines, next, often, pair, rarely, wait_state};

use super::closing::{all, listen, reset, within};

// --- the write timeout ---

/// Reads so much in each tenth of a second, for ever.
fn reads_steadily(mut theirs: TcpStream, bytes: usize) {
    thread::spawn(move || {
        let mut chunk = vec![0; bytes];
        loop {
            if theirs.read_exact(&mut chunk).is_err() {
                return;
            }
            let beats = String::from_utf8_lossy(&chunk).matches("PING").count();
            let _ = theirs.write_all(&b"PONG\n".repeat(beats));
            thread::sleep(ms(100));
        }
    });
}

/// With little room in the kernels.
fn narrow() -> (TcpStream, TcpStream) {
    let (ours, theirs) = pair();
    socket2::SockRef::from(&ours).set_send_buffer_size(16_384).unwrap();
    socket2::SockRef::from(&theirs).set_recv_buffer_size(16_384).unwrap();
    (ours, theirs)
}

#[test]
fn writers_behind_each_other_do_not_kill_a_connection_whose_peer_reads_steadily() {
    let (ours, theirs) = narrow();
    let coordinator = Coordinator::new().unwrap();
    let heartbeat = rarely().write_timeout(ms(1000));
    let link = coordinator.adopt(ours, heartbeat, lines()).unwrap();
    reads_steadily(theirs, 20_000); // 200 kB a second; a frame takes 0.3 s
    for _ in 0..5 {
        let link = link.try_clone().unwrap();
        thread::spawn(move || {
            loop {
                match link.send([b'y'; 60_000]) {
                    Ok(_) => {}
                    Err(error) if error.is_timeout() => {} // its turn did not come
                    Err(_) => return,
                }
            }
        });
    }
    let lost = link.frames().recv_timeout(ms(10_000));
    assert!(lost.is_err(), "the peer reads all the while: {lost:?}");
}

#[test]
fn a_frame_begun_before_its_deadline_goes_on_where_the_peer_reads() {
    let (ours, theirs) = narrow();
    let coordinator = Coordinator::new().unwrap();
    let heartbeat = rarely().write_timeout(ms(1000));
    let protocol = lines().limit(2_000_000);
    let link = coordinator.adopt(ours, heartbeat, protocol).unwrap();
    reads_steadily(theirs, 20_000);
    let start = Instant::now();
    let result = link.send_deadline(vec![b'y'; 1_000_000], start + ms(2000));
    println!("{result:?} after {:?}", start.elapsed());
    assert_eq!(result.unwrap(), 1);
    let lost = link.frames().recv_timeout(ms(4000));
    assert!(lost.is_err(), "{:?}: the peer reads all the while: {lost:?}", start.elapsed());
}

// --- what came before the end ---

#[test]
fn what_the_application_had_read_is_parsed_though_the_peer_has_closed() {
    let (ours, theirs) = pair();
    drop(theirs);
    thread::sleep(ms(50)); // the FIN is here
    let coordinator = Coordinator::new().unwrap();
    let adopt = Adopt::new(ours).already_read(b"one\ntwo\n");
    let link = coordinator.adopt(adopt, rarely(), lines()).unwrap();
    let all = all(&link);
    assert_eq!(all.len(), 3, "{all:?}");
}

#[test]
fn what_came_with_the_answer_to_the_login_is_delivered_though_the_peer_has_closed() {
    let (listener, address) = listen();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(line(&mut stream), "LOGIN");
        stream.write_all(b"WELCOME\nnews\nmore news\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        thread::sleep(ms(1000));
    });
    let coordinator = Coordinator::new().unwrap();
    let connect = Connect::from(address).login(|login| {
        login.send("LOGIN")?;
        let result = login.receive().map(drop);
        thread::sleep(ms(50)); // it does something else, and the FIN comes
        result
    });
    let link = coordinator.connect(connect, rarely(), lines()).unwrap();
    assert_eq!(next(&link), Received::Connected { connection: 1 });
    assert_eq!(next(&link), frame("news"));
    assert_eq!(next(&link), frame("more news"));
}

#[test]
fn a_slow_reader_gets_all_that_came_before_an_orderly_close_though_beats_go_out() {
    let (ours, mut theirs) = pair();
    let coordinator = Coordinator::new().unwrap();
    let adopt = Adopt::new(ours).frames_capacity(1);
    let link = coordinator.adopt(adopt, often(), lines()).unwrap();
    assert_eq!(line(&mut theirs), "PING");
    let mut sent = String::from("PONG\n");
    (0..500).for_each(|n| sent.push_str(&format!("{n:>100}\n")));
    theirs.write_all(sent.as_bytes()).unwrap();
    // It reads what there is, answers nothing more, and closes in good order.
    theirs.shutdown(Shutdown::Write).unwrap();
    drop(theirs);
    thread::sleep(ms(500)); // the reader is slow
    let all = all(&link);
    let frames = all.iter().filter(|item| matches!(item, Received::Frame(_))).count();
    assert_eq!(frames, 500, "{:?}", all.last());
}

#[test]
fn a_reader_learns_of_the_loss_at_once_and_not_after_the_backoff() {
    let (listener, address) = listen();
    let coordinator = Coordinator::new().unwrap();
    let connect = Connect::from(address).frames_capacity(2);
    let heartbeat = rarely().backoff(ms(600_000), ms(600_000));
    let link = coordinator.connect(connect, heartbeat, lines()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    drop(listener);
    assert_eq!(line(&mut peer), "PING");
    assert_eq!(next(&link), Received::Connected { connection: 1 });
    peer.write_all(b"one\ntwo\n").unwrap();
    peer.shutdown(Shutdown::Both).unwrap();
    wait_state(&coordinator, State::Down);
    thread::sleep(ms(100)); // into the backoff
    assert_eq!((next(&link), next(&link)), (frame("one"), frame("two")));
    let lost = link.frames().recv_timeout(ms(5000));
    assert!(lost.is_ok(), "the reader waits, and is told nothing");
}

#[test]
fn unread_is_over_when_all_was_read() {
    let (listener, address) = listen();
    let coordinator = Coordinator::new().unwrap();
    let connect = Connect::from(address).frames_capacity(1);
    let link = coordinator.connect(connect, rarely(), lines()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    assert_eq!(line(&mut peer), "PING");
    assert_eq!(next(&link), Received::Connected { connection: 1 });
    peer.write_all(b"1\n2\n3\n").unwrap();
    eventually("backpressure", || link.status().unread);
    drop(listener);
    reset(peer);
    wait_state(&coordinator, State::Down);
    thread::sleep(ms(100)); // into the backoff
    while let Ok(_item) = link.frames().recv_timeout(ms(500)) {}
    assert!(!link.status().unread, "nothing is unread, and nothing can be");
}

// --- bytes that were read before ---

#[test]
fn more_bytes_than_the_limit_may_have_been_read_before() {
    let (ours, _theirs) = pair();
    let coordinator = Coordinator::new().unwrap();
    let bytes = b"0123456789\n".repeat(100);
    let adopt = Adopt::new(ours).already_read(bytes).frames_capacity(1000);
    let link = coordinator.adopt(adopt, rarely(), lines().limit(200)).unwrap();
    let first = link.frames().recv_timeout(ms(3000));
    let stopped = coordinator.stop().map_err(|error| error.to_string());
    assert!(first.is_ok() && stopped.is_ok(), "{first:?} {stopped:?}");
}

// --- panics and limits of the user's protocol ---

struct Panics(Framed);

struct PanicsInData(Box<dyn Framing>);

impl Framing for PanicsInData {
    fn wrap(&self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.0.wrap(data, out)
    }
    fn data<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        assert!(!frame.starts_with(b"boom"), "on purpose");
        self.0.data(frame)
    }
}

impl Protocol for Panics {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        self.0.beat(seq, out)
    }
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        self.0.parse(bytes)
    }
    fn framing(&self) -> Box<dyn Framing> {
        Box::new(PanicsInData(self.0.framing()))
    }
}

#[test]
fn a_framing_that_panics_ends_its_link_for_all_who_hold_it() {
    let (coordinator, link, mut theirs) = adopted(rarely(), Panics(lines()));
    theirs.write_all(b"boom\n").unwrap();
    wait_state(&coordinator, State::Down);
    thread::sleep(ms(100)); // its thread is over
    let (last, loss, sent) = (all(&link).pop(), link.loss(), link.send("to nobody"));
    let closed = within(ms(3000), move || link.close().map_err(|error| error.to_string()));
    assert!(
        last.is_some() && loss.is_some() && sent.is_err() && closed.is_ok(),
        "the last word {last:?}, loss() {loss:?}, send() {sent:?}, close() {closed:?}"
    );
}

#[test]
fn no_limit_is_a_limit_as_well() {
    let (coordinator, link, mut theirs) = adopted(often(), lines().limit(usize::MAX));
    theirs.set_read_timeout(Some(ms(2000))).unwrap();
    let mut first = [0; 5];
    let read = theirs.read_exact(&mut first);
    let status = link.status();
    std::mem::forget(link);
    drop(coordinator);
    assert!(read.is_ok() && !status.ended, "{read:?}, {status:?}");
}

// --- signs of life ---

#[test]
fn any_whole_frame_is_life_for_an_end_that_listens() {
    let heartbeat = Heartbeat::every(ms(300)).timeout(ms(300)).fall(2).role(Role::ListenOnly);
    // Where beat and ack are the same bytes, they are the ack to whoever does not answer.
    let (_coordinator, link, mut theirs) = adopted(heartbeat, Framed::lines("hb", "hb").unwrap());
    let start = Instant::now();
    while start.elapsed() < ms(3000) {
        let _ = theirs.write_all(b"hb\n");
        thread::sleep(ms(50));
    }
    let status = link.status();
    assert_eq!((status.state, link.loss()), (State::Up, None), "it heard a beat each 50 ms");
}

#[test]
fn a_peer_that_never_said_a_byte_is_not_up() {
    let heartbeat = Heartbeat::every(ms(100)).timeout(ms(150)).fall(10).write_timeout(ms(20_000));
    let (coordinator, link, _theirs) = adopted(heartbeat, lines());
    link.send("first").unwrap();
    while !link.try_send([b'y'; 60_000]).is_err_and(|error| error.is_busy()) {}
    thread::sleep(ms(1500));
    let events: Vec<_> = coordinator.events().try_iter().map(|e| e.to_string()).collect();
    assert_ne!(link.status().state, State::Up, "{events:#?}");
}

#[test]
fn a_beat_that_was_never_sent_is_no_miss_where_the_one_before_is_acked() {
    let start = Instant::now();
    let heartbeat = Heartbeat::every(ms(1000)).timeout(ms(500)).fall(1).jitter(0.0);
    let mut pulse = Pulse::staying(heartbeat, 1, start);
    let mut reports = Vec::new();
    let mut drain = |pulse: &mut Pulse| loop {
        match pulse.poll() {
            Output::Wait(until) => break until,
            Output::Report(report) => reports.push(report),
            Output::Done => break None,
            _ => {}
        }
    };
    drain(&mut pulse);
    pulse.handle(start, Input::Connected); // beat 1
    drain(&mut pulse);
    pulse.handle(start, Input::Sent { seq: 1, at: start });
    drain(&mut pulse);
    pulse.handle(start + ms(1), Input::Ack(None));
    let due = drain(&mut pulse).unwrap();
    pulse.handle(due, Input::Tick); // beat 2: waits behind data
    let judged = drain(&mut pulse).unwrap();
    pulse.handle(judged, Input::Vouched);
    drain(&mut pulse);
    pulse.handle(judged, Input::Tick);
    let due = drain(&mut pulse).unwrap();
    pulse.handle(due, Input::Tick); // beat 3: left out, for beat 2 still waits
    drain(&mut pulse);
    pulse.handle(due, Input::Skipped(3));
    drain(&mut pulse);
    // The peer reads again: beat 2 goes out and is acked.
    pulse.handle(due + ms(100), Input::Sent { seq: 2, at: due + ms(100) });
    drain(&mut pulse);
    pulse.handle(due + ms(101), Input::Ack(None));
    let judged = drain(&mut pulse).unwrap();
    pulse.handle(judged, Input::Tick);
    drain(&mut pulse);
    let missed = reports.iter().any(|report| matches!(report, Report::Missed { .. }));
    assert!(!missed && pulse.state() == State::Up, "{reports:#?}");
}

// --- TLS ---

#[cfg(feature = "tls")]
#[test]
fn a_close_under_tls_says_good_bye_within_tls() {
    let (told, heard) = mpsc::channel();
    let told = Mutex::new(told);
    let authority = crate::tls_link::Authority::new(|_| {});
    let peer = authority.serve(move |mut stream, _| {
        let mut all = Vec::new();
        let end = stream.read_to_end(&mut all).map_err(|error| error.to_string());
        let _ = told.lock().unwrap().send((end, String::from_utf8(all).unwrap()));
        Ok(())
    });
    let coordinator = Coordinator::new().unwrap();
    let target = keepbeat::Target::from(peer.address).tls(authority.tls());
    let link = coordinator.connect(target, rarely(), lines().farewell("BYE").unwrap()).unwrap();
    assert_eq!(next(&link), Received::Connected { connection: 1 });
    link.send("hello").unwrap();
    link.close().unwrap();
    let (end, all) = heard.recv_timeout(LIMIT).unwrap();
    assert!(end.is_ok(), "cut off, for all the peer knows: {end:?} after {all:?}");
}

#[cfg(feature = "tls")]
#[test]
fn a_close_under_tls_takes_what_comes_while_it_writes() {
    // More than the kernels have room for, either way.
    const RECORDS: usize = 800;
    const LONG: usize = 20_000_000;
    let authority = crate::tls_link::Authority::new(|_| {});
    let (go, told) = mpsc::channel::<()>();
    let (told, (done, got)) = (Mutex::new(told), mpsc::channel());
    let peer = authority.serve(move |mut stream, _| {
        stream.flush()?; // the handshake
        told.lock().unwrap().recv().unwrap();
        // It reads nothing until it has said all of this, each in a record of the longest.
        let record = [&[b'x'; 16_383][..], b"\n"].concat();
        for _ in 0..RECORDS {
            stream.write_all(&record)?;
        }
        let (mut chunk, mut heard) = ([0; 16_384], 0);
        while let Ok(n @ 1..) = stream.read(&mut chunk) {
            heard += n;
        }
        let _ = done.send(heard);
        Ok(())
    });
    let coordinator = Coordinator::new().unwrap();
    let target = keepbeat::Target::from(peer.address).tls(authority.tls());
    let heartbeat = rarely().write_timeout(ms(15_000));
    let link = coordinator.connect(target, heartbeat, lines().limit(LONG)).unwrap();
    assert_eq!(next(&link), Received::Connected { connection: 1 });
    assert_eq!(link.send_deadline(vec![b'y'; LONG], Instant::now() + ms(100)).ok(), Some(1));
    let frames = link.frames().clone();
    let closing = thread::spawn(move || link.close().map_err(|error| error.to_string()));
    thread::sleep(ms(100)); // into the close
    go.send(()).unwrap();
    let all = frames.iter().filter(|item| matches!(item, Received::Frame(_))).count();
    let closed = closing.join().unwrap();
    assert_eq!(closed, Ok(()), "after {all} frames");
    assert_eq!(got.recv_timeout(LIMIT), Ok("PING\n".len() + LONG + 1));
}
