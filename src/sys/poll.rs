//! Waits on sockets: poll(2), and what it must be spared.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// What a wait on a socket found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Bytes, an end or an error wait to be read; or the socket can be written, if that was asked.
    Yes,
    /// The time passed.
    TimedOut,
}

/// Waits until the socket can be read, has ended or failed; `None` waits for ever.
///
/// # Errors
///
/// `Interrupted` when a signal cut the wait short: read the clock again.
pub(crate) fn wait_readable(socket: &impl AsFd, most: Option<Duration>) -> io::Result<Ready> {
    #[cfg(target_os = "linux")]
    let events = libc::POLLIN | libc::POLLRDHUP;
    #[cfg(not(target_os = "linux"))]
    let events = libc::POLLIN;
    poll(socket, events, most)
}

/// Waits until the socket can be written: a connect has come to an end, or the queue has room.
///
/// # Errors
///
/// As [`wait_readable`].
pub(crate) fn wait_writable(socket: &impl AsFd, most: Duration) -> io::Result<Ready> {
    poll(socket, libc::POLLOUT, Some(most))
}

fn poll(socket: &impl AsFd, events: i16, most: Option<Duration>) -> io::Result<Ready> {
    let mut entry = libc::pollfd { fd: socket.as_fd().as_raw_fd(), events, revents: 0 };
    match poll_these(std::slice::from_mut(&mut entry), most) {
        0 => Ok(Ready::TimedOut),
        1.. => Ok(Ready::Yes),
        _ => Err(io::Error::last_os_error()),
    }
}

/// After SIGSTOP and SIGCONT the kernel goes on with what was *left* of a ppoll, so that a beat
/// slept over would be late by up to an interval more; poll it lets end when it was due. So ppoll
/// is only for waits that need better than milliseconds, and cannot lose much.
const FINE: Duration = Duration::from_millis(20);

fn poll_these(entries: &mut [libc::pollfd], most: Option<Duration>) -> i32 {
    let n = entries.len() as libc::nfds_t;
    #[cfg(target_os = "linux")]
    if let Some(most) = most.filter(|most| *most < FINE) {
        let nanos = most.subsec_nanos() as _;
        let limit = libc::timespec { tv_sec: 0, tv_nsec: nanos };
        // SAFETY: `entries` are `n` valid pollfds, `limit` a valid timespec; both outlive the call.
        // A null signal mask leaves the mask alone.
        return unsafe { libc::ppoll(entries.as_mut_ptr(), n, &limit, std::ptr::null()) };
    }
    // SAFETY: `entries` are `n` valid pollfds that outlive the call.
    unsafe { libc::poll(entries.as_mut_ptr(), n, millis(most)) }
}

/// For waits that count milliseconds: rounded up, -1 for ever.
pub(super) fn millis(most: Option<Duration>) -> libc::c_int {
    most.map_or(-1, |most| most.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32)
}

/// What a link's thread woke for; nothing when the time passed or a signal came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stirred {
    /// Bytes or an end wait to be read.
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Both directions are over, or the connection failed.
    pub(crate) ended: bool,
    /// The peer has closed, if bytes are not wanted; else that is among what is read.
    pub(crate) closed: bool,
    pub(crate) bell: bool,
}

/// Waits for the bell, and for what is wanted of a socket; its failure is told in any case.
pub(crate) fn wait_link(
    bell: &impl AsFd,
    socket: Option<&impl AsFd>,
    (read, write, closed): (bool, bool, bool),
    most: Option<Duration>,
) -> io::Result<Stirred> {
    let entry = |fd: BorrowedFd, events| libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    #[cfg(target_os = "linux")]
    let close = if closed { libc::POLLRDHUP } else { 0 };
    #[cfg(not(target_os = "linux"))]
    let (_, close) = (closed, 0);
    let wanted =
        close | if read { libc::POLLIN } else { 0 } | if write { libc::POLLOUT } else { 0 };
    let bell = entry(bell.as_fd(), libc::POLLIN);
    let mut entries = [bell, socket.map_or(bell, |socket| entry(socket.as_fd(), wanted))];
    let n = if socket.is_some() { 2 } else { 1 };
    if poll_these(&mut entries[..n], most) < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::Interrupted => Ok(Stirred::default()),
            _ => Err(error),
        };
    }
    let bell = entries[0].revents != 0;
    let found = if n == 2 { entries[1].revents } else { 0 };
    let has = |events| found & events != 0;
    let closed = has(close);
    let ended = has(libc::POLLERR | libc::POLLHUP);
    let read = has(libc::POLLIN) || read && ended;
    Ok(Stirred { read, write: has(libc::POLLOUT) || write && ended, ended, closed, bell })
}

/// What a blocked writer found.
pub(crate) struct Room {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// Waits until the socket can be written, or also until it can be read; neither when time passed or
/// a signal came.
pub(crate) fn wait_room(
    socket: &impl AsFd,
    most: Option<Duration>,
    also_read: bool,
) -> io::Result<Room> {
    let events = libc::POLLOUT | if also_read { libc::POLLIN } else { 0 };
    let mut entry = libc::pollfd { fd: socket.as_fd().as_raw_fd(), events, revents: 0 };
    if poll_these(std::slice::from_mut(&mut entry), most) < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let failed = entry.revents & (libc::POLLERR | libc::POLLHUP) != 0;
    let write = failed || entry.revents & libc::POLLOUT != 0;
    Ok(Room { read: entry.revents & libc::POLLIN != 0, write })
}

/// Waits until one of the sockets can be written or has failed, and says which.
pub(crate) fn wait_any_writable(sockets: &[&impl AsFd], most: Duration) -> io::Result<Vec<bool>> {
    let entry = |socket: &&_| libc::pollfd {
        fd: AsFd::as_fd(*socket).as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    let mut entries: Vec<_> = sockets.iter().map(entry).collect();
    if poll_these(&mut entries, Some(most)) < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(entries.iter().map(|entry| entry.revents != 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::recv_now;
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    #[test]
    fn waits_end_by_time_and_by_a_close() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        let start = Instant::now();
        let short = Some(Duration::from_millis(20));
        assert_eq!(wait_readable(&ours, short).unwrap(), Ready::TimedOut);
        assert!(start.elapsed() >= Duration::from_millis(20));
        let error = recv_now(&ours, &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(theirs);
        assert_eq!(wait_readable(&ours, None).unwrap(), Ready::Yes);
        assert_eq!(recv_now(&ours, &mut [0; 8]).unwrap(), 0);
    }
}
