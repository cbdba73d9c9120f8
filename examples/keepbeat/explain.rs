//! `keepbeat explain`: explains a recording, anew from its evidence; or says what a cause means.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use keepbeat::{Cause, Diagnosis, Fact};

use crate::columns::{Columns, clock, counted, short};
use crate::dump::{self, Beat, Item, Recorded};
use crate::screen::Screen;
use crate::{ALIVE, NOT_ALIVE, USAGE, complain, nearest, output, shown, why};

/// Longer than any line of a recording, so that reading `/dev/zero` ends.
const LONGEST: u64 = 1024 * 1024;

/// How many broken lines are reported.
const SHOWN: u64 = 10;

/// How many beats before a diagnosis are kept. A recorder has fewer.
const BEATS: usize = 64;

/// Explains a file, or `-` for standard input, or a cause. Returns the exit code.
pub fn explain(what: &OsStr) -> u8 {
    if let Some(cause) = what.to_str().and_then(Cause::from_word) {
        return written(output::write(&meaning(cause)));
    }
    let name = if what == "-" { "standard input".into() } else { what.to_string_lossy() };
    let input: io::Result<Box<dyn Read>> = match what == "-" {
        true => Ok(Box::new(io::stdin())),
        false => File::open(Path::new(what)).map(|file| Box::new(file) as Box<dyn Read>),
    };
    match input {
        Ok(input) => Reader::new(&shown::typed(&name)).read(BufReader::new(input)),
        Err(error) => {
            let words: Vec<_> = Cause::ALL.iter().map(|cause| cause.word()).collect();
            let (hint, name) = (nearest::hint(&name, &words), shown::typed(&name));
            complain(&format!(
                "explain: `{name}` is not a cause{hint} and cannot be read as a file: {error}"
            ));
            USAGE
        }
    }
}

fn written(result: io::Result<()>) -> u8 {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("cannot write to standard output: {error}"));
            NOT_ALIVE
        }
        _ => ALIVE,
    }
}

/// The text about a cause.
fn meaning(cause: Cause) -> String {
    let page = Page::new();
    [("means", cause.sentence()), ("to confirm", cause.confirm()), ("to change", cause.remedy())]
        .into_iter()
        .fold(page.words(cause.word()), |text, (word, what)| {
            text + &page.beside(&format!("  {word:<10}  "), what)
        })
}

/// Fits text to standard output, and makes the text of a file harmless, because a file may come
/// from anybody.
struct Page(Columns);

impl Page {
    fn new() -> Page {
        Page(Columns::new(Screen::new(Some(false)), 0))
    }

    fn words(&self, text: &str) -> String {
        format!("{}\n", self.0.screen.letters(&shown::harmless(text)))
    }

    /// The text continues below itself.
    fn beside(&self, first: &str, text: &str) -> String {
        let most = self.0.screen.columns().unwrap_or(usize::MAX);
        let text = self.0.screen.letters(&shown::harmless(text));
        let lines = self.0.beside(first, first.chars().count(), &text, most);
        format!("{}\n", lines.trim_end())
    }

    fn row(&self, word: &str, what: &str) -> String {
        self.beside(&format!("    {word:<22}  "), what)
    }
}

struct Reader<'a> {
    name: &'a str,
    beats: VecDeque<Beat>,
    explained: u64,
    broken: u64,
}

impl Reader<'_> {
    fn new(name: &str) -> Reader<'_> {
        Reader { name, beats: VecDeque::new(), explained: 0, broken: 0 }
    }

    fn read(&mut self, mut input: impl BufRead) -> u8 {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            match input.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    complain(&format!("explain: cannot read {}: {error}", self.name));
                    return USAGE;
                }
            }
            if line.len() as u64 == LONGEST {
                self.fault(number, "a line longer than 1 MiB: is it the right file?");
                break;
            }
            match self.line(&line) {
                Ok(text) if text.is_empty() => {}
                Ok(text) => {
                    if let Err(error) = output::write(&text) {
                        return written(Err(error));
                    }
                }
                Err(fault) => self.fault(number, &fault),
            }
        }
        self.end()
    }

    /// The text to write for a line.
    fn line(&mut self, line: &[u8]) -> Result<String, String> {
        let line = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
        let line = line.trim();
        if line.is_empty() {
            return Ok(String::new());
        }
        match dump::read(line) {
            Ok(Item::Beat(beat)) => {
                if self.beats.len() == BEATS {
                    self.beats.pop_front();
                }
                self.beats.push_back(beat);
                Ok(String::new())
            }
            Ok(Item::Diagnosis(recorded)) => {
                let beats: Vec<_> = self.beats.drain(..).collect();
                let gap = if self.explained == 0 { "" } else { "\n" };
                self.explained += 1;
                Ok(gap.to_owned() + &told(&recorded, &beats))
            }
            Ok(Item::Other) => Ok(String::new()),
            Err(fault) => {
                self.beats.clear(); // the beats may belong to the broken line
                Err(fault)
            }
        }
    }

    fn fault(&mut self, number: u64, fault: &str) {
        self.broken += 1;
        if self.broken <= SHOWN {
            complain(&format!("{}:{number}: {}", self.name, shown::harmless(fault)));
        }
    }

    fn end(&self) -> u8 {
        if self.broken > SHOWN {
            let more = counted((self.broken - SHOWN) as usize, "more such line");
            complain(&format!("{}: and {more}", self.name));
        }
        if self.explained == 0 && self.broken > 0 {
            return USAGE;
        }
        if self.explained == 0 {
            let what = "no diagnosis in it: --record and --json write them";
            complain(&format!("{}: {what}", self.name));
            return USAGE;
        }
        if self.broken == 0 { ALIVE } else { NOT_ALIVE }
    }
}

