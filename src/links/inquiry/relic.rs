//! The socket of a connection that was given up, kept for a while: it goes on trying, as it would
//! after a close, and what becomes of it tells an outage from a filter.

use std::net::Shutdown;
use std::sync::Arc;

use socket2::Socket;

use crate::sys;
use crate::tcp_info::TcpInfo;

pub(crate) struct Relic(Arc<Socket>);

impl Relic {
    /// To the peer it looks as if it were closed: the end goes out behind what is still to be sent.
    pub(crate) fn new(socket: Arc<Socket>) -> Relic {
        let _ = socket.shutdown(Shutdown::Write); // it may be gone
        Relic(socket)
    }

    /// What the kernel knows of it, and whether the peer has reset it.
    pub(crate) fn look(&self) -> Option<(TcpInfo, bool)> {
        // What the peer still says is for nobody, and must not make a reset of the close.
        let mut waste = [0; 4096];
        let read = sys::recv_now(&*self.0, &mut waste);
        let reset = read.is_err_and(|error| error.raw_os_error() == Some(libc::ECONNRESET));
        let info = TcpInfo::of(&*self.0).ok()?;
        Some((info, reset))
    }
}
