//! For how long this machine was suspended.

use std::time::Duration;

/// The time that the machine has spent suspended since it was started: what the clock that counts
/// it is ahead of the one that does not. Nothing where there is no such clock.
pub(crate) fn suspended() -> Duration {
    #[cfg(target_os = "linux")]
    {
        let (with, without) = (read(libc::CLOCK_BOOTTIME), read(libc::CLOCK_MONOTONIC));
        with.saturating_sub(without)
    }
    #[cfg(not(target_os = "linux"))]
    Duration::ZERO
}

#[cfg(target_os = "linux")]
fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes one timespec, which is valid; these clocks always exist.
    unsafe { libc::clock_gettime(clock, &mut time) };
    // Both are narrower where the machine counts in 32 bits.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_is_awake_does_not_sleep() {
        let before = suspended();
        let after = suspended();
        assert!(after.abs_diff(before) < Duration::from_millis(100), "{before:?} {after:?}");
    }
}
