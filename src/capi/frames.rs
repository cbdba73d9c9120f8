//! Frames of links that carry data: sent, received, and what is known of them.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use keepbeat::Received;
use keepbeat::crossbeam_channel::{RecvTimeoutError, TryRecvError};

use crate::call::{BUSY, END, Fail, Outcome, TIMEOUT, call, descriptor, limit};
use crate::causes;
use crate::handles;
use crate::layout::{Grows, clear, fill};
use crate::link::{Left, Link};
use crate::text::{bytes, owned};

/// `kb_received`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Item {
    size: usize,
    kind: i32,
    reserved: i32,
    data: *const c_void,
    len: usize,
    number: u64,
    doubt_from: u64,
    doubt_to: u64,
    unsent_from: u64,
    unsent_to: u64,
    cause: *const c_char,
    detail: *const c_char,
}

// SAFETY: `repr(C)`, the size is first, all of it are integers and pointers.
unsafe impl Grows for Item {
    const NAME: &'static str = "kb_received";
}

impl Default for Item {
    fn default() -> Item {
        Item {
            size: 0,
            kind: 0,
            reserved: 0,
            data: std::ptr::null(),
            len: 0,
            number: 0,
            doubt_from: 0,
            doubt_to: 0,
            unsent_from: 0,
            unsent_to: 0,
            cause: std::ptr::null(),
            detail: std::ptr::null(),
        }
    }
}

/// So much of a thread's room stays, where its frames are smaller again.
const MOST_KEPT: usize = 64 * 1024;

thread_local! {
    /// What this thread received last: C looks at it until the next.
    static DATA: RefCell<(Vec<u8>, CString)> = RefCell::default();
}

/// Keeps the data of an item for C: a copy of this thread's own, or tools that know nothing of the
/// library's locks would see a race between the thread that read it and the program.
fn keep(kind: i32, data: &[u8]) -> Item {
    DATA.with_borrow_mut(|kept| {
        kept.0.clear();
        kept.0.extend_from_slice(data);
        kept.0.shrink_to(data.len().max(MOST_KEPT));
        Item { kind, data: kept.0.as_ptr().cast(), len: kept.0.len(), ..Item::default() }
    })
}

fn of(received: Received) -> Item {
    match received {
        Received::Frame(data) => keep(1, &data),
        Received::Connected { connection } => {
            Item { kind: 2, number: connection, ..Item::default() }
        }
        Received::Lost { loss, in_doubt, unsent } => DATA.with_borrow_mut(|kept| {
            kept.1 = owned(&loss.detail);
            let Range { start: doubt_from, end: doubt_to } = in_doubt;
            let Range { start: unsent_from, end: unsent_to } = unsent;
            let (cause, detail) = (causes::word(loss.cause), kept.1.as_ptr());
            let known = Item { doubt_from, doubt_to, unsent_from, unsent_to, ..Item::default() };
            Item { kind: 3, cause, detail, ..known }
        }),
        _ => Item::default(),
    }
}

/// Sends a whole frame.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_link_send(
    link: *mut c_void,
    data: *const c_void,
    len: usize,
    timeout_ms: c_int,
    number: *mut u64,
) -> c_int {
    call(|| {
        let tell = |n| {
            if !number.is_null() {
                // SAFETY: asked of the caller.
                unsafe { number.write(n) };
            }
        };
        tell(0);
        // SAFETY: asked of the caller.
        let data = unsafe { bytes(data, len, "the frame") }?.unwrap_or_default();
        let limit = limit(timeout_ms)?;
        let link = handles::link(link)?;
        let deadline = limit.map(|limit| Instant::now() + limit);
        let sent = link.frames()?.send_noted(data, deadline, tell);
        sent.map(drop).map_err(|error| {
            tell(0); // it is the next frame's
            match limit {
                Some(Duration::ZERO) if error.is_timeout() => Fail::new(BUSY, error.to_string()),
                _ => Fail::from(error),
            }
        })
    })
}

/// A descriptor for what was received.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_link_fd(link: *mut c_void) -> c_int {
    descriptor(|| Ok(handles::link(link)?.frames()?.frames_fd()?.as_raw_fd()))
}

fn receive(link: &Link, limit: Option<Duration>) -> Outcome<Item> {
    // Asked before anything is taken that could then not be kept.
    DATA.try_with(|_| ()).map_err(|_| Fail::invalid("this thread has ended: nothing is kept"))?;
    let over = || Fail::new(END, "the link is over, and all was taken");
    if let Some(left) = link.next_left() {
        return Ok(match left.ok_or_else(over)? {
            Left::Frame(data) => keep(1, &data),
            Left::Rest(data, acks) => Item { number: acks, ..keep(4, &data) },
        });
    }
    let frames = link.frames()?;
    match frames.try_frame() {
        Ok(received) => return Ok(of(received)),
        Err(TryRecvError::Disconnected) => return Err(over()),
        Err(TryRecvError::Empty) if limit == Some(Duration::ZERO) => {
            return Err(Fail::new(BUSY, "nothing waits"));
        }
        Err(TryRecvError::Empty) => {}
    }
    let received = match limit {
        Some(limit) => frames.frames().recv_timeout(limit),
        None => frames.frames().recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    match received {
        Ok(received) => Ok(of(received)),
        Err(RecvTimeoutError::Disconnected) => Err(over()),
        Err(RecvTimeoutError::Timeout) => Err(Fail::new(TIMEOUT, "nothing came in that time")),
    }
}

/// What came first and was not taken yet.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_link_recv(
    link: *mut c_void,
    timeout_ms: c_int,
    to: *mut Item,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller. Looked at before anything is taken.
        let cleared = unsafe { clear(to) };
        let link = handles::link(link)?;
        cleared?;
        let item = receive(&link, limit(timeout_ms)?)?;
        // SAFETY: as above.
        unsafe { fill(to, item) }
    })
}

/// The peer is known to have read so far.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_link_answered(link: *mut c_void, number: u64) -> c_int {
    call(|| {
        handles::link(link)?.frames()?.answered(number);
        Ok(())
    })
}

/// As programs were compiled with it.
#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Item>() == 88 && offset_of!(Item, kind) == 8 && offset_of!(Item, data) == 16);
    assert!(offset_of!(Item, number) == 32 && offset_of!(Item, unsent_to) == 64);
    assert!(offset_of!(Item, detail) == 80);
};
