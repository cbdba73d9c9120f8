//! Each program of `c/`, linked both ways; and those that concern memory under valgrind.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
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

/// As their Makefile builds them, against a peer that answers and then goes.
#[test]
fn the_examples_build_and_say_what_happened() {
    let out = built().join("examples");
    std::fs::create_dir_all(&out).unwrap();
    let mut make = Command::new("make");
    make.args(["-C", "examples/c", "--always-make"]).env_remove("MAKEFLAGS");
    make.arg(format!("KEEPBEAT={}", built().display())).arg(format!("OUT={}", out.display()));
    finish(make);

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

/// Helgrind, which a program of pthreads is run under, finds no race where there is none, and the one
/// that is planted.
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
