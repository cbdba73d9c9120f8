//! Links whose reader and writer stay the application's.

use std::ffi::{c_char, c_int, c_void};
use std::io;

use keepbeat::{Cause, Following, Loss, Transport};

use crate::call::{Fail, Outcome, call};
use crate::framing::{Beat, Framing, framing, heartbeat};
use crate::handles;
use crate::link::{Kind, Link};
use crate::links::told;
use crate::text::{bytes, given, out};

type SendFn = extern "C" fn(*const c_void, usize, *mut c_void) -> c_int;

/// What C gave, for a thread of keepbeat's.
struct Sending {
    send: SendFn,
    user: *mut c_void,
}

// SAFETY: the header says on which thread it is called; what `user` points to is the application's.
unsafe impl Send for Sending {}

impl Sending {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match (self.send)(bytes.as_ptr().cast(), bytes.len(), self.user) {
            0 => Ok(()),
            errno @ 1.. => Err(io::Error::from_raw_os_error(errno)),
            other => Err(io::Error::other(format!("the send of the application returned {other}"))),
        }
    }
}

/// Follows a connection.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_follow(
    coordinator: *mut c_void,
    name: *const c_char,
    transport: c_int,
    beat: *const Beat,
    frames: *const Framing,
    send: Option<SendFn>,
    user: *mut c_void,
    to: *mut *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let (to, name, beat, framing) = unsafe {
            (
                out(to, std::ptr::null_mut())?,
                given(name, "the name")?,
                heartbeat(beat)?,
                framing(frames)?,
            )
        };
        // SAFETY: asked of the caller.
        let protocol = unsafe { framing.protocol() }?;
        let coordinator = handles::coordinator(coordinator)?;
        let send = send.ok_or_else(|| Fail::invalid("send is NULL: by what are beats sent?"))?;
        let sending = Sending { send, user };
        let following = Following::named(name.unwrap_or_default()).over(carrier(transport)?);
        told(to, &coordinator, user, |inner| {
            let send = move |bytes: &[u8]| sending.send(bytes);
            let follower = inner.follow_as(following, beat, protocol, send)?;
            let id = follower.id();
            Ok((Kind::Followed(follower), id))
        })
    })
}

fn carrier(transport: c_int) -> Outcome<Transport> {
    Ok(match transport {
        0 => Transport::Other,
        1 => Transport::Tcp,
        2 => Transport::Tls,
        3 => Transport::Serial,
        4 => Transport::Pipe,
        _ => {
            let text = format!("{transport} carries nothing: use KB_OTHER to KB_PIPE");
            return Err(Fail::invalid(text));
        }
    })
}

fn with_follower(
    link: *mut c_void,
    f: impl FnOnce(&keepbeat::Follower) -> Result<(), keepbeat::Error>,
) -> Outcome {
    let link = handles::link(link)?;
    match &link.kind {
        Kind::Followed(follower) => Ok(f(follower)?),
        _ => Err(Link::wrong("kb_follow")),
    }
}

/// Bytes were read.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_heard(
    link: *mut c_void,
    start: *const c_void,
    len: usize,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let heard = unsafe { bytes(start, len, "what was heard") }?.unwrap_or_default();
        with_follower(link, |follower| follower.heard(heard))
    })
}

/// An ack was read.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_acked(link: *mut c_void, seq: i64) -> c_int {
    call(|| {
        if seq < -1 {
            return Err(Fail::invalid(format!(
                "{seq} is no beat: use -1 for the first that waits"
            )));
        }
        with_follower(link, |follower| follower.acked(u64::try_from(seq).ok()))
    })
}

/// Another whole frame was read.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_alive(link: *mut c_void) -> c_int {
    call(|| with_follower(link, |follower| follower.alive()))
}

/// The application wrote.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_wrote(link: *mut c_void) -> c_int {
    call(|| with_follower(link, |follower| follower.wrote()))
}

/// The connection is gone.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_lost(
    link: *mut c_void,
    err: c_int,
    detail: *const c_char,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let detail = unsafe { given(detail, "the detail") }?;
        let mut loss = match err {
            0 => Loss::from(Cause::ClosedByPeer),
            errno @ 1.. => Loss::from(io::Error::from_raw_os_error(errno)),
            other => return Err(Fail::invalid(format!("{other} is no errno: use 0 for an end"))),
        };
        if let Some(detail) = detail.filter(|detail| !detail.is_empty()) {
            loss.detail = detail.to_owned();
        }
        with_follower(link, |follower| {
            follower.lost(loss);
            Ok(())
        })
    })
}
