//! Each program of `c/`, linked both ways; and those that concern memory under valgrind.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Line, Responder};

use super::build::{Linked, built, compile, finish, run};

fn both_ways(name: &str, args: &[&str]) {
    for linked in [Linked::Static, Linked::Shared] {
        run(&compile(name, linked), args);
    }
}

#[test]
fn what_cannot_work_is_refused_with_a_code_and_a_sentence() {
    both_ways("refused", &[]);
}

#[test]
fn numbers_at_their_ends_and_structs_of_nonsense_are_refused_or_work() {
    both_ways("bounds", &[]);
}

#[test]
fn what_is_no_connection_is_refused_and_each_descriptor_has_one_owner() {
    both_ways("descriptors", &[]);
}

#[test]
fn threads_are_cancelled_interrupted_and_small_and_callbacks_may_call_back() {
    both_ways("threads", &[]);
}

#[test]
fn structs_that_have_grown_or_not_yet_grown_are_understood() {
    both_ways("grown", &[]);
}

#[test]
fn an_endpoint_is_watched_and_told_through_a_descriptor() {
    let responder = Responder::bind("127.0.0.1:0", || Line).unwrap();
    let target = format!("line://{}", responder.local_addr());
    both_ways("watch", &[&target]);
}

#[test]
fn a_socket_of_the_program_is_observed_and_left_alone() {
    both_ways("observe", &[]);
}

#[test]
fn frames_go_both_ways_on_a_socket_that_was_handed_over_and_each_is_accounted_for() {
    both_ways("frames", &[]);
}

#[test]
fn a_connection_that_keepbeat_opens_comes_back_and_its_queue_goes_out() {
    both_ways("connect", &[]);
}

#[test]
fn a_connection_of_the_program_is_followed_and_no_callback_runs_after_its_close() {
    both_ways("follow", &[]);
}

#[test]
fn a_forked_child_touches_nothing_of_its_parents() {
    both_ways("forked", &[]);
}

#[test]
fn the_host_keeps_its_signals_its_errno_and_its_descriptors() {
    both_ways("host", &[]);
}

#[test]
fn the_log_goes_where_the_program_says() {
    // A port where nobody listens: that is worth a line.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    both_ways("log", &[&format!("tcp://{free}")]);
    both_ways("log", &[]);
}

/// The examples, as their Makefile builds them.
fn examples() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let out = built().join("examples");
        std::fs::create_dir_all(&out).unwrap();
        let mut make = Command::new("make");
        make.args(["-C", "examples/c", "--always-make"]).env_remove("MAKEFLAGS");
        make.arg(format!("KEEPBEAT={}", built().display())).arg(format!("OUT={}", out.display()));
        finish(make);
        out
    })
}

/// Against a peer that answers and then goes.
#[test]
fn the_examples_build_and_say_what_happened() {
    let out = examples();
    let responder = Responder::bind("127.0.0.1:0", || Line).unwrap();
    let target = format!("line://{}", responder.local_addr());
    let said = run(&out.join("raii"), &[&target]);
    assert!(said.contains(": up"), "{said}");
    let watching = {
        let (program, target) = (out.join("watch"), target.clone());
        thread::spawn(move || run(&program, &[&target, "3"]))
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while responder.clients() == 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5)); // between two looks
    }
    thread::sleep(Duration::from_millis(500)); // it has been answered
    responder.stop();
    let said = watching.join().unwrap();
    for words in [": up", ": down: closed-by-peer", "what it means: the peer closed", "what to do:"]
    {
        assert!(said.contains(words), "no `{words}`: {said}");
    }

    // A client in a loop of its own: what is typed comes, beats are answered, and its end is told.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut client = Command::new(out.join("adopt_in_poll"));
    client.args(["127.0.0.1", &port]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = client.stderr(Stdio::piped()).spawn().unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut typing = client.stdin.take().unwrap(); // its end would end the client
    typing.write_all(b"hello\n").unwrap();
    let mut lines = BufReader::new(peer.try_clone().unwrap()).lines().map(Result::unwrap);
    let mut seen = [lines.next().unwrap(), lines.next().unwrap()];
    seen.sort();
    assert_eq!(seen, ["PING", "hello"]);
    peer.write_all(b"PONG\nwelcome\n").unwrap();
    drop((lines, peer));
    let output = client.wait_with_output().unwrap();
    let (out_said, err_said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && out_said == "welcome\n", "{out_said}{err_said}");
    assert!(err_said.contains("lost, closed-by-peer: "), "{err_said}");
}

/// The first that it says, and the rest as it comes.
fn started(program: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = program.stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    (child, said)
}

fn line_with(said: &mut impl BufRead, words: &str) -> String {
    let mut all = String::new();
    loop {
        let mut line = String::new();
        assert!(said.read_line(&mut line).unwrap() > 0, "no `{words}` in: {all}");
        if line.contains(words) {
            return line;
        }
        all += &line;
    }
}

/// A program and all its children, which end with the test.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = format!("-{}", self.0);
        let _ = Command::new("kill").args(["-TERM", "--", &leader]).status();
    }
}

