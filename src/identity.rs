//! Who a link is: its number, its name, what it is to.

use std::fmt;

/// The number of a link within its coordinator. Never used again after the link is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub(crate) u64);

impl LinkId {
    /// The number itself, for logs and for tables of one's own. Never 0.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.0)
    }
}

/// Who a link is: the part of an event that stays the same.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) id: LinkId,
    pub(crate) name: String,
    pub(crate) target: String,
}
