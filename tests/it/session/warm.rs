//! Warm: an idle connection outlives the server's limit because somebody asks on it.

use std::thread;

use keepbeat::{Session, SessionEventKind, Warm};

use super::server::{Conn, Server, eventually, ms, wait};

fn closes_after_300_ms(conn: &mut Conn) {
    while conn.request().is_some() && conn.ok("hello") {
        if !conn.idle(ms(300)) || !conn.has_bytes() {
            return;
        }
    }
}

/// This server answers HEAD, too.
fn answers_heads(conn: &mut Conn) {
    while let Some(seen) = conn.request() {
        let body = if seen.method == "HEAD" { "" } else { "hello" };
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}"));
        if !conn.idle(ms(300)) || !conn.has_bytes() {
            return;
        }
    }
}

#[test]
fn a_warm_connection_outlives_the_servers_limit() {
    let server = Server::start(answers_heads);
    let session = Session::builder().warm(Warm::head("/health")).build().unwrap();
    let events = session.events();
    session.get(server.url("/")).send().unwrap();
    // Nothing is known yet: the first connection is lost, and teaches how long they live.
    wait(&events, "limit learnt", |kind| matches!(kind, SessionEventKind::LimitLearnt { .. }));
    session.get(server.url("/")).send().unwrap();
    eventually("kept warm", || session.stats().warmed >= 5);
    let response = session.post(server.url("/")).send().unwrap();
    assert!(response.reused(), "more than a second after the last request");
    assert_eq!(server.accepted(), 2);
    let heads: Vec<_> = server.seen().into_iter().filter(|seen| seen.path == "/health").collect();
    assert!(heads.len() >= 5 && heads.iter().all(|seen| seen.method == "HEAD"));
}

#[test]
fn nobody_is_kept_warm_for_ever_or_unasked() {
    let server = Server::start(closes_after_300_ms);
    let cold = Session::new().unwrap();
    cold.get(server.url("/")).send().unwrap();
    let warm = Warm::options("/").at_most(ms(1));
    let session = Session::builder().warm(warm).build().unwrap();
    session.get(server.url("/")).send().unwrap();
    eventually("both have idled out", || cold.stats().open + session.stats().open == 0);
    assert_eq!(cold.stats().warmed + session.stats().warmed, 0);
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn its_thread_ends_with_the_session() {
    let warm_threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
            .filter(|name| name.trim() == "keepbeat-warm")
            .count()
    };
    let server = Server::ok();
    let session = Session::builder().warm(Warm::head("/")).build().unwrap();
    session.get(server.url("/")).send().unwrap();
    eventually("the thread is there", || warm_threads() >= 1);
    drop(session);
    // Those of other tests end as well.
    eventually("no such thread is left", || warm_threads() == 0);
    thread::yield_now();
}

#[test]
fn a_path_that_is_none_is_refused() {
    let error = Session::builder().warm(Warm::head("health")).build().unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("`/`"), "{error}");
}
