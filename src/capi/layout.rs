//! Structs of this version and of others: their first field is how long they are.

use std::mem::MaybeUninit;

use crate::call::{Fail, Outcome};

/// A struct of the header.
///
/// # Safety
///
/// `repr(C)`, begins with its size, and any bytes are a value of it; so are zeros.
pub(crate) unsafe trait Grows: Copy {
    const NAME: &'static str;
}

/// How long the struct is, by its own word.
///
/// # Safety
///
/// Not NULL, and the struct begins with its size.
unsafe fn size_of_theirs<T: Grows>(theirs: *const T) -> Outcome<usize> {
    // SAFETY: asked of the caller.
    let size = unsafe { theirs.cast::<usize>().read() };
    if (size_of::<usize>()..=4096).contains(&size) {
        return Ok(size);
    }
    let name = T::NAME;
    Err(Fail::invalid(format!("the size of this {name} is {size}: set it to sizeof({name})")))
}

/// What C gives, zeros in fields that it does not have; none for NULL.
///
/// # Safety
///
/// NULL, or a struct as long as it says.
pub(crate) unsafe fn read<T: Grows>(theirs: *const T) -> Outcome<Option<T>> {
    if theirs.is_null() {
        return Ok(None);
    }
    // SAFETY: asked of the caller.
    let size = unsafe { size_of_theirs(theirs) }?;
    // SAFETY: so many bytes are there.
    let bytes = unsafe { std::slice::from_raw_parts(theirs.cast::<u8>(), size) };
    let known = size.min(size_of::<T>());
    if bytes[known..].iter().any(|byte| *byte != 0) {
        return Err(unknown::<T>());
    }
    let mut ours = MaybeUninit::<T>::zeroed();
    // SAFETY: it fits into both, and any bytes are a value.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), ours.as_mut_ptr().cast(), known);
        Ok(Some(ours.assume_init()))
    }
}

/// What a later version may do with it would be passed over in silence.
pub(crate) fn unknown<T: Grows>() -> Fail {
    let (name, version) = (T::NAME, crate::VERSION);
    Fail::invalid(format!(
        "this {name} has fields that version {version:#x} of the library does not know: leave them \
         0, or use a newer library"
    ))
}

/// Sets all but the size to 0: the result of a call that fails.
///
/// # Safety
///
/// NULL, or room for as much as it says.
pub(crate) unsafe fn clear<T: Grows>(theirs: *mut T) -> Outcome {
    if theirs.is_null() {
        return Err(Fail::invalid(format!("the place for the {} is NULL", T::NAME)));
    }
    // SAFETY: asked of the caller.
    unsafe {
        let size = size_of_theirs(theirs.cast_const())?;
        theirs.cast::<u8>().write_bytes(0, size);
        theirs.cast::<usize>().write(size);
    }
    Ok(())
}

/// Fills what C has room for, zeros behind what this version knows; its size says how much that is.
///
/// # Safety
///
/// NULL, or room for as much as it says.
pub(crate) unsafe fn fill<T: Grows>(theirs: *mut T, mut ours: T) -> Outcome {
    // SAFETY: asked of the caller.
    let size = unsafe {
        clear(theirs)?;
        size_of_theirs(theirs.cast_const())?
    };
    let known = size.min(size_of::<T>());
    // SAFETY: it fits into both; the size is the first field of ours.
    unsafe {
        (&raw mut ours).cast::<usize>().write(known);
        std::ptr::copy_nonoverlapping((&raw const ours).cast::<u8>(), theirs.cast(), known);
    }
    Ok(())
}
