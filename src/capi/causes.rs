//! The words of causes, as strings that live for ever.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int};
use std::sync::OnceLock;

use keepbeat::Cause;

use crate::call::{Fail, value};
use crate::text::{needed, owned};

struct Words {
    word: CString,
    meaning: CString,
    confirm: CString,
    remedy: CString,
}

fn all() -> &'static HashMap<&'static str, Words> {
    static ALL: OnceLock<HashMap<&'static str, Words>> = OnceLock::new();
    ALL.get_or_init(|| {
        let words = |cause: &Cause| Words {
            word: owned(cause.word()),
            meaning: owned(cause.sentence()),
            confirm: owned(cause.confirm()),
            remedy: owned(cause.remedy()),
        };
        Cause::ALL.iter().map(|cause| (cause.word(), words(cause))).collect()
    })
}

/// The word of a cause.
pub(crate) fn word(cause: Cause) -> *const c_char {
    all().get(cause.word()).map_or(std::ptr::null(), |words| words.word.as_ptr())
}

/// What a cause means, how to confirm it, what to change.
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kb_explain(cause: *const c_char, what: c_int) -> *const c_char {
    value(std::ptr::null(), || {
        // SAFETY: asked of the caller.
        let cause = unsafe { needed(cause, "the cause") }?;
        let words = all().get(cause);
        let words = words.ok_or_else(|| Fail::invalid(format!("`{cause}` is no cause")))?;
        Ok(match what {
            0 => words.meaning.as_ptr(),
            1 => words.confirm.as_ptr(),
            2 => words.remedy.as_ptr(),
            _ => {
                let text = format!("{what} cannot be told: use KB_MEANING, KB_CONFIRM, KB_REMEDY");
                return Err(Fail::invalid(text));
            }
        })
    })
}

/// The i-th word.
#[unsafe(no_mangle)]
pub extern "C" fn kb_cause(i: usize) -> *const c_char {
    value(std::ptr::null(), || Ok(Cause::ALL.get(i).map_or(std::ptr::null(), |cause| word(*cause))))
}
