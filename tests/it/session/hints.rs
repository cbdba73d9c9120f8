//! What a server says about keeping a connection, and what a request makes of what is known.

use std::thread;

use keepbeat::{Session, SessionEventKind};
use ureq::http::Method;

use super::server::{Conn, Server, ms, wait};

/// Answers with these lines above the end of its head.
fn says(hint: impl Fn(&Conn) -> String + Send + Sync + 'static) -> Server {
    Server::start(move |conn| {
        while conn.request().is_some() {
            let hint = hint(conn);
            conn.write(format!("HTTP/1.1 200 OK\r\n{hint}Content-Length: 2\r\n\r\nok"));
        }
    })
}

#[test]
fn a_hint_is_its_connections_own() {
    // The first connection is kept for long, the second for a second.
    let server = says(|conn| format!("Keep-Alive: timeout={}\r\n", [60, 1][conn.number.min(1)]));
    let session = Session::new().unwrap();
    let get = || session.get(server.url("/")).send().unwrap();
    let (first, second) = (get(), get());
    drop(first);
    drop(second); // the newest, and tried first
    thread::sleep(ms(1100)); // beyond the second's time, far within the first's
    for _ in 0..3 {
        let mut response = get();
        assert!(response.reused());
        response.text().unwrap();
        let last = server.seen().pop().unwrap();
        assert_eq!(last.connection, 0, "not the one whose time is over");
    }
    assert_eq!(server.accepted(), 2);
}

#[test]
fn the_last_word_of_a_connection_counts() {
    let server = Server::start(|conn| {
        for timeout in [1, 60] {
            if conn.request().is_none() {
                return;
            }
            conn.write(format!(
                "HTTP/1.1 200 OK\r\nKeep-Alive: timeout={timeout}\r\nContent-Length: 0\r\n\r\n"
            ));
        }
        while conn.request().is_some() && conn.ok("hello") {} // says no more
    });
    let session = Session::new().unwrap();
    let get = || session.get(server.url("/")).send().unwrap();
    get();
    get();
    thread::sleep(ms(1000)); // beyond the first word
    assert!(get().reused());
    thread::sleep(ms(1000)); // what it said before still stands
    assert!(get().reused());
}

#[test]
fn max_0_ends_a_connection_wherever_it_is_said() {
    for hint in [
        "HTTP/1.1 200 OK\r\nKeep-Alive: max=0\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=0\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 103 X\r\nX: y\r\n\r\n\
         HTTP/1.1 200 OK\r\nKeep-Alive: max=0\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\nKeep-Alive: max=0\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nkeep-alive:max=0\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nKeep-Alive: max=0\r\n\
         Content-Length: 2\r\n\r\nok",
    ] {
        let server = Server::answering(hint);
        let session = Session::new().unwrap();
        for _ in 0..3 {
            assert_eq!(session.post(server.url("/")).send().unwrap().text().unwrap(), "ok");
        }
        assert_eq!(server.accepted(), 3, "{hint:?}");
    }
    // One in an interim answer is about nothing.
    let server = Server::answering(
        "HTTP/1.1 103 X\r\nKeep-Alive: max=0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let session = Session::new().unwrap();
    for _ in 0..3 {
        assert_eq!(session.get(server.url("/")).send().unwrap().text().unwrap(), "ok");
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
fn a_hint_with_bare_lf_or_behind_an_interim_answer_is_honoured() {
    for hint in [
        "HTTP/1.1 200 OK\nKeep-Alive: timeout=1\nContent-Length: 2\n\nok",
        "HTTP/1.1 100 Continue\r\n\r\n\
         HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let server = Server::answering(hint);
        let session = Session::new().unwrap();
        let get = || session.get(server.url("/")).send().unwrap();
        get();
        let said = session.stats().host(&server.url("")).unwrap().hinted;
        assert_eq!(said, Some(ms(1000)), "{hint:?}");
        thread::sleep(ms(950)); // within its last tenth
        assert!(!get().reused(), "{hint:?}");
    }
}

/// Closes after a second of idleness.
fn closes_after_a_second(conn: &mut Conn) {
    while conn.request().is_some() && conn.ok("hello") {
        if !conn.idle(ms(1000)) || !conn.has_bytes() {
            return;
        }
    }
}

/// A request in the last tenth of a learnt limit: whether it takes the kept connection.
fn enters(server: &Server, session: &Session, method: &Method) -> bool {
    let send = |method: &Method| session.method(method.clone(), server.url("/")).send().unwrap();
    drop(send(&Method::GET));
    thread::sleep(ms(940)); // the limit is a second
    send(method).reused()
}

#[test]
fn no_replay_enters_a_learnt_window_knowingly_but_for_what_changes_nothing_and_if_it_is_told_to() {
    let learnt = |server: &Server, session: &Session| {
        let events = session.events();
        session.get(server.url("/")).send().unwrap();
        wait(&events, "learnt", |kind| matches!(kind, SessionEventKind::LimitLearnt { .. }));
    };
    thread::scope(|scope| {
        for to_the_last in [false, true] {
            for method in [Method::GET, Method::OPTIONS, Method::PUT, Method::DELETE, Method::POST]
            {
                scope.spawn(move || {
                    let server = Server::start(closes_after_a_second);
                    let builder = Session::builder().use_to_the_last(to_the_last);
                    let session = builder.build().unwrap();
                    learnt(&server, &session);
                    let safe = method == Method::GET || method == Method::OPTIONS;
                    let entered = enters(&server, &session, &method);
                    assert_eq!(entered, to_the_last && safe, "{method}, {to_the_last}");
                });
            }
        }
    });
}

/// As nginx reloads amid traffic: idle connections end at ages that others outlived.
#[test]
fn a_reload_amid_requests_teaches_nothing() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    let events = session.events();
    for _ in 0..4 {
        for _ in 0..20 {
            session.get(server.url("/")).send().unwrap();
            thread::sleep(ms(8)); // a pause between requests
        }
        session.get(server.url("/")).send().unwrap();
        thread::sleep(ms(2)); // a shorter one, in which the server reloads
        server.close_all();
        thread::sleep(ms(120)); // closes are judged after 50 ms
    }
    let told = events.try_iter().filter(|e| matches!(e.kind, SessionEventKind::LimitLearnt { .. }));
    assert_eq!(told.count(), 0);
    assert_eq!(session.stats().host(&server.url("")).unwrap().learnt, None);
}
