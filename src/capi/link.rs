//! A link of whatever kind: its status, its pace, its end.

use std::collections::VecDeque;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::IntoRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keepbeat::{Follower, LinkId, Observed, Status};

use crate::adopted::give_back;
use crate::call::{Fail, Outcome, call, limit, value};
use crate::coordinator::Home;
use crate::event::{nanos, state};
use crate::framing::{Beat, heartbeat};
use crate::handles;
use crate::layout::{Grows, clear, fill as fill_struct};
use crate::text::{fill, out};

/// What a thread may take that has nothing left to do, on a busy machine.
const AT_LEAST: Duration = Duration::from_millis(100);

pub(crate) enum Kind {
    Watched,
    Observed(Observed),
    Frames(keepbeat::Link),
    Followed(Follower),
}

/// What is left of a connection that was handed back.
pub(crate) enum Left {
    Frame(Vec<u8>),
    /// Bytes that are no whole frame, and how many acks may still come.
    Rest(Vec<u8>, u64),
}

pub(crate) struct Link {
    home: Arc<Home>,
    id: LinkId,
    user: usize,
    pub(crate) kind: Kind,
    /// Of a connection that was handed back: nothing else comes then.
    left: Mutex<Option<VecDeque<Left>>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // All others end with what holds them.
        if let Kind::Watched = self.kind {
            let _ = self.home.inner.end(self.id); // it may be over
        }
    }
}

impl Link {
    pub(crate) fn new(home: Arc<Home>, id: LinkId, user: *mut c_void, kind: Kind) -> Link {
        Link { home, id, user: user.expose_provenance(), kind, left: Mutex::default() }
    }

    pub(crate) fn wrong(of: &str) -> Fail {
        Fail::invalid(format!("this link is of another kind: it takes one of {of}"))
    }

    pub(crate) fn frames(&self) -> Outcome<&keepbeat::Link> {
        match &self.kind {
            Kind::Frames(link) => Ok(link),
            _ => Err(Link::wrong("kb_adopt or kb_connect")),
        }
    }

    /// Where the connection was handed back: what is left of it, as long as something is.
    pub(crate) fn next_left(&self) -> Option<Option<Left>> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.as_mut().map(VecDeque::pop_front)
    }

    fn status(&self) -> Outcome<Status> {
        Ok(match &self.kind {
            Kind::Watched => self.home.inner.status(self.id)?,
            Kind::Observed(observed) => observed.status(),
            Kind::Frames(link) => link.status(),
            Kind::Followed(follower) => follower.status(),
        })
    }

    fn close(&self, limit: Option<Duration>) -> Outcome {
        let start = Instant::now();
        match (&self.kind, limit) {
            (Kind::Frames(link), None) => link.try_clone()?.close()?,
            (Kind::Frames(link), Some(limit)) => link.try_clone()?.close_within(limit)?,
            (_, None) => return Ok(self.home.inner.remove(self.id)?),
            (_, Some(limit)) => return Ok(self.home.inner.remove_within(self.id, limit)?),
        }
        // Its thread is ending. After that its descriptors are closed.
        let left = limit.map_or(AT_LEAST, |limit| limit.saturating_sub(start.elapsed()));
        match self.home.inner.remove_within(self.id, left.max(AT_LEAST)) {
            Err(error) if !error.is_unknown_link() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The connection, and what is left of it for `kb_link_recv`.
    fn release(&self, limit: Option<Duration>) -> Outcome<c_int> {
        let link = self.frames()?.try_clone()?;
        let returned = match limit {
            Some(limit) => link.into_stream_within(limit)?,
            None => link.into_stream()?,
        };
        let mut left: VecDeque<_> = returned.frames.into_iter().map(Left::Frame).collect();
        left.push_back(Left::Rest(returned.unread, returned.acks_due as u64));
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
        let fd = returned.stream.into_raw_fd();
        give_back(fd);
        Ok(fd)
    }
}

/// `kb_status`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Told {
    size: usize,
    link: u64,
    state: i32,
    paused: u8,
    unread: u8,
    ended: u8,
    reserved: u8,
    sent: u64,
    acked: u64,
    late: u64,
    missed: u64,
    reconnects: u64,
    renewals: u64,
    stalls: u64,
    frames_read_by_peer: u64,
    rtt_last_ns: i64,
    rtt_smoothed_ns: i64,
    in_state_ns: i64,
    cause: [c_char; 32],
    name: [c_char; 64],
    peer: [c_char; 64],
}

