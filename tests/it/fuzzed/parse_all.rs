//! One input, one parser, and what holds for whatever bytes: no panic, no more taken than there
//! is, nothing longer than the limit, the same frames however the bytes are cut, no secret shown.

use keepbeat::protocol::{Frame, Framing};
use keepbeat::{ConnectOnly, Exchange, Framed, Http, Line, Prefix, Protocol, Redis, Steps};

/// How many parsers the first byte of an input chooses from.
pub const PARSERS: u8 = 23;

/// In the bytes for Redis in-band: the answer to the beat whose number follows.
const ANSWER: u8 = b'@';

const SECRET: &str = "s3cret";

/// Two of the same kind, and how much of what they find is the same however it is cut.
struct Pair {
    whole: Box<dyn Protocol>,
    pieces: Box<dyn Protocol>,
    finds: Finds,
}

#[derive(Clone, Copy, PartialEq)]
enum Finds {
    /// Frames with their bytes; the data in them can be wrapped again.
    Data,
    /// Frames with their bytes.
    Frames,
    /// Acks and beats. How the bytes in between are cut is nobody's business.
    Acks,
}

fn pair<P: Protocol + Clone + 'static>(protocol: P, finds: Finds) -> Pair {
    Pair { whole: Box::new(protocol.clone()), pieces: Box::new(protocol), finds }
}

fn framed(prefix: Prefix, beat: &str, ack: &str) -> Framed {
    Framed::prefixed(prefix, beat, ack).expect("short")
}

fn steps(text: &str) -> Steps {
    Steps::parse(text).expect("steps")
}

fn choose(number: u8) -> Pair {
    let lines = || Framed::lines("ping", "pong").expect("lines");
    let http = || Http::new("h").expect("a host");
    match number % PARSERS {
        0 => pair(lines().limit(100), Finds::Data),
        1 => pair(lines().numbered().crlf().limit(16), Finds::Data),
        2 => pair(framed(Prefix::U8, "ping", "pong").numbered(), Finds::Data),
        3 => pair(framed(Prefix::U16Be, "", "").unanswered(), Finds::Data),
        4 => pair(framed(Prefix::U16Le, "hb", "hb").limit(32), Finds::Data),
        5 => pair(framed(Prefix::U32Be, "", "ack").limit(64), Finds::Data),
        6 => pair(framed(Prefix::U32Le, "a", "a").numbered().answering().limit(0), Finds::Data),
        7 => pair(framed(Prefix::Varint, "ping", "pong").limit(200), Finds::Data),
        8 => pair(framed(Prefix::Varint, "", "").unanswered(), Finds::Data),
        9 => pair(Redis::new().in_band(), Finds::Data),
        10 => pair(Redis::new().password(SECRET).in_band().limit(300), Finds::Data),
        11 => pair(Redis::new(), Finds::Frames),
        12 => pair(Redis::new().user("monitor").password(SECRET), Finds::Frames),
        13 => pair(Line, Finds::Frames),
        14 => pair(Exchange::new("heartbeat", "heartbeat_ack"), Finds::Frames),
        15 => pair(Exchange::answering("heartbeat", "heartbeat_ack"), Finds::Frames),
        16 => pair(Exchange::new("version\r\n", "VERSION").with_any_rest(), Finds::Acks),
        17 => pair(ConnectOnly, Finds::Acks),
        18 => pair(http(), Finds::Acks),
        19 => pair(http().method("GET").expect("a method"), Finds::Acks),
        20 => pair(http().expect_body("needle").expect("a text"), Finds::Acks),
        21 => pair(steps("expect 220\nuntil +OK\nbeat\nsend a\nexpect 250"), Finds::Acks),
        _ => pair(steps("beat\nsend a\nexpect ab\nsend s3cret\nexpect \\x00"), Finds::Acks),
    }
}

/// What was found, up to the first rejection.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// Each frame with its bytes, if those count.
    pub frames: Vec<(Frame, Vec<u8>)>,
    /// Whether the rest was refused.
    pub rejected: bool,
}

