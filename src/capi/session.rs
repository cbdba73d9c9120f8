//! HTTP sessions: requests on kept connections. In a library that was built with `session`.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io::Read;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use keepbeat::http::Method;
use keepbeat::{Error, Session, SessionBuilder};

use crate::call::{END, Fail, Outcome, call, limit, value};
use crate::event::nanos;
use crate::framing::{NONE, millis, with};
use crate::handles::{self, Thing};
use crate::layout::{Grows, read, unknown};
use crate::text::{bytes, given, needed, out, owned};

/// `kb_session_settings`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    size: usize,
    timeout_ms: u32,
    connect_timeout_ms: u32,
    first_byte_timeout_ms: u32,
    silence_timeout_ms: u32,
    idle_timeout_ms: u32,
    max_per_host: u32,
    max_idle_per_host: u32,
    max_total: u32,
    max_redirects: u32,
    no_proxy: u8,
    reserved: [u8; 3],
    user_agent: *const c_char,
    proxy: *const c_char,
}

// SAFETY: `repr(C)`, the size is first, all of it are integers and pointers.
unsafe impl Grows for Settings {
    const NAME: &'static str = "kb_session_settings";
}

/// # Safety
///
/// Its strings are strings.
unsafe fn builder(settings: &Settings) -> Outcome<SessionBuilder> {
    if settings.reserved != [0; 3] {
        return Err(unknown::<Settings>());
    }
    let mut session = Session::builder();
    type Time = fn(SessionBuilder, Duration) -> SessionBuilder;
    let times: [(u32, Time); 5] = [
        (settings.timeout_ms, SessionBuilder::timeout),
        (settings.connect_timeout_ms, SessionBuilder::connect_timeout),
        (settings.first_byte_timeout_ms, SessionBuilder::first_byte_timeout),
        (settings.silence_timeout_ms, SessionBuilder::silence_timeout),
        (settings.idle_timeout_ms, SessionBuilder::idle_timeout),
    ];
    for (time, set) in times {
        session = with(session, millis(time), set);
    }
    type Count = fn(SessionBuilder, usize) -> SessionBuilder;
    let counts: [(u32, Count); 3] = [
        (settings.max_per_host, SessionBuilder::max_per_host),
        (settings.max_idle_per_host, SessionBuilder::max_idle_per_host),
        (settings.max_total, SessionBuilder::max_total),
    ];
    for (count, set) in counts {
        let most = if count == NONE { 0 } else { count as usize };
        session = with(session, (count != 0).then_some(most), set);
    }
    session = match settings.max_redirects {
        0 => session,
        NONE => session.max_redirects(0),
        most => session.max_redirects(most),
    };
    // SAFETY: asked of the caller.
    let (agent, proxy) = unsafe {
        (given(settings.user_agent, "the user agent")?, given(settings.proxy, "the proxy")?)
    };
    session = with(session, agent, SessionBuilder::user_agent);
    session = match proxy {
        Some(proxy) => session.proxy(proxy),
        None if settings.no_proxy != 0 => session.no_proxy(),
        None => session,
    };
    Ok(session)
}

/// A session.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_session_new(
    settings: *const Settings,
    to: *mut *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let (to, settings) = unsafe { (out(to, std::ptr::null_mut())?, read(settings)?) };
        let builder = match settings {
            // SAFETY: asked of the caller.
            Some(settings) => unsafe { builder(&settings) }?,
            None => Session::builder(),
        };
        *to = handles::add(Thing::Session(Arc::new(builder.build()?)));
        Ok(())
    })
}

/// Forgets the session; its connections go with its last response.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_session_free(session: *mut c_void) {
    call(|| handles::free(session.cast_const(), handles::session).map(drop));
}

thread_local! {
    /// Whether this thread's last request, which failed, may have run.
    static RAN: Cell<bool> = const { Cell::new(false) };
}

/// What came back, as it is told to C.
pub(crate) struct Answer {
    status: c_int,
    url: CString,
    headers: Vec<(CString, CString)>,
    idle: Option<Duration>,
    replayed: bool,
    body: Mutex<keepbeat::session::Reader>,
    whole: OnceLock<Vec<u8>>,
}

fn failed(error: Error) -> Fail {
    RAN.set(error.may_have_run());
    error.into()
}

/// # Safety
///
/// NULL, or an array of strings that ends with NULL.
unsafe fn fields<'a>(lines: *const *const c_char) -> Outcome<Vec<(&'a str, &'a str)>> {
    let mut fields = Vec::new();
    if lines.is_null() {
        return Ok(fields);
    }
    loop {
        // SAFETY: asked of the caller; the last one was not NULL.
        let line = unsafe { given(*lines.add(fields.len()), "a header") }?;
        let Some(line) = line else { return Ok(fields) };
        let (name, value) = line.split_once(':').ok_or_else(|| {
            let name = line.split(|letter: char| !letter.is_ascii_graphic()).next();
            let name = name.unwrap_or_default(); // the rest may be a secret
            Fail::invalid(format!("the header `{name}` has no colon: give \"Name: value\""))
        })?;
        fields.push((name, value.trim_matches([' ', '\t'])));
    }
}

