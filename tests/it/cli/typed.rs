//! What tired people type: a variable that is not set, a word with a slip in it, a flag without its
//! target. Each is told with its remedy, and nothing is started.

use super::process::{DEAD, Done, Running, Scratch, keepbeat, run};

/// One line on standard error, and exit code 2.
fn refused(args: &[&str], words: &str) {
    let Done { code, out, err } = run(args);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
    assert!(err.contains(words), "{args:?}: {err}");
    assert!(err.starts_with("keepbeat: ") && err.lines().count() == 1, "{args:?}: {err}");
}

#[test]
fn a_flag_without_a_target_is_no_demo() {
    for args in [
        ["--once"].as_slice(),
        &["--json"],
        &["--for", "1s"],
        &["--interval", "1s"],
        &["--color", "never"],
        &["--log-level", "debug"],
        &["--no-diagnosis"],
        &["-q"],
        &["--"],
    ] {
        refused(args, "no target was given: write `keepbeat [FLAGS] HOST:PORT`");
        refused(args, "`keepbeat demo` runs the demo");
    }
    for args in [[""].as_slice(), &["--once", ""], &[" "], &[DEAD, ""]] {
        refused(args, "a target is empty: if it came from a shell variable");
    }
    refused(&["db="], "`db=` has a name and no target: write NAME=HOST:PORT");
}

#[test]
fn a_demo_heeds_its_own_flags_alone() {
    for args in [["demo", "--interval", "1s"], ["--fall", "2", "demo"], ["demo", "--count", "3"]] {
        refused(&args, "does not apply to a demo, which has its own settings: leave it out");
    }
    refused(&["demo", DEAD], "a demo has its own target");
    refused(&["demo-firewall", DEAD], "a demo has its own target");
    refused(&["demo", "--config", "x"], "--config does not apply to a demo");
}

#[test]
fn a_slip_in_a_command_is_told_as_one() {
    for (word, meant) in [
        ("demo-firewal", "demo-firewall"),
        ("explian", "explain"),
        ("hepl", "help"),
        ("Demo", "demo"),
    ] {
        let words = format!("`{word}` is neither a target nor a command: did you mean `{meant}`?");
        refused(&[word, "x"], &words);
    }
    let help = run(&["help"]);
    assert!(help.code == Some(0) && help.out.contains("usage: keepbeat"), "{}", help.err);
    assert_eq!(run(&["version"]).out, run(&["--version"]).out);
    // A host may be called so.
    assert!(run(&["--once", "demo=127.0.0.1:1"]).out.contains("refused"));
}

#[test]
fn a_slip_in_a_scheme_is_told_and_never_leads_away_from_tls() {
    for (target, meant) in [
        ("htps://h", "https"),
        ("rdis://h", "redis"),
        ("tls+redsi://h", "tls+redis"),
        ("tsl+line://h:1", "tls+line"),
    ] {
        refused(&[target], &format!("(did you mean `{meant}`?)"));
    }
    for target in ["httpss://h", "tls+htp://h", "ssl+redis://h", "lines://h:1", "tcps://h:1"] {
        let Done { err, .. } = run(&[target]);
        for plain in ["`http`", "`redis`", "`line`", "`tcp`"] {
            assert!(!err.contains(&format!("did you mean {plain}")), "{target}: {err}");
        }
    }
}

#[test]
fn numbers_that_cannot_work_are_told_with_those_that_can() {
    for (args, words) in [
        (["--count", "-1"], "--count: `-1` is not a number of rounds: use 1 or more"),
        (["--fall", "-1"], "--fall: `-1` is not a count: use 1 to 100"),
        (["--fall", "101"], "--fall: a fall of 101 cannot work: use 1 to 100"),
        (["--interval", "-5s"], "--interval: `-5s` is not a duration: write a number and a unit"),
        (["--interval", ""], "--interval: `` is not a duration"),
        (["--connect-timeout", "5"], "--connect-timeout: `5` has no unit: write `5s`"),
        (["--connect-timeout", "0s"], "a connect timeout of 0ns cannot work"),
        (["--write-timeout", "2h"], "a write timeout of 7200s cannot work"),
        (["--backoff", "2days"], "a backoff base of 172800s cannot work"),
        (["--backoff", "2m"], "is over its cap of 60s: raise the cap"),
        (["--user-timeout", "1s"], "is shorter than one detection"),
        (["--jitter", "0.6"], "a jitter of 0.6 cannot work"),
        (["--jitter", "much"], "use 0 to 0.5, as in 0.05 or 5%"),
        (["--patience", "long"], "use fixed or rtt"),
        (["--certificate-days", "-1"], "use 0 to 36500, 0 for never"),
        (["--alive", "10"], "--alive: `10` has no unit"),
        (["--record-limit", "64"], "write `64MiB`"),
        (["--record-limit", "1KiB"], "use 1MiB or more"),
        (["--record-limit", "99999999999GiB"], "is not a size"),
        (["--record-limit", "64MiB"], "--record-limit needs the file"),
        (["--config", ""], "--config: the name of the file is empty"),
    ] {
        refused(&[args[0], args[1], DEAD], words);
    }
    refused(&["-q", "-v", DEAD], "-q tells less and -v more: give one of them");
    refused(&["--once=now", DEAD], "--once takes no value: leave `=now` out");
}

