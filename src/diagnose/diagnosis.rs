//! Diagnosis: what a user is told of a trouble: the cause, how sure it is, what else it could be,
//! what was measured, and who should act.

use std::fmt;

use super::confidence::Confidence;
use super::decide::{self, Verdict};
use super::evidence::{Evidence, Stage};
use super::recorder::BeatRecord;
use super::{advice, story};
use crate::cause::{Cause, Loss};

/// Why a link is in trouble, from the evidence of one end of its connection.
///
/// It never claims more than was measured: what fits the evidence as well stands among the
/// [alternatives](Diagnosis::alternatives). `Display` is one readable line.
///
/// # Examples
///
/// A diagnosis can be made again from its evidence, elsewhere and later:
///
/// ```
/// use keepbeat::{Cause, Diagnosis, Evidence, Fact};
///
/// let mut evidence = Evidence::default();
/// evidence.set("word", &Fact::Text("ack-timeout".into()))?;
/// evidence.set("stage", &Fact::Text("silence".into()))?;
/// evidence.set("unacked", &Fact::Number(0))?;
/// evidence.set("unsent_bytes", &Fact::Number(9))?;
/// evidence.set("window_bytes", &Fact::Number(0))?;
/// let diagnosis = Diagnosis::of(evidence);
/// assert_eq!(diagnosis.cause(), Cause::PeerNotReading);
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    verdict: Verdict,
    detail: String,
    advice: String,
    evidence: Evidence,
    beats: Vec<BeatRecord>,
}

impl Diagnosis {
    /// What this evidence says.
    pub fn of(evidence: Evidence) -> Diagnosis {
        Diagnosis::recorded(evidence, Vec::new())
    }

    /// With the beats that went before.
    pub(crate) fn recorded(evidence: Evidence, beats: Vec<BeatRecord>) -> Diagnosis {
        let verdict = decide::decide(&evidence);
        let detail = story::tell(&evidence, &verdict);
        let advice = advice::advise(&evidence, &verdict);
        Diagnosis { verdict, detail, advice, evidence, beats }
    }

    /// The most likely cause.
    pub fn cause(&self) -> Cause {
        self.verdict.cause
    }

    /// How sure that is.
    pub fn confidence(&self) -> Confidence {
        self.verdict.confidence
    }

    /// What else would fit the evidence, the likeliest first.
    pub fn alternatives(&self) -> &[Cause] {
        &self.verdict.alternatives
    }

    /// What speaks for it, in words, with the numbers.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Who should act, and how.
    pub fn advice(&self) -> &str {
        &self.advice
    }

    /// What was measured.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The flight recorder: the last beats before it, the oldest first, each with what the kernel
    /// knew as it was written.
    pub fn beats(&self) -> &[BeatRecord] {
        &self.beats
    }

    /// The headline is what is likely; what is only possible stays among the diagnosis.
    pub(crate) fn refine(&self, loss: &mut Loss) {
        let open = matches!(
            loss.cause,
            Cause::AckTimeout
                | Cause::PartialReply
                | Cause::ClosedByPeer
                | Cause::Reset
                | Cause::KernelGaveUp
                | Cause::ConnectTimeout
                | Cause::Unreachable
                | Cause::Prohibited
                | Cause::NoLocalRoute
                | Cause::LocalResources
        );
        let sure = self.confidence() >= Confidence::Likely;
        if open && sure && self.evidence.word == Some(loss.cause) {
            loss.cause = self.cause();
        }
    }

    /// Whether this one stands against a later one of the same silence: it is likely, and the later
    /// one is less, or has nothing to go by that this one had not.
    pub(crate) fn holds_against(&self, later: &Diagnosis) -> bool {
        let silences = [self, later].map(|told| told.evidence.stage == Some(Stage::Silence));
        if silences != [true; 2] {
            return false;
        }
        let (ours, theirs) = (&self.evidence, &later.evidence);
        if decide::is_dead_since(ours, theirs) {
            return false;
        }
        if self.confidence() < Confidence::Likely {
            // That nothing is known yet takes nothing back.
            let unknown = later.cause() == Cause::AckTimeout && self.cause() != Cause::AckTimeout;
            return unknown && !theirs.is_news_after(ours);
        }
        if self.cause() == later.cause() {
            return later.confidence() < self.confidence();
        }
        later.confidence() < Confidence::Likely || !theirs.is_news_after(ours)
    }

    /// Whether it says, more than possibly, why a connection that stood was silent.
    pub(crate) fn explains_silence(&self) -> bool {
        let silence = self.evidence.stage == Some(Stage::Silence);
        silence && self.confidence() >= Confidence::Likely
    }

    /// Whether it says why an attempt failed of which this evidence tells less: it is surer than
    /// a guess, and among what that leaves open.
    pub(crate) fn is_behind(&self, attempt: &Evidence) -> bool {
        let sure = self.confidence() >= Confidence::Likely;
        let other = self.evidence.word != attempt.word;
        sure && other && decide::decide(attempt).alternatives.contains(&self.cause())
    }

    pub(crate) fn is_warning(&self) -> bool {
        self.evidence.stage == Some(Stage::Warning)
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.cause(), self.confidence(), self.detail)?;
        if !self.alternatives().is_empty() {
            let others: Vec<_> = self.alternatives().iter().map(|cause| cause.word()).collect();
            write!(f, "; or {}", others.join(", "))?;
        }
        write!(f, "; {}", self.advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::evidence::Fresh;

    fn attempt(word: Cause) -> Evidence {
        Evidence { word: Some(word), stage: Some(Stage::Connect), ..Evidence::default() }
    }

    #[test]
    fn what_is_known_of_a_dead_path_is_behind_attempts_that_time_out_and_no_others() {
        let silence = |fresh, misses| {
            Diagnosis::of(Evidence {
                word: Some(Cause::AckTimeout),
                stage: Some(Stage::Silence),
                unacked: Some(1),
                misses: Some(misses),
                resent: Some(2 * misses),
                silent_us: Some(std::time::Duration::from_secs(misses.into())),
                waited_us: Some(std::time::Duration::from_millis(10)),
                rto_us: Some(std::time::Duration::from_millis(200)),
                fresh,
                closed_port: fresh,
                ..Evidence::default()
            })
        };
        let known = silence(Some(Fresh::Silent), 3);
        assert_eq!((known.cause(), known.confidence()), (Cause::PathDead, Confidence::Likely));
        assert!(known.is_behind(&attempt(Cause::ConnectTimeout)));
        assert!(!known.is_behind(&attempt(Cause::Refused)), "now somebody answers");
        assert!(!known.is_behind(&attempt(Cause::LoginRefused)));
        let guess = silence(Some(Fresh::Silent), 2);
        assert_eq!((guess.cause(), guess.confidence()), (Cause::PathDead, Confidence::Possible));
        assert!(!guess.is_behind(&attempt(Cause::ConnectTimeout)));
        let timed_out = Diagnosis::of(attempt(Cause::ConnectTimeout));
        assert!(!timed_out.is_behind(&attempt(Cause::ConnectTimeout)), "that is the same");
    }
}
