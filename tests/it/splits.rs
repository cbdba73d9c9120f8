//! Every parser, any bytes, any split: the same frames, no panic, no secret shown.

use keepbeat::protocol::{Frame, Rejected};
use keepbeat::{ConnectOnly, Exchange, Http, Line, Protocol, Redis};
use proptest::prelude::*;

/// What comes of these bytes, fed in pieces of these lengths, up to the first rejection.
fn frames(
    protocol: &mut dyn Protocol,
    bytes: &[u8],
    cuts: &[usize],
) -> (Vec<Frame>, Option<Rejected>) {
    let (mut buffer, mut found, mut fed) = (Vec::new(), Vec::new(), 0);
    protocol.connected(&mut Vec::new());
    for seq in 1..=50 {
        protocol.beat(seq, &mut Vec::new());
    }
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        let end = (fed + cut).min(bytes.len());
        buffer.extend_from_slice(&bytes[fed..end]);
        fed = end;
        loop {
            if buffer.is_empty() {
                break;
            }
            match protocol.parse(&buffer) {
                Ok(Some((frame, len))) => {
                    assert!((1..=buffer.len()).contains(&len), "took {len} of {}", buffer.len());
                    buffer.drain(..len);
                    // How the bytes in between are cut up is nobody's business.
                    if !matches!(frame, Frame::Data | Frame::Unasked) {
                        found.push(frame);
                    }
                }
                Ok(None) => break,
                Err(rejected) => return (found, Some(rejected)),
            }
        }
    }
    (found, None)
}

fn protocols() -> Vec<Box<dyn Protocol>> {
    vec![
        Box::new(Exchange::new("heartbeat", "heartbeat_ack")),
        Box::new(Exchange::answering("heartbeat", "heartbeat_ack")),
        Box::new(Exchange::new("version\r\n", "VERSION").with_any_rest()),
        Box::new(Line),
        Box::new(Redis::new()),
        Box::new(Redis::new().user("monitor").password("s3cret")),
        Box::new(ConnectOnly),
        Box::new(Http::new("h").unwrap()),
        Box::new(Http::new("h").unwrap().method("GET").unwrap()),
        Box::new(Http::new("h").unwrap().expect_body("needle").unwrap()),
    ]
}

/// Pieces of HTTP, whole answers among them; what follows one may be no answer at all.
fn http_bytes() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        8 => prop::sample::select(vec![
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nneedle",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nneed\r\n2;x\r\nle\r\n\
             0\r\nX: y\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 204 None\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\nneedles",
            "HTTP/1.1 200 OK\r\n", "Content-Length: 3\r\n", "\r\n", "abc", "0\r\n",
        ]).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(word, 0..8).prop_map(|words| words.concat())
}

/// Pieces that mean something to some protocol, and pieces that do not.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        6 => prop::sample::select(vec![
            "heartbeat_ack", "heartbeat", "VERSION 1.6.18\r\n", "VERSION", "ack 7\n", "ack 8\r\n",
            "beat 9\n", "+PONG\r\n", "+OK\r\n", "*1\r\n$4\r\nPING\r\n", "PING\r\n",
            "-ERR no s3cret for monitor\r\n",
        ]).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_frames(
        bytes in prop_oneof![bytes(), http_bytes()],
        cuts in prop::collection::vec(0_usize..40, 0..60),
    ) {
        for (whole, pieces) in protocols().iter_mut().zip(&mut protocols()) {
            let (expected, rejected) = frames(whole, &bytes, &[]);
            let (found, rejected_too) = frames(pieces, &bytes, &cuts);
            // What is shown of the bytes depends on how many had come.
            prop_assert_eq!((found, rejected_too.is_some()), (expected, rejected.is_some()));
        }
    }

    #[test]
    fn credentials_are_never_shown(
        bytes in bytes(),
        cuts in prop::collection::vec(0_usize..9, 0..60),
    ) {
        let mut locked = Redis::new().user("monitor").password("s3cret");
        if let (_, Some(rejected)) = frames(&mut locked, &bytes, &cuts) {
            let shown = format!("{rejected:?}");
            prop_assert!(!shown.contains("s3c") && !shown.contains("moni"), "{}", shown);
        }
    }

    #[test]
    fn repeated_replies_are_so_many_acks(replies in 1_usize..40, cut in 1_usize..30) {
        let get = Http::new("h").and_then(|http| http.method("GET")).unwrap();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunked = format!("{head}4\r\nneed\r\n2;x\r\nle\r\n0\r\nX: y\r\n\r\n");
        let cases: [(Box<dyn Protocol>, &str); 4] = [
            (Box::new(get), &chunked),
            (Box::new(Exchange::new("heartbeat", "heartbeat_ack")), "heartbeat_ack"),
            (Box::new(Exchange::new("v", "VERSION").with_any_rest()), "VERSION 1.6.18\r\n"),
            (Box::new(Redis::new()), "+PONG\r\n"),
        ];
        for (mut protocol, reply) in cases {
            let bytes = reply.repeat(replies).into_bytes();
            let cuts = vec![cut; bytes.len() / cut];
            let (found, rejected) = frames(&mut *protocol, &bytes, &cuts);
            prop_assert_eq!((found, rejected), (vec![Frame::Ack(None); replies], None));
        }
    }
}