#[test]
fn every_setting_of_the_heartbeat_has_a_flag_a_variable_and_a_key() {
    let settings = [
        ("jitter", "10%", "0.1"),
        ("patience", "rtt", "'rtt'"),
        ("connect_timeout", "2s", "'2s'"),
        ("write_timeout", "2s", "'2s'"),
        ("user_timeout", "2m", "'2m'"),
        ("backoff", "10ms", "'10ms'"),
        ("backoff_cap", "2s", "'2s'"),
        ("rise", "2", "2"),
    ];
    let works = |command| {
        let Done { code, out, err } = Running::new(command).done();
        assert_eq!((code, err.as_str()), (Some(1), ""), "{out}");
    };
    for (key, typed, written) in settings {
        let flag = format!("--{}", key.replace('_', "-"));
        works(keepbeat(&["--once", &flag, typed, DEAD]));
        let mut command = keepbeat(&["--once", DEAD]);
        command.env(format!("KEEPBEAT_{}", key.to_uppercase()), typed);
        works(command);
        let file = format!("[defaults]\n{key} = {written}\n[[target]]\nurl = '{DEAD}'\n");
        works(keepbeat(&["--once", "--config", Scratch::new(&file).path()]));
    }
}

#[test]
fn a_variable_that_nobody_reads_is_named() {
    let with = |args: &[&str], name: &str| {
        let mut command = keepbeat(args);
        command.env(name, "1s");
        Running::new(command).done()
    };
    for args in [["--once", DEAD].as_slice(), &["demo"], &[]] {
        let Done { code, out, err } = with(args, "KEEPBEAT_INTERVALL");
        assert_eq!((code, out.as_str()), (Some(2), ""));
        let words =
            "KEEPBEAT_INTERVALL is not a variable of keepbeat: did you mean KEEPBEAT_INTERVAL?";
        assert!(err.contains(words), "{err}");
    }
    let Done { code, err, .. } = with(&["--once", DEAD], "KEEPBEAT_FLAVOUR");
    assert_eq!(code, Some(1));
    assert!(
        err.contains("KEEPBEAT_FLAVOUR is not a variable of keepbeat and has no effect"),
        "{err}"
    );
    for name in ["KEEPBEAT_SERVICE_HOST", "KEEPBEAT_PORT_80_TCP_ADDR"] {
        assert_eq!(with(&["--once", DEAD], name).err, "", "a cluster sets it");
    }
    let mut command = keepbeat(&["--once", DEAD, "--config", "/nonexistent/file"]);
    command.env("KEEPBEAT_FALL", "none").env("KEEPBEAT_FAL", "2");
    let Done { code, err, .. } = Running::new(command).done();
    assert_eq!((code, err.lines().count()), (Some(2), 3), "all faults at once: {err}");
}

#[test]
fn the_help_is_complete_and_fits_a_terminal() {
    let Done { code, out, .. } = run(&["--help"]);
    assert_eq!(code, Some(0));
    for line in out.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
    let keys = [
        "interval",
        "timeout",
        "fall",
        "rise",
        "jitter",
        "patience",
        "connect-timeout",
        "write-timeout",
        "user-timeout",
        "backoff",
        "backoff-cap",
        "send",
        "expect",
        "password-file",
        "method",
        "status",
        "ca",
        "certificate-days",
        "insecure",
        "diagnosis",
        "side-connections",
        "closed-port",
        "probe-payload",
    ];
    for key in keys {
        let variable = format!("KEEPBEAT_{}", key.to_uppercase().replace('-', "_"));
        assert!(out.contains(&variable), "no {variable}");
        let flags = [format!("--{key} "), format!("--no-{key} ")];
        let flag = flags.iter().any(|flag| out.contains(flag));
        assert!(flag, "no --{key}");
    }
    for flag in [
        "--once",
        "--count",
        "--for",
        "--json",
        "--quiet",
        "--verbose",
        "--alive",
        "--color",
        "--log-level",
        "--record",
        "--record-limit",
        "--config",
        "--check-config",
        "--print-config",
        "-h",
        "-V",
        "-q",
        "-v",
        "demo",
        "demo-firewall",
        "explain",
    ] {
        assert!(out.contains(flag), "no {flag}");
    }
}

