//! What sockets of TCP are read and set by, past std.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Reads what is there, without waiting; `WouldBlock` if that is nothing, 0 at the end.
pub(crate) fn recv_now(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the pointer and the length are those of one valid, writable slice.
    let n = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Looks at what is there without taking it and without waiting; as [`recv_now`].
pub(crate) fn peek_now(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the pointer and the length are those of one valid, writable slice.
    let n = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// The kernel's retransmission timeout of a connected TCP socket. None where the kernel tells none.
pub(crate) fn retransmission_timeout(socket: &impl AsFd) -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        // tcp_info: eight bytes of state and options, then tcpi_rto as a u32 in microseconds.
        let mut info = [0_u8; 12];
        let mut len = info.len() as libc::socklen_t;
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: the kernel writes at most `len` bytes into `info`, which is that long.
        let result = unsafe {
            libc::getsockopt(
                fd,
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &mut len,
            )
        };
        if result != 0 || (len as usize) < info.len() {
            return None;
        }
        let micros = u32::from_ne_bytes([info[8], info[9], info[10], info[11]]);
        Some(Duration::from_micros(micros.into()))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        None
    }
}

/// Asks for retransmissions at least this often, so that a link recovers within it after an outage.
/// Linux 6.15 and later; elsewhere an error that may be ignored.
pub(crate) fn set_longest_rto(socket: &impl AsFd, longest: Duration) -> io::Result<()> {
    const TCP_RTO_MAX_MS: libc::c_int = 44;
    let millis = i32::try_from(longest.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the kernel reads one int from a valid pointer to one.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            TCP_RTO_MAX_MS,
            (&raw const millis).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_tells_its_retransmission_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let rto = retransmission_timeout(&ours).unwrap();
        assert!((1..=1_000_000).contains(&rto.as_micros()), "{rto:?}");
    }
}
