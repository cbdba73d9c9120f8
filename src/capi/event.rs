//! Events, asked for part by part. Their texts are made when they are first asked for.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use keepbeat::{Confidence, Diagnosis, EventKind, Loss, State};

use crate::call::{END, Fail, call, value};
use crate::causes;
use crate::handles;
use crate::text::{out, owned};

pub(crate) struct Event {
    event: keepbeat::Event,
    user: usize,
    name: OnceLock<CString>,
    text: OnceLock<CString>,
    detail: OnceLock<CString>,
    advice: OnceLock<CString>,
    facts: OnceLock<Vec<(CString, CString)>>,
}

impl Event {
    pub(crate) fn new(event: keepbeat::Event, user: usize) -> Event {
        let (name, text, detail) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let (advice, facts) = (OnceLock::new(), OnceLock::new());
        Event { event, user, name, text, detail, advice, facts }
    }

    fn loss(&self) -> Option<&Loss> {
        match self.event.kind() {
            EventKind::State { loss, .. } => loss.as_ref(),
            EventKind::Disconnected { loss, .. } => Some(loss),
            _ => None,
        }
    }

    fn diagnosis(&self) -> Option<&Diagnosis> {
        self.event.kind().diagnosis().map(|diagnosis| &**diagnosis)
    }

    fn facts(&self) -> &[(CString, CString)] {
        self.facts.get_or_init(|| {
            let facts = self.diagnosis().map(|told| told.evidence().facts()).unwrap_or_default();
            facts.iter().map(|(name, fact)| (owned(name), owned(&fact.to_string()))).collect()
        })
    }
}

/// As the header counts states.
pub(crate) fn state(state: State) -> c_int {
    match state {
        State::Connecting => 0,
        State::Up => 1,
        State::Suspect => 2,
        _ => 3,
    }
}

/// As much of it as 64 bits hold: 292 years.
pub(crate) fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// A part of an event; `or` where the handle is none.
fn part<T: Copy>(event: *const c_void, or: T, f: impl FnOnce(&Event) -> T) -> T {
    value(or, || Ok(f(&*handles::event(event)?)))
}

fn text(
    event: *const c_void,
    place: impl FnOnce(&Event) -> &OnceLock<CString>,
    make: impl FnOnce(&Event) -> Option<String>,
) -> *const c_char {
    part(event, std::ptr::null(), |event| {
        let place = place(event);
        if let Some(text) = place.get() {
            return text.as_ptr();
        }
        let made = make(event);
        made.map_or(std::ptr::null(), |made| place.get_or_init(|| owned(&made)).as_ptr())
    })
}

/// What happened.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_kind(event: *const c_void) -> c_int {
    part(event, 0, |event| match event.event.kind() {
        EventKind::Connected { .. } => 1,
        EventKind::Beat { .. } => 2,
        EventKind::Alive { .. } => 3,
        EventKind::Silent { .. } => 4,
        EventKind::Missed { .. } => 5,
        EventKind::State { .. } => 6,
        EventKind::Diagnosed { .. } => 7,
        EventKind::Disconnected { .. } => 8,
        EventKind::Stalled { .. } => 9,
        EventKind::Ended => 10,
        EventKind::Overflowed { .. } => 11,
        _ => 0,
    })
}

/// The number of the link.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_link(event: *const c_void) -> u64 {
    part(event, 0, |event| event.event.link().map_or(0, |link| link.number()))
}

/// What was given for the link.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_user(event: *const c_void) -> *mut c_void {
    part(event, std::ptr::null_mut(), |event| std::ptr::with_exposed_provenance_mut(event.user))
}

/// When it happened.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_time_ns(event: *const c_void) -> i64 {
    part(event, 0, |event| {
        event.event.time().duration_since(UNIX_EPOCH).map_or(0, nanos) // not before 1970
    })
}

/// The state before.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_from(event: *const c_void) -> c_int {
    part(event, -1, |event| match event.event.kind() {
        EventKind::State { from, .. } => state(*from),
        _ => -1,
    })
}

