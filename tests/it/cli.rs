//! The command line, through the real process: what a stranger types, and what comes of it.

#[cfg(target_os = "linux")]
mod brink;
mod config;
mod crowds;
mod diagnosis;
#[path = "../../examples/keepbeat/escapes.rs"]
mod escapes;
mod explain;
mod http;
mod json;
mod manners;
mod once;
mod pieces;
mod process;
mod recording;
mod secrets;
mod terminal;
#[cfg(feature = "tls")]
mod tls;
mod typed;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, after, unbounded};
use keepbeat::protocol::{Frame, Rejected};
use keepbeat::{Exchange, Line, Protocol, Redis, Responder};

use process::{DEAD, Done, LIMIT, Running, keepbeat, peer, run};

#[test]
fn the_demo_shows_detection_cause_and_reconnect_and_ends_with_0() {
    let Done { code, out, err } = run(&[]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let mut rest = out.as_str();
    for (word, cause) in [
        ("● up", ""),
        ("-- the peer gets slow", ""),
        ("◐ suspect", "ack-timeout"),
        ("↳ why", "not known: the peer's kernel acknowledged it; it may be peer-silent, "),
        ("◌ late ack", ""),
        ("● up", ""),
        ("-- the peer hangs", ""),
        (
            "◆ diagnosed",
            "likely: the peer's kernel acknowledged it; other possibilities: replies-filtered, ",
        ),
        ("↳ remedy", "look at the process behind 127.0.0.1:"),
        ("✖ down", "peer-silent"),
        ("● up", "it was down for"),
        ("✖ down", "reset"),
        ("↳ why", "certain: the connection was reset; perhaps reset-by-middlebox"),
        ("● up", "it was down for"),
        ("✖ down", "closed-by-peer"),
        ("● up", "it was down for"),
        ("-- the peer is gone", ""),
        ("✖ down", "closed-by-peer"),
        ("✖ down", "refused"),
        ("↳ why", "certain: nobody listens on the port"),
        ("↳ remedy", "start what should listen on 127.0.0.1:"),
        ("-- it is back", ""),
        ("● up", "it was down for"),
        ("peer  ● up", ""),
    ] {
        let hit = |line: &&str| line.contains(word) && line.contains(cause);
        let line = rest.lines().find(hit).unwrap_or_else(|| panic!("no {word} {cause}:\n{out}"));
        rest = &rest[line.as_ptr() as usize - rest.as_ptr() as usize + line.len()..];
    }
    let why = out.matches("the peer's kernel acknowledged it").count();
    assert_eq!(why, 2, "what was told stays told:\n{out}");
    assert!(!out.contains('\x1b'), "no colours where nobody sees them:\n{out}");
}

/// Wrong beside a target that is right, and words that the answer must have.
const WRONG: &[(&[&str], &str)] = &[
    (&["foo://h:1"], "use one of tcp:// line:// redis:// connect://"),
    (&["reddis://h:1"], "did you mean `redis`?"),
    (&["wss://h:1"], "this version has no protocol for `wss://`"),
    (&["tls+mqtt://h"], "this version has no protocol for `tls+mqtt://`"),
    (&["http://h/a#b"], "never reach a server"),
    (&["tcp://h:1/a"], "nothing may follow the port"),
    (&["line://a:b@h:1"], "has no login"),
    (&["--status", "2xx", "http://h"], "use 100 to 999"),
    (&["--status", "300-200", "http://h"], "use 100 to 999"),
    (&["--method", "G T", "http://h"], "is no method"),
    (&["--ca", "/nonexistent/ca.pem", "https://h"], "CA file /nonexistent/ca.pem"),
    (&["--ca", "/dev/null", "https://h"], "no certificate in it"),
    (&["h"], "the port is missing: write `host:port`"),
    (&["h:99999"], "use 1 to 65535"),
    (&["--interval", "5", "h:1"], "write `5s`"),
    (&["--interval", "soon", "h:1"], "a number and a unit"),
    (&["--timeout", "0s", "h:1"], "timeout of 0"),
    (&["--fall", "0", "h:1"], "use 1 to 100"),
    (&["--rise", "-1", "h:1"], "use 1 to 100"),
    (&["--count", "0", "h:1"], "use 1 or more"),
    (&["--for", "0s", "h:1"], "use 1ms or more"),
    (&["--once", "--count", "2", "h:1"], "give one of them"),
    (&["--intervall", "5s", "h:1"], "did you mean `--interval`?"),
    (&["-x"], "--help has a list"),
    (&["--interval"], "its value is missing"),
    (&["--color", "pink", "h:1"], "use auto, always or never"),
    (&["--log-level", "loud", "h:1"], "use off, error"),
    (&["--send", "a", "--expect", "", "h:1"], "connect://host:port"),
    (&["--send", "\\q", "--expect", "b", "h:1"], "is no escape"),
    (&["--password-file", "/", "redis://h"], "cannot read the password file"),
    (&["--password-file", "/dev/null", "redis://h"], "is empty"),
    (&["redis://bob@h"], "there is a user and no password"),
    (&["tcp://bob:x@h:1"], "has no login"),
    (&["a=h:1", "a=h:2"], "two targets are called `a`"),
    (&["=h:1"], "the name is empty"),
    (&["--config", "/nonexistent/file"], "--print-config writes a file to begin with"),
    (&["--config", "/dev/zero"], "is it the right file?"),
    (&["--check-config"], "add --config FILE"),
    (&["--record", "/nonexistent/file"], "--record: cannot write /nonexistent/file"),
    (&["--record", "x", "--no-diagnosis"], "there is nothing to record"),
    (&["--closed-port", "--no-side-connections"], "there are no side connections"),
    (&["--closed-port", "--no-diagnosis"], "there is no diagnosis"),
    (&["--no-sideconnections"], "did you mean `--no-side-connections`?"),
];

/// Wrong as it stands.
const WRONG_ALONE: &[(&[&str], &str)] = &[
    (&["--send", "a", "h:1"], "add `expect`"),
    (&["--send", "a", "--expect", "b", "redis://h"], "for tcp:// targets"),
    (&["--config", "/dev/null"], "add a [[target]]"),
    (&["--method", "GET", "--status", "200", "h:1"], "--method and --status are for http://"),
    (&["--insecure", "http://h"], "--insecure is for https://"),
    (&["--expect", "a", "redis://h"], "--expect for http:// as well"),
    (&["--probe-payload", "h:1"], "--probe-payload is for tcp:// targets with --send"),
    (&["--probe-payload", "redis://h"], "--probe-payload is for tcp:// targets with --send"),
    (&["demo-firewall", "h:1"], "has its own target"),
    (&["explain"], "explain needs a file"),
    (&["explain", "reset", "refused"], "one file or one cause"),
    (&["explain", "--json", "reset"], "one file or one cause"),
    (
        &["explain", "rest"],
        "`rest` is not a cause (did you mean `reset`?) and cannot be read as a file",
    ),
    (&["explain", "/dev/zero"], "a line longer than 1 MiB"),
    (&["explain", "/dev/null"], "no diagnosis in it"),
];

#[test]
fn what_is_wrong_is_told_with_its_remedy_and_nothing_starts() {
    let witness = TcpListener::bind("127.0.0.1:0").unwrap();
    witness.set_nonblocking(true).unwrap();
    let right = witness.local_addr().unwrap().to_string();
    let beside = WRONG.iter().map(|(args, words)| ([&[right.as_str()], *args].concat(), words));
    let alone = WRONG_ALONE.iter().map(|(args, words)| (args.to_vec(), words));
    for (args, words) in beside.chain(alone) {
        let Done { code, out, err } = run(&args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
        assert!(err.contains(words), "{args:?}: {err}");
        assert!(err.starts_with("keepbeat: ") && err.lines().count() == 1, "{args:?}: {err}");
    }
    assert!(witness.accept().is_err(), "something was started");
}

#[test]
fn every_scheme_beats_in_its_own_way() {
    let greeting = || Exchange::answering("version\r\n\0", "VERSION 1.6\r\n");
    let greeter = Responder::bind("127.0.0.1:0", greeting).unwrap();
    let line = Responder::bind("127.0.0.1:0", || Line).unwrap();
    let redis = Responder::bind("127.0.0.1:0", Redis::new).unwrap();
    let flags = [
        "--count",
        "2",
        "--interval",
        "20ms",
        "--send",
        "version\\r\\n\\x00",
        "--expect",
        "VERSION",
    ];
    let targets = [
        format!("greeter=tcp://{}", greeter.local_addr()),
        format!("line://{}", line.local_addr()),
        format!("redis://{}", redis.local_addr()),
        format!("connect://{}", line.local_addr()),
    ];
    let args: Vec<&str> = flags.into_iter().chain(targets.iter().map(String::as_str)).collect();
    let Done { code, out, err } = run(&args);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(out.matches("● up").count(), 8, "each once as it comes, once in the sum:\n{out}");
    assert_eq!((out.matches("ack in").count(), out.matches("it stands").count()), (3, 1), "{out}");
    let Done { code, out, .. } = run(&["--once", &format!("redis://{}", line.local_addr())]);
    assert_eq!(code, Some(1));
    assert!(out.contains("✖ down"), "{out}");
}

#[test]
fn a_dead_target_does_not_flood_the_screen() {
    let Done { code, out, .. } = run(&["--count", "4", "dead=127.0.0.1:1"]);
    assert_eq!(code, Some(1));
    let (events, summary) = out.split_once("\n\n").expect("a blank line before the summary");
    assert_eq!(events.matches("refused").count(), 2, "the cause and the detail once:\n{out}");
    let begins: Vec<_> = events.lines().map(|line| line.get(15..).unwrap_or(line)).collect();
    let words =
        ["○ connecting", "✖ down", "↳ why       certain: nobody listens", "↳ remedy    start"];
    assert_eq!(begins.len(), words.len(), "four rounds, one telling:\n{out}");
    for (line, words) in begins.iter().zip(words) {
        assert!(line.trim_start().starts_with(words), "{words}:\n{out}");
    }
    assert!(summary.contains("dead  ✖ down") && summary.contains("refused"), "{out}");
}

#[test]
fn a_peer_that_never_answers_is_shown_as_it_misses() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = silent.local_addr().unwrap().to_string();
    let Done { code, out, .. } = run(&["--once", "--timeout", "50ms", &target]);
    assert_eq!(code, Some(1), "connected is not up:\n{out}");
    let (events, _) = out.split_once("\n\n").unwrap();
    assert_eq!(events.matches("no ack of beat 1 within 50ms").count(), 1, "told once:\n{out}");
    assert!(events.contains("✖ down"), "{out}");
}

#[test]
fn it_ends_after_the_time_it_was_given() {
    let (_responder, up) = peer();
    let start = Instant::now();
    let Done { code, out, err } = run(&["--for", "300ms", "--interval", "50ms", &up]);
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("rtt min/avg/max"), "{out}");
}

