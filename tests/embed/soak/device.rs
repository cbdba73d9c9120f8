//! A device as there are many: a protocol of its own with a check sum, a login, and moods.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use keepbeat::protocol::{Frame, Framing, Rejected};
use keepbeat::{Error, Protocol};

use super::ms;

const BEAT: u8 = b'B';
const ACK: u8 = b'A';
const DATA: u8 = b'D';

/// CRC-16/CCITT-FALSE.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        let mixed = crc ^ (u16::from(*byte) << 8);
        (0..8).fold(mixed, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

fn frame(mark: u8, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.push(mark);
    out.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
    out.extend(payload);
    out.extend(crc(&out[start..]).to_be_bytes());
}

/// How long the first frame is, if it is whole and its check sum right.
fn whole(bytes: &[u8]) -> Result<Option<usize>, Rejected> {
    let Some(head) = bytes.first_chunk::<3>() else { return Ok(None) };
    let len = 3 + usize::from(u16::from_be_bytes([head[1], head[2]])) + 2;
    let Some(frame) = bytes.get(..len) else { return Ok(None) };
    match frame.split_last_chunk::<2>() {
        Some((said, sum)) if crc(said) == u16::from_be_bytes(*sum) => Ok(Some(len)),
        _ => Err(Rejected::wrong_reply("the check sum is wrong")),
    }
}

/// Mark, length, payload, check sum; beats and acks carry their number.
pub struct Press;

impl Protocol for Press {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        frame(BEAT, &seq.to_be_bytes(), out);
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        let Some(len) = whole(bytes)? else { return Ok(None) };
        let seq = bytes[3..].first_chunk().map(|seq| u64::from_be_bytes(*seq));
        Ok(Some(match bytes[0] {
            ACK => (Frame::Ack(seq), len),
            BEAT => (Frame::Beat(seq), len),
            _ => (Frame::Data, len),
        }))
    }

    fn framing(&self) -> Box<dyn Framing> {
        Box::new(Press)
    }
}

impl Framing for Press {
    fn wrap(&self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        frame(DATA, data, out);
        Ok(())
    }

    fn data<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[3..frame.len() - 2]
    }
}

/// What a device has read, in order.
pub type Seen = Mutex<Vec<String>>;

/// How a connection ends.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Closes,
    Resets,
    HalfCloses,
    Hangs,
    /// It is not there at all for a while.
    Reboots,
    /// The box between has forgotten the flow: nothing arrives any more, and nobody says so.
    Forgotten,
}

/// Waits for connections at an address of its own, and serves one at a time.
pub fn run(at: SocketAddr, listener: TcpListener, read: &Seen, seed: u64, calm: &AtomicBool) {
    let mut mood = fastrand::Rng::with_seed(seed);
    let mut listener = Some(listener);
    let mut forgotten = Vec::new();
    loop {
        let listening = listener.get_or_insert_with(|| listen(at));
        let (mut stream, _) = listening.accept().expect("a connection");
        let Some(end) = serve(&mut stream, read, &mut mood, calm) else { continue };
        match end {
            Mood::Closes => {}
            Mood::Resets | Mood::Reboots => reset(&stream),
            Mood::HalfCloses => {
                let _ = stream.shutdown(Shutdown::Write); // it may be gone
                thread::sleep(ms(mood.u64(1..80)));
            }
            Mood::Hangs => thread::sleep(ms(mood.u64(100..400))),
            Mood::Forgotten => {
                forgotten.push(stream);
                continue;
            }
        }
        drop(stream);
        if end == Mood::Reboots {
            listener = None;
            thread::sleep(ms(mood.u64(100..800)));
        }
    }
}

/// With room for little, so that writers meet a full window.
pub fn listen(at: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(at).expect("nobody else is there");
    socket2::SockRef::from(&listener).set_recv_buffer_size(8192).unwrap();
    listener
}

fn reset(stream: &TcpStream) {
    let at_once = Some(std::time::Duration::ZERO);
    socket2::SockRef::from(stream).set_linger(at_once).unwrap();
}

/// One connection, until its mood ends it; nothing where the peer ended it.
fn serve(
    stream: &mut TcpStream,
    read: &Seen,
    mood: &mut fastrand::Rng,
    calm: &AtomicBool,
) -> Option<Mood> {
    stream.set_read_timeout(Some(ms(100))).unwrap();
    let end = Instant::now() + ms(mood.u64(200..8000));
    let (mut bytes, mut piece, mut logged_in) = (Vec::new(), [0; 2048], false);
    loop {
        if !calm.load(Ordering::SeqCst) && Instant::now() >= end {
            let moods = [
                Mood::Closes,
                Mood::Resets,
                Mood::HalfCloses,
                Mood::Hangs,
                Mood::Reboots,
                Mood::Forgotten,
            ];
            return mood.choice(moods);
        }
        if mood.u16(..) < 400 {
            thread::sleep(ms(mood.u64(1..60))); // slow for a moment
        }
        match stream.read(&mut piece) {
            Ok(0) => return None,
            Ok(n) => bytes.extend(&piece[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return None,
        }
        let mut taken = 0;
        while let Some(len) = whole(&bytes[taken..]).expect("frames stay whole") {
            let (mark, payload) = (bytes[taken], &bytes[taken + 3..taken + len - 2]);
            let mut answer = Vec::new();
            match mark {
                BEAT => frame(ACK, payload, &mut answer),
                _ if !logged_in => {
                    assert_eq!(payload, b"LOGIN gateway", "the first frame is the login");
                    logged_in = true;
                    frame(DATA, b"WELCOME", &mut answer);
                }
                _ => {
                    let text = String::from_utf8(payload.to_vec()).expect("what was sent");
                    read.lock().unwrap().push(text);
                }
            }
            taken += len;
            if stream.write_all(&answer).is_err() {
                return None;
            }
        }
        bytes.drain(..taken);
    }
}
