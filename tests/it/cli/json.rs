//! Lines of JSON: every event, every documented key, and what `--once` and `--count` make of them.

use std::collections::HashSet;
use std::time::Duration;

use crossbeam_channel::after;
use keepbeat::Cause;
use serde_json::Value;

use super::process::{DEAD, Done, Running, keepbeat, peer, run};

pub fn objects(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

pub fn of<'a>(objects: &'a [Value], event: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["event"] == event).collect()
}

/// The keys of an event beside those that all have, and whether each may be null.
fn keys(event: &str) -> &'static [(&'static str, &'static str)] {
    match event {
        "connect" => &[("peer", "text"), ("attempt", "number"), ("connect_us", "number")],
        "beat" => &[("seq", "number")],
        "miss" => {
            &[("seq", "number"), ("timeout_ms", "number"), ("misses", "number"), ("cause", "text")]
        }
        "state" => &[("from", "text"), ("to", "text"), ("cause", "text?"), ("detail", "text?")],
        "disconnect" => {
            &[("cause", "text"), ("detail", "text"), ("lived_ms", "number"), ("beats", "number")]
        }
        "summary" => &[
            ("state", "text"),
            ("cause", "text?"),
            ("beats_sent", "number"),
            ("beats_acked", "number"),
            ("misses", "number"),
            ("reconnects", "number"),
            ("renewals", "number"),
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

/// Keys that an event may have.
fn more_keys(event: &str) -> &'static [&'static str] {
    match event {
        "beat" => &["rtt_us", "late"],
        "connect" | "summary" => &["certificate_days"],
        "state" => &["down_ms", "diagnosis", "confidence", "alternatives", "advice"],
        "disconnect" => &["expected"],
        _ => &[],
    }
}

const COMMON: [&str; 5] = ["v", "ts", "event", "name", "target"];

/// The keys of a row of README.md: the words in code of its last column.
pub fn documented(head: &str, row: &str) -> HashSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (_, table) = readme.split_once(&format!("| {head} |")).expect("the table");
    let mut rows = table.lines().take_while(|line| !line.is_empty());
    let start = format!("| `{row}` |");
    let line = rows.find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {row}"));
    let last = line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
    last.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What JSON says of causes are words of the list, and nothing else.
pub fn check_words(object: &Value) {
    let known = |word: &Value| word.as_str().and_then(Cause::from_word).is_some();
    if let Some(cause) = object.get("cause").filter(|cause| !cause.is_null()) {
        assert!(known(cause), "{object}");
    }
    let sure = object.get("confidence");
    // Whose confidence it is: of a state it is named beside the certain word.
    let of_state = object["event"] == "state";
    assert!(!of_state || object.get("diagnosis").is_some() == sure.is_some(), "{object}");
    let told = if of_state { &object["diagnosis"] } else { &object["cause"] };
    if let Some(sure) = sure {
        assert!(known(told), "{object}");
        assert!(["certain", "likely", "possible"].contains(&sure.as_str().unwrap()), "{object}");
        let others = object["alternatives"].as_array().expect("a list of alternatives");
        assert!(others.iter().all(known) && !others.contains(told), "{object}");
        assert!(object["advice"].is_string(), "{object}");
    }
    let together = [object.get("alternatives"), object.get("advice")];
    assert!(together.iter().all(|key| key.is_some() == sure.is_some()), "{object}");
}

pub fn check_keys(object: &Value) {
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
    for key in object.as_object().unwrap().keys().map(String::as_str) {
        let known = COMMON.contains(&key) || keys(event).iter().any(|(known, _)| *known == key);
        assert!(known || more_keys(event).contains(&key), "{key} in {object}");
    }
    check_words(object);
    assert_eq!(object["v"], 1);
    humantime::parse_rfc3339(object["ts"].as_str().unwrap()).expect("a time in UTC");
    if event == "beat" {
        let late = object.get("late").is_some_and(|late| late == true);
        assert_eq!(late, object.get("rtt_us").is_none(), "{object}");
    }
}

#[test]
fn the_documented_keys_are_those_that_are_checked() {
    for event in ["connect", "beat", "miss", "state", "disconnect", "summary", "diagnosis"] {
        let checked: HashSet<String> = keys(event).iter().map(|(key, _)| (*key).into()).collect();
        let more = more_keys(event).iter().map(|key| (*key).to_owned());
        assert_eq!(
            documented("event", event),
            checked.into_iter().chain(more).collect(),
            "{event}"
        );
    }
}

#[test]
fn the_demo_in_json_has_every_event_with_its_documented_keys() {
    let Done { code, out, err } = run(&["demo", "--json"]);
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
    let all = HashSet::from(["ack-timeout", "peer-silent", "reset", "closed-by-peer"]);
    assert_eq!(causes, all, "the first miss is too early for more:\n{out}");
    let worse = states.iter().filter(|state| state["to"] != "up");
    assert!(worse.clone().all(|state| state.get("confidence").is_some()), "{out}");
    let hung = worse.clone().find(|state| state["cause"] == "peer-silent").unwrap();
    assert!(hung["advice"].as_str().unwrap().contains("look at the process"), "{hung}");
    assert!(hung["alternatives"].as_array().unwrap().contains(&"replies-filtered".into()));
    for event in ["beat", "state"] {
        let seen = |key: &&str| of(&objects, event).iter().any(|it| it.get(key).is_some());
        let missing: Vec<_> = more_keys(event).iter().filter(|key| !seen(key)).collect();
        assert!(missing.is_empty(), "{event} never has {missing:?}");
    }
    let back = states.iter().filter(|s| s["from"] == "down" && s["to"] == "up");
    assert!(back.clone().count() >= 4 && back.clone().all(|s| s["down_ms"].is_u64()), "{out}");
    let summary = objects.last().unwrap();
    assert_eq!((&summary["event"], &summary["state"]), (&"summary".into(), &"up".into()));
    assert_eq!(summary["cause"], Value::Null, "{summary}");
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
    assert_eq!((&dead[0]["confidence"], &dead[2]["cause"]), (&"certain".into(), &"refused".into()));
    let Done { code, .. } = run(&["--once", DEAD, up[0]["peer"].as_str().unwrap()]);
    assert_eq!(code, Some(1), "one of two is down");
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
fn a_stall_of_our_own_is_a_diagnosis_and_nobody_is_blamed() {
    let (_responder, up) = peer();
    let args = ["--json", "--interval", "50ms", "--timeout", "200ms", &up];
    let mut running = Running::new(keepbeat(&args));
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
    let late = stalled["evidence"]["late_us"].as_u64();
    assert!(late.is_some_and(|late| late >= 100_000), "{stalled}");
}