/// Everything about one recorded diagnosis.
fn told(recorded: &Recorded, beats: &[Beat]) -> String {
    let (page, diagnosis) = (Page::new(), Diagnosis::of(recorded.evidence.clone()));
    let time = humantime::format_rfc3339_millis(recorded.time);
    let mut text = page.words(&match &recorded.link {
        Some((name, target)) if name == target => format!("{time}  {name}"),
        Some((name, target)) => format!("{time}  {name}  {target}"),
        None => format!("{time}  many links"),
    });
    if !beats.is_empty() {
        text += "  the last beats\n";
        beats.iter().for_each(|beat| text += &page.words(&moment(beat)));
    }
    text += &measured(&page, &diagnosis);
    text += "  concluded\n";
    let cause = diagnosis.cause();
    let why = format!("{}: {}", diagnosis.confidence(), why::evidence(&diagnosis));
    text += &page.row(cause.word(), &why);
    for other in diagnosis.alternatives() {
        text += &page.row(&format!("{} {other}", why::or(&diagnosis)), other.sentence());
    }
    text += &page.row("remedy", diagnosis.advice());
    text += &page.row("to confirm", cause.confirm());
    if recorded.cause != cause.word() {
        let known = match Cause::from_word(&recorded.cause) {
            Some(_) => "another version concluded",
            None => "another version knew a cause that this one does not:",
        };
        let what = format!("{known} {} ({})", recorded.cause, recorded.confidence);
        text += &page.row("recorded as", &what);
    }
    text
}

/// A beat: when it was written, and what happened to it.
fn moment(beat: &Beat) -> String {
    let seq = beat.number("seq").map_or_else(String::new, |seq| seq.to_string());
    let micros = |name| beat.number(name).map(|us| short(Duration::from_micros(us)));
    let end = match (beat.end(), micros("beat_rtt_us")) {
        ("acked", Some(rtt)) => format!("acked in {rtt}"),
        ("waiting", _) => "no ack yet".to_owned(),
        ("late", _) => "acked late".to_owned(),
        (other, _) => other.to_owned(),
    };
    let mut kernel = Vec::new();
    for (name, what) in [("unacked", "unacked"), ("unsent_bytes", "unsent")] {
        kernel.extend(beat.number(name).filter(|n| *n > 0).map(|n| format!("{n} {what}")));
    }
    if beat.number("window_bytes") == Some(0) {
        kernel.push("window closed".to_owned());
    }
    let resent = beat.number("resent_in_all").filter(|n| *n > 0);
    kernel.extend(resent.map(|n| format!("{n} sent again in all")));
    kernel.extend(micros("ack_age_us").map(|age| format!("last ack {age} before")));
    kernel.extend(micros("rto_us").map(|rto| format!("rto {rto}")));
    let line = format!("    {}  beat {seq:<6}  {end:<18}  {}", clock(beat.time), kernel.join(", "));
    line.trim_end().to_owned()
}

fn measured(page: &Page, diagnosis: &Diagnosis) -> String {
    let mut text = "  measured\n".to_owned();
    for (name, fact) in diagnosis.evidence().facts() {
        let (name, value) = match (&fact, name.strip_suffix("_us")) {
            (Fact::Number(us), Some(name)) => (name, short(Duration::from_micros(*us))),
            (Fact::Flag(yes), _) => (name, if *yes { "yes" } else { "no" }.to_owned()),
            _ => (name, fact.to_string()),
        };
        text += &page.row(&name.replace('_', " "), &value);
    }
    text
}
