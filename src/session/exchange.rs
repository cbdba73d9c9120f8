//! What is known of one exchange on a connection: what goes out, on which connection, and how far
//! it came.

use std::time::{Duration, Instant};

use super::pool::places::SlotId;

/// The head of a request as it goes out, in place of ureq's.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    pub(crate) head: Vec<u8>,
    /// A body that is there already follows, and may go out with it.
    pub(crate) body_follows: bool,
    pub(crate) is_head: bool,
    /// It has `Connection: close`.
    pub(crate) closes: bool,
}

/// How far the exchange on a connection came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Story {
    /// The kernel took at least one byte of the request, or may have.
    pub(crate) begun: bool,
    /// A byte of an answer came.
    pub(crate) answered: bool,
}

/// The connection a request went out on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) id: SlotId,
    /// None: it was opened for this request.
    pub(crate) idle: Option<Duration>,
    pub(crate) born: Instant,
}
