//! DECIDES: what pauses a link's connections have survived, and after which they died. Pure: times
//! are arguments.

use std::time::Duration;

/// So many ends are remembered.
const KEPT: usize = 8;

/// Shorter pauses are no pauses: nobody forgets as fast.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// What is known of a link's pauses, over all its connections.
#[derive(Debug, Default)]
pub(crate) struct History {
    survived: Option<Duration>,
    forgotten: Vec<Duration>,
}

/// Whether two pauses are the same one by the clock of a server, which looks at its connections
/// once in a while: a tenth, or half a second.
fn same(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= (one.max(other) / 10).max(Duration::from_millis(500))
}

fn remember(pauses: &mut Vec<Duration>, idle: Duration) {
    if pauses.len() == KEPT {
        pauses.remove(0);
    }
    pauses.push(idle);
}

impl History {
    /// A beat after such a pause was answered.
    pub(crate) fn survived(&mut self, idle: Duration) {
        self.survived = self.survived.max(Some(idle));
        // What was survived is no limit, whatever it looked like.
        self.forgotten.retain(|limit| *limit > idle + PAUSE);
    }

    /// The longest pause that was survived.
    pub(crate) fn longest(&self) -> Option<Duration> {
        self.survived
    }

    /// A connection was found forgotten, or dropped, after such a pause.
    pub(crate) fn forgotten(&mut self, idle: Duration) {
        remember(&mut self.forgotten, idle);
    }

    /// One was lost after a pause, though such a pause was survived before: that was on another
    /// path, or under another rule. If it was not, the next connection survives it again.
    pub(crate) fn dropped(&mut self, idle: Duration) {
        self.survived = self.survived.filter(|survived| idle < PAUSE || *survived < idle);
    }

    /// How often one was forgotten after such a pause or a shorter one, and the shortest.
    pub(crate) fn forgets(&self, idle: Duration) -> (u32, Option<Duration>) {
        let as_short = |pause: &&Duration| **pause <= idle || same(**pause, idle);
        let times = self.forgotten.iter().filter(as_short).count() as u32;
        // One that was survived is none, however near.
        let survived = self.survived.is_some_and(|survived| idle <= survived);
        let times = if survived { 0 } else { times };
        (times, self.forgotten.iter().min().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_pause_that_was_survived_takes_the_limits_below_it_back() {
        let mut history = History::default();
        history.forgotten(4 * S);
        history.forgotten(6 * S);
        assert_eq!(history.forgets(5 * S), (1, Some(4 * S)));
        assert_eq!(history.forgets(6 * S), (2, Some(4 * S)));
        history.survived(5 * S);
        assert_eq!(history.forgets(6 * S), (1, Some(6 * S)));
        assert_eq!(history.longest(), Some(5 * S));
        history.forgotten(60 * S);
        history.survived(57 * S);
        assert_eq!(history.forgets(57 * S).0, 0, "near it, and survived");
        assert_eq!(history.forgets(58 * S).0, 1);
    }

    #[test]
    fn what_was_survived_once_does_not_hide_a_limit_for_ever() {
        let mut history = History::default();
        history.survived(3600 * S);
        history.dropped(300 * S);
        assert_eq!(history.longest(), None, "the path has changed");
        history.survived(300 * S);
        history.dropped(S / 10);
        assert_eq!(history.longest(), Some(300 * S), "that was no pause");
    }
}
