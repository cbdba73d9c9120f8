//! Forks: whether this process is a child of the one that made something. Asked often, so without a
//! system call.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the forks between this process and the one that asked first.
static FORKS: AtomicU64 = AtomicU64::new(0);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A number that is another one in a forked child. The first call makes it so; a child that the
/// bare system call makes, past libc, is not noticed.
pub(crate) fn generation() -> u64 {
    static ASKED: Once = Once::new();
    ASKED.call_once(|| {
        // SAFETY: the function that is registered touches one atomic number, which is allowed in
        // the child of a process with many threads, and lives as long as the program.
        let result = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        if result != 0 {
            log::warn!("a forked child will not be noticed: {result}");
        }
    });
    FORKS.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_another_number() {
        let before = generation();
        // SAFETY: the child compares two numbers and leaves without destructors.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(i32::from(generation() == before));
            }
            let mut status = -1;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert_eq!(status, 0);
        }
        assert_eq!(generation(), before);
    }
}
