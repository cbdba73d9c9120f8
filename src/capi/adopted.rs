//! Sockets that were handed over. Each is known until it is handed back, because the program may
//! hand one over twice by mistake, and two owners would close each other's.

use std::collections::HashMap;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::call::{Fail, Outcome};
use crate::handles;

/// What is known of a socket, by its number.
pub(crate) type Adopted = HashMap<c_int, Socket>;

pub(crate) struct Socket {
    /// Numbers are used again, these are not.
    inode: u64,
    /// Whether it is closed where the program starts another.
    cloexec: bool,
}

/// Whether this is an open descriptor.
pub(crate) fn is_open(fd: c_int) -> Outcome {
    flags(fd).map(drop)
}

fn flags(fd: c_int) -> Outcome<c_int> {
    // SAFETY: it takes a number, and tells whether that is a descriptor.
    match if fd < 0 { -1 } else { unsafe { libc::fcntl(fd, libc::F_GETFD) } } {
        flags @ 0.. => Ok(flags),
        _ => Err(Fail::invalid(format!("{fd} is no open descriptor"))),
    }
}

fn inode(fd: c_int) -> Outcome<u64> {
    let mut told = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: it fills the struct that it is given, which is zeros before.
    let (result, told) = unsafe { (libc::fstat(fd, told.as_mut_ptr()), told.assume_init()) };
    if result != 0 {
        return Err(Fail::invalid(format!("{fd} is no open descriptor")));
    }
    Ok(told.st_ino)
}

/// Takes a descriptor over. One that keepbeat has already is refused, and stays open.
///
/// # Safety
///
/// Where it is open it is handed over.
pub(crate) unsafe fn take(fd: c_int) -> Outcome<OwnedFd> {
    let (flags, inode) = (flags(fd)?, inode(fd)?);
    let cloexec = flags & libc::FD_CLOEXEC != 0;
    let mut adopted = handles::adopted();
    if adopted.get(&fd).is_some_and(|known| known.inode == inode) {
        let text = "was handed over before: it is keepbeat's until kb_link_release";
        return Err(Fail::invalid(format!("the socket {fd} {text}")));
    }
    adopted.insert(fd, Socket { inode, cloexec });
    // SAFETY: it sets a flag of an open descriptor, which was handed over, and is owned once.
    unsafe {
        libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Gives it back as it came.
pub(crate) fn give_back(fd: c_int) {
    let known = handles::adopted().remove(&fd);
    if known.is_some_and(|known| !known.cloexec) {
        // SAFETY: it clears a flag of an open descriptor.
        unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    }
}