// SAFETY: `repr(C)`, the size is first, all of it are integers.
unsafe impl Grows for Told {
    const NAME: &'static str = "kb_status";
}

fn told(status: &Status, read_by_peer: u64) -> Told {
    let time = |time: Option<Duration>| time.map_or(-1, nanos);
    let mut told = Told {
        size: 0,
        link: status.link.number(),
        state: state(status.state),
        paused: status.paused.into(),
        unread: status.unread.into(),
        ended: status.ended.into(),
        reserved: 0,
        sent: status.sent,
        acked: status.acked,
        late: status.late,
        missed: status.missed,
        reconnects: status.reconnects,
        renewals: status.renewals,
        stalls: status.stalls,
        frames_read_by_peer: read_by_peer,
        rtt_last_ns: time(status.rtt.last()),
        rtt_smoothed_ns: time(status.rtt.smoothed()),
        in_state_ns: nanos(Instant::now().saturating_duration_since(status.since)),
        cause: [0; 32],
        name: [0; 64],
        peer: [0; 64],
    };
    fill(&mut told.cause, status.loss.as_ref().map_or("", |loss| loss.cause.word()));
    fill(&mut told.name, &status.name);
    fill(&mut told.peer, &status.peer.map(|peer| peer.to_string()).unwrap_or_default());
    told
}

/// A snapshot.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_link_status(link: *mut c_void, to: *mut Told) -> c_int {
    call(|| {
        // SAFETY: asked of the caller. Where it fails all of it is 0.
        let cleared = unsafe { clear(to) };
        let link = handles::link(link)?;
        cleared?;
        let read = match &link.kind {
            Kind::Frames(frames) => frames.read_by_peer(),
            _ => 0,
        };
        // SAFETY: asked of the caller.
        unsafe { fill_struct(to, told(&link.status()?, read)) }
    })
}

/// Another pace.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_link_set(link: *mut c_void, beat: *const Beat) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let beat = unsafe { heartbeat(beat) }?;
        let link = handles::link(link)?;
        Ok(link.home.inner.set_heartbeat(link.id, &beat)?)
    })
}

/// No beats, or beats again.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_link_pause(link: *mut c_void, on: c_int) -> c_int {
    call(|| {
        let link = handles::link(link)?;
        let coordinator = &link.home.inner;
        Ok(if on == 0 { coordinator.resume(link.id) } else { coordinator.pause(link.id) }?)
    })
}

/// Its number.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_link_id(link: *mut c_void) -> u64 {
    value(0, || Ok(handles::link(link)?.id.number()))
}

/// What C gave for it.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_link_user(link: *mut c_void) -> *mut c_void {
    value(std::ptr::null_mut(), || {
        Ok(std::ptr::with_exposed_provenance_mut(handles::link(link)?.user))
    })
}

/// Ends it in good order.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_link_close(link: *mut c_void, timeout_ms: c_int) -> c_int {
    call(|| {
        let limit = limit(timeout_ms)?;
        handles::link(link)?.close(limit)
    })
}

/// Gives the socket back.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_link_release(
    link: *mut c_void,
    timeout_ms: c_int,
    to: *mut c_int,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let to = unsafe { out(to, -1) }?;
        let limit = limit(timeout_ms)?;
        *to = handles::link(link)?.release(limit)?;
        Ok(())
    })
}

/// Ends it if need be, and forgets the handle.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_link_free(link: *mut c_void) {
    call(|| {
        let freed = handles::free(link.cast_const(), handles::link)?;
        // Another call that waits on it would keep it going.
        if let Some(link) = freed.filter(|link| Arc::strong_count(link) > 1) {
            let _ = link.home.inner.end(link.id); // it may be over
        }
        Ok(())
    });
}

/// As programs were compiled with it.
#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Told>() == 272 && offset_of!(Told, state) == 16);
    assert!(offset_of!(Told, sent) == 24 && offset_of!(Told, frames_read_by_peer) == 80);
    assert!(offset_of!(Told, rtt_last_ns) == 88 && offset_of!(Told, in_state_ns) == 104);
    assert!(offset_of!(Told, cause) == 112 && offset_of!(Told, peer) == 208);
};
