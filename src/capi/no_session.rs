//! The calls of HTTP sessions in a library without them, so that one that has them can take its
//! place and the other way round: each says so.

use std::ffi::{c_char, c_int, c_void};

use crate::call::{Fail, call, value};

fn none() -> Fail {
    Fail::invalid("this library has no HTTP sessions: build it with FEATURES=session")
}

/// Each with the arguments that the header declares; none is looked at.
macro_rules! none {
    ($($name:ident($($argument:ty),*) -> $result:ty = $or:expr;)*) => {$(
        /// Says that it is not there.
        #[unsafe(no_mangle)]
        pub extern "C-unwind" fn $name($(_: $argument),*) -> $result {
            value($or, || Err(none()))
        }
    )*};
}

none! {
    kb_response_status(*const c_void) -> c_int = 0;
    kb_response_url(*const c_void) -> *const c_char = std::ptr::null();
    kb_response_idle_ns(*const c_void) -> i64 = -1;
    kb_response_replayed(*const c_void) -> c_int = 0;
    kb_response_header(*const c_void, *const c_char) -> *const c_char = std::ptr::null();
    kb_request_may_have_run() -> c_int = 0;
    kb_session_free(*mut c_void) -> () = ();
    kb_response_free(*mut c_void) -> () = ();
    kb_response_field(*const c_void, usize, *mut c_void, *mut c_void) -> c_int = -1;
    kb_response_read(*mut c_void, *mut c_void, usize, *mut usize) -> c_int = -1;
    kb_response_body(*mut c_void, usize, *mut c_void, *mut usize) -> c_int = -1;
}

/// A place for a handle, which there will be none of.
///
/// # Safety
///
/// NULL, or such a place.
unsafe fn refuse(to: *mut *mut c_void) -> c_int {
    // SAFETY: asked of the caller.
    call(|| unsafe { crate::text::out(to, std::ptr::null_mut()) }.and(Err(none())))
}

/// Says that it is not there.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_session_new(_: *const c_void, to: *mut *mut c_void) -> c_int {
    // SAFETY: asked of the caller.
    unsafe { refuse(to) }
}

/// Says that it is not there.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kb_request(
    _: *mut c_void,
    _: *const c_char,
    _: *const c_char,
    _: *const *const c_char,
    _: *const c_void,
    _: usize,
    _: c_int,
    to: *mut *mut c_void,
) -> c_int {
    // SAFETY: asked of the caller.
    unsafe { refuse(to) }
}
