//! The few system calls that std lacks. The only file with `unsafe` in it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

#[cfg(not(unix))]
compile_error!("keepbeat needs a Unix: it waits in poll(2). It is tested on Linux.");

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
fn millis(most: Option<Duration>) -> libc::c_int {
    most.map_or(-1, |most| most.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32)
}

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

/// Many sockets watched by one thread, and a bell to wake it. Only Linux has it; elsewhere making
/// one fails with `Unsupported`.
#[derive(Debug)]
pub(crate) struct Epoll {
    epoll: OwnedFd,
    bell: OwnedFd,
}

/// What came to pass on a watched socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened {
    pub(crate) token: u64,
    /// A FIN, an RST or an error; otherwise bytes.
    pub(crate) ended: bool,
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

#[cfg(not(target_os = "linux"))]
impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn ring(&self) {}

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
        // SAFETY: both calls take flags and touch no memory; a descriptor that is not negative is
        // new and owned by nobody else.
        let (epoll, bell) = unsafe {
            let epoll = owned(libc::epoll_create1(libc::EPOLL_CLOEXEC))?;
            let bell = owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?;
            (epoll, bell)
        };
        let made = Epoll { epoll, bell };
        let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
        made.control(libc::EPOLL_CTL_ADD, made.bell.as_raw_fd(), events, BELL)?;
        Ok(made)
    }

    /// Wakes the thread that waits, or will.
    pub(crate) fn ring(&self) {
        let one = 1_u64;
        // SAFETY: eight bytes are read from a valid u64. It can only fail by being full, and then
        // the bell rings already.
        unsafe { libc::write(self.bell.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
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
        let n =
            unsafe { libc::epoll_wait(fd, events.as_mut_ptr(), MOST as libc::c_int, millis(most)) };
        if n < 0 {
            let error = io::Error::last_os_error();
            let interrupted = error.kind() == io::ErrorKind::Interrupted;
            return if interrupted { Ok(Vec::new()) } else { Err(error) };
        }
        let ends = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
        let happened = events[..n as usize].iter().map(|event| (event.u64, event.events));
        Ok(happened
            .filter(|(token, _)| *token != BELL)
            .map(|(token, events)| Happened { token, ended: events & ends != 0 })
            .collect())
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

#[cfg(target_os = "linux")]
fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the only callers pass what the kernel has just made.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Signals that a thread sends itself by a fault: blocked, they would kill without a word.
const FAULTS: [libc::c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// Runs `f` with every other signal of this thread blocked. Threads started inside inherit that, so
/// the handlers of the host program never run on threads of this crate.
pub(crate) fn with_signals_blocked<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: the mask was written by pthread_sigmask before this guard was made.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
        }
    }
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises `all`, which is then changed and read; pthread_sigmask writes
    // `before`. Neither can fail with these arguments.
    let _restore = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        for fault in FAULTS {
            libc::sigdelset(all.as_mut_ptr(), fault);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        Restore(before.assume_init())
    };
    f()
}

/// Lets the kernel fire timers of this thread late by so much, so that it wakes the processor for
/// several at once.
pub(crate) fn set_timer_slack(slack: Duration) {
    #[cfg(target_os = "linux")]
    {
        // 0 would reset it to the default, 50 us.
        let nanos = (slack.as_nanos() as libc::c_ulong).max(1);
        // SAFETY: this option takes one integer and touches no memory.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanos) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = slack;
}

/// A soft limit of this process; none if it is unlimited or unknown.
pub(crate) enum Limit {
    Files,
    Threads,
}

pub(crate) fn soft_limit(which: Limit) -> Option<u64> {
    let resource = match which {
        Limit::Files => libc::RLIMIT_NOFILE,
        Limit::Threads => libc::RLIMIT_NPROC,
    };
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes one rlimit to a valid pointer to one.
    let result = unsafe { libc::getrlimit(resource, &mut limit) };
    (result == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Whether this process runs as root, whom the limit on threads does not bind.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_tells_its_retransmission_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let rto = retransmission_timeout(&ours).unwrap();
        assert!((1..=1_000_000).contains(&rto.as_micros()), "{rto:?}");
    }

    #[test]
    fn threads_started_with_signals_blocked_stay_so_and_the_caller_does_not() {
        fn blocked(signal: libc::c_int) -> bool {
            let mut mask = MaybeUninit::uninit();
            // SAFETY: pthread_sigmask with a null set only writes the present mask.
            unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), mask.as_mut_ptr());
                libc::sigismember(mask.as_ptr(), signal) == 1
            }
        }
        let before = blocked(libc::SIGUSR2);
        let both = || (blocked(libc::SIGUSR2), blocked(libc::SIGSEGV));
        let inside = with_signals_blocked(|| std::thread::spawn(both)).join().unwrap();
        assert_eq!(inside, (true, false), "a stack overflow must be able to say so");
        assert_eq!(blocked(libc::SIGUSR2), before);
    }
}
