//! Heartbeats and framings, from the structs of the header.

use std::ffi::c_void;
use std::time::Duration;

use keepbeat::{Diagnose, Exchange, Framed, Heartbeat, Prefix, Protocol, Role};

use crate::call::{Fail, Outcome};
use crate::layout::{Grows, read, unknown};
use crate::text::bytes;

/// Turns a thing off that has a default.
pub(crate) const NONE: u32 = u32::MAX;

/// `kb_heartbeat`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Beat {
    size: usize,
    interval_ms: u32,
    timeout_ms: u32,
    fall: u32,
    rise: u32,
    jitter_permille: u32,
    write_timeout_ms: u32,
    connect_timeout_ms: u32,
    backoff_base_ms: u32,
    backoff_cap_ms: u32,
    expect_every_ms: u32,
    prove_every: u32,
    role: u8,
    when_idle: u8,
    diagnose: u8,
    reserved: u8,
}

// SAFETY: `repr(C)`, the size is first, all of it are integers.
unsafe impl Grows for Beat {
    const NAME: &'static str = "kb_heartbeat";
}

pub(crate) fn millis(ms: u32) -> Option<Duration> {
    (ms != 0).then(|| Duration::from_millis(ms.into()))
}

/// Applies a setting that is not 0.
pub(crate) fn with<S, T>(settings: S, value: Option<T>, set: impl FnOnce(S, T) -> S) -> S {
    match value {
        Some(value) => set(settings, value),
        None => settings,
    }
}

/// The heartbeat that C gives; the default for NULL.
///
/// # Safety
///
/// NULL, or a struct as long as it says.
pub(crate) unsafe fn heartbeat(given: *const Beat) -> Outcome<Heartbeat> {
    // SAFETY: asked of the caller.
    let given = unsafe { read(given) }?.unwrap_or_default();
    if given.reserved != 0 {
        return Err(unknown::<Beat>());
    }
    let count = |n: u32| (n != 0).then_some(n);
    let mut beat = Heartbeat::default();
    beat = with(beat, millis(given.interval_ms), |_, interval| Heartbeat::every(interval));
    beat = with(beat, millis(given.timeout_ms), Heartbeat::timeout);
    beat = with(beat, count(given.fall), Heartbeat::fall);
    beat = with(beat, count(given.rise), Heartbeat::rise);
    let jitter = |n: u32| if n == NONE { 0.0 } else { f64::from(n) / 1000.0 };
    beat = with(beat, count(given.jitter_permille).map(jitter), Heartbeat::jitter);
    beat = with(beat, millis(given.write_timeout_ms), Heartbeat::write_timeout);
    beat = with(beat, millis(given.connect_timeout_ms), Heartbeat::connect_timeout);
    let (base, cap) = (millis(given.backoff_base_ms), millis(given.backoff_cap_ms));
    if base.is_some() || cap.is_some() {
        let base = base.unwrap_or(Duration::from_millis(500));
        beat = beat.backoff(base, cap.unwrap_or(Duration::from_secs(60)).max(base));
    }
    beat = with(beat, millis(given.expect_every_ms), Heartbeat::expect_every);
    let every = |n: u32| if n == NONE { 0 } else { n };
    beat = with(beat, count(given.prove_every).map(every), Heartbeat::prove_every);
    beat = beat.role(role(given.role)?).diagnose(diagnose(given.diagnose)?);
    Ok(if given.when_idle == 0 { beat } else { beat.when_idle() })
}

fn role(role: u8) -> Outcome<Role> {
    Ok(match role {
        0 => Role::Active,
        1 => Role::Passive,
        2 => Role::SendOnly,
        3 => Role::ListenOnly,
        _ => {
            return Err(Fail::invalid(format!(
                "{role} is no role: use KB_ACTIVE to KB_LISTEN_ONLY"
            )));
        }
    })
}

fn diagnose(diagnose: u8) -> Outcome<Diagnose> {
    Ok(match diagnose {
        0 => Diagnose::kernel(),
        1 => Diagnose::off(),
        2 => Diagnose::side_connections(),
        _ => {
            let text = format!(
                "{diagnose} says nothing of how far to go: use KB_KERNEL, KB_OFF or \
                                KB_SIDE_CONNECTIONS"
            );
            return Err(Fail::invalid(text));
        }
    })
}

