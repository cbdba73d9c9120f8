//! What links and sessions stand on, beside the system calls: threads and how many there may be,
//! the pace of connects, the patience of a stop.

pub(crate) mod gate;
pub(crate) mod limits;
pub(crate) mod spawn;
pub(crate) mod stopping;
