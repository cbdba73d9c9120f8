//! keepbeat keeps long-lived connections alive with heartbeats, and says when one has died, and
//! why. It uses blocking threads and no async runtime. Its HTTP sessions, on ureq, never hand out a
//! stale connection.
//!
//! # Watch an endpoint
//!
//! A [`Coordinator`] holds links. Each link has one thread, which opens one connection, sends a
//! beat at each interval, waits for the ack, reconnects when the connection is lost, and reports
//! over a crossbeam channel.
//!
//! ```
//! use std::time::Duration;
//! use keepbeat::{Coordinator, EventKind, Exchange, Heartbeat, Responder};
//!
//! // The other end, for this example; yours exists already.
//! let answering = || Exchange::answering("heartbeat", "heartbeat_ack");
//! let server = Responder::bind("127.0.0.1:0", answering)?;
//!
//! let coordinator = Coordinator::new()?;
//! let beat = Heartbeat::every(Duration::from_secs(60)).timeout(Duration::from_secs(5)).fall(3);
//! let exchange = Exchange::new("heartbeat", "heartbeat_ack");
//! let link = coordinator.watch(server.local_addr(), beat, exchange)?;
//!
//! for event in coordinator.events() {
//!     println!("{event}");
//!     if matches!(event.kind(), EventKind::State { .. }) {
//!         break;
//!     }
//! }
//! println!("{:?}", coordinator.status(link)?.rtt.last());
//! coordinator.stop()?;
//! # Ok::<(), keepbeat::Error>(())
//! ```
//!
//! # Send HTTP requests
//!
//! A [`Session`] watches its idle connections, learns when the server closes them, and sends a
//! request again only where that is safe. The [guide](session) explains what that means.
//!
//! ```no_run
//! let session = keepbeat::Session::new()?;
//! println!("{}", session.get("http://10.0.0.5/status").send()?.text()?);
//! # Ok::<(), keepbeat::Error>(())
//! ```
//!
//! # What to know
//!
//! * **State.** A link is [`State::Connecting`] until the first verdict, [`State::Up`] after acks,
//!   [`State::Suspect`] after a miss, and [`State::Down`] after `fall` misses in a row, or at once
//!   when the connection ends. A connection alone does not make it Up, because a stopped process
//!   still accepts.
//! * **Detection.** Silence is reported after at most `1.05 x interval + fall x timeout + 50 ms`; a
//!   FIN or RST within milliseconds, also between two beats.
//! * **Own stalls.** A thread that woke too late doubts itself first. A stall of our own process is
//!   reported as [`EventKind::Stalled`], and the peer is not blamed.
//! * **Cause.** Every event for the worse carries a [`Cause`], which is a word from a closed list,
//!   and a sentence with the numbers.
//! * **Diagnosis.** A [`Diagnosis`] adds the other possibilities, what was measured, and who should
//!   act. By default it uses what this machine's kernel knows; [`Diagnose`] sets how far it may go.
//! * **Queues are bounded.** A slow reader of events learns how many it lost, never slows a
//!   heartbeat, and can read the current state from [`Coordinator::status`] at any time.
//! * **Stop** joins every thread within a second (thousands of them within ten), also those blocked
//!   in connect, read, write or backoff. Name resolution, a protocol that blocks, and a follower's
//!   `send` cannot be woken; the error then names the thread. Dropping a coordinator only tells the
//!   threads to end.
//! * **Fork.** A coordinator belongs to the process that made it. In a forked child it does
//!   nothing.
//!
//! # The map
//!
//! | | |
//! |---|---|
//! | [`Coordinator::watch`], [`Heartbeat`], [`Target`] | watch an endpoint: how often, and where |
//! | [`Coordinator::adopt`], [`connect`](Coordinator::connect), [`Link`] | beats among your data |
//! | [`Coordinator::follow`], [`Follower`], [`Following`] | beats; you read and write yourself |
//! | [`Coordinator::observe`], [`Observed`], [`Snapshot`] | watch a socket, touch no byte of it |
//! | [`Event`], [`Status`], [`Cause`] | what happened, the current state, and why in one word |
//! | [`EventQueue`], [`Link::frames_fd`] | descriptors for programs that wait in poll or epoll |
//! | [`Diagnosis`], [`Evidence`], [`Diagnose`] | why, what was measured, and how far to go |
//! | [`Exchange`], [`Line`], [`Redis`], [`Http`], [`Steps`], [`ConnectOnly`] | what a beat is |
//! | [`Framed`], [`Prefix`] | frames that carry data, with beats between them |
//! | [`Protocol`] | a protocol of your own |
//! | [`Responder`] | the other end, which answers beats |
//! | [`Session`], [`Response`], [`Replay`] | HTTP with kept connections; [a guide](session) |
//! | [`pulse`] | the state machine alone, without sockets or clocks |
//!
//! # Features
//!
//! * `session`, on by default: HTTP sessions, on ureq. Without it the crate does not depend on
//!   ureq, and a program may use another version of it; links with HTTP beats still work.
//! * `tls`, on by default: `https://` for sessions and targets, and `tls+SCHEME://` targets.
//! * `gzip`, on by default: sessions ask for compressed responses and unpack them.
//! * `brotli`: sessions unpack responses that are packed with brotli. Ask for them with
//!   `default_header("Accept-Encoding", "br, gzip")`; each may take 16 MiB while it is read.
//! * `cookies`: a cookie store for sessions.
//! * `json`: request and response bodies from and to JSON.
//!
//! `full` turns all of them on.
//!
//! # Platforms
//!
//! Tested on Linux. Other Unixes have the code they need and no test machine. Elsewhere the crate
//! does not compile, and says so.

