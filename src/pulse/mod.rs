//! DECIDES. One link's state machine, pure: no sockets, threads, clocks, channels or logging. Time
//! and the seed of the jitter are arguments, so years can be simulated in seconds.
//!
//! > **Contract: one input, then [`poll`](Pulse::poll) until `Wait` or `Done`; time never goes
//! > backwards; every input is harmless in every phase.**
//!
//! ```text
//! Connecting ──rise acks──▶ Up ⇄ Suspect ──fall misses / lost──▶ Down ──rise acks──▶ Up
//! beside the state, the connection: opening ─▶ resting ⇄ expecting ─▶ backing off ─▶ opening ...
//! the peer ends it where it may: resting ─▶ renewing ─▶ opening, and the state stays
//! stop, from anywhere ─▶ Done
//! ```
//!
//! The coordinator's link threads drive a pulse with real sockets; the simulation of this crate
//! drives it with a seeded world; a transport of one's own can drive it the same way:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use keepbeat::Heartbeat;
//! use keepbeat::pulse::{Input, Output, Pulse};
//!
//! let start = Instant::now();
//! let mut pulse = Pulse::new(Heartbeat::every(Duration::from_secs(10)), 42, start);
//! assert_eq!(pulse.poll(), Output::Connect);
//! pulse.handle(start, Input::Connected);
//! while !matches!(pulse.poll(), Output::Wait(_)) {}
//! pulse.handle(start + Duration::from_millis(3), Input::Ack(None));
//! assert_eq!(pulse.state(), keepbeat::State::Up);
//! ```

mod backoff;
mod beats;
mod conduct;
mod doubt;
mod ends;
mod health;
mod machine;
mod pace;
mod patience;
mod roster;
mod rtt;

use std::time::{Duration, Instant};

use crate::cause::{Cause, Loss};
use crate::heartbeat::Heartbeat;
use crate::state::State;

pub use crate::heartbeat::{Pace, Patience};
pub(crate) use conduct::Conduct;
pub use ends::{Regular, Rule};
pub use machine::Pulse;
pub(crate) use roster::{Count, Heard, Host, Roster, is_far, is_many};
pub use rtt::Rtt;

/// What happened, told to a pulse.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The connection asked for by [`Output::Connect`] stands.
    Connected,
    /// The connection is gone, or could not be opened.
    Lost(Loss),
    /// The beat has been written: its timeout counts from now.
    Sent {
        /// Its number.
        seq: u64,
        /// When it was handed to the kernel: its round-trip time counts from there.
        at: Instant,
    },
    /// An ack came, with the number of its beat where the protocol has numbers.
    Ack(Option<u64>),
    /// This beat needs no ack: the protocol has none, and the connection stands.
    Stands(u64),
    /// This beat was left out, because another still waits to be written: no ack of it will come,
    /// and its round, if that is not over, is judged by other signs of life.
    Skipped(u64),
    /// Bytes came, but not yet a whole frame.
    Partial,
    /// A whole frame that is no ack came at that time: a sign of life where the connection carries
    /// the application's data.
    Heard(Instant),
    /// The application wrote to the connection, at that time for the last time.
    Wrote(Instant),
    /// Whether the application's frames are on their way of which it is not known that the peer has
    /// read them: then a beat is sent now and then, though other traffic makes it needless.
    Unproven(bool),
    /// Another pace from here on: interval, timeout, fall, rise, jitter, backoff. What else the
    /// heartbeat says stays as it was; one that cannot work is passed over.
    Adjust(Box<Heartbeat>),
    /// The peer's kernel acknowledged what was sent, where our own side keeps its answer from being
    /// read: this round is no miss.
    Vouched,
    /// The peer has announced the end of this connection, with an ack: another is to take its place
    /// when the next beat is due.
    Renew,
    /// The peer has ended the connection where it may: while it owed no answer, or before the first
    /// byte of one. For protocols whose servers do so at any time, as those of HTTP
    /// ([`IdleEnd::Renewal`](crate::protocol::IdleEnd)).
    Ended {
        /// How it ended.
        loss: Loss,
        /// The beat that met the end may be sent once more.
        repeat: bool,
    },
    /// The peer says that it ends connections which were idle for so long.
    IdleLimit(Duration),
    /// The kernel's retransmission timeout of this connection, for [`Patience::FromRtt`].
    Rto(Duration),
    /// Time has passed.
    Tick,
    /// No beats and no attempts, from the next planned one on.
    Pause,
    /// Beats and attempts again, from the next planned one on.
    Resume,
    /// The end.
    Stop,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open a connection, then say `Connected` or `Lost`.
    Connect,
    /// Write this beat, then say `Sent`, `Stands`, `Skipped` or `Lost`.
    Beat(u64),
    /// Close the connection.
    Close,
    /// Tell whoever listens.
    Report(Report),
    /// Nothing until an input, or until then at the latest, for a `Tick`.
    Wait(Option<Instant>),
    /// Nothing ever again.
    Done,
}

/// What a pulse has to tell.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the same fields as in EventKind, explained there
pub enum Report {
    Connected {
        attempt: u32,
    },
    Beat {
        seq: u64,
        rtt: Option<Duration>,
        late: bool,
    },
    Alive {
        seq: u64,
    },
    Missed {
        seq: u64,
        timeout: Duration,
        misses: u32,
        cause: Cause,
        good: u64,
    },
    Silent {
        silent: Duration,
        misses: u32,
    },
    State {
        from: State,
        to: State,
        loss: Option<Loss>,
        down: Option<Duration>,
    },
    Disconnected {
        loss: Loss,
        lived: Duration,
        beats: u64,
        expected: bool,
        regular: Option<Regular>,
    },
    Stalled {
        late: Duration,
    },
    Ended,
}
