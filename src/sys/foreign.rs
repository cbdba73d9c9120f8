//! Descriptors that somebody else owns.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// A descriptor that somebody else owns and may close at any time. From then on its number is
/// nobody's, or that of any other file.
///
/// It is never duplicated: a duplicate would keep the connection open after its owner has closed
/// it. What tells the socket from others is its [`cookie`](Foreign::cookie), which no other socket
/// ever gets.
///
/// What races remain:
///
/// * *Looking.* None that matters. Compare the cookie **after** a look: a number that was given
///   away does not come back to the same socket, so if it is right then, it was right before.
/// * *Setting an option.* Compare the cookie right before. If the owner closes the descriptor and
///   gets its number for another socket between the two calls, less than a microsecond as a rule,
///   the option of that other socket is set. Only options of the keepalive are ever set.
/// * *Closing.* The kernel holds a file for as long as a call on it lasts. If the owner closes the
///   descriptor at that moment, the FIN goes out when the call returns: nanoseconds later. So no
///   call that waits may be made on it, `poll` included; an epoll holds no reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Foreign(RawFd);

/// An option whose value is an `int`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntOption {
    /// SO_KEEPALIVE: 0 or 1.
    Keepalive,
    /// TCP_KEEPIDLE, in seconds.
    KeepaliveIdle,
    /// TCP_KEEPINTVL, in seconds.
    KeepaliveInterval,
    /// TCP_KEEPCNT.
    KeepaliveCount,
    /// TCP_USER_TIMEOUT, in milliseconds; 0 where none was set.
    UserTimeout,
}

impl Foreign {
    pub(crate) fn new(descriptor: &impl AsFd) -> Foreign {
        Foreign(descriptor.as_fd().as_raw_fd())
    }
}

#[cfg(target_os = "linux")]
impl Foreign {
    /// The number that this socket has, and no other ever gets.
    ///
    /// # Errors
    ///
    /// EBADF when the number is free, ENOTSOCK when it is that of something else.
    pub(crate) fn cookie(self) -> io::Result<u64> {
        let mut cookie = [0; 8];
        super::tcp::get(self.0, libc::SOL_SOCKET, libc::SO_COOKIE, &mut cookie)?;
        Ok(u64::from_ne_bytes(cookie))
    }

    /// As much of TCP_INFO as the kernel tells and the room holds.
    pub(crate) fn tcp_info(self, room: &mut [u8]) -> io::Result<&[u8]> {
        super::tcp::get(self.0, libc::IPPROTO_TCP, libc::TCP_INFO, room)
    }

    pub(crate) fn get(self, option: IntOption) -> io::Result<i32> {
        let mut value = [0; 4];
        let (level, name) = option.place();
        super::tcp::get(self.0, level, name, &mut value)?;
        Ok(i32::from_ne_bytes(value))
    }

    pub(crate) fn set(self, option: IntOption, value: i32) -> io::Result<()> {
        let (level, name) = option.place();
        super::tcp::set(self.0, level, name, value)
    }
}

#[cfg(target_os = "linux")]
impl IntOption {
    fn place(self) -> (libc::c_int, libc::c_int) {
        match self {
            IntOption::Keepalive => (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
            IntOption::KeepaliveIdle => (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
            IntOption::KeepaliveInterval => (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
            IntOption::KeepaliveCount => (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
            IntOption::UserTimeout => (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Foreign {
    pub(crate) fn cookie(self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn tcp_info(self, _: &mut [u8]) -> io::Result<&[u8]> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn get(self, _: IntOption) -> io::Result<i32> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn set(self, _: IntOption, _: i32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl AsRawFd for Foreign {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    #[cfg(target_os = "linux")]
    fn a_cookie_tells_sockets_apart_and_a_closed_number_has_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (foreign, cookie) = (Foreign::new(&one), Foreign::new(&one).cookie().unwrap());
        assert_eq!(Foreign::new(&one.try_clone().unwrap()).cookie().unwrap(), cookie);
        assert_ne!(Foreign::new(&other).cookie().unwrap(), cookie);
        let (file, _) = io::pipe().unwrap();
        assert!(Foreign::new(&file).cookie().is_err());
        drop(one);
        // Another test may have got the number meanwhile, but not the socket.
        assert_ne!(foreign.cookie().ok(), Some(cookie));
    }
}