#![cfg_attr(
    not(feature = "session"),
    expect(dead_code, unused_imports, reason = "parts of the foundation serve sessions alone")
)]

pub mod protocol;
pub mod pulse;
#[cfg(feature = "session")]
pub mod session;

mod base;
mod cause;
mod coordinator;
mod counted;
mod diagnose;
mod error;
mod event;
mod event_queue;
mod heartbeat;
mod link_id;
mod links;
mod login;
mod net;
mod role;
mod state;
mod sys;
mod target;
mod tcp_info;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_roots;
#[cfg(feature = "tls")]
mod tls_words;
mod transport;

pub use cause::{Cause, Loss};
pub use coordinator::{Builder, Coordinator};
/// The crate of the channels of events and frames, with its `select!`.
pub use crossbeam_channel;
pub use diagnose::{BeatEnd, BeatRecord, Confidence, Diagnose, Diagnosis, Evidence, Fact};
pub use error::{Error, ErrorKind};
pub use event::{ClientEvent, ClientEventKind, Event, EventKind, Status};
pub use event_queue::EventQueue;
pub use heartbeat::Heartbeat;
pub use link_id::LinkId;
pub use links::follow::follower::{Follower, Following};
pub use links::in_band::link::{Adopt, Connect, Link};
pub use links::in_band::login::Login;
pub use links::observe::observer::{Observe, Observed};
pub use links::observe::snapshot::Snapshot;
pub use links::out::received::{Received, Returned};
pub use links::respond::{Responder, ResponderBuilder};
pub use protocol::{ConnectOnly, Exchange, Framed, Http, Line, Prefix, Protocol, Redis, Steps};
pub use pulse::{Pace, Patience, Rtt};
pub use role::Role;
#[cfg(feature = "session")]
pub use session::{
    Body, Eviction, Replay, Response, Session, SessionBuilder, SessionEvent, SessionEventKind,
    SessionStats, Warm,
};
pub use state::State;
pub use target::Target;
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use transport::Transport;
/// The HTTP client that sessions use; [`Session::agent`] is one of its agents.
#[cfg(feature = "session")]
pub use ureq;
/// The types of HTTP requests and responses.
#[cfg(feature = "session")]
pub use ureq::http;

/// The programs of the README are compiled as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
