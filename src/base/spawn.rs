//! Threads of this crate: named, with a small stack, and deaf to the signals of the host program.

use std::io;

pub(crate) use crate::sys::Thread;

/// Virtual size of a link's stack. Untouched pages cost nothing, and a user's protocol runs here.
pub(crate) const STACK: usize = 256 * 1024;

/// Starts a thread. Never panics: where the machine has no thread left, that is an error.
pub(crate) fn spawn(
    name: &str,
    stack: usize,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<Thread> {
    Thread::spawn(name, stack, body)
}