/// The first byte chooses the parser, the second says how many of the next are lengths of pieces,
/// the rest is what the peer sends.
pub fn parse_all(data: &[u8]) -> Found {
    let [number, count, rest @ ..] = data else { return Found::default() };
    let (cuts, bytes) = rest.split_at(usize::from(count % 32).min(rest.len()));
    let Pair { mut whole, mut pieces, finds } = choose(*number);
    let bytes = with_answers(&mut *whole, matches!(number % PARSERS, 9 | 10), bytes);
    let (uncut, said) = run(&mut *whole, &bytes, &[], finds);
    let (cut, said_too) = run(&mut *pieces, &bytes, cuts, finds);
    assert_eq!(cut, uncut, "cut into pieces of {cuts:?}");
    for said in [said, said_too] {
        assert!(!matches!(number % PARSERS, 10 | 12 | 22) || !said.contains(SECRET), "{said}");
    }
    uncut
}

/// The arguments of beats are random, so an input only says where an answer stands.
fn with_answers(protocol: &mut dyn Protocol, answers: bool, bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while let [first, behind @ ..] = rest {
        rest = behind;
        match behind {
            [seq, behind @ ..] if answers && *first == ANSWER => {
                let mut ping = Vec::new();
                protocol.beat(u64::from(*seq), &mut ping);
                out.extend_from_slice(ping.strip_prefix(b"*2\r\n$4\r\nPING\r\n").expect("a PING"));
                rest = behind;
            }
            _ => out.push(*first),
        }
    }
    out
}

/// What is found in these bytes, and what is said of the first that are refused.
fn run(protocol: &mut dyn Protocol, bytes: &[u8], cuts: &[u8], finds: Finds) -> (Found, String) {
    let (framing, limit) = (protocol.framing(), protocol.limit());
    let (mut buffer, mut found, mut fed) = (Vec::new(), Found::default(), 0);
    protocol.connected(&mut Vec::new());
    for seq in 1..=50 {
        protocol.beat(seq, &mut Vec::new());
    }
    for cut in cuts.iter().copied().map(usize::from).chain([bytes.len()]) {
        let end = (fed + cut).min(bytes.len());
        buffer.extend_from_slice(&bytes[fed..end]);
        fed = end;
        while !buffer.is_empty() {
            match protocol.parse(&buffer) {
                Ok(Some((frame, len))) => {
                    assert!((1..=buffer.len()).contains(&len), "took {len} of {}", buffer.len());
                    let taken: Vec<u8> = buffer.drain(..len).collect();
                    found.keep(frame, taken, finds, limit, &*framing);
                }
                Ok(None) => {
                    assert!(buffer.len() <= limit, "{} bytes wait, over {limit}", buffer.len());
                    break;
                }
                Err(rejected) => {
                    let said = format!("{rejected:?}");
                    return (Found { rejected: true, ..found }, said);
                }
            }
        }
    }
    let _ = (protocol.closed(), protocol.is_over(), protocol.is_ready());
    (found, String::new())
}

impl Found {
    fn keep(
        &mut self,
        frame: Frame,
        bytes: Vec<u8>,
        finds: Finds,
        limit: usize,
        framing: &dyn Framing,
    ) {
        match finds {
            Finds::Acks if matches!(frame, Frame::Data | Frame::Own | Frame::Unasked) => {}
            Finds::Acks => self.frames.push((frame, Vec::new())),
            Finds::Data | Finds::Frames => {
                assert!(bytes.len() <= limit, "a frame of {} bytes, over {limit}", bytes.len());
                if finds == Finds::Data && frame == Frame::Data {
                    again(&bytes, framing);
                }
                self.frames.push((frame, bytes));
            }
        }
    }
}

/// What was received can be sent on.
fn again(frame: &[u8], framing: &dyn Framing) {
    let (data, mut out) = (framing.data(frame), Vec::new());
    match framing.wrap(data, &mut out) {
        Ok(()) => assert_eq!(framing.data(&out), data),
        Err(error) => assert!(data.ends_with(b"\r"), "{error}: {}", data.escape_ascii()),
    }
}
