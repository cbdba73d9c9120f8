//! A test that measures its own process, memory or threads, and so runs in a process of its own.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::server::ms;

const NAME: &str = "KEEPBEAT_ALONE";

/// True in the process in which the test of this name runs alone. Elsewhere it is started, must end
/// well within the time, and there is nothing left to do.
pub fn alone(test: &str, within: Duration) -> bool {
    if std::env::var(NAME).is_ok_and(|name| name == test) {
        return true;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--test-threads=1", "--nocapture"])
        .env(NAME, test)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + within;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            break child.wait().unwrap();
        }
        thread::sleep(ms(5)); // between two looks
    };
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success(), "{test} alone, within {within:?}: {status}\n{said}");
    assert!(said.contains("1 passed"), "{test} did not run:\n{said}");
    false
}

/// A line of /proc/self/status, in KiB.
pub fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with(line)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How many threads of this process have this name; the kernel keeps 15 bytes of it.
pub fn threads(name: &str) -> usize {
    let name = &name[..name.len().min(15)];
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|comm| comm.trim_end().starts_with(name))
        .count()
}
