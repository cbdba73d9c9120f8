//! The limits of this process.

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
    let limited = result == 0 && limit.rlim_cur != libc::RLIM_INFINITY;
    // Signed on FreeBSD.
    #[allow(clippy::useless_conversion)]
    limited.then(|| u64::try_from(limit.rlim_cur).unwrap_or(u64::MAX))
}

/// Whether this process runs as root, whom the limit on threads does not bind.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
