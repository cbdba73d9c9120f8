//! A bell: what wakes a thread that waits in poll or epoll, and what it waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crossbeam_channel::{Receiver, TryRecvError};

#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd, OwnedFd};
#[cfg(not(target_os = "linux"))]
use std::os::unix::net::UnixStream;

/// Rung by one thread, it can be read by another, until that one takes the rings.
#[derive(Debug)]
pub(crate) struct Bell {
    #[cfg(target_os = "linux")]
    counter: OwnedFd,
    /// What is rung, and what is waited for.
    #[cfg(not(target_os = "linux"))]
    pair: (UnixStream, UnixStream),
}

#[cfg(target_os = "linux")]
impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        // SAFETY: the call takes two integers and touches no memory.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        Ok(Bell { counter: super::owned(fd)? })
    }

    /// Wakes the thread that waits, or will. Never blocks.
    pub(crate) fn ring(&self) {
        let one = 1_u64;
        let fd = self.counter.as_raw_fd();
        // SAFETY: eight bytes are read from a valid u64. It can only fail by being full, and then
        // the bell rings already.
        unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
    }

    /// Takes the rings so far, and says how many: the next wait is for a new one. Look at what was
    /// rung for after it.
    pub(crate) fn clear(&self) -> u64 {
        let mut rings = 0_u64;
        let fd = self.counter.as_raw_fd();
        // SAFETY: eight bytes are written to a valid u64. It fails where nobody has rung.
        unsafe { libc::read(fd, (&raw mut rings).cast(), size_of::<u64>()) };
        rings
    }
}

#[cfg(not(target_os = "linux"))]
impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        let pair = UnixStream::pair()?;
        pair.0.set_nonblocking(true)?;
        pair.1.set_nonblocking(true)?;
        Ok(Bell { pair })
    }

    /// Wakes the thread that waits, or will. Never blocks.
    pub(crate) fn ring(&self) {
        // It can only fail by being full, and then the bell rings already.
        let _ = io::Write::write(&mut &self.pair.0, &[1]);
    }

    /// Takes the rings so far, and says how many: the next wait is for a new one. Look at what was
    /// rung for after it.
    pub(crate) fn clear(&self) -> u64 {
        let mut rings = 0;
        while let Ok(taken @ 1..) = io::Read::read(&mut &self.pair.1, &mut [0; 64]) {
            rings += taken as u64;
        }
        rings
    }
}

impl Bell {
    /// Takes the first item of a queue for which this bell, if there is one, was rung after each
    /// batch of items and at the end. It rings on while something waits, and for ever after the end.
    pub(crate) fn take<T>(bell: Option<&Bell>, queue: &Receiver<T>) -> Result<T, TryRecvError> {
        let first = queue.try_recv();
        let (Some(bell), Err(_)) = (bell, &first) else { return first };
        bell.clear();
        // What came since was rung for before it was cleared, or will be.
        let again = queue.try_recv();
        if !matches!(again, Err(TryRecvError::Empty)) {
            bell.ring();
        }
        again
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        #[cfg(target_os = "linux")]
        return self.counter.as_fd();
        #[cfg(not(target_os = "linux"))]
        return self.pair.1.as_fd();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Ready, wait_readable};
    use std::time::Duration;

    #[test]
    fn a_queue_with_a_bell_is_readable_while_something_waits_and_after_its_end() {
        let bell = Bell::new().unwrap();
        let rings = || wait_readable(&bell, Some(Duration::ZERO)).unwrap() == Ready::Yes;
        let (items, queue) = crossbeam_channel::unbounded();
        let put = |n| {
            items.send(n).unwrap();
            bell.ring();
        };
        let take = || Bell::take(Some(&bell), &queue);
        put(1);
        put(2);
        assert!((take(), rings()) == (Ok(1), true) && take() == Ok(2));
        assert_eq!((take(), rings()), (Err(TryRecvError::Empty), false));
        put(3);
        assert_eq!((rings(), take(), take()), (true, Ok(3), Err(TryRecvError::Empty)));
        drop(items);
        bell.ring();
        for _ in 0..3 {
            assert_eq!((rings(), take()), (true, Err(TryRecvError::Disconnected)));
        }
        assert!(rings());
    }

    #[test]
    fn it_wakes_until_its_rings_are_taken() {
        let bell = Bell::new().unwrap();
        let now = Some(Duration::ZERO);
        assert_eq!(wait_readable(&bell, now).unwrap(), Ready::TimedOut);
        bell.ring();
        bell.ring();
        assert_eq!(wait_readable(&bell, None).unwrap(), Ready::Yes);
        assert_eq!(wait_readable(&bell, now).unwrap(), Ready::Yes, "also for who comes later");
        bell.clear();
        assert_eq!(wait_readable(&bell, now).unwrap(), Ready::TimedOut, "all rings at once");
        bell.clear();
        bell.ring();
        assert_eq!(wait_readable(&bell, None).unwrap(), Ready::Yes);
    }
}
