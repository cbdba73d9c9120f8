//! The text of a file of steps: one a line, each checked where it stands.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Step, Steps, Verb};
use crate::error::Error;
use crate::protocol::unescaped;

/// The longest text: enough for every step to be a long one, and `/dev/zero` in its place ends.
const LONGEST_FILE: u64 = 64 * 1024;

/// The longest bytes of one step.
const LONGEST_STEP: usize = 4096;

/// The most steps.
const MOST_STEPS: usize = 64;

/// The words that a line may begin with.
const KNOWN: &str = "`send`, `expect`, `until` or `beat`";

/// Reads a file. Its name stands in front of what is wrong with it.
pub(super) fn read(path: &Path) -> Result<Steps, Error> {
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| Error::invalid(format!("cannot read the steps in `{shown}`: {error}")))?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(Error::invalid(format!(
            "`{shown}` is longer than 64 KiB: is it another file?"
        )));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::invalid(format!("`{shown}` is not UTF-8: write other bytes as \\xNN"))
    })?;
    parse(&text).map_err(|error| Error::invalid(format!("`{shown}`: {error}")))
}

pub(super) fn parse(text: &str) -> Result<Steps, Error> {
    let mut steps = Steps::default();
    let mut in_beat = None;
    for (number, line) in (1_u32..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| Error::invalid(format!("line {number}: {what}"));
        if matches!(line, "beat" | "beat:") {
            if in_beat.replace(number).is_some() {
                return Err(wrong("a second `beat`: write the steps of a beat below the first"));
            }
            continue;
        }
        let step = step(line, number).map_err(|what| wrong(&what))?;
        if steps.opening.len() + steps.beat.len() == MOST_STEPS {
            return Err(wrong("more than 64 steps"));
        }
        if in_beat.is_some() { steps.beat.push(step) } else { steps.opening.push(step) }
    }
    check(&steps, in_beat)?;
    Ok(steps)
}

/// A line that is a step. What it holds may be secret, so only its first word is ever repeated.
fn step(line: &str, number: u32) -> Result<Step, String> {
    let (word, text) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let verb = match word {
        "send" => Verb::Send,
        "expect" => Verb::Expect,
        "until" => Verb::Until,
        _ if word.len() <= 12 && word.bytes().all(|b| b.is_ascii_lowercase()) => {
            return Err(format!("`{word}` is no step: a line begins with {KNOWN}"));
        }
        _ => return Err(format!("no step: a line begins with {KNOWN}")),
    };
    let bytes = unescaped(text.trim_start()).map_err(|error| error.to_string())?;
    match bytes.len() {
        0 => Err(format!("`{word}` what? The bytes are missing behind it")),
        len if len > LONGEST_STEP => {
            Err(format!("{len} bytes are too many for one step: {LONGEST_STEP} at most"))
        }
        _ => Ok(Step { verb, bytes, line: number }),
    }
}

/// What is wrong with the steps as a whole.
fn check(steps: &Steps, beat_at: Option<u32>) -> Result<(), Error> {
    let first = steps.beat.first().map(|step| step.verb);
    let last = steps.beat.last().map(|step| step.verb);
    let what = match (beat_at, first, last) {
        (None, ..) if steps.opening.is_empty() => {
            return Err(Error::invalid(
                "no step in it: write `expect` and what the peer greets with",
            ));
        }
        (None, ..) => return Ok(()),
        (Some(_), None, _) => "no step below `beat`: leave it out, if nothing is to be sent",
        (_, Some(Verb::Expect | Verb::Until), _) => "a beat begins with `send`",
        (_, _, Some(Verb::Send)) => "a beat ends with `expect` or `until`: what answers it",
        _ => return Ok(()),
    };
    Err(Error::invalid(format!("line {}: {what}", beat_at.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_nothing_secret() {
        for (text, words) in [
            ("", "no step in it"),
            ("# nothing\n\n", "no step in it"),
            ("expect 220\nsned s3cret\n", "line 2: `sned` is no step: a line begins with `send`"),
            ("PASS-s3cret\n", "line 1: no step"),
            ("expect\n", "line 1: `expect` what?"),
            (r"send s3cret\q", r"line 1: `\q` is no escape"),
            ("expect 220\nbeat\n", "line 2: no step below `beat`"),
            ("beat\nexpect a\n", "line 1: a beat begins with `send`"),
            ("beat\nsend a\n", "line 1: a beat ends with `expect`"),
            ("beat\nsend a\nexpect b\nbeat:\n", "line 4: a second `beat`"),
            (&"send a\n".repeat(65), "line 65: more than 64 steps"),
            (&format!("send {}", "a".repeat(5000)), "line 1: 5000 bytes are too many"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        for file in ["/nonexistent/file", "/dev/zero", "/"] {
            let error = read(Path::new(file)).expect_err(file).to_string();
            assert!(error.contains(file), "{error}");
        }
    }

    #[test]
    fn lines_are_trimmed_and_escapes_are_bytes() {
        let steps =
            parse("  expect  220 \r\nbeat:\r\n\tsend NOOP\\r\\n\r\n until a1\\x20\n").unwrap();
        assert_eq!(steps.opening, [Step { verb: Verb::Expect, bytes: b"220".to_vec(), line: 1 }]);
        let beat = [
            Step { verb: Verb::Send, bytes: b"NOOP\r\n".to_vec(), line: 3 },
            Step { verb: Verb::Until, bytes: b"a1 ".to_vec(), line: 4 },
        ];
        assert_eq!(steps.beat, beat);
    }
}
