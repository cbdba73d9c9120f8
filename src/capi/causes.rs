//! The words of causes, as strings that live for ever.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int};
use std::sync::atomic::{AtomicPtr, Ordering};

use keepbeat::Cause;

use crate::call::{Fail, value};
use crate::text::{needed, owned};

struct Words {
    word: CString,
    meaning: CString,
    confirm: CString,
    remedy: CString,
}

type All = HashMap<&'static str, Words>;

/// Made when first asked for, and kept. No lock: one that is held at a fork hangs the child.
fn all() -> &'static All {
    static ALL: AtomicPtr<All> = AtomicPtr::new(std::ptr::null_mut());
    // SAFETY: what is stored there is leaked, and lives for ever.
    if let Some(all) = unsafe { ALL.load(Ordering::Acquire).as_ref() } {
        return all;
    }
    let words = |cause: &Cause| Words {
        word: owned(cause.word()),
        meaning: owned(cause.sentence()),
        confirm: owned(cause.confirm()),
        remedy: owned(cause.remedy()),
    };
    let made: All = Cause::ALL.iter().map(|cause| (cause.word(), words(cause))).collect();
    let made = Box::into_raw(Box::new(made));
    let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
    let first = ALL.compare_exchange(std::ptr::null_mut(), made, success, failure);
    let all = first.map_or_else(
        |theirs| {
            // SAFETY: made just now, and seen by nobody: another thread was faster.
            drop(unsafe { Box::from_raw(made) });
            theirs
        },
        |_| made,
    );
    // SAFETY: as above.
    unsafe { &*all }
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
pub unsafe extern "C-unwind" fn kb_explain(cause: *const c_char, what: c_int) -> *const c_char {
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
pub extern "C-unwind" fn kb_cause(i: usize) -> *const c_char {
    value(std::ptr::null(), || Ok(Cause::ALL.get(i).map_or(std::ptr::null(), |cause| word(*cause))))
}
