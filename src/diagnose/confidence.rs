//! How sure a diagnosis is.

use std::fmt;

/// How sure a diagnosis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Confidence {
    /// One of several that fit; the others stand beside it.
    Possible,
    /// The evidence speaks for it, and what else would fit is rarer.
    Likely,
    /// Nothing else would have shown this.
    Certain,
}

impl Confidence {
    /// `possible`, `likely` or `certain`.
    pub fn word(self) -> &'static str {
        match self {
            Confidence::Possible => "possible",
            Confidence::Likely => "likely",
            Confidence::Certain => "certain",
        }
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
