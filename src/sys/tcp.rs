//! What sockets of TCP are read and set by, past std.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use crate::tcp_info::TcpInfo;

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
    TcpInfo::of(socket).ok().map(|info| info.rto)
}

/// As much of TCP_INFO as the kernel tells and the room holds; [`TcpInfo`] reads it.
#[cfg(target_os = "linux")]
pub(crate) fn tcp_info<'a>(socket: &impl AsFd, room: &'a mut [u8]) -> io::Result<&'a [u8]> {
    get(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, room)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn tcp_info<'a>(_: &impl AsFd, _: &'a mut [u8]) -> io::Result<&'a [u8]> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Reads an option into the room, and returns the part of it that was written.
pub(super) fn get(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    room: &mut [u8],
) -> io::Result<&[u8]> {
    let mut len = room.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `room`, which is that long. A number that
    // is no open descriptor is an error, and nothing worse.
    let result = unsafe { libc::getsockopt(fd, level, name, room.as_mut_ptr().cast(), &mut len) };
    if result == 0 { Ok(&room[..len as usize]) } else { Err(io::Error::last_os_error()) }
}

/// Sets an option whose value is an int.
pub(super) fn set(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads one int from a valid pointer to one. A number that is no open
    // descriptor is an error, and nothing worse.
    let result = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks for retransmissions at least this often, so that a link recovers within it after an outage.
/// Linux 6.15 and later; elsewhere an error that may be ignored.
pub(crate) fn set_longest_rto(socket: &impl AsFd, longest: Duration) -> io::Result<()> {
    const TCP_RTO_MAX_MS: libc::c_int = 44;
    let millis = i32::try_from(longest.as_millis()).unwrap_or(i32::MAX);
    set(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, TCP_RTO_MAX_MS, millis)
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
