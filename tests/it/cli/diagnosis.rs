//! How far a diagnosis goes, and how it reads: flags, environment, file, and the lines of it.

use std::collections::HashSet;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};

use super::json::{check_words, documented, objects, of};
use super::process::{DEAD, Done, Running, Scratch, keepbeat, run};
use crate::peer::Peer;
use crate::why::filtered::longer_than;

/// Its kernel takes connections and bytes; nobody ever answers.
pub fn hung() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Three misses, and the time for a side connection between them.
const ROUNDS: [&str; 6] = ["--count", "3", "--timeout", "400ms", "--interval", "500ms"];

/// How many connections were made.
fn made(listener: &TcpListener) -> usize {
    std::iter::from_fn(|| listener.accept().ok()).count()
}

fn connections(flags: &[&str], env: &[(&str, &str)], file: &str) -> usize {
    let (listener, address) = hung();
    let file = Scratch::new(&file.replace("ADDRESS", &address));
    let mut command = keepbeat(&ROUNDS);
    command.args(["--config", file.path()]).args(flags).envs(env.iter().copied());
    let Done { code, out, err } = Running::new(command).done();
    assert_eq!((code, err.as_str()), (Some(1), ""), "{out}");
    made(&listener)
}

#[test]
fn side_connections_are_made_unless_a_flag_a_variable_or_the_file_says_no() {
    let plain = "[[target]]\nurl = 'ADDRESS'\n";
    let without = "[[target]]\nurl = 'ADDRESS'\nside_connections = false\n";
    let none_by_default = "[defaults]\nside_connections = false\n[[target]]\nurl = 'ADDRESS'\n";
    let undiagnosed = "[defaults]\ndiagnosis = false\n[[target]]\nurl = 'ADDRESS'\n";
    let own = format!("{none_by_default}side_connections = true\n");
    let no: &[(&str, &str)] = &[("KEEPBEAT_SIDE_CONNECTIONS", "false")];
    let none: &[(&str, &str)] = &[];
    let cases: [(&[&str], _, &str, bool); 10] = [
        (&[], none, plain, true),
        (&["--no-side-connections"], none, plain, false),
        (&["--no-diagnosis"], none, plain, false),
        (&[], no, plain, false),
        (&["--side-connections"], no, without, true),
        (&[], none, without, false),
        (&["--side-connections"], none, without, true),
        (&[], none, none_by_default, false),
        (&[], none, &own, true),
        (&[], none, undiagnosed, false),
    ];
    thread::scope(|scope| {
        for (flags, env, file, more) in cases {
            scope.spawn(move || {
                let made = connections(flags, env, file);
                assert_eq!(made > 1, more, "{made} connections: {flags:?} {env:?}\n{file}");
            });
        }
    });
}

#[test]
fn without_diagnosis_the_certain_words_alone_are_told() {
    let (_listener, address) = hung();
    let Done { out, .. } =
        run(&[ROUNDS.as_slice(), &["--json", "--no-diagnosis", &address]].concat());
    let all = objects(&out);
    assert_eq!(of(&all, "state")[0]["cause"], "ack-timeout", "{out}");
    assert!(of(&all, "state")[0].get("confidence").is_none(), "{out}");
    assert!(of(&all, "diagnosis").is_empty(), "{out}");
    assert_eq!(all.last().unwrap()["cause"], "ack-timeout", "{out}");
    let Done { out, .. } = run(&[ROUNDS.as_slice(), &["--no-diagnosis", &address]].concat());
    assert!(out.contains("✖ down") && !out.contains('↳') && !out.contains('◆'), "{out}");
}

#[test]
fn a_diagnosis_in_json_has_the_documented_keys_and_the_summary_its_cause() {
    let (_listener, address) = hung();
    let Done { out, .. } = run(&[ROUNDS.as_slice(), &["--json", &address]].concat());
    let all = objects(&out);
    all.iter().for_each(super::json::check_keys);
    let diagnosis = of(&all, "diagnosis")[0];
    let keys: HashSet<String> = diagnosis.as_object().unwrap().keys().cloned().collect();
    let common = ["v", "ts", "event", "name", "target"].map(str::to_owned);
    let mut known = documented("event", "diagnosis");
    known.extend(common);
    assert_eq!(keys, known, "{out}");
    assert_eq!(diagnosis["evidence"]["unacked"], 0, "a number as a number: {out}");
    assert_eq!(diagnosis["evidence"]["carrier"], true, "{out}");
    assert_eq!(all.last().unwrap()["cause"], "peer-silent", "{out}");
}

