//! Four writers, eighty thousand frames each way, and beats every 2 ms between them: every frame
//! whole, in order, none lost, none twice; and the beats keep their pace.

use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Coordinator, Framed, Heartbeat, Link, Prefix, Received, Role, Status};

use crate::watching::ms;

use super::pair;

const WRITERS: u32 = 4;
const FRAMES_EACH: u32 = 20_000;

fn protocol() -> Framed {
    Framed::prefixed(Prefix::U16Be, "beat", "ack").unwrap().numbered()
}

/// A frame that tells who wrote it, which it is, and whether it is whole.
fn frame(writer: u32, n: u32) -> Vec<u8> {
    let len = 12 + (n * 7 + writer * 131) % 500;
    let mut frame = [writer.to_be_bytes(), n.to_be_bytes(), len.to_be_bytes()].concat();
    frame.resize(len as usize, (n ^ writer) as u8);
    frame
}

fn write_all(link: &Link) -> Vec<thread::JoinHandle<()>> {
    (0..WRITERS)
        .map(|writer| {
            let link = link.try_clone().unwrap();
            thread::spawn(move || {
                for n in 0..FRAMES_EACH {
                    link.send(frame(writer, n)).unwrap();
                }
            })
        })
        .collect()
}

fn read_all(link: Link) -> thread::JoinHandle<Link> {
    thread::spawn(move || {
        let mut next = [0; WRITERS as usize];
        for _ in 0..WRITERS * FRAMES_EACH {
            let data = match link.frames().recv_timeout(ms(60_000)) {
                Ok(Received::Frame(data)) => data,
                other => panic!("{other:?} after {next:?} of {FRAMES_EACH}: {:?}", link.status()),
            };
            let number = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
            let (writer, n) = (number(0), number(4));
            assert_eq!(n, next[writer as usize], "in order, none lost, none twice");
            assert_eq!(data, frame(writer, n), "whole");
            next[writer as usize] += 1;
        }
        link
    })
}

fn stress(heartbeats: [Heartbeat; 2], protocol: fn() -> Framed) -> ([Status; 2], Duration) {
    let (one, other) = pair();
    let coordinator = Coordinator::builder().events_capacity(1 << 20).build().unwrap();
    let [first, second] = heartbeats;
    let one = coordinator.adopt(one, first, protocol()).unwrap();
    let other = coordinator.adopt(other, second, protocol()).unwrap();
    let start = Instant::now();
    let writers = [write_all(&one), write_all(&other)].concat_all();
    let readers = [read_all(one), read_all(other)];
    for writer in writers {
        writer.join().expect("a writer");
    }
    let links = readers.map(|reader| reader.join().expect("a reader"));
    let elapsed = start.elapsed();
    let status = links.each_ref().map(Link::status);
    assert_eq!((status[0].missed, status[1].missed), (0, 0));
    (status, elapsed)
}

fn beat() -> Heartbeat {
    Heartbeat::every(ms(2)).timeout(ms(20_000)).write_timeout(ms(30_000))
}

#[test]
fn eighty_thousand_frames_each_way_are_whole_and_in_order_and_every_beat_is_acked_in_turn() {
    let (status, elapsed) = stress([beat(), beat().role(Role::Passive)], protocol);
    let [active, passive] = &status;
    // One beat waits at a time, behind all the data that was sent before it: its pace is that of
    // the round trips.
    let round = active.rtt.avg().expect("acks").max(ms(2));
    let turns = elapsed.as_secs_f64() / round.as_secs_f64();
    println!("{} beats in {elapsed:?}, {turns:.0} would be the pace", active.sent);
    assert!(active.sent as f64 >= turns * 0.6, "{} of {turns:.0} beats", active.sent);
    assert!(active.acked + 1 >= active.sent, "{active:?}");
    assert_eq!(passive.sent, 0);
}

#[test]
fn beats_that_need_no_ack_keep_the_pace_of_the_clock_under_eighty_thousand_frames() {
    let beat = beat().role(Role::SendOnly);
    let (status, elapsed) = stress([beat.clone(), beat], || {
        Framed::prefixed(Prefix::U32Le, "beat", "ack").unwrap().unanswered()
    });
    let turns = elapsed.as_secs_f64() / 0.002;
    for end in status {
        println!("{} beats in {elapsed:?}, {turns:.0} would be the pace", end.sent);
        // A busy machine is late, and what it was late for is left out.
        assert!(end.sent as f64 >= turns * 0.3, "{} of {turns:.0} beats", end.sent);
    }
}

trait ConcatAll<T> {
    fn concat_all(self) -> Vec<T>;
}

impl<T> ConcatAll<T> for [Vec<T>; 2] {
    fn concat_all(self) -> Vec<T> {
        self.into_iter().flatten().collect()
    }
}
