//! The body of the fuzz target in an ordinary test run: its kept corpus, and 20,000 inputs made
//! from it by chance, the same in every run.

mod parse_all;

use std::fs;
use std::panic::catch_unwind;

use fastrand::Rng;
use keepbeat::protocol::Frame;

use parse_all::PARSERS;
pub use parse_all::parse_all;

const INPUTS: usize = 20_000;

/// What means something to some parser.
const WORDS: [&[u8]; 32] = [
    b"\r\n",
    b"\n",
    b"ping",
    b"pong",
    b"ping 7\r\n",
    b"\x00\x00",
    b"\x80\x00",
    b"\xff\xff\xff\xff\x0f",
    b"\x00\x00\x00\x04",
    b"\x04\x00\x00\x00",
    b"\x06pong 7",
    b"*2\r\n",
    b"$5\r\n",
    b"$-1\r\n",
    b"%1\r\n",
    b"|1\r\n",
    b">2\r\n",
    b":1\r\n",
    b"_\r\n",
    b"@\x01",
    b"@\x02",
    b"$4\r\npong\r\n",
    b"+OK\r\n",
    b"+PONG\r\n",
    b"-NOAUTH s3cret\r\n",
    b"ack 7\n",
    b"beat 9\n",
    b"heartbeat_ack",
    b"VERSION 1\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
];

fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fuzzed/corpus");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

/// Another input from this one.
fn mutate(rng: &mut Rng, input: &mut Vec<u8>, others: &[(String, Vec<u8>)]) {
    let at = rng.usize(..=input.len());
    match rng.u8(..8) {
        0 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
        1 if at < input.len() => input[at] = rng.u8(..),
        2 => drop(input.drain(at..(at + rng.usize(..8)).min(input.len()))),
        3 => input.truncate(at),
        4 => {
            let other = &others[rng.usize(..others.len())].1;
            input.splice(at.., other[rng.usize(..=other.len())..].iter().copied());
        }
        5 => {
            let piece = input[at..(at + rng.usize(..40)).min(input.len())].to_vec();
            input.extend(piece);
        }
        _ => {
            let word = WORDS[rng.usize(..WORDS.len())];
            input.splice(at..at, word.iter().copied());
        }
    }
}

#[test]
fn every_input_of_the_corpus_shows_what_it_is_kept_for() {
    let files = corpus();
    let mut chosen = Vec::new();
    for (name, input) in &files {
        let found = parse_all(input);
        let kinds: Vec<_> = found.frames.iter().map(|(frame, _)| *frame).collect();
        assert_eq!(found.rejected, name.ends_with("-refused"), "{name}: {kinds:?}");
        assert_eq!(found.rejected || !kinds.is_empty(), !name.ends_with("-nothing"), "{name}");
        let has_ack = kinds.iter().any(|frame| matches!(frame, Frame::Ack(_)));
        assert!(has_ack || !name.ends_with("-acked"), "{name}: {kinds:?}");
        chosen.push(input[0] % PARSERS);
    }
    for parser in 0..PARSERS {
        assert!(chosen.contains(&parser), "no input for parser {parser}");
    }
}

#[test]
fn no_bytes_make_a_parser_panic_or_take_too_much_or_find_other_frames_in_pieces() {
    let corpus = corpus();
    let mut rng = Rng::with_seed(20_250_101);
    let mut frames = 0;
    for n in 0..INPUTS {
        let mut input = corpus[rng.usize(..corpus.len())].1.clone();
        for _ in 0..rng.usize(1..=8) {
            mutate(&mut rng, &mut input, &corpus);
        }
        match catch_unwind(|| parse_all(&input)) {
            Ok(found) => frames += found.frames.len(),
            Err(_) => panic!("input {n}, to be kept in the corpus: {}", input.escape_ascii()),
        }
    }
    assert!(frames > INPUTS / 2, "only {frames} frames: the inputs are no good");
}
