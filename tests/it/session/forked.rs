//! A forked child: it has every descriptor of its parent's sessions, and none of its connections.

use std::io::Read;

use keepbeat::{Session, Warm};

use super::alone::alone;
use super::server::{LIMIT, Server, eventually};
use crate::tls_link::Authority;

/// Runs this in a child, and fails with the number that it returns.
fn in_child(child: impl FnOnce() -> i32) {
    // SAFETY: the child runs the test's own code and leaves without destructors of others.
    let status = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(child());
        }
        let mut status = -1;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        status
    };
    assert_eq!(status, 0, "the child: exit code {}, signal {}", status >> 8, status & 127);
}

const NAME: &str = "session::forked::a_child_leaves_its_parents_connections_alone";

#[test]
fn a_child_leaves_its_parents_connections_alone() {
    if !alone(NAME, LIMIT) {
        return;
    }
    let long = "x".repeat(300_000);
    let ours = long.clone();
    let server = Server::start(move |conn| {
        while let Some(seen) = conn.request() {
            conn.ok(if seen.path == "/long" { &ours } else { "hello" });
        }
    });
    let session = Session::builder().warm(Warm::head("/").at_most(LIMIT)).build().unwrap();
    assert_eq!(session.get(server.url("/")).send().unwrap().text().unwrap(), "hello");
    let mut held = session.get(server.url("/long")).send().unwrap();
    let idle = session.get(server.url("/")).send().unwrap();
    drop(idle);
    let url = server.url("/");
    let child_session = session.clone();
    let canceller = keepbeat::session::Canceller::new();
    let mut cancellable = session.get(server.url("/long")).cancelled_by(&canceller).send().unwrap();
    in_child(|| {
        canceller.cancel(); // nothing of the parent's
        let refused = child_session.get(&url).send().unwrap_err();
        if !refused.is_forked() || refused.may_have_run() || refused.is_timeout() {
            return 1;
        }
        if held.reader().read(&mut [0; 10]).is_ok() || held.text().is_ok() {
            return 2;
        }
        if child_session.agent().get(&url).call().is_ok() {
            return 3;
        }
        child_session.agent().clone().shutdown(); // ends nothing of the parent's
        let _ = child_session.stats();
        if child_session.events().try_recv().is_ok() {
            return 4;
        }
        drop(held);
        drop(child_session);
        // A session of its own is as good as any.
        let own = Session::new().unwrap();
        let text = own.get(&url).send().and_then(|mut response| response.text());
        i32::from(!text.is_ok_and(|text| text == "hello"))
    });
    assert_eq!(cancellable.text().unwrap(), long);
}

const IN_PARENT: &str = "session::forked::the_parents_connections_live_on_under_tls_too";

#[test]
fn the_parents_connections_live_on_under_tls_too() {
    if !alone(IN_PARENT, LIMIT) {
        return;
    }
    let authority = Authority::new(|_| ());
    let peer = authority.serve(|mut stream, _| {
        use std::io::Write;
        loop {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
            stream.flush()?;
        }
    });
    let server = Server::start(|conn| while conn.request().is_some() && conn.ok("hello") {});
    let session = Session::builder().tls(authority.tls()).build().unwrap();
    let secure = format!("https://{}/", peer.address);
    let (plain, mut held) = (server.url("/"), session.get(server.url("/")).send().unwrap());
    assert_eq!(session.get(&secure).send().unwrap().text().unwrap(), "hello");
    for _ in 0..3 {
        let child_session = session.clone();
        in_child(|| {
            let refused = child_session.get(&secure).send().is_err_and(|e| e.is_forked());
            // All of it goes: what the child holds, and what it has a share of.
            let _ = held.reader().read(&mut [0; 10]);
            drop(child_session);
            i32::from(!refused)
        });
        let mut response = session.get(&secure).send().unwrap();
        assert!(response.reused() && response.text().unwrap() == "hello");
    }
    assert_eq!(held.text().unwrap(), "hello");
    assert!(session.get(&plain).send().unwrap().reused());
    assert_eq!((server.accepted(), peer.visits()), (1, 1));
    // The watcher is the parent's still.
    server.close_all();
    eventually("the end is seen", || session.stats().host(&server.url("")).unwrap().open == 0);
}
