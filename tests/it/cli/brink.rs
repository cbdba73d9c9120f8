//! A process that runs out of descriptors goes on, and tells what it can.

use keepbeat::{Exchange, Responder};

use super::process::{Running, keepbeat, peer};

/// The soft limit of descriptors of another process.
fn set_files(pid: u32, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: 1024 };
    // SAFETY: prlimit reads one rlimit, and writes none where the last argument is null.
    let result = unsafe {
        libc::prlimit(pid as libc::pid_t, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut())
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_run_without_descriptors_goes_on_tells_it_and_comes_back() {
    for json in [false, true] {
        let (first, one) = peer();
        let (_second, other) = peer();
        let address = first.local_addr();
        let flags = ["--interval", "100ms", "--timeout", "5s", "--backoff", "10ms"];
        let mut command = keepbeat(&flags);
        command.args(["--backoff-cap", "50ms", &format!("one={one}"), &format!("two={other}")]);
        command.args(json.then_some("--json"));
        let mut running = Running::new(command);
        let up = if json { "\"to\":\"up\"" } else { "● up" };
        running.line(up);
        running.line(up); // both of them, in any order
        // Not one more: none for a socket, and none for a line of its output.
        set_files(running.child.id(), 3);
        first.stop();
        let blamed = running.line("local-resources");
        assert!(blamed.contains("one"), "{blamed}");
        set_files(running.child.id(), 1024);
        let answer = || Exchange::answering("heartbeat", "heartbeat_ack");
        let _back = loop {
            if let Ok(peer) = Responder::bind(address, answer) {
                break peer;
            }
        };
        let back = if json { "\"to\":\"up\",\"cause\":null" } else { "● up          one" };
        running.line(back);
        running.signal("TERM");
        let done = running.done();
        assert_eq!(done.code, Some(0), "{}", done.out);
        assert!(!done.out.contains("✖ down        two"), "{}", done.out);
    }
}
