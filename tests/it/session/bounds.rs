//! Bounds: how many connections there may be and for how long, who waits, and that no place is lost
//! whatever becomes of its request.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Body, Eviction, Response, Session, SessionBuilder, SessionEventKind};

use super::server::{Conn, LIMIT, Server, eventually, in_time, ms, wait};

/// The body of a response that keeps its connection while it is not read: more than is drained.
const LARGE: usize = 1 << 20;

/// Answers `/large` with a large body, `/gate` when it is told to, `/bad` with half a head and
/// `/hang` not at all.
fn server() -> (Server, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let answer = move |conn: &mut Conn, path: &str| match path {
        "/large" => conn.ok(&"x".repeat(LARGE)),
        "/bad" => {
            conn.write("HTTP/1.1 200");
            false
        }
        "/hang" => conn.idle(LIMIT),
        "/gate" => {
            let _ = gate.lock().unwrap().recv_timeout(LIMIT);
            conn.ok("gate")
        }
        _ => conn.ok("hello"),
    };
    let server =
        Server::start(move |conn| while conn.request().is_some_and(|s| answer(conn, &s.path)) {});
    (server, open)
}

fn get(session: &Session, server: &Server, path: &str) -> Response {
    session.get(server.url(path)).send().unwrap()
}

fn made(builder: SessionBuilder) -> Session {
    builder.build().unwrap()
}

/// All places are free: so many requests can be under way at once, without a wait.
fn assert_all_places_free(session: &Session, server: &Server, places: usize) {
    let stats = session.stats();
    assert_eq!((stats.open - stats.idle, stats.waiting), (0, 0), "{stats:?}");
    let held: Vec<_> = (0..places).map(|_| get(session, server, "/large")).collect();
    assert_eq!(session.stats().open, places);
    drop(held);
    assert_eq!(session.stats().open, 0);
}

