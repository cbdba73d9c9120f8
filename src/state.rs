//! State: one of four words for how a link is.

use std::fmt;

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// No verdict yet. An open connection is not enough for Up: a stopped process still accepts.
    Connecting,
    /// The peer acks the beats.
    Up,
    /// The last beats were missed, but fewer than `fall` of them.
    Suspect,
    /// The connection was lost, or `fall` beats in a row were missed. The link stays Down through
    /// all attempts until acks come.
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

    /// Whether it is Up or Suspect: as far as is known, the peer answers.
    pub fn is_alive(self) -> bool {
        matches!(self, State::Up | State::Suspect)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
