//! The command line, through the real process: what a stranger types, and what comes of it.

#[path = "../../examples/keepbeat/escapes.rs"]
mod escapes;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, unbounded};
use keepbeat::protocol::{Frame, Rejected};
use keepbeat::{Exchange, Line, Protocol, Redis, Responder};
use serde_json::Value;

/// For whatever is waited for. The demo takes ten seconds on an idle machine.
const LIMIT: Duration = Duration::from_secs(90);

/// Nobody listens on it: binding it takes a privilege, and its service is extinct.
const DEAD: &str = "127.0.0.1:1";

fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples/keepbeat").with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is missing: cargo build --example keepbeat", path.display());
    path
}

/// The binary, with nothing of this environment that it would heed.
fn keepbeat(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("KEEPBEAT_") || name.contains("COLOR") || name.starts_with("RUST_LOG") {
            command.env_remove(name);
        }
    }
    command
}

/// What a process left behind.
#[derive(Debug)]
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A process whose lines are read as they come. Ends with this value at the latest.
struct Running {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
    seen: String,
}

impl Running {
    fn new(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let out = lines(child.stdout.take());
        let err = lines(child.stderr.take());
        Running { child, out, err, seen: String::new() }
    }

    /// The next line of standard output with these words.
    fn line(&mut self, words: &str) -> String {
        let limit = Instant::now() + LIMIT;
        loop {
            let Ok(line) = self.out.recv_deadline(limit) else {
                panic!("no line with `{words}` after:\n{}{:?}", self.seen, self.err.try_recv());
            };
            self.seen += &line;
            if line.contains(words) {
                return line;
            }
        }
    }

