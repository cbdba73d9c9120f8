//! A diagnosis in words: how sure it is, the evidence, the other possibilities.

use keepbeat::{Cause, Confidence, Diagnosis, Fact};

/// `likely: the peer's kernel acknowledged it; another possibility: replies-filtered`. Leaves out
/// what the line above says already: what was seen, and the cause, if it is `shown` there.
pub fn words(diagnosis: &Diagnosis, shown: Option<Cause>) -> String {
    let evidence = evidence(diagnosis);
    if diagnosis.cause() == Cause::AckTimeout {
        // Nothing has explained the silence.
        return match listed(diagnosis) {
            Some(others) => format!("not known: {evidence}; it may be {others}"),
            None => format!("not known: {evidence}"),
        };
    }
    let sure = match Some(diagnosis.cause()) == shown {
        true => format!("{}: {evidence}", diagnosis.confidence()),
        false => format!("{} {}: {evidence}", diagnosis.confidence(), diagnosis.cause()),
    };
    match listed(diagnosis) {
        Some(others) if diagnosis.confidence() == Confidence::Certain => {
            format!("{sure}; perhaps {others}")
        }
        Some(other) if diagnosis.alternatives().len() == 1 => {
            format!("{sure}; another possibility: {other}")
        }
        Some(others) => format!("{sure}; other possibilities: {others}"),
        None => sure,
    }
}

/// The word before the alternatives. If the cause is certain, they are what may be behind it.
pub fn or(diagnosis: &Diagnosis) -> &'static str {
    if diagnosis.confidence() == Confidence::Certain { "perhaps" } else { "or" }
}

/// The evidence beyond what the event already said. If there is none, the meaning of the cause.
pub fn evidence(diagnosis: &Diagnosis) -> String {
    let detail = diagnosis.detail();
    let more = match seen(diagnosis) {
        Some(seen) => detail.strip_prefix(seen.as_str()).unwrap_or(detail),
        None => detail,
    };
    match more.trim_start_matches("; ") {
        "" => diagnosis.cause().sentence().to_owned(),
        more => more.to_owned(),
    }
}

/// What the event of the failure already said. A warning has no such event.
fn seen(diagnosis: &Diagnosis) -> Option<String> {
    let told = matches!(fact(diagnosis, "stage")?.as_str(), "connect" | "silence" | "end");
    fact(diagnosis, "detail").filter(|_| told)
}

/// Whether it is a warning: the link works, but not well.
pub fn is_warning(diagnosis: &Diagnosis) -> bool {
    fact(diagnosis, "stage").is_some_and(|stage| stage == "warning")
}

/// For a failed attempt to come up: the word of its end, and what was seen. While a target is down,
/// the end of a connection is such an attempt, too.
pub fn attempt(diagnosis: &Diagnosis, is_down: bool) -> Option<(Cause, String)> {
    let word = Cause::from_word(&fact(diagnosis, "word")?)?;
    let stage = fact(diagnosis, "stage")?;
    let is_one = stage == "connect" || (stage == "end" && is_down);
    is_one.then_some((word, fact(diagnosis, "detail")?))
}

fn fact(diagnosis: &Diagnosis, called: &str) -> Option<String> {
    let facts = diagnosis.evidence().facts();
    facts.into_iter().find_map(|(name, fact)| match fact {
        Fact::Text(text) if name == called => Some(text),
        _ => None,
    })
}

/// `a, b or c`.
fn listed(diagnosis: &Diagnosis) -> Option<String> {
    let words: Vec<_> = diagnosis.alternatives().iter().map(|cause| cause.word()).collect();
    let (last, before) = words.split_last()?;
    Some(match before {
        [] => (*last).to_owned(),
        before => format!("{} or {last}", before.join(", ")),
    })
}