#[test]
fn each_child_of_a_pre_fork_server_looks_after_its_own_clients() {
    let examples = examples();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut program = Command::new(examples.join("prefork"));
    let (mut server, mut said) = started(program.args([&port.to_string(), "2"]).process_group(0));
    let group = Group(server.id());
    line_with(&mut said, "listening");
    for _ in 0..2 {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        client.write_all(b"echo").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        line_with(&mut said, ": up");
        drop(client);
        line_with(&mut said, ": down: closed-by-peer");
    }
    drop(group);
    server.wait().unwrap();
}

#[test]
fn a_service_tells_systemd_when_it_is_ready_and_that_it_runs() {
    let examples = examples();
    let socket = built().join("notify.socket");
    let _ = std::fs::remove_file(&socket); // of the last run
    let told = UnixDatagram::bind(&socket).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let responder = Responder::bind("127.0.0.1:0", || Line).unwrap();
    let mut service = Command::new(examples.join("service"));
    service.arg(format!("line://{}", responder.local_addr()));
    service.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000");
    let mut service = service.stderr(Stdio::null()).spawn().unwrap();
    let wait_for = |words: &str| {
        let mut bytes = [0; 1024];
        loop {
            let n = told.recv(&mut bytes).expect(words);
            if String::from_utf8_lossy(&bytes[..n]).contains(words) {
                return;
            }
        }
    };
    wait_for("READY=1\nSTATUS=");
    wait_for("WATCHDOG=1");
    responder.stop();
    wait_for(": down: closed-by-peer");
    wait_for("WATCHDOG=1"); // its target is down, and it is well
    assert!(Command::new("kill").arg(service.id().to_string()).status().unwrap().success());
    wait_for("STOPPING=1");
    assert!(service.wait().unwrap().success());
    std::fs::remove_file(socket).unwrap();
}

#[test]
fn a_descriptor_that_a_library_hides_is_found_and_observed() {
    let examples = examples();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut program = Command::new(examples.join("hidden_socket"));
    let (mut program, mut said) = started(program.args(["127.0.0.1", &port]));
    let (peer, _) = listener.accept().unwrap();
    line_with(&mut said, "library: up");
    drop(peer);
    line_with(&mut said, "library: down: closed-by-peer");
    assert!(program.wait().unwrap().success());
}

/// Those that use another library, where it is there.
#[test]
fn a_loop_of_libevent_has_one_descriptor_more() {
    let program = examples().join("in_libevent");
    if !program.exists() {
        assert!(std::env::var_os("KEEPBEAT_REQUIRE").is_none(), "libevent is not installed");
        eprintln!("skipped: libevent is not installed");
        return;
    }
    let responder = Responder::bind("127.0.0.1:0", || Line).unwrap();
    let said = run(&program, &[&format!("line://{}", responder.local_addr()), "1"]);
    assert!(said.contains(": up"), "{said}");
}

/// Whether valgrind is there; where it is not, that is said.
fn has_valgrind() -> bool {
    let there = Command::new("valgrind").arg("--version").output().is_ok();
    if !there {
        assert!(std::env::var_os("KEEPBEAT_REQUIRE").is_none(), "valgrind is not installed");
        eprintln!("skipped: valgrind is not installed");
    }
    there
}

/// A program under one of its tools, with the suppressions that are shipped.
fn valgrind(options: &[&str], name: &str, args: &[&str]) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--error-exitcode=9", "--quiet", "--suppressions=src/capi/valgrind.supp"]);
    valgrind.args(options).arg(compile(name, Linked::Shared)).args(args);
    valgrind
}

/// What it sees that is read or written wrongly, and what is lost.
#[test]
fn memory_is_used_as_it_was_allocated() {
    if !has_valgrind() {
        return;
    }
    let programs = ["refused", "grown", "frames", "follow", "descriptors", "bounds"];
    let leaks = ["--leak-check=full", "--errors-for-leak-kinds=definite"];
    let runs = programs.map(|name| thread::spawn(move || finish(valgrind(&leaks, name, &[]))));
    runs.into_iter().for_each(|run| drop(run.join().expect("clean")));
}

/// Helgrind, which a program of pthreads is run under, finds no race where there is none, and the
/// one that is planted.
#[test]
fn a_race_is_found_in_the_program_and_none_in_the_library() {
    if !has_valgrind() {
        return;
    }
    let programs = ["shared", "frames", "follow", "connect", "watch"];
    let responder = Responder::bind("127.0.0.1:0", || Line).unwrap();
    let target = format!("line://{}", responder.local_addr());
    let target = target.as_str();
    thread::scope(|scope| {
        for name in programs {
            let args = if name == "watch" { vec![target] } else { Vec::new() };
            scope.spawn(move || finish(valgrind(&["--tool=helgrind"], name, &args)));
        }
    });
    let planted = valgrind(&["--tool=helgrind"], "shared", &["forgets"]).output().unwrap();
    let said = String::from_utf8_lossy(&planted.stderr);
    assert_eq!(planted.status.code(), Some(9), "{said}");
    assert!(said.contains("Possible data race") && said.contains("send_beat"), "{said}");
}
