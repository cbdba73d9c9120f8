//! State: how a link is. Four words, from the first verdict to the last.

use std::fmt;

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// No verdict yet. A connection alone is no Up: a stopped process still accepts.
    Connecting,
    /// Beats are acked.
    Up,
    /// The last beats were missed, though not yet `fall` of them.
    Suspect,
    /// Lost, or `fall` beats missed in a row. Stays Down through all attempts until acks come.
    Down,
}

impl State {
    /// The word: `connecting`, `up`, `suspect`, `down`.
    pub fn word(self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Up => "up",
            State::Suspect => "suspect",
            State::Down => "down",
        }
    }

    /// Up or Suspect: as far as is known, the peer answers.
    pub fn is_alive(self) -> bool {
        matches!(self, State::Up | State::Suspect)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
