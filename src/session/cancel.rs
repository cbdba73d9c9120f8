//! Cancel: ends requests from another thread, wherever they are.

use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::sys;

/// Ends requests from another thread: the wait for a name, a connection or an answer, and the
/// reading of a body. Clones are the same canceller.
///
/// A request that was given it ([`cancelled_by`](crate::session::RequestBuilder::cancelled_by))
/// fails with [`is_cancelled`](crate::Error::is_cancelled), now or later: a canceller that has
/// cancelled stays so.
///
/// ```
/// use keepbeat::Session;
/// use keepbeat::session::Canceller;
///
/// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let url = format!("http://{}/", server.local_addr()?); // never answers
/// let session = Session::new()?;
/// let canceller = Canceller::new();
/// let request = session.get(url).cancelled_by(&canceller);
/// let waiting = std::thread::spawn(move || request.send());
/// canceller.cancel();
/// assert!(waiting.join().unwrap().unwrap_err().is_cancelled());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Canceller(Arc<State>);

struct State {
    cancelled: AtomicBool,
    /// The sockets that requests with this canceller use now.
    sockets: Mutex<Vec<Arc<TcpStream>>>,
    /// In a forked child the sockets are the parent's.
    generation: u64,
    /// Dropped when it cancels, which wakes every thread that waits on the bell.
    ringer: Mutex<Option<Sender<()>>>,
    bell: Receiver<()>,
}

impl Canceller {
    /// One that has not cancelled.
    pub fn new() -> Canceller {
        let (ringer, bell) = bounded(0);
        Canceller(Arc::new(State {
            cancelled: AtomicBool::new(false),
            sockets: Mutex::default(),
            generation: sys::fork_generation(),
            ringer: Mutex::new(Some(ringer)),
            bell,
        }))
    }

    /// Ends the requests that have it. What the server does with what it has read of them is its
    /// own affair: [`may_have_run`](crate::Error::may_have_run) says whether that may be something.
    /// In a forked child it does nothing: the requests are the parent's.
    pub fn cancel(&self) {
        if self.0.generation != sys::fork_generation() {
            return; // the requests are the parent's
        }
        // The same lock that lets a socket go: none is shut down that is somebody else's already.
        let sockets = self.0.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.cancelled.store(true, Ordering::Release);
        for socket in &*sockets {
            // An error means that it is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(sockets);
        *self.0.ringer.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it has cancelled.
    pub fn has_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Ends when it cancels; nothing ever comes.
    pub(crate) fn bell(&self) -> &Receiver<()> {
        &self.0.bell
    }

    /// This socket ends if it cancels, until the hold is let go. None if it has cancelled.
    pub(crate) fn hold(&self, socket: &Arc<TcpStream>) -> Option<Hold> {
        let mut sockets = self.0.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_cancelled() {
            return None;
        }
        sockets.push(Arc::clone(socket));
        Some(Hold { canceller: self.clone(), socket: Arc::clone(socket) })
    }
}

impl Default for Canceller {
    fn default() -> Canceller {
        Canceller::new()
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("has_cancelled", &self.has_cancelled()).finish()
    }
}

/// One socket in the hands of a canceller.
#[derive(Debug)]
pub(crate) struct Hold {
    canceller: Canceller,
    socket: Arc<TcpStream>,
}

impl Hold {
    pub(crate) fn canceller(&self) -> &Canceller {
        &self.canceller
    }

    /// Takes the socket out of its hands. Whether it came before.
    pub(crate) fn end(self) -> bool {
        let canceller = self.canceller.clone();
        drop(self);
        canceller.has_cancelled()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let state = &self.canceller.0;
        let mut sockets = state.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = sockets.iter().position(|other| Arc::ptr_eq(other, &self.socket)) {
            sockets.swap_remove(at);
        }
    }
}
