//! The border: results and their sentences, and what no call may do to its caller.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use keepbeat::{Error, ErrorKind};

use crate::text::owned;

pub(crate) const OK: c_int = 0;
pub(crate) const INVALID: c_int = -1;
const LIMIT: c_int = -2;
const STOPPED: c_int = -3;
const NO_LINK: c_int = -4;
pub(crate) const BUSY: c_int = -5;
pub(crate) const TIMEOUT: c_int = -6;
const DOWN: c_int = -7;
const LEFT: c_int = -8;
const PANIC: c_int = -9;
const FORKED: c_int = -10;
pub(crate) const END: c_int = -11;
const IO: c_int = -12;
const CONNECT: c_int = -13;
const STALE: c_int = -14;
const HTTP: c_int = -15;

/// Why a call did not do what it was asked for.
pub(crate) struct Fail {
    code: c_int,
    text: String,
}

pub(crate) type Outcome<T = ()> = Result<T, Fail>;

impl Fail {
    pub(crate) fn new(code: c_int, text: impl Into<String>) -> Fail {
        Fail { code, text: text.into() }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Fail {
        Fail::new(INVALID, text)
    }

    #[cfg(feature = "session")]
    pub(crate) fn http(text: impl Into<String>) -> Fail {
        Fail::new(HTTP, text)
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.code == FORKED
    }

    pub(crate) fn forked() -> Fail {
        let text = "this handle belongs to the parent of this forked process: fork before kb_new, \
                    or make a coordinator of its own";
        Fail::new(FORKED, text)
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Fail {
        let code = match error.kind() {
            ErrorKind::Invalid => INVALID,
            ErrorKind::Limit => LIMIT,
            ErrorKind::Stopped => STOPPED,
            ErrorKind::Forked => FORKED,
            ErrorKind::UnknownLink => NO_LINK,
            ErrorKind::LeftBehind => LEFT,
            ErrorKind::Down => DOWN,
            ErrorKind::Busy => BUSY,
            ErrorKind::Timeout => TIMEOUT,
            ErrorKind::Connect => CONNECT,
            ErrorKind::Stale => STALE,
            ErrorKind::Http | ErrorKind::Status => HTTP,
            _ => IO,
        };
        Fail::new(code, error.to_string())
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// This thread's sentence of its last failure.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// What a code means.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_strerror(code: c_int) -> *const c_char {
    let text = match code {
        OK => c"no error",
        INVALID => c"an argument cannot work",
        LIMIT => c"no room for descriptors, threads or mappings",
        STOPPED => c"the coordinator was stopped",
        NO_LINK => c"no such link",
        BUSY => c"nothing waits, or it would have to wait",
        TIMEOUT => c"the time was up",
        DOWN => c"the link has no connection, or is over",
        LEFT => c"a thread is still busy",
        PANIC => c"a bug of the library",
        FORKED => c"the handle belongs to the parent process",
        END => c"nothing more will come",
        IO => c"the operating system said no",
        CONNECT => c"a request found no connection",
        STALE => c"the kept connection ended as the request went out",
        HTTP => c"what came is no answer of HTTP",
        _ => c"no code of keepbeat",
    };
    text.as_ptr()
}

unsafe extern "C-unwind" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
    fn pthread_setcanceltype(kind: c_int, before: *mut c_int) -> c_int;
}

const PTHREAD_CANCEL_DISABLE: c_int = 1;
const PTHREAD_CANCEL_DEFERRED: c_int = 0;

/// What a call leaves as it was: errno, and whether the thread can be cancelled. Inside, it cannot:
/// who is cancelled while it writes would keep the others waiting for ever.
#[derive(Clone, Copy)]
struct Unnoticed {
    errno: c_int,
    cancel: c_int,
    kind: c_int,
}

impl Unnoticed {
    fn begin() -> Unnoticed {
        let (mut cancel, mut kind) = (PTHREAD_CANCEL_DISABLE, PTHREAD_CANCEL_DEFERRED);
        // SAFETY: errno's place is always there; each call writes one int.
        unsafe {
            let errno = *libc::__errno_location();
            pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &mut cancel);
            pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &mut kind);
            Unnoticed { errno, cancel, kind }
        }
    }

    /// A thread that may be cancelled at any instruction, and was meanwhile, ends in here: glibc
    /// unwinds it, through frames in which nothing is left to drop. That is why every call is
    /// `extern "C-unwind"`, though no panic passes.
    fn end(self) {
        let mut ours = 0;
        // SAFETY: as above, with what was read there.
        unsafe {
            *libc::__errno_location() = self.errno;
            pthread_setcancelstate(self.cancel, &mut ours);
            // The last: it is this call that ends the thread, with the result of one cancelled.
            pthread_setcanceltype(self.kind, &mut ours);
        }
    }
}

/// Runs what a call does. Where it fails, that is this thread's last error.
pub(crate) fn call(f: impl FnOnce() -> Outcome) -> c_int {
    get(|| f().map(|()| OK), |code| code)
}

/// The same of a call that returns a descriptor: where it fails, the code, which is negative.
pub(crate) fn descriptor(f: impl FnOnce() -> Outcome<c_int>) -> c_int {
    get(f, |code| code)
}

/// The same of a call that returns a value; `or` where it fails.
pub(crate) fn value<T: Copy>(or: T, f: impl FnOnce() -> Outcome<T>) -> T {
    get(f, |_| or)
}

fn get<T: Copy>(f: impl FnOnce() -> Outcome<T>, failed: impl FnOnce(c_int) -> T) -> T {
    let unnoticed = Unnoticed::begin();
    let result = told(f).unwrap_or_else(failed);
    unnoticed.end();
    result
}

/// What came of it, or the code of what this thread's last error says.
fn told<T>(f: impl FnOnce() -> Outcome<T>) -> Result<T, c_int> {
    // Whatever was half done is behind locks that say so, or is dropped here.
    let fail = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(fail)) => fail,
        Err(panic) => Fail::new(PANIC, format!("a bug of keepbeat: {}", words(&*panic))),
    };
    let sentence = owned(&fail.text);
    // A thread that is ending has no place for it any more.
    let _ = LAST.try_with(|last| last.replace(sentence));
    Err(fail.code)
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}

/// A limit of time: none stands for the call's default.
pub(crate) fn limit(timeout_ms: c_int) -> Outcome<Option<Duration>> {
    match timeout_ms {
        -1 => Ok(None),
        0.. => Ok(Some(Duration::from_millis(timeout_ms.unsigned_abs().into()))),
        _ => Err(Fail::invalid(format!(
            "a timeout of {timeout_ms} ms cannot work: use 0 for not at all, -1 for the default"
        ))),
    }
}
