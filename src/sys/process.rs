//! Which process this is. A forked child has a copy of every handle and none of the threads; locks
//! that were held at the fork are held for ever there, and the sockets are its parent's as well.

use super::fork::generation;
use std::ops::Deref;

/// A process, as seen from within.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    forks: u64,
    id: u32,
}

impl Process {
    pub(crate) fn current() -> Process {
        Process { forks: generation(), id: std::process::id() }
    }

    /// Whether it is this one, unless somebody has forked past the C library.
    pub(crate) fn is_here(self) -> bool {
        self.forks == generation()
    }

    /// The same for certain, at the cost of a system call.
    fn is_certainly_here(self) -> bool {
        self.is_here() && self.id == std::process::id()
    }
}

/// What belongs to the process that made it: a copy of it in a forked child is left as it is, never
/// dropped.
#[derive(Debug)]
pub(crate) struct Own<T> {
    process: Process,
    inner: Option<T>,
}

impl<T> Own<T> {
    pub(crate) fn new(inner: T) -> Own<T> {
        Own { process: Process::current(), inner: Some(inner) }
    }

    /// It, or nothing in a forked child, where nothing of it may be locked or written.
    pub(crate) fn at_home(&self) -> Option<&T> {
        (!self.is_forked()).then_some(&**self)
    }

    /// Whether this is a forked child, which must leave it alone.
    pub(crate) fn is_forked(&self) -> bool {
        !self.process.is_here()
    }
}

impl<T> Deref for Own<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect("only its drop takes it")
    }
}

impl<T> Drop for Own<T> {
    fn drop(&mut self) {
        if !self.process.is_certainly_here() {
            std::mem::forget(self.inner.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_is_another_process_and_drops_nothing() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                // SAFETY: it ends the child.
                unsafe { libc::_exit(3) };
            }
        }
        let own = std::mem::ManuallyDrop::new(Own::new(Bomb));
        assert!(!own.is_forked());
        // SAFETY: the child looks at an atomic and leaves.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                let seen = own.is_forked();
                drop(std::mem::ManuallyDrop::into_inner(own));
                libc::_exit(i32::from(!seen));
            }
            let mut status = -1;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert_eq!(status, 0);
        }
        assert!(!own.is_forked());
    }
}
