//! What a case has measured, written down, to be explained again without a lab.

use std::path::Path;

use keepbeat::{Diagnosis, Fact};
use serde_json::{Map, Value};

fn value(fact: Fact) -> Value {
    match fact {
        Fact::Number(number) => number.into(),
        Fact::Flag(flag) => flag.into(),
        Fact::Text(text) => text.into(),
        other => other.to_string().into(),
    }
}

/// Writes the evidence into `KEEPBEAT_RECORD_DIR`, if that is set.
pub fn record(name: &str, diagnosis: &Diagnosis) {
    let Some(folder) = std::env::var_os("KEEPBEAT_RECORD_DIR") else { return };
    let mut facts = Map::new();
    facts.insert("name".into(), name.into());
    facts.insert("cause".into(), diagnosis.cause().word().into());
    for (name, fact) in diagnosis.evidence().facts() {
        facts.insert(name.into(), value(fact));
    }
    let text = serde_json::to_string_pretty(&Value::Object(facts)).unwrap();
    std::fs::write(Path::new(&folder).join(format!("{name}.json")), text + "\n").unwrap();
}
