//! Recordings, and what `explain` makes of them, here and now or elsewhere and later.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::process::Stdio;

use keepbeat::{Cause, Evidence};
use serde_json::{Value, json};

use super::diagnosis::hung;
use super::json::{check_words, documented, objects};
use super::process::{DEAD, Done, Running, Scratch, keepbeat, peer, run};

/// What a hung peer leaves behind.
fn recording() -> (Scratch, String) {
    let file = Scratch::new("");
    let (_listener, address) = hung();
    let target = format!("billing={address}");
    let args = ["--count", "3", "--timeout", "300ms", "--interval", "400ms", &target];
    let Done { code, out, err } = run(&[&["--record", file.path()], args.as_slice()].concat());
    assert_eq!((code, err.as_str()), (Some(1), ""), "{out}");
    let text = fs::read_to_string(file.path()).unwrap();
    (file, text)
}

#[test]
fn a_recording_has_the_documented_keys_and_is_explained_to_the_same_cause() {
    let (file, text) = recording();
    let lines = objects(&text);
    for line in &lines {
        let kind = line["record"].as_str().unwrap();
        let mut known = documented("record", kind);
        known.extend(["v", "ts", "record"].map(str::to_owned));
        // What a beat that was not acked cannot have.
        let without = |key: &String| kind != "beat" || key != "beat_rtt_us";
        let keys: HashSet<String> = line.as_object().unwrap().keys().cloned().collect();
        let need: HashSet<String> = known.iter().filter(|key| without(key)).cloned().collect();
        assert!(keys.is_subset(&known) && keys.is_superset(&need), "{line}");
        check_words(line);
    }
    let last = lines.last().unwrap();
    let kinds = (&last["record"], &last["name"], &last["cause"]);
    assert_eq!(kinds, (&"diagnosis".into(), &"billing".into(), &"peer-silent".into()), "{text}");
    let before = &lines[lines.len() - 2];
    assert_eq!((&before["record"], &before["end"]), (&"beat".into(), &"missed".into()), "{text}");
    assert!(before["ts"].as_str() < last["ts"].as_str(), "{text}");

    let Done { code, out, err } = run(&["explain", file.path()]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let told = out.rsplit("\n\n").next().unwrap();
    let sample = ["billing  tcp://127.0.0.1:", "the last beats", "beat 1 ", "missed"];
    let more = [
        "timeout                 300.0ms",
        "peer-silent             likely: ",
        "or replies-filtered",
    ];
    let last =
        ["remedy                  does the service at", "to confirm              `ss -tino`"];
    for words in sample.iter().chain(&more).chain(&last) {
        assert!(told.contains(words), "no `{words}`:\n{told}");
    }
    assert!(!out.contains("recorded as"), "{out}");
}

#[test]
fn another_version_of_the_same_evidence_is_said_to_be_one() {
    let (_, text) = recording();
    let other = text.replace("\"cause\":\"peer-silent\"", "\"cause\":\"path-dead\"");
    let later = text.replace("\"cause\":\"peer-silent\"", "\"cause\":\"heat-death\"");
    let later = later.replace("\"evidence\":{", "\"evidence\":{\"entropy\":{\"bits\":[1,2.5]},");
    for (text, words) in [
        (other, "recorded as             another version concluded path-dead (likely)"),
        (later, "a cause that this one does not: heat-death (likely)"),
    ] {
        let file = Scratch::new(&text);
        let Done { code, out, err } = run(&["explain", file.path()]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.contains(words) && out.contains("peer-silent             likely"), "{out}");
    }
}

fn diagnosis() -> Value {
    json!({
        "v": 1, "ts": "2026-01-02T03:04:05.678Z", "event": "diagnosis",
        "name": "billing", "target": "tcp://10.0.0.5:7000",
        "cause": "flow-forgotten", "confidence": "likely", "alternatives": ["flow-dropped"],
        "detail": "x", "advice": "y",
        "evidence": {
            "word": "ack-timeout", "stage": "silence", "peer": "10.0.0.5:7000", "unacked": 1,
            "unsent_bytes": 0, "window_bytes": 65536, "waited_us": 5_000_000,
            "timeout_us": 5_000_000,
            "retransmits": 3, "backoff": 3, "probes": 0, "rto_us": 204_000, "rtt_us": 200,
            "idle_us": 65_000_000, "idle_survived_us": 55_000_000,
            "fresh": "connected", "fresh_beat": "answered", "more_fresh": 4, "more_answered": 4,
            "resent_beside": 3,
        },
    })
}

#[test]
fn lines_of_json_are_explained_from_standard_input() {
    let mut command = keepbeat(&["explain", "-"]);
    command.stdin(Stdio::piped());
    let mut running = Running::new(command);
    let mut input = running.child.stdin.take().unwrap();
    let beat = json!({"v": 1, "ts": "2026-01-02T03:04:05Z", "event": "beat", "seq": 7});
    let state = json!({"v": 1, "event": "state", "cause": "path-dead", "anything": null});
    let mut fresh = diagnosis();
    fresh["evidence"]["idle_survived_us"] = 26.into();
    write!(input, "{beat}\n\n{state}\n{}\n{fresh}\n", diagnosis()).unwrap();
    drop(input);
    let Done { code, out, err } = running.done();
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("flow-forgotten          likely: 1 segment unacked"), "{out}");
    assert!(out.contains("idle                    1m 5s"), "{out}");
    assert!(out.contains("between 55.0s and 65.0s idle"), "the advice is made anew:\n{out}");
    assert!(out.contains("after 65.0s idle or less"), "26 us are no pause:\n{out}");
    assert!(!out.contains("recorded as") && !out.contains("the last beats"), "{out}");
}