#[test]
fn a_signal_ends_it_with_the_summary() {
    let (_responder, up) = peer();
    for name in ["TERM", "INT"] {
        let mut running = Running::new(keepbeat(&["--interval", "50ms", &format!("a={up}")]));
        running.line("● up");
        running.signal(name);
        let Done { code, out, err } = running.done();
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.contains("rtt min/avg/max") && out.contains("a  ● up"), "{out}");
        assert!(!out.contains("stopped"), "the end that was asked for is no news:\n{out}");
    }
}

/// Tells each beat that it answers.
struct Counted(Exchange, Sender<()>);

impl Protocol for Counted {
    fn beat(&mut self, _seq: u64, _out: &mut Vec<u8>) {}

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        self.0.parse(bytes)
    }

    fn ack(&mut self, seq: Option<u64>, out: &mut Vec<u8>) {
        let _ = self.1.send(());
        self.0.ack(seq, out);
    }
}

#[test]
fn beats_go_on_though_nobody_reads_and_the_second_signal_ends_it_at_once() {
    let (told, beats) = unbounded();
    let make = move || Counted(Exchange::answering("heartbeat", "heartbeat_ack"), told.clone());
    let responder = Responder::bind("127.0.0.1:0", make).unwrap();
    let target = responder.local_addr().to_string();
    // A pipe takes 64 KiB, some 500 lines; then the process blocks in its write.
    let mut running = Running::unread(keepbeat(&["--json", "--interval", "1ms", &target]));
    for beat in 0..3000 {
        beats.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("beat {beat} did not come"));
    }
    running.signal("TERM");
    let limit = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = running.child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < limit, "it does not end");
        // Two signals within a tenth of a second are one: this is the pause of a finger.
        let _ = after(Duration::from_millis(150)).recv();
        running.signal("TERM");
    };
    assert_eq!(status.code(), Some(143));
}