#[test]
fn what_is_typed_is_shown_escaped_and_without_passwords() {
    for args in [
        ["\x1b[31mred:1"].as_slice(),
        &["--co\x1b[31mlor"],
        &["--color", "\x1b[31m"],
        &["--config", "/no/\x1b[31m"],
        &["--record", "/no/\x1b[31m", DEAD],
        &["--password-file", "/no/\x1b[31m", "redis://h"],
        &["--ca", "/no/\x1b[31m", "https://h"],
        &["explain", "/no/\x1b[31m"],
        &["a\x1b[31m=h:1"],
        &["h\x1b[31m=h:1"],
        &["--interval", "\x1b[31m", DEAD],
        &["\x1b[31m://h:1"],
    ] {
        let Done { code, err, .. } = run(args);
        assert_eq!(code, Some(2), "{args:?}: {err}");
        assert!(!err.contains('\x1b') && err.lines().count() == 1, "{args:?}: {err}");
    }
    for args in [
        ["--once=redis://bob:hunter2@h", DEAD].as_slice(),
        &["--config", "redis://bob:hunter2@h"],
        &["--record", "redis://bob:hunter2@h", DEAD],
        &["--ca", "redis://bob:hunter2@h", "https://h"],
        &["--password-file", "redis://bob:hunter2@h", "redis://h"],
        &["--interval", "redis://bob:hunter2@h", DEAD],
        &["--color", "redis://bob:hunter2@h", DEAD],
        &["explain", "redis://bob:hunter2@h"],
        &["demo", "redis://bob:hunter2@h"],
        &["redis://bob:hunter2@h", "redis://bob:hunter2@h"],
        &["redis://bob:hunter2@h:99999"],
        &["tcp://bob:hunter2@h:1"],
        &["htp://bob:hunter2@h:1"],
    ] {
        let Done { code, err, .. } = run(args);
        assert_eq!(code, Some(2), "{args:?}: {err}");
        assert!(!err.contains("hunter2"), "{args:?}: {err}");
    }
}

#[test]
fn a_file_is_shown_escaped_and_its_carets_stand_below_wide_letters() {
    let text = "[[target]]\nname = \"データ\" \x01\nurl = 'h:1'\n";
    let file = Scratch::new(text);
    let Done { code, err, .. } = run(&["--config", file.path()]);
    assert_eq!(code, Some(2));
    assert!(!err.contains('\x01'), "{err:?}");
    let file = Scratch::new("[[target]]\nname = \"デ\" ; fall = 0\nurl = 'h:1'\n");
    let Done { err, .. } = run(&["--config", file.path()]);
    let mut lines = err.lines().skip(1);
    let (line, carets) = (lines.next().unwrap(), lines.next().unwrap());
    let at = line.find(';').unwrap();
    let before = line[..at].chars().map(|c| if c == 'デ' { 2 } else { 1 }).sum::<usize>();
    assert_eq!(carets.find('^'), Some(before), "{err}");
    // What was typed as two letters is shown so, and a tab as a tab.
    let file = Scratch::new("[[target]]\nname = \"a\\tb\" ;\tfall = 0\nurl = 'h:1'\n");
    let Done { err, .. } = run(&["--config", file.path()]);
    assert!(err.contains("name = \"a\\tb\" ;\tfall"), "{err}");
}

#[test]
fn what_must_fail_at_run_time_is_refused_by_the_check_with_its_place() {
    let file = Scratch::new(
        "[defaults]\nuser_timeout = '10s'\n\n\
         [[target]]\nname = 'a'\nurl = 'h:1'\n\
         [[target]]\nurl = 'h:2'\nuser_timeout = '2m'\nbackoff = '2m'\n\
         [[target]]\nurl = 'h:3'\nuser_timeout = '2m'\n\
         [[target]]\nurl = 'h:3'\nuser_timeout = '2m'\n\
         [[target]]\nname = 'tcp://h:3'\nurl = 'h:4'\nuser_timeout = '2m'\n\
         [[target]]\nurl = 'https://no_name-'\nuser_timeout = '2m'\n\
         [[target]]\nurl = 'redis://h'\nuser_timeout = '2m'\npassword_file = '/nonexistent'\n\
         [[target]]\nurl = 'h:5'\nuser_timeout = '2m'\njitter = 0.7\npatience = 3\n\
         connect_timeout = 5\ncertificate_days = 1.5\n",
    );
    let Done { code, out, err } = run(&["--config", file.path(), "--check-config"]);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    for (place, words) in [
        ("2:1", "a user timeout of 10s is shorter than one detection"),
        ("10:1", "the backoff base of 120s is over its cap of 60s"),
        ("15:7", "the target `tcp://h:3` is there twice"),
        ("18:8", "two targets are called `tcp://h:3`"),
        ("22:7", "no certificate can have the name `no_name-`"),
        ("27:17", "cannot read the password file `/nonexistent`"),
        ("31:10", "a jitter of 0.7 cannot work"),
        ("32:12", "expected text in quotes, as in patience = 'rtt'"),
        ("33:19", "`5` has no unit"),
        ("34:20", "expected a whole number"),
    ] {
        let place = format!("keepbeat: {}:{place}: ", file.path());
        let line = err.lines().find(|line| line.starts_with(&place));
        assert!(line.is_some_and(|line| line.contains(words)), "{place}{words}\n{err}");
    }
    assert!(!out.contains("right"), "{out}");
}
