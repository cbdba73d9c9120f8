//! What is known of each frame: read by the peer, in doubt, never sent; and its number, before it
//! can be lost.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Adopt, Connect, Coordinator, EventKind, Heartbeat, Link, Received, Role, State};

use super::{LIMIT, answer_one, eventually, lines, ms, pair, rarely};

/// Answers each frame and each beat, and tells how many frames it has read.
fn answering(peer: TcpStream) -> Arc<Mutex<u64>> {
    let read = Arc::new(Mutex::new(0));
    let count = Arc::clone(&read);
    thread::spawn(move || {
        let mut writer = peer.try_clone().unwrap();
        for line in BufReader::new(peer).lines() {
            let Ok(line) = line else { return };
            let answer = match line.as_str() {
                "PING" => "PONG\n".to_owned(),
                frame => {
                    *count.lock().unwrap() += 1;
                    format!("ok {frame}\n")
                }
            };
            if writer.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    read
}

/// Sends and reads for a while, beats only when idle; how many frames were answered, and how many
/// beats went out.
fn talk(link: &Link, last: Duration, each: impl Fn(&Link, u64)) -> u64 {
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < last {
        sent = link.send("x").unwrap();
        match link.frames().recv_timeout(LIMIT).unwrap() {
            Received::Frame(_) => each(link, sent),
            other => panic!("{other:?}"),
        }
        thread::sleep(ms(5)); // an ordinary pace
    }
    sent
}

fn in_doubt(link: &Link) -> std::ops::Range<u64> {
    let lost = link.frames().iter().find_map(|received| match received {
        Received::Lost { in_doubt, .. } => Some(in_doubt),
        _ => None,
    });
    lost.expect("the end is told")
}

#[test]
fn beats_for_proof_keep_what_is_known_though_the_connection_is_never_idle() {
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(200)).timeout(ms(5000)).jitter(0.0).when_idle();
    let (ours, theirs) = pair();
    let end = theirs.try_clone().unwrap();
    let read = answering(theirs);
    let link = coordinator.adopt(ours, beat, lines()).unwrap();
    let sent = talk(&link, ms(2500), |_, _| ());
    let proven = link.read_by_peer();
    assert!(proven > sent / 2 && proven <= sent, "{proven} of {sent}");
    let beats = link.status().sent;
    assert!((3..=9).contains(&beats), "every second interval, and not each: {beats}");
    end.shutdown(std::net::Shutdown::Both).unwrap();
    let doubt = in_doubt(&link);
    assert_eq!((doubt.start, doubt.end), (link.read_by_peer() + 1, sent + 1));
    assert!(*read.lock().unwrap() >= link.read_by_peer());
    // Without them everything would be in doubt.
    let beat = Heartbeat::every(ms(200)).timeout(ms(5000)).when_idle().prove_every(0);
    let (ours, theirs) = pair();
    answering(theirs);
    let link = coordinator.adopt(ours, beat, lines()).unwrap();
    talk(&link, ms(1500), |_, _| ());
    assert!(link.status().sent <= 2, "{}", link.status().sent);
}

#[test]
fn what_the_application_knows_to_be_answered_is_not_in_doubt_and_costs_no_beat() {
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(200)).timeout(ms(5000)).jitter(0.0).when_idle();
    let (ours, theirs) = pair();
    let end = theirs.try_clone().unwrap();
    answering(theirs);
    let link = coordinator.adopt(ours, beat, lines()).unwrap();
    let sent = talk(&link, ms(1500), Link::answered);
    assert_eq!(link.read_by_peer(), sent);
    // The second may have been planned before the first data came, and one may have found a frame
    // on its way.
    assert!(link.status().sent <= 3, "{} beats", link.status().sent);
    end.shutdown(std::net::Shutdown::Both).unwrap();
    let doubt = in_doubt(&link);
    assert!(doubt.is_empty(), "{doubt:?}");
    link.answered(u64::MAX); // harmless, and too late
    assert_eq!(link.read_by_peer(), sent);
}

#[test]
fn an_ack_proves_what_was_written_before_its_beat() {
    let coordinator = Coordinator::new().unwrap();
    let (ours, mut theirs) = pair();
    let beat = Heartbeat::every(ms(100)).timeout(ms(20_000));
    let link = coordinator.adopt(ours, beat, lines()).unwrap();
    answer_one(&mut theirs);
    eventually("up", || link.status().state == State::Up);
    assert_eq!((link.send("one").unwrap(), link.read_by_peer()), (1, 0));
    let mut lines = BufReader::new(theirs.try_clone().unwrap()).lines();
    let seen: Vec<_> = lines.by_ref().take(2).map(Result::unwrap).collect();
    assert!(seen.contains(&"one".to_owned()));
    if seen[1] == "one" {
        theirs.write_all(b"PONG\n").unwrap(); // of the beat before it, which proves nothing
        assert_eq!(lines.next().unwrap().unwrap(), "PING");
    }
    assert_eq!(link.read_by_peer(), 0);
    theirs.write_all(b"PONG\n").unwrap();
    eventually("proven", || link.read_by_peer() == 1);
}

#[test]
fn a_frame_has_its_number_before_it_can_be_answered_or_lost() {
    let coordinator = Coordinator::new().unwrap();
    let (ours, theirs) = pair();
    answering(theirs);
    let link = Arc::new(coordinator.adopt(ours, rarely(), lines()).unwrap());
    let known = Arc::new(Mutex::new(BTreeSet::new()));
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let (link, known) = (Arc::clone(&link), Arc::clone(&known));
            thread::spawn(move || {
                for _ in 0..300 {
                    let mut noted = 0;
                    let note = |number| {
                        noted = number;
                        assert!(known.lock().unwrap().insert(number), "{number} was given twice");
                    };
                    let number = link.send_noted("x", None, note).unwrap();
                    assert_eq!(number, noted);
                }
            })
        })
        .collect();
    for answered in 1..=900 {
        assert!(matches!(link.frames().recv_timeout(LIMIT).unwrap(), Received::Frame(_)));
        assert!(known.lock().unwrap().len() >= answered, "an answer came before its number");
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(*known.lock().unwrap(), (1..=900).collect());
}