/// The state after.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_to(event: *const c_void) -> c_int {
    part(event, -1, |event| match event.event.kind() {
        EventKind::State { to, .. } => state(*to),
        _ => -1,
    })
}

/// A number, by kind.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_number(event: *const c_void) -> u64 {
    part(event, 0, |event| match event.event.kind() {
        EventKind::Connected { attempt, .. } => u64::from(*attempt),
        EventKind::Beat { seq, .. } | EventKind::Alive { seq } | EventKind::Missed { seq, .. } => {
            *seq
        }
        EventKind::Silent { misses, .. } => u64::from(*misses),
        EventKind::Disconnected { beats, .. } => *beats,
        EventKind::Overflowed { count } => *count,
        _ => 0,
    })
}

/// A time, by kind.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_took_ns(event: *const c_void) -> i64 {
    part(event, -1, |event| match event.event.kind() {
        EventKind::Connected { took, .. } => nanos(*took),
        EventKind::Beat { rtt: Some(rtt), .. } => nanos(*rtt),
        EventKind::Silent { silent, .. } => nanos(*silent),
        EventKind::Missed { timeout, .. } => nanos(*timeout),
        EventKind::State { down: Some(down), .. } => nanos(*down),
        EventKind::Disconnected { lived, .. } => nanos(*lived),
        EventKind::Stalled { late, .. } => nanos(*late),
        _ => -1,
    })
}

/// The name of the link.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_name(event: *const c_void) -> *const c_char {
    text(event, |event| &event.name, |event| Some(event.event.name().to_owned()))
}

/// All of it, as one line.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_text(event: *const c_void) -> *const c_char {
    text(event, |event| &event.text, |event| Some(event.event.to_string()))
}

/// The word of the cause: as it was worked out, or as it was met.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_cause(event: *const c_void) -> *const c_char {
    part(event, std::ptr::null(), |event| {
        let told = event.diagnosis().map(Diagnosis::cause);
        told.or(event.event.kind().cause()).map_or(std::ptr::null(), causes::word)
    })
}

/// What was seen.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_detail(event: *const c_void) -> *const c_char {
    text(
        event,
        |event| &event.detail,
        |event| {
            let told = event.diagnosis().map(Diagnosis::detail);
            told.or(event.loss().map(|loss| loss.detail.as_str())).map(str::to_owned)
        },
    )
}

/// How sure that is.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_confidence(event: *const c_void) -> *const c_char {
    part(event, std::ptr::null(), |event| {
        let word: &CStr = match event.diagnosis().map(Diagnosis::confidence) {
            Some(Confidence::Possible) => c"possible",
            Some(Confidence::Likely) => c"likely",
            Some(Confidence::Certain) => c"certain",
            _ => return std::ptr::null(),
        };
        word.as_ptr()
    })
}

/// Who should act, and how.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_advice(event: *const c_void) -> *const c_char {
    text(
        event,
        |event| &event.advice,
        |event| event.diagnosis().map(|told| told.advice().to_owned()),
    )
}

/// What else it may be.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_alternative(event: *const c_void, i: usize) -> *const c_char {
    part(event, std::ptr::null(), |event| {
        let other = event.diagnosis().and_then(|told| told.alternatives().get(i));
        other.map_or(std::ptr::null(), |cause| causes::word(*cause))
    })
}

/// The i-th fact of the evidence.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_event_fact(
    event: *const c_void,
    i: usize,
    name: *mut *const c_char,
    fact: *mut *const c_char,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let (name, fact) = unsafe { (out(name, std::ptr::null()), out(fact, std::ptr::null())) };
        let (name, fact) = (name?, fact?);
        let event = handles::event(event)?;
        let found = event.facts().get(i);
        let (known, told) = found.ok_or_else(|| Fail::new(END, "there are no more facts"))?;
        (*name, *fact) = (known.as_ptr(), told.as_ptr());
        Ok(())
    })
}

/// Forgets the event.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_event_free(event: *mut c_void) {
    call(|| handles::free(event.cast_const(), handles::event).map(drop));
}
