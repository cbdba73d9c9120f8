//! A test that measures its own process, or changes it, and so runs in a process of its own.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const NAME: &str = "KEEPBEAT_ALONE";

/// True in the process in which the test of this name runs alone. Elsewhere it is started, must end
/// well within the time, and there is nothing left to do.
pub fn alone(test: &str, within: Duration) -> bool {
    let is_alone = is_alone(test);
    if !is_alone {
        run_alone(test, within, |_| {});
    }
    is_alone
}

/// Whether this is the process in which the test of this name runs alone.
pub fn is_alone(test: &str) -> bool {
    std::env::var(NAME).is_ok_and(|name| name == test)
}

/// Runs the test of this name in a process of its own, which is prepared before.
pub fn run_alone(test: &str, within: Duration, prepare: impl FnOnce(&mut Command)) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--test-threads=1", "--nocapture"])
        .env(NAME, test)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    prepare(&mut command);
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + within;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            break child.wait().unwrap();
        }
        thread::sleep(Duration::from_millis(5)); // between two looks
    };
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success(), "{test} alone, within {within:?}: {status}\n{said}");
    assert!(said.contains("1 passed"), "{test} did not run:\n{said}");
}
