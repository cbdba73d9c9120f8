//! What came of each link of each kind, and the goals over all of them.

use std::fmt;

use keepbeat::{Cause, Confidence, Diagnosis};

use super::Kind;

/// The shares that must be reached, and must not be passed.
const RIGHT: f64 = 0.95;
const WRONG: f64 = 0.01;
const CONTRADICTED: f64 = 0.02;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Right,
    /// The headline is another one, and only possible; the right one stands beside it.
    Among,
    Wrong,
    Unknown,
}

impl Mark {
    const ALL: [Mark; 4] = [Mark::Right, Mark::Among, Mark::Wrong, Mark::Unknown];

    fn word(self) -> &'static str {
        match self {
            Mark::Right => "right",
            Mark::Among => "among",
            Mark::Wrong => "wrong",
            Mark::Unknown => "unknown",
        }
    }
}

/// One link's account of one fault.
pub struct Outcome {
    pub kind: String,
    pub mark: Mark,
    /// It was right first, and likely, and then another cause was told as likely.
    pub contradicted: bool,
    /// How many ack timeouts it took, from the beat that was lost, in hundredths.
    pub took: Option<u64>,
    /// The settings of the link, and all that was told: several lines.
    pub story: String,
}

/// What was told, as far as it counts: how many hundredths of a timeout after the first lost beat.
pub struct Told<'a> {
    pub diagnosis: &'a Diagnosis,
    pub took: Option<u64>,
}

/// The headline is the first cause that is likely or certain, else the last that is possible.
pub fn judge(kind: &Kind, told: &[Told], story: String) -> Outcome {
    let is_sure = |told: &&Told| told.diagnosis.confidence() >= Confidence::Likely;
    let headline = told.iter().find(is_sure).or(told.last());
    let mark = match headline {
        None if kind.may_be_silent => Mark::Right,
        None => Mark::Unknown,
        Some(told) => mark(kind, told.diagnosis),
    };
    // What an attempt met is no story of its own.
    let fits =
        |cause| cause == Cause::ConnectTimeout || [kind.right, kind.also].concat().contains(&cause);
    let later = told.iter().filter(is_sure).any(|told| !fits(told.diagnosis.cause()));
    let contradicted = mark == Mark::Right && headline.is_some_and(|one| is_sure(&one)) && later;
    let took = headline.and_then(|told| told.took);
    Outcome { kind: kind.name.to_owned(), mark, contradicted, took, story }
}

fn mark(kind: &Kind, told: &Diagnosis) -> Mark {
    let cause = told.cause();
    let beside = told.alternatives().iter().any(|cause| kind.right.contains(cause));
    if kind.right.contains(&cause) {
        Mark::Right
    } else if told.confidence() >= Confidence::Likely {
        let among = beside && !kind.accuses(cause);
        if among { Mark::Among } else { Mark::Wrong }
    } else if beside {
        Mark::Among
    } else if cause == Cause::AckTimeout || cause == Cause::ConnectTimeout {
        Mark::Unknown
    } else {
        Mark::Wrong
    }
}

impl Outcome {
    pub fn is_clean(&self) -> bool {
        self.mark == Mark::Right && !self.contradicted
    }
}

/// As [`parse`] reads it again.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = self.took.map_or("-".to_owned(), |took| took.to_string());
        let then = if self.contradicted { "contradicted" } else { "kept" };
        writeln!(f, "OUTCOME {} {} {then} {took}", self.kind, self.mark.word())?;
        write!(f, "{}", self.story)
    }
}

pub fn parse(text: &str) -> Vec<Outcome> {
    let mut found: Vec<Outcome> = Vec::new();
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("OUTCOME ") {
            let words: Vec<_> = words.split(' ').collect();
            let mark = Mark::ALL.into_iter().find(|mark| mark.word() == words[1]).unwrap();
            found.push(Outcome {
                kind: words[0].to_owned(),
                mark,
                contradicted: words[2] == "contradicted",
                took: words[3].parse().ok(),
                story: String::new(),
            });
        } else if let Some(outcome) = found.last_mut() {
            outcome.story += &format!("{line}\n");
        }
    }
    found
}

pub struct Figures {
    marks: [usize; 4],
    contradicted: usize,
    all: usize,
    /// In hundredths of an ack timeout.
    median: u64,
    kinds: Vec<(String, [usize; 4], usize)>,
}

impl Figures {
    pub fn of(outcomes: &[Outcome]) -> Figures {
        let mut kinds: Vec<(String, [usize; 4], usize)> = Vec::new();
        for outcome in outcomes {
            if kinds.iter().all(|(name, ..)| *name != outcome.kind) {
                kinds.push((outcome.kind.clone(), [0; 4], 0));
            }
            let kind = kinds.iter_mut().find(|(name, ..)| *name == outcome.kind);
            let (_, marks, contradicted) = kind.expect("it was just added");
            marks[outcome.mark as usize] += 1;
            *contradicted += usize::from(outcome.contradicted);
        }
        kinds.sort();
        let marks = Mark::ALL.map(|mark| kinds.iter().map(|kind| kind.1[mark as usize]).sum());
        let contradicted = kinds.iter().map(|kind| kind.2).sum();
        let mut took: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.took).collect();
        took.sort_unstable();
        let median = took.get(took.len() / 2).copied().unwrap_or_default();
        Figures { marks, contradicted, all: outcomes.len(), median, kinds }
    }

    fn share(&self, n: usize) -> f64 {
        n as f64 / self.all.max(1) as f64
    }

    /// The goals. Of a handful one may always be another.
    pub fn hold(&self) {
        let [right, _, wrong, _] = self.marks;
        assert!(self.all > 0, "no kind has this name");
        let one = self.share(1);
        assert!(self.share(right) >= RIGHT - one, "too few are right");
        assert!(self.share(wrong) <= WRONG.max(one), "too many are wrong");
        let contradicted = self.share(self.contradicted);
        assert!(contradicted <= CONTRADICTED.max(one), "too many are contradicted");
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:32} right among wrong unknown contradicted", "")?;
        for (name, [right, among, wrong, unknown], contradicted) in &self.kinds {
            writeln!(f, "{name:32} {right:5} {among:5} {wrong:5} {unknown:7} {contradicted:12}")?;
        }
        let percent = |n| 100.0 * self.share(n);
        let [right, among, wrong, unknown] = self.marks.map(percent);
        let contradicted = percent(self.contradicted);
        write!(
            f,
            "FIGURES {} links of {} kinds: {right:.1} % right, {among:.1} % among the \
             alternatives, {wrong:.1} % wrong, {unknown:.1} % unknown, {contradicted:.1} % \
             contradicted later; told after {:.1} ack timeouts in the median",
            self.all,
            self.kinds.len(),
            self.median as f64 / 100.0,
        )
    }
}
