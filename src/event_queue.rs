//! EventQueue: events for programs that wait in poll, epoll, or in what stands on them.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use crossbeam_channel::{Receiver, TryRecvError};

use crate::event::Event;
use crate::sys::{Bell, Own};

/// A queue of events with a descriptor, for programs that wait in poll or epoll: those that own
/// such a loop, and those on mio, tokio (`AsyncFd`), async-io or GLib, all of which take a
/// descriptor. Made by [`Coordinator::event_queue`](crate::Coordinator::event_queue).
///
/// The descriptor is readable while events wait, and for ever after the end; level-triggered, so
/// that nothing is missed however few events are taken at once. Never read from it, and never close
/// it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use keepbeat::{Coordinator, Heartbeat, Line, Responder};
///
/// let responder = Responder::bind("127.0.0.1:0", || Line)?;
/// let coordinator = Coordinator::new()?;
/// let queue = coordinator.event_queue(1000)?;
/// coordinator.watch(responder.local_addr(), Heartbeat::every(Duration::from_secs(10)), Line)?;
///
/// let mut poll = [libc::pollfd {
///     fd: std::os::fd::AsRawFd::as_raw_fd(&queue),
///     events: libc::POLLIN,
///     revents: 0,
/// }];
/// // Your other descriptors stand beside it.
/// // SAFETY: one valid pollfd, which outlives the call.
/// assert_eq!(unsafe { libc::poll(poll.as_mut_ptr(), 1, 30_000) }, 1);
/// while let Ok(event) = queue.try_next() {
///     println!("{event}");
/// }
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[must_use = "its events are lost with it"]
pub struct EventQueue {
    own: Own<Inner>,
}

struct Inner {
    events: Receiver<Event>,
    bell: Arc<Bell>,
}

impl EventQueue {
    pub(crate) fn new(events: Receiver<Event>, bell: Arc<Bell>) -> EventQueue {
        EventQueue { own: Own::new(Inner { events, bell }) }
    }

    /// The first event that was not taken yet. Where none waits, the descriptor is not readable
    /// after it, until one comes.
    ///
    /// # Errors
    ///
    /// No event waits; or none will come any more: the coordinator has stopped, and all that it had
    /// to tell was taken. In a forked child, too.
    pub fn try_next(&self) -> Result<Event, TryRecvError> {
        let Inner { events, bell } = self.own.at_home().ok_or(TryRecvError::Disconnected)?;
        Bell::take(Some(bell), events)
    }
}

impl AsFd for EventQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.bell.as_fd()
    }
}

impl AsRawFd for EventQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for EventQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventQueue").field("fd", &self.as_raw_fd()).finish_non_exhaustive()
    }
}