#[test]
fn a_number_is_given_again_after_an_error_and_a_note_that_panics_keeps_nobody_waiting() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    drop(listener);
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.connect(Connect::from(to).queue(2), rarely(), lines()).unwrap();
    let mut noted = Vec::new();
    for _ in 0..2 {
        link.send_noted("x", None, |number| noted.push(number)).unwrap();
    }
    let soon = Some(Instant::now());
    assert!(link.send_noted("x", soon, |_| panic!("there is no room")).unwrap_err().is_timeout());
    assert_eq!(noted, [1, 2]);

    let (ours, theirs) = pair();
    answering(theirs);
    let link = coordinator.adopt(ours, rarely(), lines()).unwrap();
    link.send("one").unwrap();
    let panics = std::panic::AssertUnwindSafe(|| {
        link.send_noted("x", None, |_| panic!("a bug of the application"))
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    assert_eq!(link.send_deadline("two", Instant::now() + LIMIT).unwrap(), 2);
}

/// A link that queues, to a peer that takes one connection after the other as the test says.
fn queueing(queue: usize) -> (Coordinator, Link, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let coordinator = Coordinator::new().unwrap();
    let connect = Connect::from(listener.local_addr().unwrap()).queue(queue);
    let beat = rarely().role(Role::SendOnly).backoff(ms(1), ms(2));
    let link = coordinator.connect(connect, beat, lines()).unwrap();
    (coordinator, link, listener)
}

#[test]
fn frames_that_never_left_are_unsent_and_go_out_on_the_next_connection() {
    let (_coordinator, link, listener) = queueing(2000);
    // Far more than a peer takes that reads nothing: of most of them not a byte leaves.
    let frame = |n: u64| format!("{n:07} {}", "x".repeat(8000));
    let (first, _) = listener.accept().unwrap();
    assert_eq!(link.frames().recv_timeout(LIMIT), Ok(Received::Connected { connection: 1 }));
    drop(first);
    eventually("down", || matches!(link.frames().try_recv(), Ok(Received::Lost { .. })));
    // All of them wait in the queue, so that they go out by the link's own thread.
    let socket = socket2::SockRef::from(&listener);
    socket.set_recv_buffer_size(4096).unwrap();
    let count = 1500;
    let start = link.send(frame(1)).unwrap();
    assert_eq!(start, 1);
    for n in 2..=count {
        assert_eq!(link.send(frame(n)).unwrap(), n);
    }
    let mut seen = BTreeSet::new();
    let (mut doubt, mut unsent) = (None, None);
    // The second connection reads a little, and dies.
    let (second, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(&second).lines();
    for _ in 0..20 {
        let line = lines.next().unwrap().unwrap();
        if line != "PING" {
            seen.insert(line[..7].parse::<u64>().unwrap());
        }
    }
    thread::sleep(ms(300)); // the link has pushed what it can
    socket2::SockRef::from(&second).set_linger(Some(Duration::ZERO)).unwrap();
    drop(second);
    while doubt.is_none() {
        if let Received::Lost { in_doubt, unsent: rest, .. } =
            link.frames().recv_timeout(LIMIT).unwrap()
        {
            (doubt, unsent) = (Some(in_doubt), Some(rest));
        }
    }
    let (doubt, unsent) = (doubt.unwrap(), unsent.unwrap());
    assert_eq!((doubt.start, doubt.end, unsent.end), (1, unsent.start, count + 1));
    // The third gets every one of those that had never left, whole and in order.
    let (third, _) = listener.accept().unwrap();
    third.set_read_timeout(Some(LIMIT)).unwrap();
    let frames = BufReader::new(third).lines().map(Result::unwrap).filter(|line| line != "PING");
    let got: Vec<u64> = frames
        .take((unsent.end - unsent.start) as usize)
        .map(|line| line[..7].parse().unwrap())
        .collect();
    assert_eq!(got, unsent.clone().collect::<Vec<_>>());
    assert!(seen.iter().all(|n| doubt.contains(n)), "what came was sent: {seen:?} {doubt:?}");
    // What was flushed and never left is not in doubt: the kernel takes a few hundred kilobytes.
    let in_kernel = doubt.end - doubt.start;
    assert!(in_kernel * 8000 < 6_000_000, "{in_kernel} frames in doubt");
}

#[test]
fn every_writer_has_its_turn_behind_a_full_window() {
    let (ours, mut theirs) = pair();
    let coordinator = Coordinator::new().unwrap();
    let beat = rarely().role(Role::SendOnly).write_timeout(LIMIT);
    let link = Arc::new(coordinator.adopt(Adopt::new(ours), beat, lines()).unwrap());
    let writers = 6;
    for who in 0..writers {
        let link = Arc::clone(&link);
        thread::spawn(move || {
            let frame = vec![b'a' + who; 20_000];
            while link.send(&frame).is_ok() {}
        });
    }
    // A slow reader, and so a window that is full all the time.
    let mut counts = vec![0_u32; writers as usize];
    let mut line = BufReader::with_capacity(20_001, &mut theirs);
    thread::sleep(ms(200)); // all of them wait by now
    for n in 0..600 {
        let mut data = Vec::new();
        line.read_until(b'\n', &mut data).unwrap();
        if data.len() > 5 && n >= 200 {
            counts[(data[0] - b'a') as usize] += 1;
        }
        thread::sleep(ms(1)); // a slow reader
    }
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*least * 2 > *most, "{counts:?}");
    assert!(link.status().state != State::Down);
}

#[test]
fn sealed_frames_or_not_a_writer_that_gives_up_in_the_middle_is_finished_for() {
    // A part of a frame is out when the deadline passes: it goes on, and is in doubt until read.
    let (ours, mut theirs) = pair();
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.adopt(ours, rarely().role(Role::SendOnly), lines()).unwrap();
    let frame = vec![b'x'; 60_000];
    let mut last = 0;
    let error = loop {
        match link.send_deadline(&frame, Instant::now() + ms(200)) {
            Ok(number) => last = number,
            Err(error) => break error,
        }
    };
    assert!(error.is_timeout(), "{error}");
    let reading = thread::spawn(move || {
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).unwrap();
        all.split(|byte| *byte == b'\n').filter(|line| line.len() == 60_000).count() as u64
    });
    link.close().unwrap();
    assert_eq!(reading.join().unwrap(), last, "each frame that was taken came whole, and no other");
    let ended = coordinator.events().iter().find(|event| *event.kind() == EventKind::Ended);
    assert!(ended.is_some());
}