    /// By the shell's own `kill`: there need not be another.
    fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    /// Waits for the end. All that was written is in it.
    fn done(mut self) -> Done {
        let limit = Instant::now() + LIMIT;
        let mut err = String::new();
        for (from, into) in [(&self.out, &mut self.seen), (&self.err, &mut err)] {
            loop {
                match from.recv_deadline(limit) {
                    Ok(line) => into.push_str(&line),
                    Err(_) if Instant::now() < limit => break,
                    Err(_) => panic!("it does not end; so far:\n{into}"),
                }
            }
        }
        let code = self.child.wait().unwrap().code();
        Done { code, out: std::mem::take(&mut self.seen), err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The channel ends when the pipe does.
fn lines(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = unbounded();
    if let Some(pipe) = pipe {
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = String::new();
            while pipe.read_line(&mut line).is_ok_and(|n| n > 0) {
                let _ = sender.send(std::mem::take(&mut line));
            }
        });
    }
    receiver
}

fn run(args: &[&str]) -> Done {
    Running::new(keepbeat(args)).done()
}

fn peer() -> (Responder, String) {
    let make = || Exchange::answering("heartbeat", "heartbeat_ack");
    let responder = Responder::bind("127.0.0.1:0", make).unwrap();
    let address = responder.local_addr().to_string();
    (responder, address)
}

/// A file of the test's own, gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(content: &str) -> Scratch {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("keepbeat-cli-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).unwrap();
        Scratch(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn objects(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn of<'a>(objects: &'a [Value], event: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["event"] == event).collect()
}

#[test]
fn the_demo_shows_detection_cause_and_reconnect_and_ends_with_0() {
    let Done { code, out, err } = run(&[]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let mut rest = out.as_str();
    for (word, cause) in [
        ("● up", ""),
        ("-- the peer gets slow", ""),
        ("◐ suspect", "ack-timeout"),
        ("◌ late ack", ""),
        ("● up", ""),
        ("-- the peer hangs", ""),
        ("✖ down", "ack-timeout"),
        ("● up", "it was down for"),
        ("✖ down", "reset"),
        ("● up", "it was down for"),
        ("✖ down", "closed-by-peer"),
        ("● up", "it was down for"),
        ("-- the peer is gone", ""),
        ("✖ down", "closed-by-peer"),
        ("○ attempt", "refused"),
        ("-- it is back", ""),
        ("● up", "it was down for"),
        ("peer  ● up", ""),
    ] {
        let hit = |line: &&str| line.contains(word) && line.contains(cause);
        let line = rest.lines().find(hit).unwrap_or_else(|| panic!("no {word} {cause}:\n{out}"));
        rest = &rest[line.as_ptr() as usize - rest.as_ptr() as usize + line.len()..];
    }
    assert!(!out.contains('\x1b'), "no colours where nobody sees them:\n{out}");
}

/// The keys of an event beside those that all have, and whether each may be null.
fn keys(event: &str) -> &'static [(&'static str, &'static str)] {
    match event {
        "connect" => &[("peer", "text"), ("attempt", "number"), ("connect_us", "number")],
        "beat" => &[("seq", "number")],
        "miss" => &[("seq", "number"), ("timeout_ms", "number"), ("misses", "number")],
        "state" => &[("from", "text"), ("to", "text"), ("cause", "text?"), ("detail", "text?")],
        "disconnect" => {
            &[("cause", "text"), ("detail", "text"), ("lived_ms", "number"), ("beats", "number")]
        }
        "summary" => &[
            ("state", "text"),
            ("beats_sent", "number"),
            ("beats_acked", "number"),
            ("misses", "number"),
            ("reconnects", "number"),
            ("rtt_min_us", "number?"),
            ("rtt_avg_us", "number?"),
            ("rtt_max_us", "number?"),
            ("uptime_ratio", "number"),
        ],
        "diagnosis" => &[
            ("cause", "text"),
            ("confidence", "text"),
            ("alternatives", "list"),
            ("detail", "text"),
            ("evidence", "object"),
            ("advice", "text"),
        ],
        other => panic!("an event that is not documented: {other}"),
    }
}

fn check_keys(object: &Value) {
    let event = object["event"].as_str().expect("event is text");
    let all = [("ts", "text"), ("name", "text"), ("target", "text")];
    for (key, kind) in all.iter().chain(keys(event)) {
        let value = object.get(key).unwrap_or_else(|| panic!("no {key} in {object}"));
        let right = match kind.trim_end_matches('?') {
            "text" => value.is_string(),
            "number" => value.is_number(),
            "list" => value.is_array(),
            _ => value.is_object(),
        };
        assert!(right || (kind.ends_with('?') && value.is_null()), "{key} in {object}");
    }
    assert_eq!(object["v"], 1);
    humantime::parse_rfc3339(object["ts"].as_str().unwrap()).expect("a time in UTC");
    if event == "beat" {
        let late = object.get("late").is_some_and(|late| late == true);
        assert_eq!(late, object.get("rtt_us").is_none(), "{object}");
    }
}

#[test]
fn the_demo_in_json_has_every_event_with_its_documented_keys() {
    let Done { code, out, err } = run(&["--json"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("the peer hangs"), "acts go to the log:\n{err}");
    let objects = objects(&out);
    objects.iter().for_each(check_keys);
    let events: HashSet<_> = objects.iter().map(|o| o["event"].as_str().unwrap()).collect();
    for event in ["connect", "beat", "miss", "state", "disconnect", "summary"] {
        assert!(events.contains(event), "no {event}:\n{out}");
    }
    assert!(of(&objects, "beat").iter().any(|beat| beat["late"] == true), "{out}");
    let states = of(&objects, "state");
    assert_eq!((&states[0]["from"], &states[0]["to"]), (&"connecting".into(), &"up".into()));
    assert_eq!(states[0]["cause"], Value::Null);
    let causes: HashSet<_> = states.iter().filter_map(|state| state["cause"].as_str()).collect();
    assert_eq!(causes, HashSet::from(["ack-timeout", "reset", "closed-by-peer"]));
    let back = states.iter().filter(|s| s["from"] == "down" && s["to"] == "up");
    assert!(back.clone().count() >= 4 && back.clone().all(|s| s["down_ms"].is_u64()), "{out}");
    let summary = objects.last().unwrap();
    assert_eq!((&summary["event"], &summary["state"]), (&"summary".into(), &"up".into()));
}

/// Wrong arguments, and words that the answer to them must have.
const WRONG: &[(&[&str], &str)] = &[
    (&["foo://h:1"], "use one of tcp:// line:// redis:// connect://"),
    (&["reddis://h:1"], "did you mean `redis`?"),
    (&["https://h:1"], "this version has no protocol for `https://`"),
    (&["tls+redis://h"], "this version has no protocol for `tls+redis://`"),
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
    (&["--send", "a", "h:1"], "add `expect`"),
    (&["--send", "a", "--expect", "", "h:1"], "connect://host:port"),
    (&["--send", "\\q", "--expect", "b", "h:1"], "is no escape"),
    (&["--send", "a", "--expect", "b", "redis://h"], "for tcp:// targets"),
    (&["--password-file", "/", "redis://h"], "cannot read the password file"),
    (&["--password-file", "/dev/null", "redis://h"], "is empty"),
    (&["redis://bob@h"], "there is a user and no password"),
    (&["tcp://bob:x@h:1"], "has no login"),
    (&["a=h:1", "a=h:2"], "two targets are called `a`"),
    (&["=h:1"], "the name is empty"),
    (&["--config", "/nonexistent/file"], "--print-config writes a file to begin with"),
    (&["--config", "/dev/zero"], "is it the right file?"),
    (&["--config", "/dev/null"], "add a [[target]]"),
    (&["--check-config"], "add --config FILE"),
];

#[test]
fn what_is_wrong_is_told_with_its_remedy_and_nothing_starts() {
    let witness = TcpListener::bind("127.0.0.1:0").unwrap();
    witness.set_nonblocking(true).unwrap();
    let good = witness.local_addr().unwrap().to_string();
    for (args, words) in WRONG {
        // The target of the witness is right: only the rest keeps it from being watched.
        let joined = [&["--once"], *args].concat();
        let args = if words.contains("redis") || *words == "for tcp:// targets" {
            args.to_vec()
        } else if args.contains(&"--once") || args.contains(&"--count") || args.len() < 2 {
            args.to_vec()
        } else {
            [joined.as_slice(), &[&good]].concat()
        };
        let Done { code, out, err } = run(&args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
        assert!(err.contains(words), "{args:?}: {err}");
        assert!(err.starts_with("keepbeat: ") && err.lines().count() == 1, "{args:?}: {err}");
    }
    assert!(witness.accept().is_err(), "something was started");
}

#[test]
fn every_fault_of_a_file_is_shown_with_its_place_and_no_password() {
    let file = Scratch::new(
        "[defaults]\ninterval = 10\nexpekt = 'x'\n\n[[target]]\nname = 'a'\n\
         url = \"redis://bob:hunter2@10.0.0.5:x\"\nfall = 0\ntimeout = '0s'\n\
         [[target]]\nname = 7\nurl = 'ftp://bob:hunter2@h:1'\npassword = 'hunter2'\n\
         [[target]]\n[bad]\n",
    );
    let Done { code, out, err } = run(&["--config", file.path(), "--check-config"]);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    for (place, words) in [
        ("2:12", "write `10s`"),
        ("3:1", "did you mean `expect`?"),
        ("7:7", "`x` is no port"),
        ("8:8", "use 1 to 100"),
        ("9:11", "timeout of 0"),
        ("11:8", "expected text in quotes"),
        ("12:7", "use one of tcp://"),
        ("13:1", "unknown key `password`"),
        ("14:1", "has no url"),
        ("15:2", "expected [defaults] or [[target]]"),
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
    assert!(err.contains(":1:10: this is no TOML") && err.contains(":4:5: "), "{err}");
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
    let all = printed.out.replace("# [[", "[[").replace("# name", "name").replace("# url", "url");
    let all = all.replace("# send", "send").replace("# expect", "expect");
    let file = Scratch::new(&all.replace("# interval", "interval"));
    let Done { out, err, .. } = run(&["--config", file.path(), "--check-config"]);
    assert!(out.contains("2 targets"), "{err}");
}

#[test]
fn a_flag_goes_before_the_environment_that_before_the_file_that_before_the_default() {
    let file = Scratch::new(&format!(
        "[defaults]\ninterval = '11s'\ntimeout = '12s'\nfall = 13\n\
         [[target]]\nname = 'own'\nurl = '{DEAD}'\ntimeout = '14s'\n\
         [[target]]\nname = 'plain'\nurl = '{DEAD}'\n"
    ));
    let heartbeats = |flags: &[&str], env: &[(&str, &str)]| {
        let mut command = keepbeat(&["--once", "--config", file.path()]);
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
    let default = run(&["--once", DEAD]).out;
    assert!(default.contains("every 30s, 5s for its ack, down after 3 misses"), "{default}");

    let mut command = keepbeat(&["--once", DEAD]);
    command.env("KEEPBEAT_INTERVAL", "5");
    let Done { code, err, .. } = Running::new(command).done();
    assert_eq!(code, Some(2));
    assert!(err.contains("KEEPBEAT_INTERVAL: `5` has no unit: write `5s`"), "{err}");
}

#[test]
fn once_is_the_first_ack_or_the_first_failure() {
    let (_responder, up) = peer();
    let Done { code, out, err } = run(&["--once", "--json", &format!("a\"b\\c={up}")]);
    assert_eq!(code, Some(0), "{err}");
    let up = objects(&out);
    let events: Vec<_> = up.iter().map(|object| object["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["connect", "beat", "state", "disconnect", "summary"], "{out}");
    assert!(up.iter().all(|object| object["name"] == "a\"b\\c"), "{out}");

    let Done { code, out, .. } = run(&["--once", "--json", DEAD]);
    assert_eq!(code, Some(1));
    let dead = objects(&out);
    dead.iter().chain(&up).for_each(check_keys);
    let of_dead: Vec<_> = dead.iter().map(|object| object["event"].as_str().unwrap()).collect();
    assert_eq!(of_dead, ["state", "disconnect", "summary"], "{out}");
    assert_eq!(dead[0]["cause"], "refused");
    let Done { code, .. } = run(&["--once", DEAD, up[0]["peer"].as_str().unwrap()]);
    assert_eq!(code, Some(1), "one of two is down");
}

#[test]
fn every_scheme_beats_in_its_own_way() {
    let greeting = || Exchange::answering("version\r\n\0", "VERSION 1.6\r\n");
    let greeter = Responder::bind("127.0.0.1:0", greeting).unwrap();
    let line = Responder::bind("127.0.0.1:0", || Line).unwrap();
    let redis = Responder::bind("127.0.0.1:0", Redis::new).unwrap();
    let flags = ["--once", "--send", "version\\r\\n\\x00", "--expect", "VERSION"];
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
    let Done { code, out, .. } = run(&["--once", &format!("tcp://{}", line.local_addr())]);
    assert_eq!(code, Some(1));
    assert!(out.contains("✖ down"), "{out}");
}

#[test]
fn a_count_of_5_is_five_rounds() {
    let (_responder, up) = peer();
    let args = ["--count", "5", "--interval", "20ms", "--json", &up];
    let Done { code, out, err } = run(&args);
    assert_eq!(code, Some(0), "{err}");
    let all = objects(&out);
    let rounds = of(&all, "beat").len() + of(&all, "miss").len();
    let summary = all.last().unwrap();
    assert_eq!((rounds, &summary["beats_sent"]), (5, &5.into()), "{out}");
    assert_eq!(summary["beats_acked"], of(&all, "beat").len(), "{out}");
}

#[test]
fn a_dead_target_does_not_flood_the_screen() {
    let Done { code, out, .. } = run(&["--count", "4", "dead=127.0.0.1:1"]);
    assert_eq!(code, Some(1));
    let (events, summary) = out.split_once("\n\n").expect("a blank line before the summary");
    assert_eq!(events.matches("refused").count(), 2, "the cause and the detail once:\n{out}");
    assert!(summary.contains("dead  ✖ down") && summary.contains("refused"), "{out}");
}

#[test]
fn a_peer_that_never_answers_is_shown_as_it_misses() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = silent.local_addr().unwrap().to_string();
    let Done { code, out, .. } = run(&["--once", "--timeout", "50ms", &target]);
    assert_eq!(code, Some(1), "connected is not up:\n{out}");
    assert!(out.contains("◌ miss") && out.contains("no ack of beat 1"), "{out}");
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
    let mut command = keepbeat(&["--json", "--interval", "1ms", &target]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let unread = child.stdout.take(); // held open: a pipe takes 64 KiB, some 500 lines
    let running =
        Running { child, out: lines(None::<File>), err: lines(None::<File>), seen: String::new() };
    for beat in 0..3000 {
        beats.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("beat {beat} did not come"));
    }
    let mut running = running;
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
    drop(unread);
}

#[test]
fn a_broken_pipe_ends_it_quietly() {
    let (_responder, up) = peer();
    let mut child = keepbeat(&["--json", "--interval", "20ms", &up]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let err = lines(child.stderr.take());
    let running = Running { child, out: lines(None::<File>), err, seen: String::new() };
    let mut first = String::new();
    while !first.contains("\"state\"") {
        first.clear();
        out.read_line(&mut first).unwrap();
    }
    drop(out);
    let Done { code, err, .. } = running.done();
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_and_ends_it_with_1() {
    let (_responder, up) = peer();
    for args in [["--interval", "20ms", &up].as_slice(), &["--help"], &[]] {
        let mut command = keepbeat(args);
        command.stdout(File::create("/dev/full").unwrap());
        let Done { code, err, .. } = Running::new(command).done();
        assert_eq!(code, Some(1), "{args:?}");
        assert!(err.contains("cannot write to standard output"), "{args:?}: {err}");
    }
}

#[test]
fn a_stall_of_our_own_is_a_diagnosis_and_nobody_is_blamed() {
    let (_responder, up) = peer();
    let mut running = Running::new(keepbeat(&["--json", "--interval", "50ms", &up]));
    // A stop within the microseconds between beat and ack goes unnoticed: there is another try.
    let stalled = (0..10).find_map(|_| {
        running.line("\"beat\"");
        running.signal("STOP");
        let _ = after(Duration::from_millis(500)).recv(); // the stall itself
        running.signal("CONT");
        (0..5).map(|_| running.line("\"event\"")).find(|line| line.contains("\"diagnosis\""))
    });
    running.signal("TERM");
    let Done { code, out, .. } = running.done();
    let stalled: Value = serde_json::from_str(&stalled.expect(&out)).unwrap();
    check_keys(&stalled);
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(
        (&stalled["cause"], &stalled["confidence"]),
        (&"local-stall".into(), &"certain".into())
    );
    assert!(stalled["evidence"]["late_ms"].as_u64().is_some_and(|late| late >= 100), "{stalled}");
}

/// Refuses every login and says it with the whole request, as a careless server might.
fn refuser() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let n = stream.read(&mut request).unwrap_or(0);
            let shown = String::from_utf8_lossy(&request[..n]).replace("\r\n", " ");
            let _ = stream.write_all(format!("-WRONGPASS not {shown}\r\n").as_bytes());
        }
    });
    address
}

#[test]
fn user_and_password_appear_in_no_output() {
    let address = refuser();
    let file = Scratch::new("hunter2\n");
    let url = format!("redis://bobuser:hunter2@{address}");
    let by_file = format!("redis://bobuser@{address}");
    let config = Scratch::new(&format!(
        "[[target]]\nurl = '{by_file}'\npassword_file = '{}'\n",
        file.path()
    ));
    for args in [
        ["--once", &url].as_slice(),
        &["--once", "--json", &url],
        &["--once", "--password-file", file.path(), &by_file],
        &["--once", "--config", config.path()],
    ] {
        let mut command = keepbeat(args);
        command.env("RUST_LOG", "trace");
        let Done { code, out, err } = Running::new(command).done();
        assert_eq!(code, Some(1), "{out}{err}");
        assert!(out.contains("login-refused"), "the password was sent and refused:\n{out}");
        let said = format!("{out}{err}");
        assert!(!said.contains("hunter2") && !said.contains("bobuser"), "{said}");
        assert!(err.contains("DEBUG") || err.contains("WARN"), "the log was on: {err}");
    }
    for args in [
        [url.replace("redis", "ftp").as_str()].as_slice(),
        &[url.replace("redis", "line").as_str()],
        &[format!("{url}x").as_str()],
        &[format!("x{url}").as_str(), "--print-config"],
    ] {
        let Done { out, err, .. } = run(args);
        assert!(!format!("{out}{err}").contains("hunter2"), "{args:?}: {out}{err}");
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
    for word in ["tcp://", "line://", "redis://", "connect://", "--password-file", "Exit code"] {
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
