//! What a pool wants done once its lock is free. It decides; whoever holds the lock acts.

use std::sync::Arc;
use std::time::Instant;

use super::super::event::SessionEventKind;
use super::places::{Grant, Keeps, Key, SlotId, Taken};
use crate::sys::Interest;

/// What is to be done, in this order.
pub(crate) struct Acts<K: Keeps> {
    /// To be told while the lock is still held, so that events stay in order.
    pub(crate) tells: Vec<(Arc<str>, SessionEventKind)>,
    /// Sockets that are to be watched for something else.
    pub(crate) watches: Vec<(SlotId, K::Socket, Interest)>,
    /// Connections to close. Those without a heir count until the pool is told that they left.
    pub(crate) closes: Vec<Close<K::Conn>>,
    /// To whom somebody waits, what it waited for.
    pub(crate) grants: Vec<(K::Waiter, Grant<K::Conn>)>,
    /// For the log: a logger may do anything.
    pub(crate) lines: Vec<(log::Level, String)>,
}

/// A connection that is let go.
pub(crate) struct Close<C> {
    pub(crate) id: SlotId,
    pub(crate) conn: C,
    pub(super) host: usize,
    /// Its place went to another connection already, which is opened after this one is closed.
    pub(crate) has_heir: bool,
}

/// A connection that is to be looked at, and given back with what was seen.
pub(crate) struct Look<C> {
    pub(crate) id: SlotId,
    pub(crate) conn: C,
    /// The kernel has told its end.
    pub(crate) ended: bool,
}

/// Who is to be asked now, to stay warm, and when to look again if nobody is.
pub(crate) struct Due<C> {
    pub(crate) now: Option<(Key, Taken<C>)>,
    pub(crate) next: Option<Instant>,
}

impl<K: Keeps> Default for Acts<K> {
    fn default() -> Acts<K> {
        Acts {
            tells: Vec::new(),
            watches: Vec::new(),
            closes: Vec::new(),
            grants: Vec::new(),
            lines: Vec::new(),
        }
    }
}

impl<K: Keeps> Acts<K> {
    pub(super) fn are_none(&self) -> bool {
        self.closes.is_empty()
            && self.tells.is_empty()
            && self.watches.is_empty()
            && self.grants.is_empty()
            && self.lines.is_empty()
    }
}
