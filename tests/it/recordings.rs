//! What the lab has recorded, one file for each of its cases: the evidence alone must give the same
//! cause again, here and now.

use std::fs;
use std::path::Path;

use keepbeat::{Diagnosis, Evidence, Fact};
use serde_json::{Map, Value};

fn recordings() -> Vec<(String, Map<String, Value>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let read = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let facts = serde_json::from_str(&text);
        facts.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.display().to_string(), read(&path))).collect()
}

fn fact(value: &Value) -> Fact {
    match value {
        Value::Bool(flag) => Fact::Flag(*flag),
        Value::Number(number) => Fact::Number(number.as_u64().unwrap()),
        other => Fact::Text(other.as_str().unwrap().to_owned()),
    }
}

fn text(facts: &Map<String, Value>, name: &str) -> String {
    facts[name].as_str().unwrap().to_owned()
}

#[test]
fn what_was_measured_gives_the_same_cause_again() {
    let all = recordings();
    assert!(all.len() >= 30, "only {} recordings", all.len());
    for (file, facts) in all {
        let mut evidence = Evidence::default();
        for (name, value) in facts.iter().filter(|(name, _)| !["name", "cause"].contains(&&***name))
        {
            evidence.set(name, &fact(value)).unwrap_or_else(|error| panic!("{file}: {error}"));
        }
        let known = evidence.facts().len();
        assert_eq!(known, facts.len() - 2, "{file}: facts with names that nobody knows any more");
        let diagnosis = Diagnosis::of(evidence);
        assert_eq!(diagnosis.cause().word(), text(&facts, "cause"), "{file}: {diagnosis}");
    }
}
