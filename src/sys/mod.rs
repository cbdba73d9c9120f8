//! The few system calls that std lacks. The only folder with `unsafe` in it.

mod bell;
mod clock;
mod epoll;
mod foreign;
mod fork;
mod icmp;
mod limits;
mod names;
mod net;
mod poll;
mod process;
mod queue;
mod spawn;
mod tcp;
mod thread;

pub(crate) use bell::Bell;
pub(crate) use clock::suspended;
pub(crate) use epoll::{Epoll, Happened, Interest};
pub(crate) use foreign::{Foreign, IntOption};
pub(crate) use fork::generation as fork_generation;
pub(crate) use icmp::{Icmp, listen_to_icmp, take_icmp};
pub(crate) use limits::{Limit, is_root, soft_limit};
pub(crate) use names::{NameFault, NameFaultKind, resolve, says_silent};
pub(crate) use net::{
    Interface, interface_index, interfaces, is_gone, is_no_route, route_error, source,
};
pub(crate) use poll::{
    Ready, wait_any_writable, wait_link, wait_readable, wait_room, wait_writable,
};
pub(crate) use process::Own;
pub(crate) use queue::queue_drops;
pub(crate) use spawn::Thread;
pub(crate) use tcp::{peek_now, recv_now, retransmission_timeout, set_longest_rto, tcp_info};
pub(crate) use thread::{run_in_background, set_timer_slack};

#[cfg(not(unix))]
compile_error!("keepbeat needs a Unix: it waits in poll(2). It is tested on Linux.");

/// What a call has just made, or why it made nothing.
#[cfg(target_os = "linux")]
fn owned(fd: libc::c_int) -> std::io::Result<std::os::fd::OwnedFd> {
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the only callers are in here, and pass what the kernel has just made.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
}
