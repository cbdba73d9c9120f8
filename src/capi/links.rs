//! Links on connections that keepbeat opens, is handed, or looks at.

use std::ffi::{c_char, c_int, c_void};
use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use keepbeat::{
    Adopt, Connect, ConnectOnly, Exchange, Http, Line, Observe, Protocol, Redis, Steps, Target,
};

use crate::adopted::{is_open, take};
use crate::call::{Fail, Outcome, call};
use crate::coordinator::Coordinator;
use crate::framing::{Beat, Framing, framing, heartbeat};
use crate::handles::{self, Thing};
use crate::link::{Kind, Link};
use crate::text::{bytes, given, needed, out};

/// Tells C of a link that was made.
pub(crate) fn told(
    to: &mut *mut c_void,
    coordinator: &Arc<Coordinator>,
    user: *mut c_void,
    make: impl FnOnce(&keepbeat::Coordinator) -> Outcome<(Kind, keepbeat::LinkId)>,
) -> Outcome {
    let (kind, id) = coordinator.home.with_user(user, make)?;
    let link = Link::new(Arc::clone(&coordinator.home), id, user, kind);
    *to = handles::add(Thing::Link(Arc::new(link)));
    Ok(())
}

/// What a beat on this target looks like, by its scheme.
fn by_scheme(target: &Target) -> Outcome<Box<dyn Protocol>> {
    let scheme = target.scheme();
    let base = scheme.strip_prefix("tls+").unwrap_or(scheme);
    let login = target.user().is_some() || target.password().is_some();
    if login && !matches!(base, "redis" | "http" | "https") {
        let what = "has no login: take user and password out of the target";
        return Err(Fail::invalid(format!("`{scheme}://` {what}")));
    }
    Ok(match base {
        "tcp" => Box::new(Exchange::new("heartbeat", "heartbeat_ack").with_any_rest()),
        "line" => Box::new(Line),
        "connect" => Box::new(ConnectOnly),
        "http" | "https" => Box::new(Http::for_target(target)?),
        "redis" => {
            let mut redis = Redis::new();
            if let Some(password) = target.password() {
                redis = redis.password(password);
                if let Some(user) = target.user() {
                    redis = redis.user(user);
                }
            }
            Box::new(redis)
        }
        _ => {
            return Err(Fail::invalid(format!(
                "`{scheme}://` is no known scheme: use tcp, line, redis, connect or http, or say \
                 what to send and to expect"
            )));
        }
    })
}

/// Watches an endpoint.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_watch(
    coordinator: *mut c_void,
    target: *const c_char,
    name: *const c_char,
    beat: *const Beat,
    send: *const c_void,
    send_len: usize,
    expect: *const c_void,
    expect_len: usize,
    user: *mut c_void,
    to: *mut *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let (to, target, name, beat, send, expect) = unsafe {
            (
                out(to, std::ptr::null_mut())?,
                needed(target, "the target")?,
                given(name, "the name")?,
                heartbeat(beat)?,
                bytes(send, send_len, "what to send")?,
                bytes(expect, expect_len, "what to expect")?,
            )
        };
        let coordinator = handles::coordinator(coordinator)?;
        let mut target = Target::new(target)?;
        if let Some(name) = name {
            target = target.named(name);
        }
        let protocol: Box<dyn Protocol> = match (send, expect) {
            (None, None) => by_scheme(&target)?,
            (None, Some(greeting)) => Box::new(Steps::greeting(greeting)),
            (Some(send), expect) => {
                Box::new(Exchange::new(send, expect.unwrap_or_default()).with_any_rest())
            }
        };
        told(to, &coordinator, user, |inner| {
            let id = inner.watch(target, beat, protocol)?;
            Ok((Kind::Watched, id))
        })
    })
}

/// Looks at a socket of the application's.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_observe(
    coordinator: *mut c_void,
    fd: c_int,
    name: *const c_char,
    beat: *const Beat,
    user: *mut c_void,
    to: *mut *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let (to, name, beat) =
            unsafe { (out(to, std::ptr::null_mut())?, given(name, "the name")?, heartbeat(beat)?) };
        let coordinator = handles::coordinator(coordinator)?;
        is_open(fd)?;
        // SAFETY: it is open, and stays so for the call; that is asked of the caller.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        told(to, &coordinator, user, |inner| {
            let mut observe = Observe::of(&socket);
            if let Some(name) = name {
                observe = observe.named(name);
            }
            let observed = inner.observe(observe, beat)?;
            let id = observed.id();
            Ok((Kind::Observed(observed), id))
        })
    })
}

/// Takes a socket over.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_adopt(
    coordinator: *mut c_void,
    fd: c_int,
    name: *const c_char,
    beat: *const Beat,
    frames: *const Framing,
    user: *mut c_void,
    to: *mut *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let to = unsafe { out(to, std::ptr::null_mut()) };
        // In a forked child it is the parent's as well: there it is not even looked at.
        let coordinator = handles::coordinator(coordinator);
        if coordinator.as_ref().is_err_and(Fail::is_forked) {
            return coordinator.map(drop);
        }
        // SAFETY: where it is open it is handed over, whatever else is wrong with this call.
        let socket = unsafe { take(fd) }?;
        let (to, coordinator) = (to?, coordinator?);
        // SAFETY: asked of the caller.
        let (name, beat, framing) =
            unsafe { (given(name, "the name")?, heartbeat(beat)?, framing(frames)?) };
        // SAFETY: asked of the caller.
        let framed = unsafe { framing.framed() }?;
        let mut adopt = Adopt::new(TcpStream::from(socket)).nodelay(framing.nagle == 0);
        if let Some(name) = name {
            adopt = adopt.named(name);
        }
        if framing.frames_capacity != 0 {
            adopt = adopt.frames_capacity(framing.frames_capacity);
        }
        told(to, &coordinator, user, |inner| {
            let link = inner.adopt(adopt, beat, framed)?;
            let id = link.id();
            Ok((Kind::Frames(link), id))
        })
    })
}

/// A link on connections that keepbeat opens.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_connect(
    coordinator: *mut c_void,
    target: *const c_char,
    name: *const c_char,
    beat: *const Beat,
    frames: *const Framing,
    user: *mut c_void,
    to: *mut *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let (to, target, name, beat, framing) = unsafe {
            (
                out(to, std::ptr::null_mut())?,
                needed(target, "the target")?,
                given(name, "the name")?,
                heartbeat(beat)?,
                framing(frames)?,
            )
        };
        // SAFETY: asked of the caller.
        let framed = unsafe { framing.framed() }?;
        let coordinator = handles::coordinator(coordinator)?;
        let mut target = Target::new(target)?;
        if let Some(name) = name {
            target = target.named(name);
        }
        let mut connect = Connect::from(target).nodelay(framing.nagle == 0).queue(framing.queue);
        if framing.frames_capacity != 0 {
            connect = connect.frames_capacity(framing.frames_capacity);
        }
        told(to, &coordinator, user, |inner| {
            let link = inner.connect(connect, beat, framed)?;
            let id = link.id();
            Ok((Kind::Frames(link), id))
        })
    })
}
