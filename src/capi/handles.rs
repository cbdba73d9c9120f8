//! Handles: what C holds is a number that looks like a pointer and is never followed. One that was
//! freed, is NULL, is of another kind or is the parent's is found to be so.

use std::collections::HashMap;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::adopted::Adopted;
use crate::call::{Fail, Outcome};
use crate::coordinator::Coordinator;
use crate::event::Event;
use crate::link::Link;
#[cfg(feature = "session")]
use crate::session::Answer;

/// What a handle stands for.
#[derive(Clone)]
pub(crate) enum Thing {
    Coordinator(Arc<Coordinator>),
    Link(Arc<Link>),
    Event(Arc<Event>),
    #[cfg(feature = "session")]
    Session(Arc<keepbeat::Session>),
    #[cfg(feature = "session")]
    Response(Arc<Answer>),
}

impl Thing {
    fn word(&self) -> &'static str {
        match self {
            Thing::Coordinator(_) => "a coordinator",
            Thing::Link(_) => "a link",
            Thing::Event(_) => "an event",
            #[cfg(feature = "session")]
            Thing::Session(_) => "a session",
            #[cfg(feature = "session")]
            Thing::Response(_) => "a response",
        }
    }
}

/// The handles of one process. A forked child makes one of its own, and never touches the lock of
/// its parent's, which may have been held at the fork.
struct Table {
    process: u32,
    /// Handles below this were made by a parent.
    first: usize,
    things: RwLock<HashMap<usize, Thing>>,
    adopted: Mutex<Adopted>,
}

static TABLE: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());
/// Never given twice. Steps as of addresses, for those who print them.
static NEXT: AtomicUsize = AtomicUsize::new(STEP);
const STEP: usize = 16;

fn table() -> &'static Table {
    let process = std::process::id();
    loop {
        let current = TABLE.load(Ordering::Acquire);
        // SAFETY: what is stored there is leaked, and lives for ever.
        match unsafe { current.as_ref() } {
            Some(table) if table.process == process => return table,
            _ => {}
        }
        let first = NEXT.load(Ordering::Relaxed);
        let (things, adopted) = (RwLock::default(), Mutex::default());
        let table = Table { process, first, things, adopted };
        let new = Box::into_raw(Box::new(table));
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        if TABLE.compare_exchange(current, new, success, failure).is_err() {
            // SAFETY: made just now, and seen by nobody.
            drop(unsafe { Box::from_raw(new) });
        }
    }
}

/// The sockets that were handed over in this process.
pub(crate) fn adopted() -> MutexGuard<'static, Adopted> {
    table().adopted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A new handle.
pub(crate) fn add<T>(thing: Thing) -> *mut T {
    let table = table();
    let number = NEXT.fetch_add(STEP, Ordering::Relaxed);
    let mut things = table.things.write().unwrap_or_else(PoisonError::into_inner);
    things.insert(number, thing);
    std::ptr::without_provenance_mut(number)
}

fn find<T, U>(
    handle: *const T,
    wanted: &str,
    of: impl FnOnce(Thing) -> Result<U, Thing>,
) -> Outcome<U> {
    let (table, number) = (table(), handle.addr());
    if number == 0 {
        return Err(Fail::invalid(format!("{wanted} is wanted, and this is NULL")));
    }
    if number < table.first {
        return Err(Fail::forked());
    }
    let things = table.things.read().unwrap_or_else(PoisonError::into_inner);
    let thing = things.get(&number).cloned();
    drop(things);
    let thing = thing.ok_or_else(|| {
        Fail::invalid(format!("{wanted} is wanted, and this was freed, or never was a handle"))
    })?;
    of(thing)
        .map_err(|other| Fail::invalid(format!("{wanted} is wanted, and this is {}", other.word())))
}

pub(crate) fn coordinator<T>(handle: *const T) -> Outcome<Arc<Coordinator>> {
    find(handle, "a coordinator", |thing| match thing {
        Thing::Coordinator(coordinator) => Ok(coordinator),
        other => Err(other),
    })
}

pub(crate) fn link<T>(handle: *const T) -> Outcome<Arc<Link>> {
    find(handle, "a link", |thing| match thing {
        Thing::Link(link) => Ok(link),
        other => Err(other),
    })
}

pub(crate) fn event<T>(handle: *const T) -> Outcome<Arc<Event>> {
    find(handle, "an event", |thing| match thing {
        Thing::Event(event) => Ok(event),
        other => Err(other),
    })
}

#[cfg(feature = "session")]
pub(crate) fn session<T>(handle: *const T) -> Outcome<Arc<keepbeat::Session>> {
    find(handle, "a session", |thing| match thing {
        Thing::Session(session) => Ok(session),
        other => Err(other),
    })
}

#[cfg(feature = "session")]
pub(crate) fn response<T>(handle: *const T) -> Outcome<Arc<Answer>> {
    find(handle, "a response", |thing| match thing {
        Thing::Response(response) => Ok(response),
        other => Err(other),
    })
}

/// The handle stands for nothing from here on. NULL is let pass, as by `free`.
pub(crate) fn free<T, U>(
    handle: *const T,
    find: impl FnOnce(*const T) -> Outcome<Arc<U>>,
) -> Outcome<Option<Arc<U>>> {
    if handle.is_null() {
        return Ok(None);
    }
    let found = find(handle)?;
    let mut things = table().things.write().unwrap_or_else(PoisonError::into_inner);
    let thing = things.remove(&handle.addr());
    drop(things);
    drop(thing); // another holds it yet
    Ok(Some(found))
}
