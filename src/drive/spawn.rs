//! Threads of this crate: named, with a small stack, and deaf to the signals of the host program.

use std::io;
use std::thread::{Builder, JoinHandle};

use crate::sys;

/// Virtual size of a link's stack. Untouched pages cost nothing, and a user's protocol runs here.
pub(crate) const STACK: usize = 256 * 1024;

/// Starts a thread. Never panics: where the machine has no thread left, that is an error.
pub(crate) fn spawn(
    name: String,
    stack: usize,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    sys::with_signals_blocked(|| Builder::new().name(name).stack_size(stack).spawn(body))
}
