//! keepbeat keeps long-lived connections alive, with heartbeats from blocking threads and HTTP
//! sessions on ureq, and says when, and why, one has died. No async runtime.
//!
//! # Watch an endpoint
//!
//! A [`Coordinator`] holds links. Each link has one thread and one connection, opened by itself: it
//! sends a beat every so often, waits for the ack, reconnects when the connection is lost, and
//! reports over a crossbeam channel.
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
//! A [`Session`] keeps connections and never hands out a stale one: it watches idle connections,
//! learns when the server closes them, and sends a request again only where that is safe. The
//! [guide](session) says what that means.
//!
//! ```no_run
//! let session = keepbeat::Session::new()?;
//! println!("{}", session.get("http://10.0.0.5/status").send()?.text()?);
//! # Ok::<(), keepbeat::Error>(())
//! ```
//!
//! # What to know
//!
//! * **State.** [`State::Connecting`] until the first verdict; [`State::Up`] by acks;
//!   [`State::Suspect`] by a miss; [`State::Down`] by `fall` misses in a row, or at once when the
//!   connection ends. A connection alone is no Up: a stopped process still accepts.
//! * **Detection.** Silence is known after at most `1.05 x interval + fall x timeout + 50 ms`; a
//!   FIN or RST, also between two beats, within milliseconds.
//! * **Blame.** A thread that woke too late doubts itself first: a stall of our own process is told
//!   as [`EventKind::Stalled`] and convicts nobody.
//! * **Cause.** Every event for the worse carries a [`Cause`], a word from a closed list, and a
//!   sentence with the numbers.
//! * **Diagnosis.** And why: a [`Diagnosis`] with what else it could be, what was measured, and who
//!   should act. By default from what this machine's kernel knows; [`Diagnose`] says how far it may
//!   go.
//! * **Queues are bounded.** A slow reader of events is told how many it lost, never slows a
//!   heartbeat, and reads the truth from [`Coordinator::status`] at any time.
//! * **Stop** joins every thread within a second, also those blocked in connect, read, write or
//!   backoff; only name resolution and code of one's own that blocks, a protocol or the `send`
//!   of a follower, cannot be woken, and that is said. Dropping only signals.
//! * **Fork.** A coordinator belongs to the process that made it; in a forked child it does
//!   nothing.
//!
//! # The map
//!
//! | | |
//! |---|---|
//! | [`Coordinator`], [`Heartbeat`], [`Target`] | watch an endpoint, how often, where |
//! | [`Follower`], [`Following`] | a heartbeat on a connection of the application's own |
//! | [`Event`], [`Status`], [`Cause`] | what happened, how it is, in a word why |
//! | [`EventQueue`], [`Link::frames_fd`] | the same for poll and epoll, by a descriptor |
//! | [`Diagnosis`], [`Evidence`], [`Diagnose`] | why, by what evidence, and how far to go |
//! | [`Exchange`], [`Line`], [`Redis`], [`Http`], [`Steps`], [`ConnectOnly`] | how a beat looks |
//! | [`Framed`], [`Prefix`] | frames that carry data, and beats among them |
//! | [`Protocol`] | one of your own |
//! | [`Responder`] | the other end |
//! | [`Observed`], [`Observe`], [`Snapshot`] | look at a connection of the application's own |
//! | [`Session`], [`Response`], [`Replay`] | HTTP with kept connections; [a guide](session) |
//! | [`pulse`] | the state machine alone, without sockets or clocks |
//!
//! # Features
//!
//! * `tls`, on by default: `https://`, for sessions and for targets, and `tls+SCHEME://` targets.
//! * `gzip`, on by default: responses of a session are asked for compressed.
//! * `json`: bodies from and to JSON.
//! * `socks-proxy`: SOCKS4 and SOCKS5 proxies for sessions.
//!
//! `full` is the name for all of them.
//!
//! # Platforms
//!
//! Tested on Linux. Other Unixes have the code they need and no test
//! machine; elsewhere it does not compile, and says so.

pub mod protocol;
pub mod pulse;
pub mod session;

mod cause;
mod coordinator;
mod counted;
mod diagnose;
mod drive;
mod error;
mod event;
mod event_queue;
mod heartbeat;
mod identity;
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
/// The channels of events and frames, and their `select!`.
pub use crossbeam_channel;
pub use diagnose::{BeatEnd, BeatRecord, Confidence, Diagnose, Diagnosis, Evidence, Fact};
pub use error::{Error, ErrorKind};
pub use event::{ClientEvent, ClientEventKind, Event, EventKind, Status};
pub use event_queue::EventQueue;
pub use heartbeat::Heartbeat;
pub use identity::LinkId;
pub use links::follow::follower::{Follower, Following};
pub use links::in_band::link::{Adopt, Connect, Link};
pub use links::in_band::login::Login;
pub use links::in_band::received::{Received, Returned};
pub use links::observe::observer::{Observe, Observed};
pub use links::observe::snapshot::Snapshot;
pub use links::respond::{Responder, ResponderBuilder};
pub use protocol::{ConnectOnly, Exchange, Framed, Http, Line, Prefix, Protocol, Redis, Steps};
pub use pulse::{Pace, Patience, Rtt};
pub use role::Role;
pub use session::{
    Body, Eviction, Replay, Response, Session, SessionBuilder, SessionEvent, SessionEventKind,
    SessionStats, Warm,
};
pub use state::State;
pub use target::Target;
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use transport::Transport;
/// The HTTP client that sessions stand on; [`Session::agent`] is one of its agents.
pub use ureq;
/// The types of requests and responses.
pub use ureq::http;

/// The programs of the README are compiled and run, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