/// `kb_framing`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Framing {
    size: usize,
    prefix: u8,
    numbered: u8,
    unanswered: u8,
    answering: u8,
    crlf: u8,
    pub(crate) nagle: u8,
    reserved: [u8; 2],
    beat: *const c_void,
    beat_len: usize,
    ack: *const c_void,
    ack_len: usize,
    limit: usize,
    pub(crate) frames_capacity: usize,
    pub(crate) queue: usize,
}

// SAFETY: `repr(C)`, the size is first, all of it are integers and pointers.
unsafe impl Grows for Framing {
    const NAME: &'static str = "kb_framing";
}

const RAW: u8 = 255;

/// The framing that C gives, which has no default.
///
/// # Safety
///
/// NULL, or a struct as long as it says.
pub(crate) unsafe fn framing(given: *const Framing) -> Outcome<Framing> {
    // SAFETY: asked of the caller.
    let framing = unsafe { read(given) }?
        .ok_or_else(|| Fail::invalid("the framing is NULL: how do frames, beats and acks look?"))?;
    if framing.reserved != [0; 2] {
        return Err(unknown::<Framing>());
    }
    Ok(framing)
}

impl Framing {
    /// # Safety
    ///
    /// Beat and ack are as long as they say.
    unsafe fn words(&self) -> Outcome<(&[u8], &[u8])> {
        // SAFETY: asked of the caller.
        let (beat, ack) = unsafe {
            (
                bytes(self.beat, self.beat_len, "the beat")?,
                bytes(self.ack, self.ack_len, "the ack")?,
            )
        };
        Ok((beat.unwrap_or_default(), ack.unwrap_or_default()))
    }

    /// # Safety
    ///
    /// Beat and ack are as long as they say.
    pub(crate) unsafe fn framed(&self) -> Outcome<Framed> {
        // SAFETY: asked of the caller.
        let (beat, ack) = unsafe { self.words() }?;
        let prefix = match self.prefix {
            0 => None,
            1 => Some(Prefix::U8),
            2 => Some(Prefix::U16Be),
            4 => Some(Prefix::U32Be),
            7 => Some(Prefix::Varint),
            130 => Some(Prefix::U16Le),
            132 => Some(Prefix::U32Le),
            RAW => return Err(Fail::invalid("KB_RAW has no frames: it is for kb_follow alone")),
            other => {
                return Err(Fail::invalid(format!("{other} is no prefix: use KB_LINES to KB_RAW")));
            }
        };
        let mut framed = match prefix {
            None => Framed::lines(beat, ack)?,
            Some(prefix) => Framed::prefixed(prefix, beat, ack)?,
        };
        framed = if self.numbered != 0 { framed.numbered() } else { framed };
        framed = if self.unanswered != 0 { framed.unanswered() } else { framed };
        framed = if self.answering != 0 { framed.answering() } else { framed };
        framed = if self.crlf != 0 { framed.crlf() } else { framed };
        Ok(if self.limit != 0 { framed.limit(self.limit) } else { framed })
    }

    /// The same for a link whose reader is the application's.
    ///
    /// # Safety
    ///
    /// Beat and ack are as long as they say.
    pub(crate) unsafe fn protocol(&self) -> Outcome<Box<dyn Protocol>> {
        if self.prefix != RAW {
            // SAFETY: asked of the caller.
            return Ok(Box::new(unsafe { self.framed() }?));
        }
        // SAFETY: asked of the caller.
        let (beat, ack) = unsafe { self.words() }?;
        if beat.is_empty() {
            return Err(Fail::invalid("with KB_RAW the beat is what is sent: it cannot be empty"));
        }
        Ok(Box::new(Exchange::new(beat, ack)))
    }
}

/// As programs were compiled with them.
#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Beat>() == 56 && offset_of!(Beat, interval_ms) == 8);
    assert!(offset_of!(Beat, prove_every) == 48 && offset_of!(Beat, diagnose) == 54);
    assert!(size_of::<Framing>() == 72 && offset_of!(Framing, nagle) == 13);
    assert!(offset_of!(Framing, beat) == 16 && offset_of!(Framing, queue) == 64);
};
