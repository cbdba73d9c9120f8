//! Configuration files: their faults, and what goes before what.

use super::process::{DEAD, Done, Running, Scratch, keepbeat, run};

#[test]
fn every_fault_of_a_file_is_shown_with_its_place_and_no_password() {
    let file = Scratch::new(
        "[defaults]\ninterval = 10\nexpekt = 'x'\n\n[[target]]\nname = 'a'\n\
         url = \"redis://bob:hunter2@10.0.0.5:x\"\nfall = 0\ntimeout = '0s'\n\
         [[target]]\nname = 7\nurl = 'ftp://bob:hunter2@h:1'\npassword = 'hunter2'\n\
         [[target]]\n[bad]\n\
         [[target]]\nname = 'b'\nurl = 'h:1'\n\
         [[target]]\nname = 'b'\nurl = 'line://h:1'\nsend = 'x'\n\
         [[target]]\nurl = 'http://h'\nsend = 'x'\nca = 'x'\ninsecure = 1\nstatus = 99\n\
         [[target]]\nurl = 'h:2'\nprobe_payload = true\nside_connections = false\n\
         closed_port = true\n\
         [[target]]\nurl = 'line://h:3'\nprobe_payload = true\ndiagnosis = 'x'\n",
    );
    let Done { code, out, err } = run(&["--config", file.path(), "--check-config"]);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    for (place, words) in [
        ("2:12", "write \"10s\""),
        ("3:1", "did you mean `expect`?"),
        ("7:7", "is no port"),
        ("8:8", "use 1 to 100"),
        ("9:11", "timeout of 0"),
        ("11:8", "expected text in quotes"),
        ("12:7", "use `connect://h:1`"),
        ("13:1", "unknown key `password`"),
        ("14:1", "has no url"),
        ("15:2", "expected [defaults] or [[target]]"),
        ("20:8", "two targets are called `b`"),
        ("22:1", "has beats of its own"),
        ("25:1", "has beats of its own"),
        ("26:1", "or write it as https://"),
        ("26:6", "CA file"),
        ("27:12", "expected true or false; this is a number"),
        ("28:10", "use 100 to 999"),
        ("31:1", "there is no `send`"),
        ("33:1", "useless, because there are no side connections"),
        ("36:1", "has beats of its own"),
        ("37:13", "expected true or false; this is text"),
    ] {
        let place = format!("keepbeat: {}:{place}: ", file.path());
        let line = err.lines().find(|line| line.starts_with(&place));
        assert!(line.is_some_and(|line| line.contains(words)), "{place}{words}\n{err}");
    }
    assert!(err.contains("\n 2 | interval = 10\n   |            ^^\n"), "line and caret:\n{err}");
    assert!(err.contains(" 7 | url = \"redis://***@10.0.0.5:x\"\n"), "{err}");
    assert!(!err.contains("hunter2") && !err.contains("bob"), "{err}");

    let broken = Scratch::new("[defaults\n[[target]]\nurl = \"redis://bob:hunter2\nx = \n");
    let Done { code, err, .. } = run(&["--config", broken.path()]);
    assert_eq!(code, Some(2));
    assert!(err.contains(":1:10: not valid TOML") && err.contains(":4:5: "), "{err}");
    assert!(!err.contains("hunter2"), "{err}");
}

#[test]
fn the_file_that_is_printed_to_begin_with_is_right() {
    let printed = run(&["--print-config"]);
    assert_eq!(printed.code, Some(0));
    let file = Scratch::new(&printed.out);
    let Done { code, out, err } = run(&["--config", file.path(), "--check-config"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("every line is right; 1 target"), "{out}");
    // What is commented out in it is right, too.
    let all = printed
        .out
        .replace("\n# [[target]]\n", "\n[[target]]\n")
        .replace("# name", "name")
        .replace("# url", "url");
    let all = all.replace("# send", "send").replace("# expect", "expect");
    let all = all.replace("# method", "method").replace("# status", "status");
    let all = all.replace("# insecure", "insecure").replace("# diagnosis", "diagnosis");
    let all = all.replace("# side_conn", "side_conn").replace("# closed_port", "closed_port");
    let all = all.replace("# probe_payload", "probe_payload");
    let all = all.replace("# jitter", "jitter").replace("# patience", "patience");
    let all = all.replace("# connect_t", "connect_t").replace("# write_t", "write_t");
    let all = all.replace("# user_t", "user_t").replace("# backoff", "backoff");
    let all = all.replace("# certificate_days", "certificate_days");
    let steps = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/steps/smtp.steps");
    let all = all.replace("# steps = 'smtp.steps'", &format!("steps = '{steps}'"));
    let file = Scratch::new(&all.replace("# interval", "interval"));
    let Done { out, err, .. } = run(&["--config", file.path(), "--check-config"]);
    assert!(out.contains("5 targets"), "{err}");
}

#[test]
fn a_flag_goes_before_the_environment_that_before_the_file_that_before_the_default() {
    let file = Scratch::new(&format!(
        "[defaults]\ninterval = '11s'\ntimeout = '12s'\nfall = 13\n\
         [[target]]\nname = 'own'\nurl = '{DEAD}'\ntimeout = '14s'\n\
         [[target]]\nname = 'plain'\nurl = '{DEAD}'\n"
    ));
    let heartbeats = |flags: &[&str], env: &[(&str, &str)]| {
        let mut command = keepbeat(&["--count", "1", "--config", file.path()]);
        command.args(flags).envs(env.iter().copied());
        let Done { code, out, err } = Running::new(command).done();
        assert_eq!(code, Some(1), "{err}");
        let lines: Vec<_> = out.lines().filter(|line| line.contains("○ connecting")).collect();
        let words = |line: &str| line.split_once(", a beat ").unwrap().1.to_owned();
        (words(lines[0]), words(lines[1]))
    };
    let (own, plain) = heartbeats(&[], &[]);
    assert_eq!(own, "every 11s, 14s for its ack, down after 13 misses");
    assert_eq!(plain, "every 11s, 12s for its ack, down after 13 misses");
    let env = [("KEEPBEAT_TIMEOUT", "15s"), ("KEEPBEAT_FALL", "16")];
    let (own, plain) = heartbeats(&[], &env);
    assert_eq!(own, "every 11s, 15s for its ack, down after 16 misses");
    assert_eq!(own, plain);
    let (own, _) = heartbeats(&["--fall", "1", "--interval", "17s"], &env);
    assert_eq!(own, "every 17s, 15s for its ack, down after 1 miss");
    let default = run(&["--count", "1", DEAD]).out;
    assert!(default.contains("every 30s, 5s for its ack, down after 3 misses"), "{default}");

    let mut command = keepbeat(&["--once", DEAD]);
    command.env("KEEPBEAT_INTERVAL", "5");
    let Done { code, err, .. } = Running::new(command).done();
    assert_eq!(code, Some(2));
    assert!(err.contains("KEEPBEAT_INTERVAL: `5` has no unit: write `5s`"), "{err}");
}
