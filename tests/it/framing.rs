//! Frames that carry data among beats: what was sent comes out whole however it is cut, what is
//! too long is refused by its head, and a beat is never taken for data nor data for a beat.

use std::time::{Duration, Instant};

use keepbeat::protocol::Frame;
use keepbeat::{Cause, Framed, Prefix, Protocol, Redis, Responder, State};
use proptest::prelude::*;

use crate::watching::{Watch, quick};

const PREFIXES: [Prefix; 6] =
    [Prefix::U8, Prefix::U16Be, Prefix::U16Le, Prefix::U32Be, Prefix::U32Le, Prefix::Varint];

fn lines() -> Framed {
    Framed::lines("ping", "pong").unwrap()
}

fn prefixed(prefix: Prefix) -> Framed {
    Framed::prefixed(prefix, "ping", "pong").unwrap()
}

/// Every form, with numbers.
fn forms() -> Vec<Framed> {
    let prefixed = PREFIXES.into_iter().map(prefixed);
    prefixed.chain([lines(), lines().crlf()]).map(Framed::numbered).collect()
}

/// The frames with their bytes, if all is as it should be.
fn parsed(protocol: &mut dyn Protocol, bytes: &[u8], cuts: &[usize]) -> Vec<(Frame, Vec<u8>)> {
    let (mut taken, mut come, mut found) = (0, 0, Vec::new());
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        come = (come + cut).min(bytes.len());
        while taken < come {
            match protocol.parse(&bytes[taken..come]).expect("valid bytes") {
                Some((frame, len)) => {
                    found.push((frame, bytes[taken..taken + len].to_vec()));
                    taken += len;
                }
                None => break,
            }
        }
    }
    assert_eq!(taken, bytes.len(), "all of it is whole frames");
    found
}

fn refusal(protocol: &mut dyn Protocol, bytes: &[u8]) -> String {
    format!("{:?}", protocol.parse(bytes).expect_err("too long, or no frame"))
}

#[derive(Clone, Debug)]
enum Said {
    Beat(u64),
    Ack(u64),
    Data(Vec<u8>),
}

/// Data that any form can carry, beats and acks without their numbers and within others among it.
fn said() -> impl Strategy<Value = Said> {
    let words = ["", "ping", "pong", "ping ", "pong x", "pong 7 ", "x\rping 7", "\0\x06pong 7"];
    prop_oneof![
        any::<u64>().prop_map(Said::Beat),
        any::<u64>().prop_map(Said::Ack),
        prop::sample::select(words.to_vec()).prop_map(|word| Said::Data(word.into())),
        prop::collection::vec(prop_oneof![0_u8..=9, 14_u8..=255], 0..=255).prop_map(Said::Data),
    ]
}

/// Values of RESP2 and RESP3.
fn values() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "+OK",
        "+",
        "-ERR no",
        ":-12",
        "$-1",
        "*-1",
        "*0",
        "%0",
        "~0",
        "_",
        "#t",
        "#f",
        ",1.5",
        ",-inf",
        "(12345678901234567890123",
        "+PONG",
    ]);
    let string = prop::collection::vec(any::<u8>(), 0..300);
    let leaf = prop_oneof![
        line.prop_map(|line| format!("{line}\r\n").into_bytes()),
        (prop::sample::select(b"$=!".to_vec()), string).prop_map(|(kind, text)| {
            let head = format!("{}{}\r\n", kind as char, text.len());
            [head.as_bytes(), &text, b"\r\n"].concat()
        }),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        let many = prop::collection::vec(inner, 0..6);
        (prop::sample::select(b"*~>%|".to_vec()), many).prop_map(|(kind, values)| {
            let pairs = matches!(kind, b'%' | b'|');
            let count = if pairs { values.len() / 2 } else { values.len() };
            let used = if pairs { 2 * count } else { count };
            let behind: &[u8] = if kind == b'|' { b":1\r\n" } else { b"" };
            let head = format!("{}{count}\r\n", kind as char);
            [head.as_bytes(), &values[..used].concat(), behind].concat()
        })
    })
}

