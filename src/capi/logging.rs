//! Where the log goes.

use std::ffi::{c_char, c_int, c_void};
use std::io::{self, Write};

use log::{LevelFilter, Log, Metadata, Record};

use crate::call::{BUSY, Fail, call};
use crate::text::owned;

type LogFn = extern "C" fn(c_int, *const c_char, *const c_char, *mut c_void);

struct Sink {
    to: Option<LogFn>,
    user: *mut c_void,
}

// SAFETY: the header says that the function is called on any thread; what `user` points to is the
// application's.
unsafe impl Send for Sink {}
// SAFETY: as above.
unsafe impl Sync for Sink {}

impl Log for Sink {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true // the level was looked at before
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        match self.to {
            Some(to) => {
                let (target, line) = (owned(record.target()), owned(&line));
                to(record.level() as c_int, target.as_ptr(), line.as_ptr(), self.user);
            }
            None => {
                let (level, target) = (record.level(), record.target());
                without_sigpipe(|| writeln!(io::stderr(), "{level} {target}: {line}"));
            }
        }
    }

    fn flush(&self) {}
}

/// Writes; where nobody reads any more, that is no reason to end the program, nor to panic.
fn without_sigpipe(write: impl FnOnce() -> io::Result<()>) {
    let (mut pipe, mut waiting, mut before) = (no_signals(), no_signals(), no_signals());
    // SAFETY: each call reads or writes sets that are there.
    let was_waiting = unsafe {
        libc::sigaddset(&mut pipe, libc::SIGPIPE);
        libc::sigpending(&mut waiting);
        libc::pthread_sigmask(libc::SIG_BLOCK, &pipe, &mut before);
        libc::sigismember(&waiting, libc::SIGPIPE) == 1
    };
    let failed = write().is_err();
    // SAFETY: as above; the signal that was raised here is taken, and the mask is as it was.
    unsafe {
        if failed && !was_waiting {
            let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            libc::sigtimedwait(&pipe, std::ptr::null_mut(), &at_once);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
    }
}

fn no_signals() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::zeroed();
    // SAFETY: it fills the set, which is zeros before.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Tells the log to a function, or to stderr.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_log_to(
    to: Option<LogFn>,
    user: *mut c_void,
    max_level: c_int,
) -> c_int {
    call(|| {
        let level = match max_level {
            1 => LevelFilter::Error,
            2 => LevelFilter::Warn,
            3 => LevelFilter::Info,
            4 => LevelFilter::Debug,
            5 => LevelFilter::Trace,
            _ => {
                let text = format!("{max_level} is no level: use 1, errors alone, to 5, all");
                return Err(Fail::invalid(text));
            }
        };
        log::set_boxed_logger(Box::new(Sink { to, user })).map_err(|_| {
            Fail::new(BUSY, "a logger was set before, by this program or by another library in it")
        })?;
        log::set_max_level(level);
        Ok(())
    })
}
