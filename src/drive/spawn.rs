//! Threads of this crate: named, with a small stack, and deaf to the signals of the host program.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};

use crate::sys;

/// Virtual size of a link's stack. Untouched pages cost nothing, and a user's protocol runs here.
pub(crate) const STACK: usize = 256 * 1024;

/// Threads of this process that were started and have not yet come to run: std maps their second,
/// small stack only then, and aborts the process where that fails.
static STARTING: AtomicU64 = AtomicU64::new(0);

pub(crate) fn starting() -> u64 {
    STARTING.load(Ordering::SeqCst)
}

/// Starts a thread. Never panics: where the machine has no thread left, that is an error.
pub(crate) fn spawn(
    name: String,
    stack: usize,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    STARTING.fetch_add(1, Ordering::SeqCst);
    let body = move || {
        STARTING.fetch_sub(1, Ordering::SeqCst);
        body();
    };
    let started =
        sys::with_signals_blocked(|| Builder::new().name(name).stack_size(stack).spawn(body));
    if started.is_err() {
        STARTING.fetch_sub(1, Ordering::SeqCst);
    }
    started
}
