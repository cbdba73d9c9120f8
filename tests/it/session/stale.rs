//! The stale race: the server closes an idle connection in the moment in which a request goes out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use keepbeat::{Replay, Session, SessionEventKind};

use super::relay::relay;
use super::server::{Conn, Server, ms, wait};

/// The server's idle limit.
const LIMIT: Duration = ms(1000);

/// Ten each way.
const RTT: Duration = ms(20);

const SESSIONS: usize = 60;
const REQUESTS: usize = 10;

fn closes_when_idle(conn: &mut Conn) {
    while conn.idle(LIMIT) {
        // Nothing came: the limit has passed.
        if !conn.has_bytes() || conn.request().is_none() || !conn.ok("done") {
            return;
        }
    }
}

/// Waits around the limit, from 5 % below to 5 % above, evenly.
fn around_the_limit(n: usize) -> Duration {
    LIMIT * 95 / 100 + LIMIT / 10 * (n % 21) as u32 / 20
}

/// Requests that failed, and the server with what it has seen.
fn race(method: &str, learn: bool) -> (usize, usize, Server) {
    let server = Server::start(closes_when_idle);
    let address = relay(server.address, RTT / 2);
    let (failed, reused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for worker in 0..SESSIONS {
            let (failed, reused) = (&failed, &reused);
            scope.spawn(move || {
                let session = Session::new().unwrap();
                let events = session.events();
                let method = method.parse::<ureq::http::Method>().unwrap();
                let send = |path: String| {
                    let url = format!("http://{address}{path}");
                    session.method(method.clone(), url).send()
                };
                send(format!("/{worker}/first")).unwrap();
                if learn {
                    let learnt = |kind: &_| matches!(kind, SessionEventKind::LimitLearnt { .. });
                    wait(&events, "limit learnt", learnt);
                    send(format!("/{worker}/second")).unwrap();
                }
                for n in 0..REQUESTS {
                    thread::sleep(around_the_limit(worker * 7 + n)); // the race is about time
                    match send(format!("/{worker}/{n}")) {
                        Ok(response) => {
                            reused.fetch_add(usize::from(response.reused()), Ordering::SeqCst);
                        }
                        Err(error) => {
                            eprintln!("{error}");
                            failed.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    (failed.into_inner(), reused.into_inner(), server)
}

fn assert_none_ran_twice(server: &Server) {
    let mut times: HashMap<String, usize> = HashMap::new();
    for seen in server.seen() {
        *times.entry(seen.path).or_default() += 1;
    }
    let twice: Vec<_> = times.into_iter().filter(|(_, times)| *times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn no_get_fails_in_the_stale_race() {
    let (failed, reused, _server) = race("GET", false);
    assert_eq!(failed, 0, "of {}", SESSIONS * REQUESTS);
    assert!(reused > 0, "without reuse there is no race");
}

#[test]
fn no_post_fails_in_the_stale_race_after_one_learnt_close_and_none_runs_twice() {
    let (failed, _, server) = race("POST", true);
    assert_eq!(failed, 0, "of {}", SESSIONS * REQUESTS);
    assert_none_ran_twice(&server);
    assert_eq!(server.seen().len(), SESSIONS * (REQUESTS + 2));
}

#[test]
fn below_the_learnt_limit_connections_are_reused() {
    let server = Server::start(closes_when_idle);
    let address = relay(server.address, RTT / 2);
    let session = Session::new().unwrap();
    let events = session.events();
    let post = || session.post(format!("http://{address}/")).send().unwrap();
    post();
    wait(&events, "limit learnt", |kind| matches!(kind, SessionEventKind::LimitLearnt { .. }));
    post();
    let reused = (0..10).filter(|_| {
        thread::sleep(LIMIT * 7 / 10); // idle for less than 0.8 of the limit
        post().reused()
    });
    assert!(reused.count() >= 9);
}

/// What a server does to a connection that has just been used, or to the request on it.
fn faulty(conn: &mut Conn, runs: &Mutex<HashMap<String, usize>>) {
    let mut random = fastrand::Rng::with_seed(conn.number as u64);
    loop {
        if random.u8(..) < 40 {
            return; // closed while idle, or just as the next request comes
        }
        let Some(seen) = conn.request() else { return };
        *runs.lock().unwrap().entry(seen.path).or_default() += 1;
        let goes_on = match random.u8(..10) {
            0 => false, // it ran, and nobody is told
            1 => {
                conn.reset();
                false
            }
            2 => {
                conn.write("HTTP/1.1 200"); // in the middle of the head
                false
            }
            3 => {
                conn.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal");
                false
            }
            _ => conn.ok("ran"),
        };
        if !goes_on {
            return;
        }
    }
}

#[test]
fn no_post_runs_twice_over_ten_thousand_faults() {
    let runs = Arc::new(Mutex::new(HashMap::new()));
    let ours = Arc::clone(&runs);
    let server = Server::start(move |conn| faulty(conn, &ours));
    let (faults, unsure) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let lies = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for worker in 0..8 {
            let (server, runs, lies) = (&server, &runs, &lies);
            let (faults, unsure) = (&faults, &unsure);
            scope.spawn(move || {
                let session = Session::builder().replay(Replay::Idempotent).build().unwrap();
                let mut n = 0;
                while faults.load(Ordering::SeqCst) < 10_000 {
                    n += 1;
                    let path = format!("/{worker}/{n}");
                    let result = session
                        .post(server.url(&path))
                        .body("x")
                        .send()
                        .and_then(|mut response| response.text());
                    let ran = runs.lock().unwrap().get(&path).copied().unwrap_or(0);
                    match result {
                        Ok(_) if ran == 1 => {}
                        Err(error) if ran == 0 || (ran == 1 && error.may_have_run()) => {
                            faults.fetch_add(1, Ordering::SeqCst);
                            unsure.fetch_add(usize::from(ran == 1), Ordering::SeqCst);
                        }
                        other => lies.lock().unwrap().push((path, ran, other)),
                    }
                }
            });
        }
    });
    let lies = lies.into_inner().unwrap();
    assert!(lies.is_empty(), "{} of them: {:?}", lies.len(), &lies[..lies.len().min(5)]);
    assert!(unsure.into_inner() > 1_000, "the dangerous ones were among them");
    assert!(server.accepted() > 1_000);
}
