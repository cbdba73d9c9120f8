//! Threads made by `pthread_create` itself. A thread of std has a second stack for signals, which
//! costs two more memory mappings and 4 KiB, and where no mapping is left std aborts the process.
//! Here that is an error.
//!
//! What is lost by it: std's message when a thread of ours overflows its stack (the process dies of
//! SIGSEGV on the guard page, without a word), and the name in std's message of a panic. The kernel
//! knows the name.

use std::any::Any;
use std::ffi::{CString, c_void};
use std::io;
use std::mem::{self, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::thread::with_signals_blocked;

/// A host with so much memory of its own in each thread is refused: glibc takes it from the stack.
const LARGEST_STACK: usize = 1 << 30;

/// A thread that runs, or has. Dropped, it runs on.
#[derive(Debug)]
pub(crate) struct Thread {
    id: libc::pthread_t,
    end: Arc<End>,
}

// SAFETY: a pthread_t may be used from any thread. It is a pointer on some systems, which only
// pthread functions follow.
unsafe impl Send for Thread {}
// SAFETY: no method changes anything through a shared reference but `end`, which is a lock.
unsafe impl Sync for Thread {}

/// How a thread has ended, once it has: with or without a panic.
#[derive(Debug, Default)]
struct End {
    result: Mutex<Option<Result<(), Box<dyn Any + Send>>>>,
    told: Condvar,
}

impl End {
    fn result(&self) -> MutexGuard<'_, Option<Result<(), Box<dyn Any + Send>>>> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a new thread is handed.
struct Start {
    name: CString,
    body: Box<dyn FnOnce() + Send>,
    end: Arc<End>,
}

impl Thread {
    /// Starts a thread with this name, of which the kernel keeps 15 bytes, and a stack of so many
    /// bytes at least. It is deaf to the signals of the host program.
    ///
    /// # Errors
    ///
    /// The machine has no thread or no memory mapping left.
    pub(crate) fn spawn(
        name: &str,
        stack: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<Thread> {
        let name: Vec<u8> = name.bytes().filter(|byte| *byte != 0).take(15).collect();
        let name = CString::new(name).unwrap_or_default();
        let end = Arc::<End>::default();
        let mut start = Box::new(Start { name, body: Box::new(body), end: Arc::clone(&end) });
        let mut stack = stack.max(smallest_stack()).next_multiple_of(page());
        loop {
            match create(stack, start) {
                Ok(id) => return Ok(Thread { id, end }),
                // The stack is too small for what the host keeps in each thread.
                Err((again, libc::EINVAL)) if stack < LARGEST_STACK => {
                    (start, stack) = (again, stack * 2);
                }
                Err((_, errno)) => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }

    /// Whether it has come to its end: then a join takes no time.
    pub(crate) fn is_finished(&self) -> bool {
        self.end.result().is_some()
    }

    /// Whether the caller is this thread.
    pub(crate) fn is_current(&self) -> bool {
        // SAFETY: the thread was neither joined nor detached, so its number is still its own.
        unsafe { libc::pthread_equal(self.id, libc::pthread_self()) != 0 }
    }

    /// Waits for its end; its panic is the error.
    pub(crate) fn join(self) -> Result<(), Box<dyn Any + Send>> {
        let this = mem::ManuallyDrop::new(self); // a drop would let go of it a second time
        // SAFETY: `end` is read once and never dropped in place.
        let end = unsafe { std::ptr::read(&this.end) };
        // SAFETY: this consumes the only handle of a thread that was neither joined nor detached,
        // and no thread of this crate holds its own.
        unsafe { libc::pthread_join(this.id, std::ptr::null_mut()) };
        let result = end.result().take();
        result.unwrap_or(Ok(()))
    }

    /// Waits for its end until then; the thread, if it runs on. A panic is passed over.
    pub(crate) fn join_by(self, deadline: Instant) -> Result<(), Thread> {
        let mut result = self.end.result();
        while result.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(result);
                return Err(self);
            }
            let waited = self.end.told.wait_timeout(result, left);
            result = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(result);
        let _ = self.join(); // whoever wants to know of a panic uses `join`
        Ok(())
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: it was neither joined nor detached: `join` does not drop what it joins.
        unsafe { libc::pthread_detach(self.id) };
    }
}

/// One try. What was handed over comes back with the error number.
fn create(stack: usize, start: Box<Start>) -> Result<libc::pthread_t, (Box<Start>, libc::c_int)> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut id = MaybeUninit::<libc::pthread_t>::uninit();
    let handed = Box::into_raw(start);
    // SAFETY: `attributes` is initialised before any other use and destroyed after the last. The
    // new thread alone takes `handed`, and nobody does where none was made. `id` is written where
    // the call succeeds.
    unsafe {
        let mut errno = libc::pthread_attr_init(attributes.as_mut_ptr());
        if errno == 0 {
            errno = libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), stack);
            if errno == 0 {
                errno = with_signals_blocked(|| {
                    libc::pthread_create(id.as_mut_ptr(), attributes.as_ptr(), run, handed.cast())
                });
            }
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
        }
        match errno {
            0 => Ok(id.assume_init()),
            errno => Err((Box::from_raw(handed), errno)),
        }
    }
}

/// The whole life of the thread. No panic leaves it: there is no Rust frame below.
extern "C" fn run(handed: *mut c_void) -> *mut c_void {
    // SAFETY: it is the box that `create` has made for this thread alone.
    let Start { name, body, end } = *unsafe { Box::from_raw(handed.cast::<Start>()) };
    set_name(&name);
    let result = catch_unwind(AssertUnwindSafe(body));
    *end.result() = Some(result);
    end.told.notify_all();
    std::ptr::null_mut()
}

fn set_name(name: &CString) {
    #[cfg(target_os = "linux")]
    // SAFETY: this option reads 16 bytes at most, up to the zero of a valid string.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
    }
    #[cfg(target_vendor = "apple")]
    // SAFETY: a valid string that ends with a zero, for this thread.
    unsafe {
        libc::pthread_setname_np(name.as_ptr());
    }
    #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
    let _ = name;
}

