//! What `src/session/wire` rests on, asked of ureq itself: what it asks of a transport, and what it
//! makes of what it is shown. If another version of ureq does otherwise, this fails before a
//! request is lost.

use std::sync::{Arc, Mutex};
use std::thread;

use ureq::config::Config;
use ureq::http::{Request, Response};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, AsSendBody, Body, Error, SendBody, Timeout};

type Calls = Arc<Mutex<Vec<String>>>;

/// What is shown at a call for input.
#[derive(Clone, Copy, Debug)]
enum Shown {
    Bytes(&'static [u8]),
    /// The wait ended by time: nobody said 100.
    Passed,
    /// An error that is no end of a body.
    Other,
}

/// Shows one thing after the other, then nothing more, and notes what is asked of it.
#[derive(Debug)]
struct Canary {
    shows: Vec<Shown>,
    buffers: Shelf,
    calls: Calls,
}

/// As ureq's own, but for one thing: what lies there is looked at before more is asked for.
#[derive(Debug)]
struct Shelf(LazyBuffers);

impl Buffers for Shelf {
    fn output(&mut self) -> &mut [u8] {
        self.0.output()
    }

    fn input(&self) -> &[u8] {
        self.0.input()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.0.input_append_buf()
    }

    fn input_appended(&mut self, amount: usize) {
        self.0.input_appended(amount);
    }

    fn input_consume(&mut self, amount: usize) {
        self.0.input_consume(amount);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.0.tmp_and_output()
    }

    fn can_use_input(&self) -> bool {
        !self.0.input().is_empty()
    }
}

impl Canary {
    fn note(&self, call: impl Into<String>) {
        self.calls.lock().unwrap().push(call.into());
    }
}

impl Transport for Canary {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        let bytes = &self.buffers.output()[..amount];
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().next().unwrap_or_default();
        let whole = if text.ends_with("\r\n\r\n") { " whole" } else { "" };
        let note = if line.contains(" HTTP/1.1") {
            format!("head {line}{whole}")
        } else {
            format!("body {}", bytes.len())
        };
        self.note(note);
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let for_100 = timeout.reason == Timeout::Await100;
        self.note(if for_100 { "read for 100" } else { "read" });
        if self.shows.is_empty() {
            return Ok(false);
        }
        match self.shows.remove(0) {
            Shown::Bytes(bytes) => {
                self.buffers.input_append_buf()[..bytes.len()].copy_from_slice(bytes);
                self.buffers.input_appended(bytes.len());
                Ok(true)
            }
            Shown::Passed => Err(Error::Timeout(Timeout::Await100)),
            Shown::Other => Err(Error::Io(std::io::Error::other("on purpose"))),
        }
    }

    fn is_open(&mut self) -> bool {
        self.note("is_open");
        false
    }

