//! The socket of a connection that was given up, kept for a while: it goes on trying, as it would
//! after a close, and what becomes of it tells an outage from a filter.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::sys;
use crate::tcp_info::TcpInfo;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(100);

/// For how long: a path that takes longer to heal is told by other connections.
const AT_MOST: Duration = Duration::from_secs(12);

pub(crate) struct Relic {
    socket: Arc<Socket>,
    due: Instant,
    until: Instant,
}

/// What a look at it found.
pub(crate) struct Remains {
    pub(crate) info: TcpInfo,
    /// The peer has reset it.
    pub(crate) reset: bool,
}

impl Relic {
    /// To the peer it looks as if it were closed: the end goes out behind what is still to be sent.
    pub(crate) fn new(socket: Arc<Socket>, now: Instant) -> Relic {
        let _ = socket.shutdown(Shutdown::Write); // it may be gone
        Relic { socket, due: now, until: now + AT_MOST }
    }

    /// It is to be looked at now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.due = now;
    }

    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// None once it has nothing more to tell.
    pub(crate) fn look(&mut self, now: Instant) -> Option<Remains> {
        self.due = now + EVERY;
        if now > self.until {
            return None;
        }
        // What the peer still says is for nobody, and must not make a reset of the close.
        let mut waste = [0; 4096];
        let read = sys::recv_now(&*self.socket, &mut waste);
        let reset = read.is_err_and(|error| error.raw_os_error() == Some(libc::ECONNRESET));
        let info = TcpInfo::of(&*self.socket).ok()?;
        Some(Remains { info, reset })
    }
}
