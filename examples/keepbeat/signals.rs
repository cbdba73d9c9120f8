//! SIGINT and SIGTERM: the first asks the program to end, the second ends it at once.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// `timeout` and others send a signal to the process and then to its group: the two count as one.
const TWICE: Duration = Duration::from_millis(100);

/// How long an orderly end may take.
const LAST: Duration = Duration::from_secs(5);

/// Ends the process if it has not ended in time, `after` from now: a standard output that nobody
/// reads may block the main thread for ever.
pub fn end_at_last(after: Duration) {
    let body = move || {
        thread::sleep(after.saturating_add(LAST));
        eprintln!("keepbeat: standard output is blocked: ended without the summary");
        std::process::exit(1);
    };
    // If no thread can be started, the second signal still ends the process.
    let _ = thread::Builder::new().name("watchdog".to_owned()).spawn(body);
}

/// The thread that waits for signals. Ends when it is dropped.
pub struct Waiter {
    signals: Receiver<()>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Waiter {
    /// After this a signal no longer ends the process by itself.
    pub fn start() -> io::Result<Waiter> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let handle = signals.handle();
        let (asked, receiver) = bounded(1);
        let body = move || {
            let mut first = None;
            for signal in &mut signals {
                let now = Instant::now();
                if first.is_none() {
                    end_at_last(Duration::ZERO);
                }
                if now > *first.get_or_insert(now) + TWICE {
                    // Also if the main thread is blocked on a standard output that nobody
                    // reads.
                    std::process::exit(128 + signal);
                }
                let _ = asked.try_send(());
            }
        };
        let thread = thread::Builder::new().name("signals".to_owned()).spawn(body)?;
        Ok(Waiter { signals: receiver, handle, thread: Some(thread) })
    }

    /// Receives a message when the program is to end.
    pub fn asked(&self) -> &Receiver<()> {
        &self.signals
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