/// The answer to a beat that was just asked for.
fn answer(redis: &mut Redis, seq: u64) -> Vec<u8> {
    let mut ping = Vec::new();
    redis.beat(seq, &mut ping);
    ping.strip_prefix(b"*2\r\n$4\r\nPING\r\n").unwrap().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_sent_comes_out_as_it_was_however_it_is_cut(
        said in prop::collection::vec(said(), 0..12),
        cuts in prop::collection::vec(0_usize..40, 0..60),
    ) {
        for mut framed in forms() {
            let (framing, mut bytes) = (framed.framing(), Vec::new());
            for said in &said {
                match said {
                    Said::Beat(seq) => framed.beat(*seq, &mut bytes),
                    Said::Ack(seq) => framed.ack(Some(*seq), &mut bytes),
                    Said::Data(data) => framing.wrap(data, &mut bytes).unwrap(),
                }
            }
            let found = parsed(&mut framed, &bytes, &cuts);
            prop_assert_eq!(found.len(), said.len());
            for ((frame, bytes), said) in found.iter().zip(&said) {
                match said {
                    Said::Beat(seq) => prop_assert_eq!(*frame, Frame::Beat(Some(*seq))),
                    Said::Ack(seq) => prop_assert_eq!(*frame, Frame::Ack(Some(*seq))),
                    Said::Data(data) => {
                        prop_assert_eq!(*frame, Frame::Data);
                        prop_assert_eq!(framing.data(bytes), data.as_slice());
                    }
                }
            }
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_head_alone(
        limit in 30_usize..255,
        more in 1_usize..100_000,
    ) {
        for prefix in PREFIXES {
            let mut head = Vec::new();
            let long = vec![0; limit + more];
            if prefixed(prefix).framing().wrap(&long, &mut head).is_err() {
                continue; // such a prefix cannot even say so
            }
            head.truncate(head.len() - long.len());
            let mut framed = prefixed(prefix).limit(limit);
            let (told, numbers) = (refusal(&mut framed, &head), format!("{} bytes", limit + more));
            prop_assert!(told.contains(&numbers), "{}", told);
            prop_assert!(framed.framing().wrap(&long, &mut Vec::new()).is_err());
            let mut longest = Vec::new();
            framed.framing().wrap(&long[..limit], &mut longest).unwrap();
            prop_assert_eq!(parsed(&mut framed, &longest, &[])[0].1.len(), longest.len());
            prop_assert!(longest.len() <= Protocol::limit(&framed));
        }
        let line = vec![b'x'; limit + more];
        prop_assert!(lines().limit(limit).parse(&line[..limit]).unwrap().is_none());
        refusal(&mut lines().limit(limit), &line[..limit + 1]);
    }

    #[test]
    fn redis_replies_end_where_they_should_and_answers_are_found_among_them(
        values in prop::collection::vec(values(), 0..8),
        cuts in prop::collection::vec(0_usize..40, 0..120),
    ) {
        let mut redis = Redis::new().in_band();
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (seq, value) in (1..).zip(values) {
            let ack = answer(&mut redis, seq);
            // Within another value it is data.
            let nested = [b"*3\r\n:1\r\n", value.as_slice(), &ack].concat();
            for (frame, part) in
                [(Frame::Data, value), (Frame::Data, nested), (Frame::Ack(Some(seq)), ack)]
            {
                bytes.extend_from_slice(&part);
                expected.push((frame, part));
            }
        }
        prop_assert_eq!(parsed(&mut redis, &bytes, &cuts), expected);
    }

    #[test]
    fn a_redis_reply_over_the_limit_is_refused_by_its_head_alone(
        len in 1_000_u64..u64::MAX,
        kind in prop::sample::select(b"$=!*~>%|".to_vec()),
        nested in 0_usize..5,
    ) {
        let mut redis = Redis::new().in_band().limit(1_000);
        let head = format!("{}{}{len}\r\n", "*1\r\n".repeat(nested), kind as char);
        prop_assert!(refusal(&mut redis, head.as_bytes()).contains("over the limit of 1000"));
    }

    #[test]
    fn any_bytes_at_all_keep_what_every_parser_promises(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        crate::fuzzed::parse_all(&bytes);
    }
}

#[test]
fn the_bytes_of_an_ack_within_data_are_data() {
    for mut framed in forms() {
        let (mut ack, mut bytes) = (Vec::new(), Vec::new());
        framed.ack(Some(7), &mut ack);
        let data =
            if ack.ends_with(b"\n") { b"x pong 7".to_vec() } else { [&ack, &ack[..]].concat() };
        framed.framing().wrap(&data, &mut bytes).unwrap();
        assert_eq!(parsed(&mut framed, &bytes, &[]), [(Frame::Data, bytes.clone())]);
        assert!(framed.framing().wrap(b"pong 7", &mut bytes).unwrap_err().is_invalid());
        assert!(framed.framing().wrap(b"ping 7", &mut bytes).unwrap_err().is_invalid());
    }
}

#[test]
fn empty_frames_and_the_longest_come_through() {
    for (prefix, longest) in [
        (Prefix::U8, 255),
        (Prefix::U16Be, 65_535),
        (Prefix::U16Le, 65_535),
        (Prefix::U32Be, 1024 * 1024),
        (Prefix::U32Le, 1024 * 1024),
        (Prefix::Varint, 1024 * 1024),
    ] {
        let (mut framed, mut bytes) = (prefixed(prefix), Vec::new());
        let framing = framed.framing();
        framing.wrap(b"", &mut bytes).unwrap();
        framing.wrap(&vec![7; longest], &mut bytes).unwrap();
        let error = framing.wrap(&vec![7; longest + 1], &mut bytes).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(&longest.to_string()), "{error}");
        let found = parsed(&mut framed, &bytes, &[1, 1, 1, 1, 1]);
        let lengths: Vec<_> = found.iter().map(|(_, frame)| framing.data(frame).len()).collect();
        assert_eq!(lengths, [0, longest], "{prefix:?}");
    }
    let longest = vec![b'x'; 64 * 1024];
    let mut bytes = Vec::new();
    lines().framing().wrap(&longest, &mut bytes).unwrap();
    assert_eq!(parsed(&mut lines(), &bytes, &[]).len(), 1);
    assert!(lines().framing().wrap(&vec![b'x'; 64 * 1024 + 1], &mut bytes).is_err());
}

/// What was looked at must not be looked at again: these would take hours.
#[test]
fn large_frames_that_come_byte_by_byte_cost_no_more_than_their_length() {
    const LEN: usize = 4 * 1024 * 1024;
    let mut line = vec![b'x'; LEN];
    line.push(b'\n');
    let mut frame = Vec::new();
    prefixed(Prefix::Varint).limit(LEN).framing().wrap(&line, &mut frame).unwrap_err();
    prefixed(Prefix::Varint).limit(2 * LEN).framing().wrap(&line, &mut frame).unwrap();
    let array = [b"*100000\r\n".to_vec(), b"*1\r\n$4\r\n\r\n\r\n\r\n".repeat(100_000)].concat();
    let string = [format!("+{}\r\n", "\n".repeat(LEN)).into_bytes()].concat();
    let bulk = [format!("${LEN}\r\n").as_bytes(), &line[..LEN], b"\r\n"].concat();
    let cases: [(Box<dyn Protocol>, Vec<u8>); 5] = [
        (Box::new(lines().limit(LEN)), line),
        (Box::new(prefixed(Prefix::Varint).limit(2 * LEN)), frame),
        (Box::new(Redis::new().in_band()), array),
        (Box::new(Redis::new().in_band()), string),
        (Box::new(Redis::new().in_band()), bulk),
    ];
    let start = Instant::now();
    for (mut protocol, bytes) in cases {
        for come in 1..bytes.len() {
            assert!(protocol.parse(&bytes[..come]).unwrap().is_none());
            assert!(start.elapsed() < Duration::from_secs(60), "byte {come} of {}", bytes.len());
        }
        assert_eq!(protocol.parse(&bytes), Ok(Some((Frame::Data, bytes.len()))));
    }
}

#[test]
fn every_form_beats_against_a_responder_of_the_same() {
    for framed in forms() {
        let end = framed.clone();
        let responder = Responder::bind("127.0.0.1:0", move || end.clone()).unwrap();
        let mut watch = Watch::new(responder.local_addr(), quick(), framed);
        watch.wait_beats(3);
        let status = watch.status();
        assert_eq!((status.state, status.missed), (State::Up, 0));
    }
}

#[test]
fn http_on_a_port_for_frames_is_told_as_such() {
    let mut framed = prefixed(Prefix::U32Be);
    let rejected = framed.parse(b"HTTP/1.1 400 Bad Request\r\n").unwrap_err();
    let shown = format!("{rejected:?}");
    assert!(shown.contains("HTTP/1.1 400") && shown.contains("raise Framed::limit"), "{shown}");
    assert!(shown.contains(&format!("{:?}", Cause::WrongReply)), "{shown}");
}