    fn is_tls(&self) -> bool {
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
    shows: Vec<Shown>,
    calls: Calls,
    thread: thread::ThreadId,
}

impl Connector<()> for Cage {
    type Out = Canary;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Canary>, Error> {
        assert!(details.addrs.is_empty(), "the resolver's answer comes here as it is");
        assert_eq!(thread::current().id(), self.thread, "a request runs on its caller's thread");
        assert!(!details.request_level);
        self.calls.lock().unwrap().push("connect".to_owned());
        let buffers = Shelf(LazyBuffers::new(4096, 64 * 1024));
        Ok(Some(Canary { shows: self.shows.clone(), buffers, calls: Arc::clone(&self.calls) }))
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
    ) -> Result<ResolvedSocketAddrs, Error> {
        self.0.lock().unwrap().push("resolve".to_owned());
        Ok(self.empty())
    }
}

/// As `SessionBuilder` makes it for requests of the session.
fn inner() -> Config {
    Config::builder()
        .http_status_as_error(false)
        .max_idle_connections(0)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .allow_non_standard_methods(true)
        .user_agent("")
        .accept("")
        .accept_encoding("")
        .proxy(None)
        .build()
}

fn run<B: AsSendBody>(
    config: Config,
    shows: &[Shown],
    request: Request<B>,
) -> (Result<Response<Body>, Error>, Vec<String>) {
    let calls = Calls::default();
    let thread = thread::current().id();
    let cage = Cage { shows: shows.to_vec(), calls: Arc::clone(&calls), thread };
    let agent = Agent::with_parts(config, cage, Nobody(Arc::clone(&calls)));
    let result = agent.run(request);
    // The agent is still there: what was dropped was dropped by the request.
    let calls = calls.lock().unwrap().clone();
    drop(agent);
    (result, calls)
}

fn request(method: &str) -> ureq::http::request::Builder {
    Request::builder().method(method).uri("http://session/")
}

const STAND_IN: Shown = Shown::Bytes(b"HTTP/1.1 204 -\r\n\r\n");
const CONTINUE: Shown = Shown::Bytes(b"HTTP/1.1 100 Continue\r\n\r\n");

#[test]
fn a_head_goes_out_first_and_whole_and_the_transport_is_let_go_before_the_answer_is_given() {
    for method in ["GET", "DELETE", "PROPFIND", "x-own"] {
        let (result, calls) = run(inner(), &[STAND_IN], request(method).body(()).unwrap());
        assert_eq!(result.unwrap().status(), 204);
        let head = format!("head {method} / HTTP/1.1 whole");
        assert_eq!(calls, ["resolve", "connect", &head, "read", "is_open", "drop"]);
    }
    // Whatever the status is; a redirect is an answer like any other.
    for code in ["101", "204", "302", "304", "307", "404", "500", "999"] {
        let shown = format!("HTTP/1.1 {code} -\r\ncontent-length: 0\r\n\r\n").into_bytes();
        let shown = Shown::Bytes(shown.leak());
        let (result, calls) = run(inner(), &[shown], request("GET").body(()).unwrap());
        assert_eq!(result.unwrap().status().as_str(), code);
        assert_eq!(calls.last().unwrap(), "drop", "{code}: {calls:?}");
        assert_eq!(calls.iter().filter(|call| *call == "read").count(), 1, "{code}: {calls:?}");
    }
}

#[test]
fn a_body_goes_out_behind_its_head_and_never_with_it() {
    let body = [b'x'; 100];
    let (_, calls) = run(inner(), &[STAND_IN], request("POST").body(&body[..]).unwrap());
    assert_eq!(calls[2..5], ["head POST / HTTP/1.1 whole", "body 100", "read"]);
    let sized = request("PUT").header("content-length", "5");
    let mut reader = &b"hello"[..];
    let sized = sized.body(SendBody::from_reader(&mut reader)).unwrap();
    let (_, calls) = run(inner(), &[STAND_IN], sized);
    assert_eq!(calls[2..5], ["head PUT / HTTP/1.1 whole", "body 5", "read"]);
    let chunked = request("GET").header("transfer-encoding", "chunked");
    let mut reader = &b"hello"[..];
    let chunked = chunked.body(SendBody::from_reader(&mut reader)).unwrap();
    let (_, calls) = run(inner(), &[STAND_IN], chunked);
    let expected = ["head GET / HTTP/1.1 whole", "body 10", "body 5", "read"];
    assert_eq!(calls[2..6], expected, "5 CRLF hello CRLF, 0 CRLF CRLF");
    // One that is empty is none.
    let (_, calls) = run(inner(), &[STAND_IN], request("POST").body(&b""[..]).unwrap());
    assert_eq!(calls[2..4], ["head POST / HTTP/1.1 whole", "read"]);
}

#[test]
fn a_body_waits_for_100_and_goes_out_if_nobody_says_it() {
    let expecting =
        || request("POST").header("expect", "100-continue").body(&b"hello"[..]).unwrap();
    for first in [CONTINUE, Shown::Passed] {
        let (result, calls) = run(inner(), &[first, STAND_IN], expecting());
        assert_eq!(result.unwrap().status(), 204);
        assert_eq!(calls[3..6], ["read for 100", "body 5", "read"], "{first:?}");
    }
    // An answer in place of it keeps the body at home, and is read where it lies.
    let refused = Shown::Bytes(b"HTTP/1.1 413 -\r\ncontent-length: 0\r\n\r\n");
    for (refused, status) in [(refused, 413), (STAND_IN, 204)] {
        let (result, calls) = run(inner(), &[refused], expecting());
        assert_eq!(result.unwrap().status(), status);
        assert_eq!(calls[3..], ["read for 100", "drop"]);
    }
}

#[test]
fn an_error_of_the_transport_is_the_error_of_the_request() {
    let (result, calls) = run(inner(), &[Shown::Other], request("GET").body(()).unwrap());
    assert!(matches!(result, Err(Error::Io(_))), "{result:?}");
    assert_eq!(calls.last().unwrap(), "drop");
    // What is shown to nobody is no answer.
    let (result, _) = run(inner(), &[], request("GET").body(()).unwrap());
    assert!(result.is_err());
}

/// For who uses the agent itself: a body without a length ends when nothing more is shown, and not
/// by an error.
#[test]
fn what_is_shown_of_a_body_ends_where_the_doorkeeper_says() {
    let open = Shown::Bytes(b"HTTP/1.1 200 OK\r\n\r\n");
    let (result, _) = run(inner(), &[open, Shown::Bytes(b"hel"), Shown::Bytes(b"lo")], get());
    assert_eq!(result.unwrap().body_mut().read_to_string().unwrap(), "hello");
    let (result, _) = run(inner(), &[open], get());
    assert_eq!(result.unwrap().body_mut().read_to_string().unwrap(), "");
    let (result, _) = run(inner(), &[open, Shown::Bytes(b"hel"), Shown::Other], get());
    assert!(result.unwrap().body_mut().read_to_string().is_err());
    let sized = Shown::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    let (result, _) = run(inner(), &[sized, Shown::Bytes(b"hello")], get());
    assert_eq!(result.unwrap().body_mut().read_to_string().unwrap(), "hello");
    let (result, _) = run(inner(), &[sized, Shown::Bytes(b"hel"), Shown::Other], get());
    assert!(result.unwrap().body_mut().read_to_string().is_err());
}

fn get() -> Request<()> {
    request("GET").body(()).unwrap()
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
        "ureq {version}: read its src/run.rs and src/pool.rs against src/session/wire first"
    );
}
