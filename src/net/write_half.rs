//! The half of a connection by which bytes leave: plain sends, each within a time.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::net::read_half::loss_of;
use crate::sys;

/// How far a write came.
pub(crate) enum Sent {
    /// To the end; since then the last bytes are with the kernel.
    All(Instant),
    /// So many bytes, and the time was up.
    Part(usize),
    Failed(Loss),
}

/// Sends what the socket takes, and waits for room until then; at least one try is made.
pub(crate) fn send_some(socket: &Socket, peer: SocketAddr, bytes: &[u8], until: Instant) -> Sent {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let mut done = 0;
    loop {
        // Taken before the call: the thread may be put aside right after it.
        let now = Instant::now();
        match socket.send_with_flags(&bytes[done..], flags) {
            Ok(n) => done += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let left = until.saturating_duration_since(now);
                if left.is_zero() {
                    return Sent::Part(done);
                }
                match sys::wait_writable(socket, left) {
                    Err(error) if error.kind() != ErrorKind::Interrupted => {
                        return Sent::Failed(loss_of(&error, peer));
                    }
                    _ => {}
                }
            }
            Err(error) => return Sent::Failed(loss_of(&error, peer)),
        }
        if done == bytes.len() {
            return Sent::All(now);
        }
    }
}

/// Sends all of `bytes` within the timeout, and says when the last of them were handed over.
pub(crate) fn send_all(
    socket: &Socket,
    peer: SocketAddr,
    bytes: &[u8],
    timeout: Duration,
) -> Result<Instant, Loss> {
    match send_some(socket, peer, bytes, Instant::now() + timeout) {
        Sent::All(at) => Ok(at),
        Sent::Failed(loss) => Err(loss),
        Sent::Part(n) => {
            let all = bytes.len();
            let detail = format!("{n} of {all} bytes written to {peer} within {timeout:?}");
            Err(Loss::new(Cause::WriteStalled, detail))
        }
    }
}
