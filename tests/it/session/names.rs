//! Names: looked up when a connection is opened, once however many ask, and again when nobody is
//! there any more; and both families are tried.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use keepbeat::{Session, SessionBuilder};
use socket2::{Domain, Socket, Type};

use super::server::{Server, ms};

/// A session that knows every name by this list.
fn knowing(addresses: Vec<SocketAddr>) -> (SessionBuilder, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let builder = Session::builder().resolver(move |_, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(addresses.clone())
    });
    (builder, asked)
}

/// Takes connections into its queue until that is full; then SYNs go unanswered, as by a firewall
/// that drops.
pub fn black_hole(address: &str) -> (Socket, Vec<Socket>, SocketAddr) {
    let address: SocketAddr = address.parse().unwrap();
    let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let fill = |_| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        let _ = socket.connect_timeout(&address.into(), ms(50));
        socket
    };
    let queue = (0..3).map(fill).collect();
    (listener, queue, address)
}

#[test]
fn a_name_is_looked_up_once_for_many_requests() {
    let server = Server::ok();
    let (builder, asked) = knowing(vec![server.address]);
    let session = builder.build().unwrap();
    for _ in 0..100 {
        session.get("http://name.test/").send().unwrap();
    }
    assert_eq!((asked.load(Ordering::SeqCst), server.accepted()), (1, 1));
    // Also when connections are opened: the answer is kept.
    let held: Vec<_> = (0..10).map(|_| session.get("http://name.test/").send().unwrap()).collect();
    drop(held);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(session.stats().lookups, 1);
}

#[test]
fn many_who_ask_at_once_ask_once() {
    let server = Server::ok();
    let (address, asked) = (server.address, Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&asked);
    let session = Session::builder()
        .resolver(move |_, _| {
            counter.fetch_add(1, Ordering::SeqCst);
            thread::sleep(ms(100)); // a slow name server
            Ok(vec![address])
        })
        .build()
        .unwrap();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| session.get("http://name.test/").send().unwrap());
        }
    });
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_name_is_looked_up_again_when_a_connect_fails() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::ok();
    let (moved, calls) = (server.address, AtomicUsize::new(0));
    let session = Session::builder()
        .resolver(move |_, _| {
            let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
            Ok(vec![if first { closed } else { moved }])
        })
        .build()
        .unwrap();
    let error = session.get("http://name.test/").send().unwrap_err();
    assert!(error.is_connect() && !error.may_have_run(), "{error}");
    assert!(error.to_string().contains(&closed.to_string()), "{error}");
    session.get("http://name.test/").send().unwrap();
}

#[test]
fn a_resolver_that_hangs_or_panics_or_knows_nothing_is_told_so() {
    let hangs = Session::builder()
        .connect_timeout(ms(100))
        .resolver(|_, _| {
            thread::sleep(ms(1500)); // it hangs
            Ok(Vec::new())
        })
        .build()
        .unwrap();
    let start = Instant::now();
    let error = hangs.get("http://name.test/").send().unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    assert!(start.elapsed() < ms(1400), "it did not wait for the resolver");
    let panics = Session::builder().resolver(|_, _| panic!("oh")).build().unwrap();
    let error = panics.get("http://name.test/").send().unwrap_err();
    assert!(error.is_connect() && error.to_string().contains("panicked: oh"), "{error}");
    let (builder, _) = knowing(Vec::new());
    let error = builder.build().unwrap().get("http://name.test/").send().unwrap_err();
    assert!(error.is_connect() && error.to_string().contains("no address"), "{error}");
}

#[test]
fn a_family_that_leads_nowhere_does_not_cost_the_connect_timeout() {
    let server = Server::ok();
    let (_listener, _queue, nowhere) = black_hole("[::1]:0");
    let (builder, _) = knowing(vec![nowhere, nowhere, server.address]);
    let session = builder.connect_timeout(ms(15_000)).build().unwrap();
    let start = Instant::now();
    session.get("http://name.test/").send().unwrap();
    // RFC 8305: the other family after 250 ms.
    assert!(start.elapsed() >= ms(250), "the first choice gets its chance: {:?}", start.elapsed());
    assert!(start.elapsed() < ms(5_000), "{:?}", start.elapsed());
}

#[test]
fn what_refuses_is_passed_over_at_once_and_all_that_failed_is_told() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::ok();
    let (builder, _) = knowing(vec![closed, server.address]);
    builder.build().unwrap().get("http://name.test/").send().unwrap();
    let (_listener, _queue, nowhere) = black_hole("127.0.0.1:0");
    let (builder, _) = knowing(vec![closed, nowhere]);
    let session = builder.connect_timeout(ms(600)).build().unwrap();
    let error = session.get("http://name.test/").send().unwrap_err();
    let text = error.to_string();
    assert!(error.is_connect(), "{error:?}");
    assert!(text.contains(&closed.to_string()) && text.contains(&nowhere.to_string()), "{text}");
}

#[test]
fn more_names_at_once_than_are_asked_at_a_time_are_all_found() {
    let server = Server::ok();
    let address = server.address;
    let builder = Session::builder().no_proxy().resolver(move |_, _| {
        thread::sleep(ms(50)); // a slow name server
        Ok(vec![address])
    });
    let session = builder.build().unwrap();
    let ask = |n: usize| {
        let request = session.get(format!("http://name{n}.test/"));
        thread::spawn(move || request.send().unwrap().text().unwrap())
    };
    let threads: Vec<_> = (0..32).map(ask).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), "hello");
    }
    assert_eq!((session.stats().lookups, server.accepted()), (32, 32));
}