#[test]
fn a_diagnosis_of_many_links_has_a_line_and_neither_name_nor_target() {
    // What opens a connection passes, and no beat does: not even its kernel sees one.
    let host = |n| {
        let host = TcpListener::bind(format!("127.0.3.{n}:0")).unwrap();
        SockRef::from(&host).attach_filter(&longer_than(0)).unwrap();
        host
    };
    let hosts: Vec<_> = (1..=3).map(host).collect();
    let hosts: Vec<_> = hosts.iter().map(|host| host.local_addr().unwrap().to_string()).collect();
    let mut args = ROUNDS.to_vec();
    args.extend(hosts.iter().map(String::as_str));
    let Done { out, .. } = run(&args);
    let line = out.lines().find(|line| line.contains("local-network")).expect(&out);
    assert!(line.contains("◆ diagnosed   *  ") && line.contains("3 of 3 hosts"), "{out}");
    args.push("--json");
    let Done { out, .. } = run(&args);
    let all = objects(&out);
    let network = of(&all, "diagnosis").into_iter().find(|it| it["cause"] == "local-network");
    let network = network.expect(&out);
    assert!(network.get("name").is_none() && network.get("target").is_none(), "{network}");
    check_words(network);
    assert_eq!(network["evidence"]["suspects"], 3, "{network}");
}

#[test]
fn a_closed_port_is_tried_only_where_that_was_asked_for() {
    for asked in [true, false] {
        // A queue of one that the link itself fills: a fresh connection gets no answer.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap().to_string();
        let flag = if asked { "--closed-port" } else { "--no-closed-port" };
        let Done { out, .. } = run(&[ROUNDS.as_slice(), &["--json", flag, &address]].concat());
        let all = objects(&out);
        let fresh = |it: &&&Value| it["evidence"]["fresh"] == "silent";
        let found = of(&all, "diagnosis");
        let found = found.iter().find(fresh).unwrap_or_else(|| panic!("{asked}: {out}"));
        let tried = found["evidence"].get("closed_port").map(|port| port == "refused");
        assert_eq!(tried, asked.then_some(true), "{found}");
    }
}

#[test]
fn the_columns_stay_in_line_and_many_targets_are_explained_by_the_first() {
    let (_listener, address) = hung();
    let targets = ["a", "b", "c", "d", "e", "f"].map(|name| format!("{name}={DEAD}"));
    let silent = format!("hung={address}");
    let mut args = [ROUNDS.as_slice(), &[silent.as_str()]].concat();
    args.extend(targets.iter().map(String::as_str));
    let Done { out, .. } = run(&args);
    let (events, summary) = out.split_once("\n\n").unwrap();
    let down = events.lines().filter(|line| line.contains("✖ down"));
    let details: HashSet<_> = down
        .clone()
        .map(|line| {
            let at = line.find("127.0.0.1:1:").or_else(|| line.find("no ack of 3 beats")).unwrap();
            line[..at].chars().count()
        })
        .collect();
    assert_eq!((down.count(), details.len()), (7, 1), "{details:?}\n{out}");
    assert_eq!(events.matches("nobody listens").count(), 3, "{out}");
    assert_eq!(events.matches("start what should").count(), 3, "{out}");
    assert_eq!(summary.matches("refused: 127.0.0.1:1").count(), 6, "{out}");
    let words = keepbeat::Cause::ALL.iter().map(|cause| cause.word());
    let longest = words.filter(|word| *word != "closed-by-application").map(str::len).max();
    let longest = longest.unwrap();
    assert!(events.contains(&format!("hung  {:<longest$}  no ack of 3", "peer-silent")), "{out}");
}

#[test]
fn a_hung_target_that_is_connected_to_again_and_again_is_told_once() {
    let (listener, address) = hung();
    let args = ["--count", "12", "--timeout", "100ms", "--interval", "100ms", "--fall", "3"];
    let Done { out, .. } = run(&[args.as_slice(), &["--no-side-connections", &address]].concat());
    assert_eq!(made(&listener), 4, "{out}");
    let (events, _) = out.split_once("\n\n").unwrap();
    let kinds = ["◌ miss", "◆ diagnosed", "↳ remedy", "✖ down", "↳ why"];
    let told = kinds.map(|kind| events.matches(kind).count());
    let once = [3, 2, 1, 1, 0];
    assert_eq!(told, once, "that nothing is known, who is silent, and then nothing:\n{out}");
}

/// Answers PING after AUTH; later it is another one, with another password.
#[test]
fn why_a_target_is_down_now_is_told_as_loudly_as_why_it_fell() {
    let server = Peer::new(|mut visit| {
        let _ = visit.stream.read(&mut [0; 512])?;
        if visit.nth > 0 {
            visit.say(b"-WRONGPASS invalid username-password pair\r\n")?;
            return visit.swallow();
        }
        visit.say(b"+OK\r\n+PONG\r\n")
    });
    let target = format!("redis://:s3cret@{}", server.address);
    let mut process = Running::new(keepbeat(&[&target, "--interval", "60s"]));
    process.line("● up");
    process.line("closed-by-peer");
    let down = process.line("login-refused");
    assert!(down.contains("✖ down") && down.contains("-WRONGPASS"), "{down}");
    let remedy = process.line("remedy");
    assert!(remedy.contains("user and password"), "{remedy}");
    process.signal("INT");
    let Done { code, out, .. } = process.done();
    let last = out.lines().last().unwrap();
    assert_eq!(code, Some(1), "{out}");
    assert!(last.contains("login-refused: the server says `-WRONGPASS"), "{out}");
}
