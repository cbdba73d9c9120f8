//! keepbeat keeps long-lived TCP connections alive with heartbeats, and says when, and why, one has died.
pub mod protocol;
pub mod pulse;

mod cause;
mod coordinator;
mod drive;
mod error;
mod event;
mod heartbeat;
mod responder;
mod sys;
mod target;

pub use cause::{Cause, Loss};
pub use coordinator::{Builder, Coordinator};
pub use error::Error;
pub use event::{Event, EventKind, LinkId, State, Status};
pub use heartbeat::Heartbeat;
pub use protocol::{ConnectOnly, Exchange, Line, Protocol, Redis};
pub use pulse::{Pace, Patience, Rtt};
pub use responder::{ClientEvent, ClientEventKind, Responder, ResponderBuilder};
pub use target::Target;
