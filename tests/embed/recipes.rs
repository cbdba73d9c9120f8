//! Examples that are recipes, run as they stand: what they are for happens.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

/// An example beside this test, built with it by a whole run.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("this test");
    let profile = test.ancestors().nth(2).map(PathBuf::from).expect("its folder");
    let path = profile.join("examples").join(name);
    assert!(path.exists(), "{} is missing: cargo build --example {name}", path.display());
    Command::new(path)
}

fn said(name: &str) -> String {
    let output = example(name).output().expect("it starts");
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&err));
    out
}

fn assert_has(said: &str, words: &[&str]) {
    for words in words {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
}

#[test]
fn a_websocket_is_followed_by_its_pings_until_its_server_hangs() {
    let said = said("websocket");
    assert_has(&said, &["the server says: 101.7", "prices: up", "prices: down: ack-timeout"]);
    assert!(!said.contains("firewall") && said.contains("beat 1 acked"), "{said}");
}

#[test]
fn events_are_awaited_in_order_up_to_the_last() {
    let said = said("async_events");
    assert_has(&said, &[": up", "five beats; now the peer goes", ": down: closed-by-peer"]);
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("ended"), "{said}");
}

/// A terminal in the place of a serial line: what is written to one end is read at the other.
fn line() -> (OwnedFd, String) {
    let (mut ours, mut theirs) = (-1, -1);
    let mut name = [0_u8; 128];
    // SAFETY: two places for descriptors, and room for a name, which is far shorter.
    let result = unsafe {
        let nothing = (std::ptr::null_mut(), std::ptr::null_mut());
        libc::openpty(&mut ours, &mut theirs, name.as_mut_ptr().cast(), nothing.0, nothing.1)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    // SAFETY: both were opened just now, and are nobody else's. Theirs is opened by its name.
    let (ours, _theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    (ours, String::from_utf8_lossy(name).into_owned())
}

#[test]
fn a_serial_line_is_followed_until_its_cable_comes_out() {
    let (ours, name) = line();
    let mut program = example("serial_line");
    let child = program.arg(&name).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut device = std::fs::File::from(ours);
    // A terminal echoes until the program has set it; what it sees of that is no beat.
    let mut beats = BufReader::new(device.try_clone().unwrap());
    for _ in 0..2 {
        let mut beat = String::new();
        while !beat.ends_with("PING\n") {
            // EIO until the program has opened its end.
            if beats.read_line(&mut beat).is_err() {
                thread::sleep(super::ms(5));
            }
        }
        device.write_all(b"PONG\nweight 12.5\n").unwrap();
    }
    let mut said = String::new();
    let mut out = child.stdout.expect("piped");
    let mut some = [0; 1024];
    while !said.contains("weight 12.5") {
        let n = out.read(&mut some).unwrap();
        assert!(n > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&some[..n]));
    }
    drop((device, beats)); // the cable comes out
    out.read_to_string(&mut said).unwrap();
    assert_has(&said, &["scale: up", "scale: down", "cable"]);
}