fn page() -> usize {
    // SAFETY: it takes an integer.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn smallest_stack() -> usize {
    // SAFETY: it takes an integer; -1 where it is not known.
    let least = unsafe { libc::sysconf(libc::_SC_THREAD_STACK_MIN) };
    usize::try_from(least).unwrap_or(0).max(16 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::panic::resume_unwind;
    use std::sync::mpsc;
    use std::time::Duration;

    const STACK: usize = 256 * 1024;

    fn long() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn a_thread_runs_has_its_name_and_is_joined() {
        let (tell, told) = mpsc::channel();
        let body = move || {
            let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
            tell.send(name).unwrap();
        };
        let thread = Thread::spawn("keepbeat-name-too-long", STACK, body).unwrap();
        assert!(!thread.is_current());
        assert!(thread.join().is_ok());
        let name = told.recv().unwrap();
        assert!(cfg!(not(target_os = "linux")) || name == "keepbeat-name-t\n", "{name:?}");
    }

    #[test]
    fn a_panic_ends_its_thread_alone_and_comes_back_with_the_join() {
        let body = || resume_unwind(Box::new("as it should"));
        let thread = Thread::spawn("panics", STACK, body).unwrap();
        let panic = thread.join().unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"as it should"));
    }

    #[test]
    fn what_a_thread_keeps_for_itself_is_dropped_before_the_join_comes_back() {
        struct Tells(mpsc::Sender<()>);
        impl Drop for Tells {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        thread_local!(static KEPT: Cell<Option<Tells>> = const { Cell::new(None) });
        let (tell, told) = mpsc::channel();
        let body = move || KEPT.set(Some(Tells(tell)));
        Thread::spawn("keeps", STACK, body).unwrap().join().unwrap();
        assert_eq!(told.try_recv(), Ok(()));
    }

    #[test]
    fn a_join_with_a_deadline_gives_back_who_runs_on() {
        let (go, wait) = mpsc::channel::<()>();
        let body = move || assert!(wait.recv().is_err());
        let thread = Thread::spawn("waits", STACK, body).unwrap();
        let thread = thread.join_by(Instant::now() + Duration::from_millis(5)).unwrap_err();
        assert!(!thread.is_finished());
        drop(go);
        assert!(thread.join_by(long()).is_ok());
    }

    #[test]
    fn a_thread_may_be_forgotten_and_runs_on() {
        let (tell, told) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let body = move || {
            assert!(wait.recv().is_err());
            tell.send(()).unwrap();
        };
        drop(Thread::spawn("forgotten", STACK, body).unwrap());
        drop(go);
        assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok(()));
    }

    #[test]
    fn a_stack_that_is_too_small_is_made_large_enough() {
        let thread =
            Thread::spawn("small", 1, || assert!(std::hint::black_box([0_u8; 4096]).len() > 1));
        assert!(thread.unwrap().join().is_ok());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn it_takes_two_mappings_and_a_refusal_is_an_error() {
        let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        let before = mappings();
        let threads: Vec<_> = (0..100)
            .map(|_| {
                let (go, wait) = mpsc::channel::<()>();
                (go, Thread::spawn("maps", STACK, move || assert!(wait.recv().is_err())).unwrap())
            })
            .collect();
        // Other tests run beside this one, and the allocator maps now and then.
        let each = mappings().saturating_sub(before) as f64 / 100.0;
        assert!(each < 3.0, "{each} mappings a thread");
        threads.into_iter().for_each(|(go, thread)| {
            drop(go);
            thread.join().unwrap();
        });
        let error = Thread::spawn("huge", 1 << 46, || {}).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "{error}");
    }
}
