//! Connects to Unix sockets.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::dial::{Dialled, Unanswered, is_exhausted};
use super::pipe;

/// How long a listener whose queue is full is left alone before it is asked again.
const AGAIN: Duration = Duration::from_millis(5);

/// Connects to a Unix socket. What it gives is called a TCP stream and is a stream of bytes like
/// any other.
pub(super) fn dial_unix(
    path: &Path,
    until: Instant,
    closed: &dyn Fn() -> bool,
) -> io::Result<Dialled> {
    let named = |error: io::Error| {
        let text = format!("{}: {error}", path.display());
        match is_exhausted(&error) {
            true => io::Error::new(error.kind(), Unanswered::exhausted(text)),
            false => io::Error::new(error.kind(), text),
        }
    };
    let begun = Instant::now();
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(named)?;
    socket.set_nonblocking(true)?;
    let address = SockAddr::unix(path)?;
    loop {
        if closed() {
            return Err(pipe::closed());
        }
        match socket.connect(&address) {
            Ok(()) => break,
            // The queue of the listener is full, and nothing tells when it is not.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if Instant::now() + AGAIN >= until {
                    return Err(pipe::timed_out());
                }
                std::thread::sleep(AGAIN);
            }
            Err(error) => return Err(named(error)),
        }
    }
    socket.set_nonblocking(false)?;
    let stream = TcpStream::from(OwnedFd::from(socket));
    Ok(Dialled { stream, peer: None, took: begun.elapsed() })
}
