//! A learnt limit is never poisoned, and never outlives its truth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crossbeam_channel::Receiver;
use keepbeat::{Eviction, Session, SessionEvent, SessionEventKind};

use super::server::{Conn, LIMIT, Server, eventually, in_time, ms, wait};

/// Closes after so many milliseconds of idleness, as told at that moment.
fn closes_after(limit: Arc<AtomicU64>) -> impl Fn(&mut Conn) + Send + Sync {
    move |conn| {
        while conn.request().is_some() && conn.ok("hello") {
            if !conn.idle(ms(limit.load(Ordering::SeqCst))) || !conn.has_bytes() {
                return;
            }
        }
    }
}

fn server(limit: u64) -> (Server, Arc<AtomicU64>) {
    let limit = Arc::new(AtomicU64::new(limit));
    (Server::start(closes_after(Arc::clone(&limit))), limit)
}

fn learnt(session: &Session, server: &Server) -> Option<Duration> {
    let stats = session.stats();
    stats.host(&server.url("")).and_then(|host| host.learnt)
}

fn wait_learnt(events: &Receiver<SessionEvent>) {
    wait(events, "limit learnt", |kind| matches!(kind, SessionEventKind::LimitLearnt { .. }));
}

fn wait_evicted(events: &Receiver<SessionEvent>, wanted: Eviction) {
    wait(
        events,
        wanted.word(),
        |kind| matches!(kind, SessionEventKind::Evicted { cause, .. } if *cause == wanted),
    );
}

#[test]
fn an_idle_close_is_learnt_as_long_as_it_was() {
    let (server, _) = server(300);
    let session = Session::new().unwrap();
    let events = session.events();
    session.get(server.url("/")).send().unwrap();
    wait_learnt(&events);
    let limit = learnt(&session, &server).unwrap();
    assert!(limit >= ms(290) && limit < ms(600), "{limit:?}");
}

#[test]
fn a_restart_teaches_nothing() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    let events = session.events();
    // Connections of different idle ages: each is in use while the next one is opened.
    let mut responses = Vec::new();
    for _ in 0..4 {
        responses.push(session.get(server.url("/")).send().unwrap());
        thread::sleep(ms(150)); // the ages differ by that
    }
    drop(responses);
    server.close_all();
    for _ in 0..4 {
        wait_evicted(&events, Eviction::ClosedByPeer);
    }
    // Closes are judged after 50 ms; by then this one has come and gone.
    session.get(server.url("/")).send().unwrap();
    thread::sleep(ms(120)); // nothing tells that nothing was learnt
    assert_eq!(learnt(&session, &server), None);
}

#[test]
fn resets_and_closes_in_mid_use_teach_nothing() {
    let server = Server::start(|conn| {
        let Some(seen) = conn.request() else { return };
        conn.ok("hello");
        match seen.path.as_str() {
            "/reset" => {
                conn.idle(ms(100));
                conn.reset();
            }
            // The next one is read, and not answered.
            _ => assert!(conn.request().is_some()),
        }
    });
    let session = Session::new().unwrap();
    let events = session.events();
    session.get(server.url("/reset")).send().unwrap();
    wait_evicted(&events, Eviction::Reset);
    session.post(server.url("/")).send().unwrap();
    assert!(session.post(server.url("/")).send().unwrap_err().is_stale());
    thread::sleep(ms(120)); // nothing tells that nothing was learnt
    assert_eq!(learnt(&session, &server), None);
}

#[test]
fn a_limit_that_no_longer_holds_is_unlearnt() {
    let (server, limit) = server(100);
    let session = Session::new().unwrap();
    let events = session.events();
    session.get(server.url("/")).send().unwrap();
    wait_learnt(&events);
    limit.store(60_000, Ordering::SeqCst);
    session.get(server.url("/")).send().unwrap();
    wait(&events, "forgotten", |kind| matches!(kind, SessionEventKind::LimitForgotten));
    assert_eq!(learnt(&session, &server), None);
    let response = session.post(server.url("/")).send().unwrap();
    assert!(response.reused(), "the connection was withheld and never closed");
}

#[test]
fn a_withheld_connection_stays_open_and_its_real_end_counts() {
    let (server, limit) = server(300);
    let session = Session::new().unwrap();
    let events = session.events();
    session.get(server.url("/")).send().unwrap();
    wait_learnt(&events);
    limit.store(700, Ordering::SeqCst);
    session.post(server.url("/")).send().unwrap();
    thread::sleep(ms(400)); // beyond what was learnt
    assert!(!session.post(server.url("/")).send().unwrap().reused());
    assert_eq!(session.stats().idle, 2, "withheld, not closed");
    wait_learnt(&events);
    let limit = learnt(&session, &server).unwrap();
    assert!(limit >= ms(690), "{limit:?}");
}

#[test]
fn a_very_short_limit_does_not_turn_keep_alive_off_for_others() {
    let (short, _) = server(1);
    let (long, _) = server(60_000);
    let session = Session::new().unwrap();
    let events = session.events();
    session.get(short.url("/")).send().unwrap();
    wait_learnt(&events);
    for n in 0..20 {
        assert_eq!(session.get(long.url("/")).send().unwrap().reused(), n > 0);
        session.post(short.url("/")).send().unwrap();
    }
    assert_eq!(long.accepted(), 1);
}