#[test]
fn many_threads_share_few_connections() {
    let server = Server::ok();
    let session = made(Session::builder().max_per_host(4));
    let (ours, url) = (session.clone(), server.url("/"));
    in_time("64 threads with 25 requests each", move || {
        let run = || {
            for n in 0..25 {
                let mut response = ours.get(&url).send().unwrap();
                if n % 2 == 0 {
                    assert_eq!(response.text().unwrap(), "hello");
                }
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..64).map(|_| scope.spawn(run)).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    });
    assert_eq!(server.seen().len(), 64 * 25);
    assert!(server.open().1 <= 4 && server.accepted() <= 4, "{:?}", server.open());
    let stats = session.stats();
    assert_eq!((stats.requests, stats.replayed, stats.waiting), (64 * 25, 0, 0));
    assert_eq!(stats.open, stats.idle);
}

#[test]
fn many_threads_share_few_places_though_no_connection_is_kept() {
    let server =
        Server::answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let session = made(Session::builder().max_per_host(3));
    let (ours, url) = (session.clone(), server.url("/"));
    in_time("32 threads with 10 requests each", move || {
        thread::scope(|scope| {
            let run = || (0..10).for_each(|_| drop(ours.get(&url).send().unwrap()));
            let threads: Vec<_> = (0..32).map(|_| scope.spawn(run)).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    });
    assert_eq!((server.accepted(), session.stats().open, session.stats().waiting), (320, 0, 0));
}

#[test]
fn who_waits_is_served_in_the_order_of_coming() {
    let (server, gate) = server();
    let session = made(Session::builder().max_per_host(1));
    let ask = |path: String, then: Option<&'static str>| {
        let (session, url) = (session.clone(), server.url(&path));
        let behind = then.map(|path| server.url(path));
        thread::spawn(move || {
            session.get(url).send().unwrap().text().unwrap();
            // The place is given on before this comes.
            behind.map(|url| session.get(url).send().unwrap().text().unwrap());
        })
    };
    for round in 0..5 {
        let mut threads = vec![ask("/gate".to_owned(), Some("/last"))];
        let before = round * 10;
        eventually("the gate is reached", || server.seen().len() > before);
        for n in 0..8 {
            threads.push(ask(format!("/{n}"), None));
            eventually("it is queued", || session.stats().waiting == n + 1);
        }
        gate.send(()).unwrap();
        in_time("the queue", || threads.into_iter().for_each(|t| t.join().unwrap()));
        let order: Vec<_> = server.seen()[before..].iter().map(|s| s.path.clone()).collect();
        let mut expected: Vec<_> = (0..8).map(|n| format!("/{n}")).collect();
        expected.insert(0, "/gate".to_owned());
        expected.push("/last".to_owned());
        assert_eq!(order, expected);
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
fn who_waits_keeps_its_turn_though_the_connection_it_is_given_has_ended() {
    for _ in 0..5 {
        let server = Server::start(|conn| {
            while conn.request().is_some_and(|seen| conn.ok("hello") && seen.path != "/first") {}
            conn.end_both();
        });
        let session = made(Session::builder().max_per_host(1));
        let mut first = get(&session, &server, "/first");
        eventually("it has ended", || server.open().0 == 0);
        let mut threads = Vec::new();
        for n in 0..8 {
            let request = session.get(server.url(&format!("/{n}")));
            threads.push(thread::spawn(move || request.send().unwrap().text().unwrap()));
            eventually("it is queued", || session.stats().waiting == n + 1);
        }
        assert_eq!(first.text().unwrap(), "hello"); // and its connection goes to the queue
        in_time("the queue", || threads.into_iter().for_each(|t| drop(t.join().unwrap())));
        let order: Vec<_> = server.seen()[1..].iter().map(|seen| seen.path.clone()).collect();
        let expected: Vec<_> = (0..8).map(|n| format!("/{n}")).collect();
        assert_eq!((order, server.accepted()), (expected, 2));
    }
}

#[test]
fn who_gave_up_is_not_served_and_costs_those_behind_nothing() {
    let (server, gate) = server();
    let session = made(Session::builder().max_per_host(1));
    let send = |path: &str, timeout: Duration| {
        let request = session.get(server.url(path)).timeout(timeout);
        thread::spawn(move || request.send().map(|mut response| response.text().unwrap()))
    };
    let first = send("/gate", LIMIT);
    eventually("the gate is reached", || server.seen().len() == 1);
    let gives_up = send("/never", ms(300));
    eventually("it is queued", || session.stats().waiting == 1);
    let waits = send("/waits", LIMIT);
    eventually("it is queued", || session.stats().waiting == 2);
    let error = gives_up.join().unwrap().unwrap_err();
    assert!(error.is_limit() && !error.may_have_run(), "{error}");
    gate.send(()).unwrap();
    assert_eq!(first.join().unwrap().unwrap(), "gate");
    assert_eq!(waits.join().unwrap().unwrap(), "hello");
    assert!(server.seen().iter().all(|seen| seen.path != "/never"));
}

#[test]
fn the_wait_is_timed_and_its_error_names_the_remedy() {
    let (server, _gate) = server();
    let session = made(Session::builder().max_per_host(2).connect_timeout(ms(300)));
    let held = [(); 2].map(|()| get(&session, &server, "/large"));
    let start = Instant::now();
    let error = session.get(server.url("/")).send().unwrap_err();
    assert!(start.elapsed() >= ms(290) && start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
    assert!(error.is_limit() && !error.is_timeout() && !error.may_have_run(), "{error}");
    assert!(error.to_string().contains("`max_per_host`"), "{error}");
    assert_eq!((session.stats().waiting, server.seen().len()), (0, 2));
    drop(held);
    assert_all_places_free(&session, &server, 2);
}

#[test]
fn idle_connections_of_another_host_make_room() {
    let (a, _gate) = server();
    let (b, _gate) = server();
    let session = made(Session::builder().max_total(2).connect_timeout(ms(300)));
    let events = session.events();
    let held = [(); 2].map(|()| get(&session, &a, "/"));
    held.into_iter().for_each(drop);
    assert_eq!(session.stats().idle, 2);
    drop(get(&session, &b, "/"));
    let made_room = |kind: &SessionEventKind| {
        matches!(kind, SessionEventKind::Evicted { cause: Eviction::MadeRoom, .. })
    };
    let event = wait(&events, "made-room", made_room);
    assert_eq!(*event.host, *format!("http://{}", a.address));
    let stats = session.stats();
    assert_eq!((stats.open, stats.idle, stats.evicted(Eviction::MadeRoom)), (2, 2, 1));
    // While all are in use there is no room to make.
    let held = [&a, &b].map(|server| get(&session, server, "/large"));
    for server in [&a, &b] {
        let error = session.get(server.url("/")).send().unwrap_err();
        assert!(error.is_limit() && error.to_string().contains("`max_total`"), "{error}");
    }
    drop(held);
    eventually("the server saw it", || a.open().0 + b.open().0 == 0);
}

#[test]
fn a_connection_that_comes_back_makes_room_for_who_waits_for_another_host() {
    let (a, gate) = server();
    let (b, _gate) = server();
    let session = made(Session::builder().max_total(1));
    let at = |server: &Server, path: &str| {
        let request = session.get(server.url(path));
        thread::spawn(move || request.send().unwrap().text().unwrap())
    };
    let first = at(&a, "/gate");
    eventually("the gate is reached", || a.seen().len() == 1);
    let other = at(&b, "/");
    eventually("it is queued", || session.stats().waiting == 1);
    gate.send(()).unwrap();
    assert_eq!(first.join().unwrap(), "gate");
    assert_eq!(in_time("the other host", move || other.join().unwrap()), "hello");
    assert_eq!(session.stats().evicted(Eviction::MadeRoom), 1);
}

#[test]
fn only_so_many_stay_idle() {
    let server = Server::ok();
    for most in [2, 0] {
        let session = made(Session::builder().max_idle_per_host(most));
        let held: Vec<_> = (0..5).map(|_| get(&session, &server, "/")).collect();
        held.into_iter().for_each(drop);
        let stats = session.stats();
        assert_eq!((stats.open, stats.idle), (most, most));
        assert_eq!(stats.evicted(Eviction::OverIdleLimit), 5 - most as u64);
        eventually("the others are closed", || server.open().0 == most);
        assert_eq!(get(&session, &server, "/").text().unwrap(), "hello");
        drop(session);
        eventually("all are closed", || server.open().0 == 0);
    }
}

#[test]
fn no_place_is_lost_by_what_becomes_of_a_response() {
    let (server, _gate) = server();
    let session = made(Session::builder().max_per_host(3).timeout(ms(5000)));
    type End = fn(Response);
    let ends: [(&str, End); 6] = [
        ("/", drop),
        ("/", |mut response| drop(response.text())),
        ("/large", drop),
        ("/large", |mut response| drop(response.limit(10).text())),
        ("/large", |response| drop(response.into_reader())),
        ("/large", |mut response| response.reader().read_exact(&mut [0; 9]).unwrap()),
    ];
    for (path, end) in ends {
        for _ in 0..5 {
            end(get(&session, &server, path));
        }
    }
    for _ in 0..5 {
        assert!(session.get(server.url("/bad")).send().is_err());
        let hang = session.get(server.url("/hang")).timeout(ms(20));
        assert!(hang.send().unwrap_err().is_timeout());
    }
    assert_all_places_free(&session, &server, 3);
}

#[test]
fn no_place_is_lost_by_what_cannot_connect() {
    let builder = Session::builder().max_per_host(2).resolver(|name, _| match name {
        "panics.test" => panic!("on purpose"),
        _ => Err(io::ErrorKind::NotFound.into()),
    });
    let session = made(builder.connect_timeout(ms(2000)));
    // A port that was free a moment ago, and one that takes no HTTPS.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = Server::start(|conn| assert!(conn.write("no TLS")));
    let https = format!("https://{}/", plain.address);
    let refused = format!("http://{free}/");
    for url in [refused.as_str(), &https, "http://panics.test/", "http://unknown.test/"] {
        for _ in 0..5 {
            let error = session.get(url).send().unwrap_err();
            assert!(error.is_connect() && !error.may_have_run(), "{url}: {error:?}");
        }
    }
    let stats = session.stats();
    assert_eq!((stats.open, stats.idle, stats.waiting), (0, 0, 0));
    assert!(stats.hosts.iter().all(|host| host.open == 0), "{:?}", stats.hosts);
}

/// A body that panics after its first bytes.
struct Panics(usize);

impl Read for Panics {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0 += 1;
        assert!(self.0 < 3, "on purpose");
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}

#[test]
fn no_place_is_lost_by_a_panic() {
    let (server, _gate) = server();
    let session = made(Session::builder().max_per_host(3));
    for path in ["/", "/large"] {
        for _ in 0..5 {
            let response = get(&session, &server, path);
            let panicked = thread::spawn(move || {
                let _held = response;
                panic!("on purpose");
            });
            assert!(panicked.join().is_err());
        }
    }
    for warm in [false, true] {
        for body in [|| Body::reader(Panics(0)), || Body::sized_reader(Panics(0), 1 << 30)] {
            if warm {
                drop(get(&session, &server, "/"));
            }
            let post = session.post(server.url("/")).body(body());
            assert!(catch_unwind(AssertUnwindSafe(|| post.send())).is_err());
        }
    }
    // This thread's next request is not taken for the one that panicked.
    assert!(!get(&session, &server, "/").replayed());
    assert_all_places_free(&session, &server, 3);
}

#[test]
fn a_body_may_send_requests_of_its_own() {
    let server = Server::ok();
    let session = made(Session::builder());
    struct Nested(Session, String, usize);
    impl Read for Nested {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.2 += 1;
            if self.2 > 3 {
                return Ok(0);
            }
            let text = self.0.get(&self.1).send().unwrap().text().unwrap();
            text.as_bytes().read(buffer)
        }
    }
    let body = Body::reader(Nested(session.clone(), server.url("/nested"), 0));
    let response = session.post(server.url("/outer")).body(body).send().unwrap();
    assert!(!response.reused());
    drop(response);
    let outer = server.seen().into_iter().find(|seen| seen.path == "/outer").unwrap();
    assert_eq!(outer.body, b"hellohellohello");
    assert_eq!((server.accepted(), session.stats().open), (2, session.stats().idle));
}

#[test]
fn an_idle_connection_ends_with_its_time() {
    for (builder, why) in [
        (Session::builder().idle_timeout(ms(200)), Eviction::IdleTimeout),
        (Session::builder().max_lifetime(ms(200)), Eviction::MaxLifetime),
    ] {
        let server = Server::ok();
        let session = made(builder);
        let events = session.events();
        drop(get(&session, &server, "/"));
        let event = wait(
            &events,
            why.word(),
            |kind| matches!(kind, SessionEventKind::Evicted { cause, .. } if *cause == why),
        );
        let SessionEventKind::Evicted { idle, age, .. } = event.kind else { unreachable!() };
        assert!(idle >= ms(140) && age >= idle, "{idle:?} {age:?}");
        eventually("the server saw it", || server.open().0 == 0);
        assert!(!get(&session, &server, "/").reused());
    }
}

#[test]
fn a_connection_in_steady_use_is_renewed_at_its_greatest_age_and_no_request_fails() {
    let server = Server::ok();
    let session = made(Session::builder().max_lifetime(ms(100)));
    let requests = Arc::new(Mutex::new(0));
    eventually("three connections had their time", || {
        drop(get(&session, &server, "/"));
        *requests.lock().unwrap() += 1;
        session.stats().evicted(Eviction::MaxLifetime) >= 3
    });
    assert_eq!(server.seen().len(), *requests.lock().unwrap());
    // Nor is an exchange cut short.
    let (server, _gate) = self::server();
    let mut response = get(&session, &server, "/large");
    thread::sleep(ms(150)); // the fault
    assert_eq!(response.text().unwrap().len(), LARGE);
}

/// Whether nothing ended this connection yet, as its server sees it.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    stream.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn a_limit_of_one_is_kept_when_a_connection_follows_another() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (sender, met) = mpsc::channel();
    thread::spawn(move || {
        let mut before: Option<TcpStream> = None;
        for mut stream in listener.incoming().flatten() {
            let met = before.take().is_some_and(|before| is_open(&before));
            if sender.send(met).is_err() {
                return;
            }
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            thread::sleep(ms(2)); // longer than a connection may live
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            before = Some(stream);
        }
    });
    let session = made(Session::builder().no_proxy().max_per_host(1).max_lifetime(ms(1)));
    let ours = session.clone();
    in_time("4 threads with 100 requests each", move || {
        thread::scope(|scope| {
            let run = || (0..100).for_each(|_| drop(ours.get(&url).send().unwrap().text()));
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    });
    let met: Vec<bool> = met.try_iter().collect();
    assert_eq!(met.len() as u64, session.stats().opened);
    assert!(met.len() > 100, "they follow each other: {}", met.len());
    assert_eq!(met.iter().filter(|met| **met).count(), 0, "of {}", met.len());
}
