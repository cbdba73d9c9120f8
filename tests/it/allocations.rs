//! No allocation per beat: counted on the link's own thread, between one beat and a later one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crossbeam_channel::{Sender, bounded};
use keepbeat::protocol::{Frame, Rejected};
use keepbeat::{Exchange, Framed, Heartbeat, Http, Line, Prefix, Protocol, Redis, Responder};

use crate::watching::{LIMIT, Watch, ms};

/// The system's allocator, counting per thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

/// Bytes that this thread has allocated and not freed.
pub fn live() -> i64 {
    LIVE.with(Cell::get)
}

// SAFETY: every call is handed on as it came; counting touches one number of this thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        LIVE.with(|live| live.set(live.get() + layout.size() as i64));
        // SAFETY: the caller's promises are those that System asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.with(|live| live.set(live.get() - layout.size() as i64));
        // SAFETY: as above; it came from System.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Tells how many allocations its thread made between two of its beats.
struct Counted<P> {
    inner: P,
    before: u64,
    tell: Sender<u64>,
}

impl<P: Protocol> Protocol for Counted<P> {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        let count = ALLOCATIONS.with(Cell::get);
        match seq {
            50 => self.before = count,
            250 => self.tell.send(count - self.before).unwrap(),
            _ => {}
        }
        self.inner.beat(seq, out);
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        self.inner.parse(bytes)
    }
}

fn between_two_beats<P: Protocol + 'static, R: Protocol + 'static>(
    ours: P,
    theirs: fn() -> R,
) -> u64 {
    let responder = Responder::bind("127.0.0.1:0", theirs).unwrap();
    let (tell, told) = bounded(1);
    let beat = Heartbeat::every(ms(2)).timeout(ms(5000));
    let _watch = Watch::new(responder.local_addr(), beat, Counted { inner: ours, before: 0, tell });
    told.recv_timeout(LIMIT).unwrap()
}

/// The other end of HTTP, for whole requests in one piece.
struct Server;

impl Protocol for Server {
    fn beat(&mut self, _seq: u64, _out: &mut Vec<u8>) {}

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        Ok(bytes.ends_with(b"\r\n\r\n").then_some((Frame::Beat(None), bytes.len())))
    }

    fn ack(&mut self, _seq: Option<u64>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwell done");
    }
}

/// Says what it was pinged with, as Redis does, for pings in one piece.
struct Echo(Vec<u8>);

impl Protocol for Echo {
    fn beat(&mut self, _seq: u64, _out: &mut Vec<u8>) {}

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        self.0 = bytes.strip_prefix(b"*2\r\n$4\r\nPING\r\n").unwrap().to_vec();
        Ok(Some((Frame::Beat(None), bytes.len())))
    }

    fn ack(&mut self, _seq: Option<u64>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

#[test]
fn two_hundred_beats_allocate_nothing() {
    let tutorial = Exchange::new("heartbeat", "heartbeat_ack");
    let answering = || Exchange::answering("heartbeat", "heartbeat_ack");
    assert_eq!(between_two_beats(tutorial, answering), 0);
    assert_eq!(between_two_beats(Line, || Line), 0);
    assert_eq!(between_two_beats(Redis::new(), Redis::new), 0);
    assert_eq!(between_two_beats(Redis::new().in_band(), || Echo(Vec::new())), 0);
    let lines = || Framed::lines("ping", "pong").unwrap().crlf();
    assert_eq!(between_two_beats(lines(), lines), 0);
    let framed = || Framed::prefixed(Prefix::Varint, "ping", "pong").unwrap().numbered();
    assert_eq!(between_two_beats(framed(), framed), 0);
    let http = Http::new("h").and_then(|http| http.expect_body("done")).unwrap();
    assert_eq!(between_two_beats(http, || Server), 0);
}

#[test]
fn the_count_sees_an_allocation() {
    let before = ALLOCATIONS.with(Cell::get);
    drop(std::hint::black_box(vec![1]));
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 1);
}
