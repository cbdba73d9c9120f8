//! Warm: a heartbeat on idle connections, so that the next request finds one that stands. Opt-in,
//! because it is traffic that nobody else asked for.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::warn;
use ureq::http::Method;

use crate::base::spawn;
use crate::sys;

/// It runs what a request runs.
const STACK: usize = 512 * 1024;

/// A heartbeat on idle connections.
///
/// One connection of each host, the one used last, is sent a small request before it has been idle
/// for three quarters of what the server allows (30 s where that is not known). That goes on until
/// nobody has sent a request to the host for [`at_most`](Warm::at_most); then it may idle out. It
/// costs one thread, and requests that the server logs.
///
/// # Examples
///
/// ```
/// use keepbeat::{Session, Warm};
///
/// let session = Session::builder().warm(Warm::head("/health")).build()?;
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[derive(Clone)]
pub struct Warm {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) at_most: Duration,
}

impl fmt::Debug for Warm {
    /// Without the query, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{} {path} for {:?}", self.method, self.at_most)
    }
}

impl Warm {
    /// `HEAD` on this path: one that costs the server little. Its status does not matter.
    pub fn head(path: impl Into<String>) -> Warm {
        Warm { method: Method::HEAD, path: path.into(), at_most: Duration::from_secs(600) }
    }

    /// `OPTIONS` on this path.
    pub fn options(path: impl Into<String>) -> Warm {
        Warm { method: Method::OPTIONS, ..Warm::head(path) }
    }

    /// For how long after the last request to a host: ten minutes unless set.
    pub fn at_most(mut self, time: Duration) -> Warm {
        self.at_most = time;
        self
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.path.starts_with('/') && self.path.parse::<ureq::http::uri::PathAndQuery>().is_ok()
    }
}

/// The thread that keeps connections warm: there from the first request on.
#[derive(Debug)]
pub(crate) struct Warmer {
    warm: Warm,
    /// Dropping it ends the thread.
    stop: Mutex<Option<Sender<()>>>,
    /// The process that it was made in.
    generation: u64,
}

impl Warmer {
    pub(crate) fn new(warm: Warm) -> Warmer {
        Warmer { warm, stop: Mutex::new(None), generation: sys::fork_generation() }
    }

    /// Starts the thread, if it is not there yet. It runs until the sender of its receiver is gone.
    pub(crate) fn start(&self, run: impl FnOnce(Warm, Receiver<()>) + Send + 'static) {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        if stop.is_some() {
            return;
        }
        let (sender, receiver) = bounded(0);
        let warm = self.warm.clone();
        let body = move || run(warm, receiver);
        if let Err(error) = spawn::spawn("keepbeat-warm", STACK, body) {
            warn!("connections are not kept warm: {error}");
        }
        *stop = Some(sender);
    }
}

impl Drop for Warmer {
    fn drop(&mut self) {
        // In a forked child there is no thread to end, and its locks may be held for ever.
        if self.generation != sys::fork_generation() {
            std::mem::forget(std::mem::take(&mut self.stop));
        }
    }
}
