//! Strings and bytes across the border.

use std::ffi::{CStr, CString, c_char, c_void};

use crate::call::{Fail, Outcome};

/// A copy for C. A NUL inside would end it there, and is left out.
pub(crate) fn owned(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().filter(|byte| *byte != 0).collect();
    CString::new(bytes).unwrap_or_default() // there is none any more
}

/// The string that C gives; none for NULL.
///
/// # Safety
///
/// NULL, or a string that ends with NUL and outlives the result.
pub(crate) unsafe fn given<'a>(text: *const c_char, what: &str) -> Outcome<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: asked of the caller.
    let text = unsafe { CStr::from_ptr(text) };
    match text.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Fail::invalid(format!("{what} is not UTF-8"))),
    }
}

/// The same where it must be there.
///
/// # Safety
///
/// As [`given`].
pub(crate) unsafe fn needed<'a>(text: *const c_char, what: &str) -> Outcome<&'a str> {
    // SAFETY: asked of the caller.
    unsafe { given(text, what) }?.ok_or_else(|| Fail::invalid(format!("{what} is NULL")))
}

/// The bytes that C gives; none for NULL.
///
/// # Safety
///
/// NULL, or so many bytes that outlive the result.
pub(crate) unsafe fn bytes<'a>(
    start: *const c_void,
    len: usize,
    what: &str,
) -> Outcome<Option<&'a [u8]>> {
    match (start.is_null(), len) {
        (true, 0) => Ok(None),
        (true, _) => Err(Fail::invalid(format!("{what} is NULL, and its length is {len}"))),
        (_, len) if len > isize::MAX as usize => {
            Err(Fail::invalid(format!("{what} cannot be {len} bytes long")))
        }
        // SAFETY: asked of the caller.
        _ => Ok(Some(unsafe { std::slice::from_raw_parts(start.cast(), len) })),
    }
}

/// Copies a text into a field of a struct: cut where it is longer, at the border of a letter, and
/// always terminated.
pub(crate) fn fill(field: &mut [c_char], text: &str) {
    let most = field.len() - 1;
    let cut = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    field.fill(0);
    for (place, byte) in field.iter_mut().zip(text[..cut].bytes()) {
        *place = byte as c_char;
    }
}

/// Gives a result by its out-parameter.
///
/// # Safety
///
/// NULL, or a place for it.
pub(crate) unsafe fn out<'a, T>(place: *mut T, clear: T) -> Outcome<&'a mut T> {
    if place.is_null() {
        return Err(Fail::invalid("the place for the result is NULL"));
    }
    // SAFETY: asked of the caller; what was there is overwritten, not dropped.
    unsafe {
        place.write(clear);
        Ok(&mut *place)
    }
}