/// Sends a request, and waits for the head of its answer.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_request(
    session: *mut c_void,
    method: *const c_char,
    url: *const c_char,
    headers: *const *const c_char,
    body: *const c_void,
    len: usize,
    timeout_ms: c_int,
    to: *mut *mut c_void,
) -> c_int {
    call(|| {
        let _ = RAN.try_with(|ran| ran.set(false)); // a thread that ends has none
        // SAFETY: asked of the caller.
        let (to, method, url, headers, body) = unsafe {
            (
                out(to, std::ptr::null_mut())?,
                needed(method, "the method")?,
                needed(url, "the URL")?,
                fields(headers)?,
                bytes(body, len, "the body")?,
            )
        };
        let limit = limit(timeout_ms)?;
        let session = handles::session(session)?;
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| Fail::invalid(format!("`{method}` is no method of HTTP")))?;
        let mut request = session.method(method, url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        if let Some(limit) = limit {
            request = request.timeout(limit.max(Duration::from_millis(1)));
        }
        let response = request.send().map_err(failed)?;
        *to = handles::add(Thing::Response(Arc::new(Answer::new(response))));
        Ok(())
    })
}

impl Answer {
    fn new(response: keepbeat::Response) -> Answer {
        let text = |value: &[u8]| owned(&String::from_utf8_lossy(value));
        let headers = response.headers().iter();
        Answer {
            status: response.status().as_u16().into(),
            url: owned(&response.uri().to_string()),
            headers: headers.map(|(n, v)| (owned(n.as_str()), text(v.as_bytes()))).collect(),
            idle: response.idle_before(),
            replayed: response.replayed(),
            body: Mutex::new(response.into_reader()),
            whole: OnceLock::new(),
        }
    }

    fn read(&self, room: &mut [u8]) -> Outcome<usize> {
        let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        body.read(room).map_err(|error| Fail::http(error.to_string()))
    }
}

/// Whether the request of this thread that failed last may have run.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_request_may_have_run() -> c_int {
    value(1, || Ok(RAN.try_with(Cell::get).unwrap_or(true).into()))
}

fn part<T: Copy>(response: *const c_void, or: T, f: impl FnOnce(&Answer) -> T) -> T {
    value(or, || Ok(f(&*handles::response(response)?)))
}

/// Its status.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_response_status(response: *const c_void) -> c_int {
    part(response, 0, |answer| answer.status)
}

/// Where it came from at last.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_response_url(response: *const c_void) -> *const c_char {
    part(response, std::ptr::null(), |answer| answer.url.as_ptr())
}

/// How long its connection had been idle.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_response_idle_ns(response: *const c_void) -> i64 {
    part(response, -1, |answer| answer.idle.map_or(-1, nanos))
}

/// Whether it was sent twice.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_response_replayed(response: *const c_void) -> c_int {
    part(response, 0, |answer| answer.replayed.into())
}

/// The first header of this name.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_response_header(
    response: *const c_void,
    name: *const c_char,
) -> *const c_char {
    value(std::ptr::null(), || {
        let answer = handles::response(response)?;
        // SAFETY: asked of the caller.
        let name = unsafe { needed(name, "the name of the header") }?;
        let is = |known: &CString| known.to_bytes().eq_ignore_ascii_case(name.as_bytes());
        let found = answer.headers.iter().find(|(known, _)| is(known));
        Ok(found.map_or(std::ptr::null(), |(_, value)| value.as_ptr()))
    })
}

/// The i-th header.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_response_field(
    response: *const c_void,
    i: usize,
    name: *mut *const c_char,
    content: *mut *const c_char,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let (name, content) =
            unsafe { (out(name, std::ptr::null()), out(content, std::ptr::null())) };
        let (name, content) = (name?, content?);
        let answer = handles::response(response)?;
        let (known, told) =
            answer.headers.get(i).ok_or_else(|| Fail::new(END, "there are no more headers"))?;
        (*name, *content) = (known.as_ptr(), told.as_ptr());
        Ok(())
    })
}

/// The next piece of the body.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_response_read(
    response: *mut c_void,
    into: *mut c_void,
    room: usize,
    n: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let n = unsafe { out(n, 0) }?;
        let answer = handles::response(response)?;
        if into.is_null() || room == 0 || room > isize::MAX as usize {
            return Err(Fail::invalid("there is no room for the body"));
        }
        // SAFETY: asked of the caller; zeros first, because what is read into must hold something.
        let room = unsafe {
            into.cast::<u8>().write_bytes(0, room);
            std::slice::from_raw_parts_mut(into.cast::<u8>(), room)
        };
        *n = answer.read(room)?;
        Ok(())
    })
}

/// All of the body that was not read yet.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_response_body(
    response: *mut c_void,
    most: usize,
    data: *mut *const c_void,
    len: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: asked of the caller.
        let (data, len) = unsafe { (out(data, std::ptr::null()), out(len, 0)) };
        let (data, len) = (data?, len?);
        let answer = handles::response(response)?;
        let most = if most == 0 { BODY } else { most };
        if answer.whole.get().is_none() {
            let _ = answer.whole.set(answer.rest(most)?); // another thread may have been faster
        }
        let whole = answer.whole.get().map(Vec::as_slice).unwrap_or_default();
        (*data, *len) = (whole.as_ptr().cast(), whole.len());
        Ok(())
    })
}

/// Where C does not say how much of a body it takes.
const BODY: usize = 10 << 20;

impl Answer {
    fn rest(&self, most: usize) -> Outcome<Vec<u8>> {
        let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        let mut whole = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let read = body.by_ref().take(limit).read_to_end(&mut whole);
        read.map_err(|error| Fail::http(error.to_string()))?;
        if whole.len() > most {
            return Err(Fail::http(format!(
                "the body is longer than {most} bytes, which it may be"
            )));
        }
        Ok(whole)
    }
}

/// Forgets it. What was not read of its body is, a little, or its connection is closed.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_response_free(response: *mut c_void) {
    call(|| handles::free(response.cast_const(), handles::response).map(drop));
}

/// As programs were compiled with it.
#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Settings>() == 64 && offset_of!(Settings, timeout_ms) == 8);
    assert!(offset_of!(Settings, no_proxy) == 44 && offset_of!(Settings, proxy) == 56);
};
