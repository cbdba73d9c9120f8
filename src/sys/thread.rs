//! What a thread has of its own: the signals that it blocks, the slack of its timers.

use std::mem::MaybeUninit;
use std::time::Duration;

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

/// From here on this thread interrupts nobody when it wakes. It works without, too.
pub(crate) fn run_in_background() {
    #[cfg(target_os = "linux")]
    {
        let param = libc::sched_param { sched_priority: 0 };
        // SAFETY: a valid parameter, for this thread alone.
        unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &param) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