#[test]
fn a_server_that_was_going_down_teaches_nothing() {
    let server = Server::ok();
    let url = server.url("/");
    let session = Session::new().unwrap();
    let events = session.events();
    session.get(&url).send().unwrap();
    drop(server); // closes its connections and its port
    wait_evicted(&events, Eviction::ClosedByPeer);
    assert!(session.get(&url).send().unwrap_err().is_connect());
    let name = url.trim_end_matches('/');
    thread::sleep(ms(120)); // nothing tells that nothing was learnt
    assert_eq!(session.stats().host(name).unwrap().learnt, None);
}

#[test]
fn what_the_server_says_is_honoured_with_a_margin() {
    let server = Server::start(|conn| {
        while conn.request().is_some() {
            let head = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=5\r\nContent-Length: 0";
            conn.write(format!("{head}\r\n\r\n"));
        }
    });
    let session = Session::new().unwrap();
    let get = || session.get(server.url("/")).send().unwrap().reused();
    assert!(!get() && get());
    thread::sleep(ms(800)); // below 0.9 s
    assert!(get());
    thread::sleep(ms(950)); // above it, and below 1 s
    assert!(!get(), "too late for what the server said");
    assert_eq!(session.stats().host(&server.url("")).unwrap().hinted, Some(ms(1000)));
}

#[test]
fn the_servers_count_of_requests_is_honoured() {
    let server = Server::start(|conn| {
        for left in (0..3).rev() {
            if conn.request().is_none() {
                return;
            }
            conn.write(format!(
                "HTTP/1.1 200 OK\r\nKeep-Alive: max={left}\r\nContent-Length: 0\r\n\r\n"
            ));
        }
        conn.idle(ms(20_000)); // closes without a word only then
    });
    let session = Session::new().unwrap();
    for n in 0..9 {
        assert_eq!(session.post(server.url("/")).send().unwrap().reused(), n % 3 > 0, "{n}");
    }
    assert_eq!(server.accepted(), 3);
    assert_eq!(session.stats().evicted(Eviction::ServerLimit), 3);
}

#[test]
fn absurd_hints_survive() {
    let hints = [
        "timeout=0",
        "timeout=-1, max=-1",
        "timeout=999999999999999999999",
        "max=",
        "timeout=1, timeout=99999",
        "=;,,==",
        "timeout=5\r\nKeep-Alive: timeout=x",
        "timeout=0x5",
    ];
    for hint in hints {
        let server = Server::start(move |conn| {
            while conn.request().is_some() {
                conn.write(format!(
                    "HTTP/1.1 200 OK\r\nKeep-Alive: {hint}\r\nContent-Length: 2\r\n\r\nok"
                ));
            }
        });
        let session = Session::new().unwrap();
        for _ in 0..5 {
            assert_eq!(
                session.get(server.url("/")).send().unwrap().text().unwrap(),
                "ok",
                "{hint}"
            );
        }
        let kept = if hint == "timeout=0" { 5 } else { 1 };
        assert_eq!(server.accepted(), kept, "{hint}");
        eventually("all idle", || session.stats().open == session.stats().idle);
    }
}

#[test]
fn a_post_through_the_agent_keeps_the_margin_too() {
    let (server, _) = server(1000);
    let session = Session::new().unwrap();
    let events = session.events();
    session.get(server.url("/")).send().unwrap();
    wait_learnt(&events);
    session.get(server.url("/")).send().unwrap();
    let reused = session.stats().reused;
    thread::sleep(ms(960)); // below what was learnt, within its margin
    session.agent().post(server.url("/")).send("x").unwrap();
    assert_eq!(session.stats().reused, reused, "nobody would have replayed it");
    assert_eq!(server.accepted(), 3);
}

/// Without a body a response is over with its head, and its connection is somebody else's at once.
#[test]
fn a_last_response_without_a_body_gives_its_connection_to_nobody() {
    let (go, when) = mpsc::channel::<()>();
    let when = Mutex::new(when);
    let server = Server::start(move |conn| {
        conn.request();
        if conn.number == 0 {
            let _ = when.lock().unwrap().recv_timeout(LIMIT);
        }
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: max=0\r\n\r\n");
        conn.idle(ms(20)); // and closes without a word
    });
    let session = Session::builder().max_per_host(1).build().unwrap();
    let get = session.get(server.url("/"));
    let first = thread::spawn(move || get.send().map(drop));
    eventually("it is there", || server.seen().len() == 1);
    let post = session.post(server.url("/")).body("x");
    let second = thread::spawn(move || post.send());
    eventually("it waits", || session.stats().waiting == 1);
    go.send(()).unwrap();
    first.join().unwrap().unwrap();
    let second = in_time("who waited", || second.join().unwrap()).unwrap();
    assert!(!second.reused());
    assert_eq!(server.accepted(), 2);
}