#[test]
fn broken_lines_are_told_with_their_numbers_and_the_others_explained() {
    let with = |key: &str, value: Value| {
        let mut object = diagnosis();
        object[key] = value;
        object.to_string()
    };
    let evidence = |facts: Value| with("evidence", facts);
    let lines = [
        ("{\"v\":1,\"ts\":\"2026".to_owned(), "not valid JSON: EOF while parsing a string"),
        ("[1]".to_owned(), "expected an object of JSON"),
        (with("v", 2.into()), "lines of version 2: this program reads version 1"),
        (with("ts", "yesterday".into()), "`yesterday` is not a time in UTC"),
        (with("cause", 7.into()), "`cause` is not text"),
        (with("evidence", Value::Null), "`evidence` is not an object"),
        (evidence(json!({"unacked": "many"})), "`many` cannot be the evidence called `unacked`"),
        (evidence(json!({"unacked": -1})), "`-1` cannot be the evidence `unacked`"),
        (evidence(json!({"fresh": "tasty"})), "`tasty` cannot be the evidence called `fresh`"),
    ];
    let mut text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    let evil = "evil\u{1b}[2J\n2026-01-01T00:00:00.000Z  forged";
    text += &format!("{}\n", with("name", evil.into()));
    let file = Scratch::new(&text);
    let Done { code, out, err } = run(&["explain", file.path()]);
    assert_eq!(code, Some(1), "{err}");
    for (n, (_, words)) in lines.iter().enumerate() {
        let start = format!("keepbeat: {}:{}: ", file.path(), n + 1);
        let line = err.lines().find(|line| line.starts_with(&start)).expect(&err);
        assert!(line.contains(words), "{line}");
    }
    assert!(out.contains("flow-forgotten          likely") && !out.contains('\x1b'), "{out}");
    assert!(out.contains("evil\\x1b[2J\\n2026"), "a name stays on its line:\n{out}");

    let noise = Scratch::new(&"12:00:00 it died\n".repeat(1000));
    let Done { code, out, err } = run(&["explain", noise.path()]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(err.lines().count(), 11, "{err}");
    assert!(err.contains("and 990 more such lines"), "{err}");
}

#[test]
fn each_cause_is_explained_by_its_word() {
    for cause in Cause::ALL {
        let Done { code, out, err } = run(&["explain", cause.word()]);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        for words in [cause.word(), cause.sentence(), cause.confirm(), cause.remedy()] {
            assert!(out.contains(words), "no `{words}`:\n{out}");
        }
    }
}

#[test]
fn a_recording_goes_on_behind_one_that_was_cut_off() {
    let file = Scratch::new("{\"v\":1,\"ts\":\"20");
    for _ in 0..2 {
        run(&["--once", "--record", file.path(), DEAD]);
    }
    let text = fs::read_to_string(file.path()).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    let Done { code, out, err } = run(&["explain", file.path()]);
    assert_eq!(
        (code, out.matches("refused                 certain").count()),
        (Some(1), 2),
        "{out}"
    );
    assert!(err.contains(":1: not valid JSON") && err.lines().count() == 1, "{err}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_recording_that_takes_nothing_more_is_told_once_and_the_watch_goes_on() {
    let (_responder, up) = peer();
    let args = ["--count", "3", "--interval", "50ms", "--record", "/dev/full", DEAD, &up];
    let Done { code, out, err } = run(&[args.as_slice(), &["tcp://127.0.0.1:2"]].concat());
    assert_eq!(code, Some(1), "{out}");
    assert_eq!(err.matches("cannot write /dev/full").count(), 1, "{err}");
    assert!(err.contains("nothing more is recorded") && err.lines().count() == 1, "{err}");
    assert!(out.contains("● up") && out.contains("rtt min/avg/max"), "{out}");
}

#[test]
fn nothing_is_recorded_of_a_healthy_target() {
    let (_responder, up) = peer();
    let file = Scratch::new("");
    run(&["--count", "3", "--interval", "20ms", "--record", file.path(), &up]);
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "");
    // What a fact is called in the evidence is what a line of it is called.
    let mut evidence = Evidence::default();
    for (name, value) in diagnosis()["evidence"].as_object().unwrap() {
        let fact = match value {
            Value::String(text) => keepbeat::Fact::Text(text.clone()),
            value => keepbeat::Fact::Number(value.as_u64().unwrap()),
        };
        evidence.set(name, &fact).unwrap();
    }
    assert_eq!(evidence.facts().len(), diagnosis()["evidence"].as_object().unwrap().len());
}
