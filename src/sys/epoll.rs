//! Many sockets watched by one thread: epoll(7).

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::Bell;

/// Many sockets watched by one thread, and a bell to wake it. Only Linux has it; elsewhere making
/// one fails with `Unsupported`.
#[derive(Debug)]
pub(crate) struct Epoll {
    epoll: OwnedFd,
    bell: Arc<Bell>,
}

/// What came to pass on a watched socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened {
    pub(crate) token: u64,
    /// A FIN, an RST or an error; otherwise bytes.
    pub(crate) ended: bool,
    /// Both directions are over.
    pub(crate) hung_up: bool,
    /// An error waits to be read.
    pub(crate) failed: bool,
}

/// What to be told of a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Interest {
    /// Its end.
    End,
    /// Its end, and bytes.
    Bytes,
}

/// The token of the bell.
const BELL: u64 = u64::MAX;

impl Epoll {
    /// Wakes the thread that waits, or will.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// What [`ring`](Epoll::ring) rings. Its rings need not be taken: the wait is for new ones.
    pub(crate) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }
}

#[cfg(not(target_os = "linux"))]
impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn watch(&self, _: &impl AsFd, _: u64, _: Interest) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn change(&self, _: &impl AsFd, _: u64, _: Interest) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn wait(&self, _: Option<Duration>) -> io::Result<Vec<Happened>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(target_os = "linux")]
impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        // SAFETY: the call takes one integer and touches no memory.
        let epoll = super::owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let bell = Arc::new(Bell::new()?);
        let made = Epoll { epoll, bell };
        let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
        made.control(libc::EPOLL_CTL_ADD, made.bell.as_fd().as_raw_fd(), events, BELL)?;
        Ok(made)
    }

    /// Begins to watch. The kernel forgets a socket when its last descriptor is closed.
    pub(crate) fn watch(&self, socket: &impl AsFd, token: u64, what: Interest) -> io::Result<()> {
        let fd = socket.as_fd().as_raw_fd();
        self.control(libc::EPOLL_CTL_ADD, fd, what.events(), token)
    }

    /// Watches for something else. What is there already is told again.
    pub(crate) fn change(&self, socket: &impl AsFd, token: u64, what: Interest) -> io::Result<()> {
        let fd = socket.as_fd().as_raw_fd();
        self.control(libc::EPOLL_CTL_MOD, fd, what.events(), token)
    }

    fn control(&self, what: libc::c_int, fd: i32, events: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: the kernel reads one epoll_event from a valid pointer to one.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd, &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits for something to come to pass; nothing when the bell rang or the time passed.
    pub(crate) fn wait(&self, most: Option<Duration>) -> io::Result<Vec<Happened>> {
        const MOST: usize = 64;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
        let fd = self.epoll.as_raw_fd();
        // SAFETY: the kernel writes at most MOST events into an array of so many.
        let n = unsafe {
            libc::epoll_wait(
                fd,
                events.as_mut_ptr(),
                MOST as libc::c_int,
                super::poll::millis(most),
            )
        };
        if n < 0 {
            let error = io::Error::last_os_error();
            let interrupted = error.kind() == io::ErrorKind::Interrupted;
            return if interrupted { Ok(Vec::new()) } else { Err(error) };
        }
        let happened = |event: &libc::epoll_event| {
            let (token, events) = (event.u64, event.events as libc::c_int);
            let hung_up = events & libc::EPOLLHUP != 0;
            let failed = events & libc::EPOLLERR != 0;
            let ended = hung_up || failed || events & libc::EPOLLRDHUP != 0;
            (token != BELL).then_some(Happened { token, ended, hung_up, failed })
        };
        Ok(events[..n as usize].iter().filter_map(happened).collect())
    }
}

#[cfg(target_os = "linux")]
impl Interest {
    fn events(self) -> u32 {
        let end = libc::EPOLLRDHUP | libc::EPOLLET;
        (match self {
            Interest::End => end,
            Interest::Bytes => end | libc::EPOLLIN,
        }) as u32
    }
}
