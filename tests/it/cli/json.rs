//! Lines of JSON: every event, every documented key, and what `--once` and `--count` make of them.

use std::collections::HashSet;
use std::time::Duration;

use crossbeam_channel::after;
use serde_json::Value;

use super::process::{DEAD, Done, Running, keepbeat, peer, run};

fn objects(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn of<'a>(objects: &'a [Value], event: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["event"] == event).collect()
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
    assert!(stalled["evidence"]["late_ms"].as_u64().is_some_and(|late| late >= 100), "{stalled}");
}
