//! Four writers, eighty thousand frames each way, and beats every 2 ms between them: every frame
//! whole, in order, none lost, none twice; and the beats keep their pace.

use std::thread;
use std::time::Instant;

use keepbeat::{Coordinator, Framed, Heartbeat, Link, Prefix, Received, Role};

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

#[test]
fn eighty_thousand_frames_each_way_are_whole_and_in_order_and_beats_keep_their_pace() {
    let (one, other) = pair();
    let coordinator = Coordinator::builder().events_capacity(1 << 20).build().unwrap();
    let beat = Heartbeat::every(ms(2)).timeout(ms(10_000)).write_timeout(ms(30_000));
    let one = coordinator.adopt(one, beat.clone(), protocol()).unwrap();
    let other = coordinator.adopt(other, beat.role(Role::Passive), protocol()).unwrap();
    let start = Instant::now();
    let writers = [write_all(&one), write_all(&other)].concat_all();
    let readers = [read_all(one), read_all(other)];
    for writer in writers {
        writer.join().expect("a writer");
    }
    let [one, other] = readers.map(|reader| reader.join().expect("a reader"));
    let elapsed = start.elapsed();
    let (status, passive) = (one.status(), other.status());
    assert_eq!((status.missed, passive.missed), (0, 0));
    // A beat is acked behind all that was sent before it: some round trips under load, not 2 ms.
    let pace = status.sent as f64 / (elapsed.as_secs_f64() / 0.002);
    println!(
        "{} beats in {elapsed:?}: {:.0} % of the pace; {:?}",
        status.sent,
        pace * 100.0,
        status.rtt.avg()
    );
    assert!(status.acked >= status.sent - 1, "{status:?}");
    assert!(status.sent >= 50, "the beats starved: {} in {elapsed:?}", status.sent);
    one.close().unwrap();
}

trait ConcatAll<T> {
    fn concat_all(self) -> Vec<T>;
}

impl<T> ConcatAll<T> for [Vec<T>; 2] {
    fn concat_all(self) -> Vec<T> {
        self.into_iter().flatten().collect()
    }
}
