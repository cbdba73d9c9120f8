//! 36,000 exchanges with a server that appends, truncates, doubles and lies: no answer, and no byte
//! of one, reaches another request, and no POST runs twice.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fastrand::Rng;
use keepbeat::{Error, Replay, Response, Session};
use ureq::http::Method;

use super::server::{Conn, Seen, Server};

const WORKERS: usize = 8;
const EXCHANGES: usize = 4_500;

/// Nobody's answer.
const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nKeep-Alive: timeout=60\r\n\r\nevil";

/// The body of an answer: its own request on every line, so that any byte tells whose it is.
fn own(path: &str, random: &mut Rng) -> String {
    let lines = if random.u8(..) < 8 { 3000 } else { random.usize(0..20) };
    format!("{path}\n").repeat(lines)
}

fn chunked(body: &str, random: &mut Rng) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), body.as_bytes());
    while !rest.is_empty() {
        let n = random.usize(1..=rest.len());
        let extension = if random.bool() { ";x=y" } else { "" };
        bytes.extend(format!("{n:x}{extension}\r\n").into_bytes());
        bytes.extend_from_slice(&rest[..n]);
        bytes.extend_from_slice(b"\r\n");
        rest = &rest[n..];
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// An answer as it should be, and the same cut or lengthened; whether the connection goes on.
fn answer(seen: &Seen, random: &mut Rng) -> (Vec<u8>, bool) {
    let body = own(&seen.path, random);
    let len = body.len();
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n").into_bytes();
    let sized = |len: usize| head(&format!("Content-Length: {len}"));
    let body = if seen.method == "HEAD" { String::new() } else { body };
    let early = if random.u8(..8) == 0 { "HTTP/1.1 103 X\r\nX: y\r\n\r\n" } else { "" };
    let honest = match random.u8(..4) {
        0 if seen.method != "HEAD" => {
            let chunks = chunked(&body, random);
            [head("Transfer-Encoding: chunked"), chunks].concat()
        }
        1 => [b"HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n".to_vec()].concat(),
        _ => [sized(len), body.clone().into_bytes()].concat(),
    };
    let honest = [early.as_bytes(), &honest].concat();
    let cut = |bytes: &[u8], random: &mut Rng| bytes[..random.usize(0..=bytes.len())].to_vec();
    match random.u8(..20) {
        0 => ([honest, EVIL.into()].concat(), true),
        1 => ([honest.clone(), honest].concat(), true),
        2 => ([honest, b"\r\n".to_vec()].concat(), true),
        3 => ([honest, b"x".to_vec()].concat(), true),
        4 => (cut(&honest, random), false),
        5 => (Vec::new(), false),
        // Longer than it says, shorter than it says, both at once.
        6 => ([sized(len / 2), body.into_bytes()].concat(), true),
        7 => ([sized(len + 9), body.into_bytes()].concat(), false),
        8 => {
            let both = head(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked", len / 2));
            ([both, chunked(&body, random), EVIL.into()].concat(), true)
        }
        // Without a length, and with the end too early.
        9 => ([head("X: y"), cut(body.as_bytes(), random)].concat(), false),
        10 => ([head("Connection: keep-alive\r\nContent-Length: 0"), EVIL.into()].concat(), true),
        11 => {
            let chunks = chunked(&body, random);
            ([head("Transfer-Encoding: chunked"), cut(&chunks, random)].concat(), false)
        }
        _ => (honest, true),
    }
}

fn lying(conn: &mut Conn, seed: u64, runs: &Mutex<HashMap<String, usize>>) {
    let mut random = Rng::with_seed(seed ^ conn.number as u64);
    while let Some(seen) = conn.request() {
        if seen.method == "POST" {
            *runs.lock().unwrap().entry(seen.path.clone()).or_default() += 1;
        }
        let (bytes, goes_on) = answer(&seen, &mut random);
        if !conn.write(&bytes) {
            return;
        }
        if !goes_on {
            if random.bool() {
                conn.reset();
            }
            return;
        }
        if random.u8(..) < 4 {
            return; // as if it were idle
        }
    }
}

/// Uses a response in some way, and returns what was read of it.
fn used_up(mut response: Response, random: &mut Rng) -> Result<String, Error> {
    match random.u8(..8) {
        0 => Ok(String::new()),
        1 => {
            let mut some = [0; 40];
            let n = response.reader().read(&mut some).unwrap_or(0);
            Ok(String::from_utf8_lossy(&some[..n]).into_owned())
        }
        2 => {
            let mut text = String::new();
            let _ = response.into_reader().read_to_string(&mut text);
            Ok(text)
        }
        _ => response.text(),
    }
}

fn work(server: &Server, worker: usize, seed: u64, session: &Session) -> (usize, Vec<String>) {
    let mut random = Rng::with_seed(seed ^ (worker as u64) << 32);
    let (mut whole, mut wrong) = (0, Vec::new());
    for n in 0..EXCHANGES {
        let path = format!("/{seed:x}-{worker}-{n}");
        let method = match random.u8(..8) {
            0 => Method::HEAD,
            1 => Method::POST,
            2 => Method::PUT,
            _ => Method::GET,
        };
        let agent = random.u8(..16) == 0;
        let got = if agent && method == Method::GET {
            let response = session.agent().get(server.url(&path)).call();
            response.ok().and_then(|mut r| r.body_mut().read_to_string().ok())
        } else {
            let sent = session.method(method.clone(), server.url(&path)).send();
            sent.and_then(|response| used_up(response, &mut random)).ok()
        };
        let Some(text) = got else { continue };
        whole += usize::from(!text.is_empty());
        let line = format!("{path}\n");
        let ours = text.len() <= line.len() && line.starts_with(&text)
            || text.as_bytes().chunks(line.len()).all(|part| line.as_bytes().starts_with(part));
        if !ours {
            wrong.push(format!("{method} {path} got {:?}", &text[..text.len().min(100)]));
        }
    }
    (whole, wrong)
}

#[test]
fn no_answer_reaches_another_request() {
    let seed = std::env::var("KEEPBEAT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("KEEPBEAT_SEED={seed}");
    let runs = std::sync::Arc::new(Mutex::new(HashMap::new()));
    let ours = std::sync::Arc::clone(&runs);
    let server = Server::start(move |conn| lying(conn, seed, &ours));
    // Every other worker shares a session with another one.
    let sessions: Vec<_> = (0..WORKERS / 2)
        .map(|_| Session::builder().replay(Replay::Idempotent).build().unwrap())
        .collect();
    let (whole, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (server, session) = (&server, &sessions[worker / 2]);
            let (whole, wrong) = (&whole, &wrong);
            scope.spawn(move || {
                let (some, bad) = work(server, worker, seed, session);
                whole.fetch_add(some, Ordering::SeqCst);
                wrong.lock().unwrap().extend(bad);
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of them: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    let twice: Vec<_> =
        runs.lock().unwrap().iter().filter(|(_, n)| **n > 1).map(|(p, _)| p.clone()).collect();
    assert!(twice.is_empty(), "POSTs that ran twice: {twice:?}");
    let whole = whole.into_inner();
    assert!(whole > WORKERS * EXCHANGES / 4, "most are answered all the same: {whole}");
    let reused: u64 = sessions.iter().map(|session| session.stats().reused).sum();
    assert!(reused as usize > WORKERS * EXCHANGES / 8, "on kept connections: {reused}");
    for session in &sessions {
        let stats = session.stats();
        assert_eq!((stats.open - stats.idle, stats.waiting), (0, 0), "no place has leaked");
    }
}
