//! The coordinator: made, stopped, freed, and its queue of events.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keepbeat::crossbeam_channel::TryRecvError;
use keepbeat::{EventKind, EventQueue, LinkId};

use crate::call::{BUSY, END, Fail, Outcome, call, descriptor, limit};
use crate::event::Event;
use crate::handles::{self, Thing};
use crate::text::out;

/// Events that wait to be read, where C does not say how many.
const EVENTS: usize = 4096;

/// More would be a mistake: their room, some 130 bytes each, is made at once.
const MOST_EVENTS: usize = 1 << 20;

/// What a handle of a coordinator stands for. Its links hold the home alone, so the descriptor of
/// events is closed as soon as this is freed.
pub(crate) struct Coordinator {
    pub(crate) home: Arc<Home>,
    events: EventQueue,
}

pub(crate) struct Home {
    pub(crate) inner: keepbeat::Coordinator,
    /// What C gave for each link, as an address.
    users: Mutex<HashMap<LinkId, usize>>,
}

impl Home {
    fn users(&self) -> MutexGuard<'_, HashMap<LinkId, usize>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a link, and knows what C gave for it before anybody reads its first event.
    pub(crate) fn with_user<T>(
        &self,
        user: *mut c_void,
        make: impl FnOnce(&keepbeat::Coordinator) -> Outcome<(T, LinkId)>,
    ) -> Outcome<(T, LinkId)> {
        let mut users = self.users();
        let (made, id) = make(&self.inner)?;
        users.insert(id, user.expose_provenance());
        Ok((made, id))
    }
}

impl Coordinator {
    fn next(&self) -> Outcome<Event> {
        let event = self.events.try_next().map_err(|end| match end {
            TryRecvError::Empty => Fail::new(BUSY, "no event waits"),
            TryRecvError::Disconnected => Fail::new(END, "the coordinator has stopped"),
        })?;
        let user = event.link().map_or(0, |link| {
            let mut users = self.home.users();
            match event.kind() {
                EventKind::Ended => users.remove(&link),
                _ => users.get(&link).copied(),
            }
            .unwrap_or_default()
        });
        Ok(Event::new(event, user))
    }
}

/// A coordinator.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_new(capacity: usize, to: *mut *mut c_void) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let to = unsafe { out(to, std::ptr::null_mut()) }?;
        let capacity = match capacity {
            0 => EVENTS,
            1..=MOST_EVENTS => capacity,
            _ => {
                return Err(Fail::invalid(format!(
                    "a queue of {capacity} events cannot work: at most {MOST_EVENTS} may wait"
                )));
            }
        };
        let inner = keepbeat::Coordinator::builder().events_capacity(1).build()?;
        let events = inner.event_queue(capacity)?;
        let home = Arc::new(Home { inner, users: Mutex::default() });
        let coordinator = Coordinator { home, events };
        *to = handles::add(Thing::Coordinator(Arc::new(coordinator)));
        Ok(())
    })
}

/// Ends every link and joins every thread.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_stop(coordinator: *mut c_void, timeout_ms: c_int) -> c_int {
    call(|| {
        let coordinator = handles::coordinator(coordinator)?;
        match limit(timeout_ms)? {
            Some(limit) => coordinator.home.inner.stop_within(limit)?,
            None => coordinator.home.inner.stop()?,
        }
        Ok(())
    })
}

/// Tells all that runs to end, and forgets the handle.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_free(coordinator: *mut c_void) {
    call(|| {
        if let Some(coordinator) = handles::free(coordinator, handles::coordinator)? {
            // Links that are not freed yet hold it as well. Who is still busy ends by itself.
            let _ = coordinator.home.inner.stop_within(Duration::ZERO);
        }
        Ok(())
    });
}

/// The descriptor of events.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_fd(coordinator: *mut c_void) -> c_int {
    descriptor(|| Ok(handles::coordinator(coordinator)?.events.as_raw_fd()))
}

/// The first event that was not taken yet.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_next_event(
    coordinator: *mut c_void,
    to: *mut *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let to = unsafe { out(to, std::ptr::null_mut()) }?;
        let event = handles::coordinator(coordinator)?.next()?;
        *to = handles::add(Thing::Event(Arc::new(event)));
        Ok(())
    })
}
