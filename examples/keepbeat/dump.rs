//! Reads recordings and lines of JSON, one line at a time.

use std::time::SystemTime;

use keepbeat::{Evidence, Fact};
use serde_json::{Map, Value};

/// The content of a line.
pub enum Item {
    Beat(Beat),
    Diagnosis(Box<Recorded>),
    /// A line that has nothing to do with a diagnosis.
    Other,
}

/// A beat of the flight recorder.
pub struct Beat {
    pub time: SystemTime,
    facts: Map<String, Value>,
}

impl Beat {
    /// The number with this name.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.facts.get(name)?.as_u64()
    }

    /// `waiting`, `acked`, `late`, `missed`, or a word of a later version.
    pub fn end(&self) -> &str {
        self.facts.get("end").and_then(Value::as_str).unwrap_or("")
    }
}

/// A diagnosis as it was recorded.
pub struct Recorded {
    pub time: SystemTime,
    /// Name and target. None if the diagnosis was about many links.
    pub link: Option<(String, String)>,
    pub cause: String,
    pub confidence: String,
    pub evidence: Evidence,
}

/// Reads a line.
///
/// # Errors
///
/// What is wrong with it.
pub fn read(line: &str) -> Result<Item, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| no_json(&error))?;
    let Value::Object(object) = value else {
        return Err("expected an object of JSON, as --record and --json write them".to_owned());
    };
    let kind = object.get("record").or(object.get("event")).and_then(Value::as_str);
    match (object.contains_key("record"), kind) {
        (_, Some("diagnosis")) => diagnosis(&object).map(|it| Item::Diagnosis(Box::new(it))),
        (true, Some("beat")) => {
            version(&object)?;
            Ok(Item::Beat(Beat { time: time(&object)?, facts: object }))
        }
        _ => Ok(Item::Other),
    }
}

fn no_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("not valid JSON: {what} at column {}", error.column())
}

fn version(object: &Map<String, Value>) -> Result<(), String> {
    match object.get("v") {
        Some(v) if *v == 1 => Ok(()),
        Some(v) => Err(format!("lines of version {v}: this program reads version 1")),
        None => Err("`v`, the version of the line, is missing".to_owned()),
    }
}

fn time(object: &Map<String, Value>) -> Result<SystemTime, String> {
    let text = text(object, "ts")?;
    humantime::parse_rfc3339(text).map_err(|_| format!("`ts`: `{text}` is not a time in UTC"))
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    let value = object.get(key).ok_or_else(|| format!("`{key}` is missing"))?;
    value.as_str().ok_or_else(|| format!("`{key}` is not text"))
}

fn diagnosis(object: &Map<String, Value>) -> Result<Recorded, String> {
    version(object)?;
    let link = match object.contains_key("name") {
        true => Some((text(object, "name")?.to_owned(), text(object, "target")?.to_owned())),
        false => None,
    };
    let facts = object.get("evidence").ok_or("`evidence` is missing")?;
    let Value::Object(facts) = facts else { return Err("`evidence` is not an object".to_owned()) };
    let mut evidence = Evidence::default();
    for (name, value) in facts {
        let set = match fact(value) {
            Some(fact) => evidence.set(name, &fact).map_err(|error| error.to_string()),
            None if is_known(name) => Err(format!("`{value}` cannot be the evidence `{name}`")),
            None => Ok(()), // a fact of a later version
        };
        set.map_err(|fault| format!("`evidence`: {fault}"))?;
    }
    Ok(Recorded {
        time: time(object)?,
        link,
        cause: text(object, "cause")?.to_owned(),
        confidence: text(object, "confidence")?.to_owned(),
        evidence,
    })
}

fn fact(value: &Value) -> Option<Fact> {
    match value {
        Value::Bool(flag) => Some(Fact::Flag(*flag)),
        Value::Number(number) => number.as_u64().map(Fact::Number),
        Value::String(text) => Some(Fact::Text(text.clone())),
        _ => None,
    }
}

/// Whether this version has evidence of this name.
fn is_known(name: &str) -> bool {
    let mut probe = Evidence::default();
    let facts = [Fact::Flag(true), Fact::Number(0), Fact::Text("x".to_owned())];
    facts.iter().any(|fact| probe.set(name, fact).is_err()) || !probe.facts().is_empty()
}
