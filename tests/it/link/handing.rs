//! Closing a link, and taking its connection back.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use keepbeat::{Cause, EventKind, Received};

use crate::watching::{LIMIT, eventually, ms};

use super::{adopted, frame, line, lines, lost, next, often, pair, rarely, wait};

#[test]
fn a_close_sends_what_was_sent_then_the_farewell_then_the_end() {
    let (coordinator, link, mut theirs) = adopted(rarely(), lines().farewell("BYE").unwrap());
    let other = link.try_clone().unwrap();
    for n in 0..1000 {
        link.send(n.to_string()).unwrap();
    }
    // Bytes that nobody has read would make a plain close a reset.
    theirs.write_all(b"never read by anybody\n").unwrap();
    let reading = thread::spawn(move || {
        let mut all = String::new();
        theirs.read_to_string(&mut all).expect("an orderly end");
        all
    });
    link.close().unwrap();
    let all = reading.join().unwrap();
    let got: Vec<_> = all.lines().filter(|line| *line != "PING").collect();
    let sent: Vec<_> = (0..1000).map(|n| n.to_string()).chain(["BYE".to_owned()]).collect();
    assert_eq!(got, sent);
    assert_eq!(lost(&other).0, Cause::Stopped);
    assert_eq!(other.send("x").unwrap_err().cause(), Some(Cause::Stopped));
    assert!(other.close().is_err(), "it is over");
    wait(&coordinator, "the end", |kind| matches!(kind, EventKind::Ended));
}

#[test]
fn the_last_handle_that_is_dropped_closes_it_and_nothing_of_it_is_kept() {
    let (coordinator, link, mut theirs) = adopted(rarely(), lines().farewell("BYE").unwrap());
    let second = link.try_clone().unwrap();
    drop(link);
    second.send("still here").unwrap();
    drop(second);
    let mut all = String::new();
    theirs.read_to_string(&mut all).unwrap();
    assert_eq!(all.replace("PING\n", ""), "still here\nBYE\n");
    drop(theirs);
    wait(&coordinator, "the end", |kind| matches!(kind, EventKind::Ended));
    // Forgotten when the next link is made.
    eventually("forgotten", || {
        let (ours, _theirs) = pair();
        drop(coordinator.adopt(ours, rarely(), lines()).unwrap());
        coordinator.statuses().len() <= 2
    });
}

#[test]
fn the_connection_is_handed_back_with_all_that_came_and_works_on() {
    let (ours, mut theirs) = pair();
    ours.set_read_timeout(Some(Duration::from_millis(80))).unwrap();
    let coordinator = keepbeat::Coordinator::new().unwrap();
    let adopt = keepbeat::Adopt::new(ours).frames_capacity(2);
    let link = coordinator.adopt(adopt, rarely(), lines()).unwrap();
    assert_eq!(line(&mut theirs), "PING");
    link.send("hello").unwrap();
    assert_eq!(line(&mut theirs), "hello");
    theirs.write_all(b"1\n2\n3\n4\n5\nhal").unwrap();
    eventually("the queue to fill", || link.status().unread);
    assert!(link.try_clone().is_ok());
    let returned = link.into_stream().unwrap();
    let numbers: Vec<_> = returned.frames.iter().map(|data| data[0] - b'0').collect();
    assert_eq!(numbers, (1..=numbers.len() as u8).collect::<Vec<_>>(), "in order");
    assert_eq!(returned.acks_due, 1, "its first beat was never acked");
    let mut stream = returned.stream;
    assert_eq!(stream.read_timeout().unwrap(), Some(Duration::from_millis(80)));
    theirs.write_all(b"f\n").unwrap();
    // Frames, then what is no frame yet, then what the kernel still has: every byte, in order.
    let mut rest = returned.unread;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut chunk = [0; 64];
    while !rest.ends_with(b"half\n") {
        let n = stream.read(&mut chunk).unwrap();
        rest.extend_from_slice(&chunk[..n]);
    }
    let from = numbers.len() + 1;
    let all: String = (from..=5).map(|n| format!("{n}\n")).chain(["half\n".to_owned()]).collect();
    assert_eq!(String::from_utf8(rest).unwrap(), all);
    stream.write_all(b"and out\n").unwrap();
    assert_eq!(line(&mut theirs), "and out");
    wait(&coordinator, "the end", |kind| matches!(kind, EventKind::Ended));
    eventually("it is forgotten with its handle", || coordinator.statuses().is_empty());
}

#[test]
fn handed_back_in_the_midst_of_writers_no_frame_is_cut() {
    let (_coordinator, link, theirs) = adopted(often(), lines());
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let link = link.try_clone().unwrap();
            thread::spawn(move || {
                let sent = (0..).take_while(|_| link.send([b'z'; 3000]).is_ok()).count();
                (sent, link.send("x").unwrap_err().cause())
            })
        })
        .collect();
    let reading = thread::spawn(move || {
        let (mut all, mut theirs) = (String::new(), theirs);
        theirs.read_to_string(&mut all).unwrap();
        all
    });
    thread::sleep(ms(100)); // let them write
    let returned = link.into_stream().unwrap();
    let mut sent = 0;
    for writer in writers {
        let (frames, cause) = writer.join().unwrap();
        sent += frames;
        assert_eq!(cause, Some(Cause::Stopped));
    }
    drop(returned);
    let all = reading.join().unwrap();
    assert!(all.ends_with('\n'), "the last frame is whole");
    let data = all.lines().filter(|line| *line != "PING");
    assert_eq!(data.inspect(|line| assert_eq!(line.len(), 3000)).count(), sent);
}

#[test]
fn a_stream_that_is_not_connected_is_refused() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let coordinator = keepbeat::Coordinator::new().unwrap();
    let stream = std::net::TcpStream::from(socket);
    let error = coordinator.adopt(stream, rarely(), lines()).unwrap_err();
    assert!(error.to_string().contains("not connected"), "{error}");
    let (ours, _theirs) = pair();
    let adopt = keepbeat::Adopt::new(ours).frames_capacity(0);
    assert!(coordinator.adopt(adopt, rarely(), lines()).unwrap_err().is_invalid());
}

#[test]
fn what_was_taken_before_the_end_can_be_read_after_it() {
    let (coordinator, link, mut theirs) = adopted(rarely(), lines());
    theirs.write_all(b"one\ntwo\n").unwrap();
    eventually("the frames", || link.frames().len() == 2);
    coordinator.stop().unwrap();
    assert_eq!((next(&link), next(&link)), (frame("one"), frame("two")));
    assert!(matches!(next(&link), Received::Lost { .. }));
}
