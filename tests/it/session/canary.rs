//! What `src/session/wire.rs` rests on, asked of ureq itself: the order in which it calls a
//! transport. If another version of ureq changes it, this fails before a connection is lost.

use std::sync::{Arc, Mutex};

use ureq::Agent;
use ureq::config::Config;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

type Calls = Arc<Mutex<Vec<&'static str>>>;

/// Answers every request with the same bytes, and notes what is asked of it.
struct Canary {
    response: &'static [u8],
    buffers: LazyBuffers,
    calls: Calls,
}

impl std::fmt::Debug for Canary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Canary")
    }
}

impl Canary {
    fn note(&self, call: &'static str) {
        let mut calls = self.calls.lock().unwrap();
        if calls.last() != Some(&call) {
            calls.push(call);
        }
    }
}

impl Transport for Canary {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        self.note("write");
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        self.note("read");
        let n = self.response.len();
        self.buffers.input_append_buf()[..n].copy_from_slice(self.response);
        self.buffers.input_appended(n);
        self.response = b"";
        Ok(n > 0)
    }

    fn is_open(&mut self) -> bool {
        self.note("is_open");
        true
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.note("drop");
    }
}

#[derive(Debug)]
struct Cage {
    response: &'static [u8],
    calls: Calls,
}

impl Connector<()> for Cage {
    type Out = Canary;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Canary>, ureq::Error> {
        assert!(details.addrs.is_empty(), "the resolver's answer comes here as it is");
        self.calls.lock().unwrap().push("connect");
        let buffers = LazyBuffers::new(4096, 4096);
        Ok(Some(Canary { response: self.response, buffers, calls: Arc::clone(&self.calls) }))
    }
}

#[derive(Debug)]
struct Nobody(Calls);

impl Resolver for Nobody {
    fn resolve(
        &self,
        _: &ureq::http::Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.0.lock().unwrap().push("resolve");
        Ok(self.empty())
    }
}

fn calls(response: &'static [u8], read: bool) -> Vec<&'static str> {
    let calls = Calls::default();
    let cage = Cage { response, calls: Arc::clone(&calls) };
    let config = Config::builder().proxy(None).max_idle_connections(0).build();
    let agent = Agent::with_parts(config, cage, Nobody(Arc::clone(&calls)));
    let result = agent.get("http://127.0.0.1/").call();
    if let (Ok(mut response), true) = (result, read) {
        let _ = response.body_mut().read_to_string();
    }
    // The agent is still there: what was dropped was dropped by the request.
    let calls = calls.lock().unwrap().clone();
    drop(agent);
    calls
}

const WHOLE: [&str; 6] = ["resolve", "connect", "write", "read", "is_open", "drop"];
const BROKEN: [&str; 5] = ["resolve", "connect", "write", "read", "drop"];

#[test]
fn a_connection_that_can_be_used_again_is_asked_last_and_dropped_at_once() {
    assert_eq!(calls(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true), WHOLE);
    assert_eq!(calls(b"HTTP/1.1 204 No Content\r\n\r\n", false), WHOLE);
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    assert_eq!(calls(chunked, true), WHOLE);
}

#[test]
fn one_that_cannot_is_dropped_unasked() {
    assert_eq!(calls(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false), BROKEN);
    assert_eq!(calls(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", true), BROKEN);
    assert_eq!(calls(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", true), BROKEN);
    let close = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(calls(close, true), BROKEN);
    assert_eq!(calls(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", true), BROKEN);
    assert_eq!(calls(b"garbage\r\n\r\n", true), BROKEN);
    assert_eq!(calls(b"", true), BROKEN);
}

#[test]
fn the_version_is_the_one_that_was_read() {
    let lock = include_str!("../../../Cargo.lock");
    let version = lock
        .split("name = \"ureq\"\nversion = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap();
    assert!(
        version.starts_with("3.5."),
        "ureq {version}: read its src/run.rs and src/pool.rs against src/session/wire.rs first"
    );
}