#[test]
fn a_broken_pipe_ends_it_quietly() {
    let (_responder, up) = peer();
    let mut running = Running::unread(keepbeat(&["--json", "--interval", "20ms", &up]));
    let mut out = BufReader::new(running.child.stdout.take().unwrap());
    let mut first = String::new();
    while !first.contains("\"state\"") {
        first.clear();
        out.read_line(&mut first).unwrap();
    }
    drop(out);
    let Done { code, err, .. } = running.done();
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

/// Bytes come every millisecond; when no more do, nothing more fits in.
fn until_full(unread: &impl AsRawFd) {
    let waiting = || {
        let mut bytes: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int to a valid pointer to one.
        assert_eq!(unsafe { libc::ioctl(unread.as_raw_fd(), libc::FIONREAD, &mut bytes) }, 0);
        bytes
    };
    let limit = Instant::now() + LIMIT;
    let mut before = -1;
    while waiting() != before || before < 4096 {
        assert!(Instant::now() < limit, "it does not fill");
        before = waiting();
        std::thread::sleep(Duration::from_millis(300)); // between two looks
    }
}

#[test]
fn one_signal_or_the_time_ends_it_though_nobody_reads_its_output() {
    let (_responder, up) = peer();
    for time in [None, Some("1s")] {
        let mut command = keepbeat(&["--json", "--interval", "1ms", &up]);
        command.args(time.map(|time| ["--for", time]).into_iter().flatten());
        let running = Running::unread(command);
        until_full(running.child.stdout.as_ref().unwrap());
        if time.is_none() {
            running.signal("TERM");
        }
        let Done { code, err, .. } = running.done();
        assert_eq!(code, Some(1), "{time:?}");
        assert!(err.contains("ended without the summary"), "{time:?}: {err}");
    }
}

#[test]
fn an_output_that_does_not_block_is_waited_for() {
    let (_responder, up) = peer();
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let mut command = keepbeat(&["--json", "--interval", "1ms", &up]);
    command.stdout(OwnedFd::from(theirs));
    let mut running = Running::unread(command);
    until_full(&ours);
    let whole = |line: &String| serde_json::from_str::<serde_json::Value>(line).is_ok();
    let lines = BufReader::new(&ours).lines().map(Result::unwrap);
    assert_eq!(lines.take(5000).filter(whole).count(), 5000, "it goes on, and each line is whole");
    running.child.kill().unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_and_ends_it_with_1() {
    let (_responder, up) = peer();
    for args in [["--interval", "20ms", &up].as_slice(), &["--help"], &["demo"]] {
        let mut command = keepbeat(args);
        command.stdout(File::create("/dev/full").unwrap());
        let Done { code, err, .. } = Running::new(command).done();
        assert_eq!(code, Some(1), "{args:?}");
        assert!(err.contains("cannot write to standard output"), "{args:?}: {err}");
    }
}

#[test]
fn colours_are_heeded_and_never_alone() {
    let coloured = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = keepbeat(args);
        command.args(["--once", DEAD]).envs(env.iter().copied());
        let out = Running::new(command).done().out;
        assert!(out.contains("✖ down"), "symbol and word:\n{out}");
        out.contains("\x1b[31m")
    };
    assert!(!coloured(&[], &[]), "a pipe");
    assert!(coloured(&["--color", "always"], &[("NO_COLOR", "1")]));
    assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!coloured(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
}

#[test]
fn help_and_version_answer_on_standard_output() {
    let help = run(&["--help", "--interval", "1s"]);
    assert_eq!(help.code, Some(0), "{}", help.err);
    let schemes = ["tcp://", "line://", "redis://", "connect://", "https://", "tls+redis://"];
    for word in
        schemes.into_iter().chain(["--password-file", "--insecure", "Exit code", "--record"])
    {
        assert!(help.out.contains(word), "no {word}:\n{}", help.out);
    }
    let version = run(&["-V"]);
    assert_eq!(version.out, concat!("keepbeat ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn escapes_stand_for_bytes() {
    assert_eq!(escapes::bytes(r"a\r\n\t\0\\n\x7f\xFFé").unwrap(), b"a\r\n\t\0\\n\x7f\xff\xc3\xa9");
    assert_eq!(escapes::bytes(r"\\\\").unwrap(), br"\\");
    assert_eq!(escapes::bytes("").unwrap(), b"");
    for wrong in ["\\", "\\q", "\\x", "\\x1", "\\xg0", "\\x+1", "a\\é", "\\\\\\"] {
        assert!(escapes::bytes(wrong).is_err(), "{wrong}");
    }
}
