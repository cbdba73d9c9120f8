//! Rise and fall: from acks and misses to a state, with hysteresis (HAProxy's words). The cause and
//! the time of a change are told by the pulse.

use crate::state::State;

/// Rounds without one ack in time that a link survives although late acks came: `3 x fall`, at
/// least this. A peer that once left out a reply answers every later beat one round late for ever;
/// only a new connection puts beats and acks back in step.
const LATE_ROUNDS: u32 = 10;

#[derive(Debug)]
pub(super) struct Health {
    pub(super) state: State,
    fall: u32,
    rise: u32,
    misses: u32,
    overdue: u32,
    acks: u32,
    /// Acks in time since the last miss or loss, for "after 12 good beats".
    pub(super) good: u64,
    /// Some ack came, in time or late, on whatever connection.
    answered: bool,
}

/// What a miss did.
#[derive(Debug, PartialEq)]
pub(super) enum Miss {
    /// The state stays.
    Stays,
    /// Up became Suspect.
    Suspect,
    /// The link fell: the connection is given up.
    Fell,
}

impl Health {
    pub(super) fn new(fall: u32, rise: u32) -> Health {
        let (misses, overdue, acks, good, answered) = (0, 0, 0, 0, false);
        Health { state: State::Connecting, fall, rise, misses, overdue, acks, good, answered }
    }

    /// Counted so from here on.
    pub(super) fn adjust(&mut self, fall: u32, rise: u32) {
        (self.fall, self.rise) = (fall, rise);
    }

    /// Whether no beat was ever answered.
    pub(super) fn is_first_contact(&self) -> bool {
        !self.answered
    }

    /// Misses in a row.
    pub(super) fn misses(&self) -> u32 {
        self.misses
    }

    /// The most rounds that can wait for a late ack at once, the one in flight included.
    pub(super) fn most_outstanding(&self) -> usize {
        self.most_overdue() as usize + 1
    }

    fn most_overdue(&self) -> u32 {
        (3 * self.fall).max(LATE_ROUNDS)
    }

    /// An ack in time. True if the link turned Up by it.
    pub(super) fn on_ack(&mut self) -> bool {
        (self.misses, self.overdue, self.answered) = (0, 0, true);
        self.good += 1;
        self.acks = (self.acks + 1).min(self.rise);
        if self.acks < self.rise || self.state == State::Up {
            return false;
        }
        self.state = State::Up;
        true
    }

    /// An ack after its timeout: the peer lives, though it says nothing about how well.
    pub(super) fn on_late_ack(&mut self) {
        (self.misses, self.answered) = (0, true);
    }

    pub(super) fn on_miss(&mut self) -> Miss {
        self.misses += 1;
        self.overdue += 1;
        self.acks = 0;
        self.good = 0;
        if self.misses >= self.fall || self.overdue >= self.most_overdue() {
            return Miss::Fell;
        }
        if self.state != State::Up {
            return Miss::Stays;
        }
        self.state = State::Suspect;
        Miss::Suspect
    }

    /// The connection is gone. True if the link turned Down by it.
    pub(super) fn on_lost(&mut self) -> bool {
        (self.misses, self.overdue, self.acks, self.good) = (0, 0, 0, 0);
        let turned = self.state != State::Down;
        self.state = State::Down;
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fall_misses_in_a_row_fell_it_and_rise_acks_in_a_row_raise_it() {
        let mut health = Health::new(3, 2);
        assert!(!health.on_ack());
        assert!(health.on_ack());
        assert_eq!(health.on_miss(), Miss::Suspect);
        assert_eq!(health.on_miss(), Miss::Stays);
        assert_eq!(health.on_miss(), Miss::Fell);
        assert!(health.on_lost());
        assert!(!health.on_lost(), "Down stays Down");
        assert!(!health.on_ack());
        health.on_miss();
        assert!(!health.on_ack(), "a miss breaks the row");
        assert!(health.on_ack());
    }

    #[test]
    fn a_late_ack_resets_the_misses_and_does_not_raise() {
        let mut health = Health::new(2, 1);
        health.on_ack();
        assert_eq!(health.on_miss(), Miss::Suspect);
        health.on_late_ack();
        assert_eq!(health.state, State::Suspect);
        assert_eq!(health.on_miss(), Miss::Stays);
        assert_eq!(health.on_miss(), Miss::Fell);
    }

    #[test]
    fn a_peer_that_is_one_reply_behind_for_ever_is_given_up() {
        let mut health = Health::new(3, 1);
        health.on_ack();
        let rounds = (1..100).find(|_| {
            health.on_late_ack();
            health.on_miss() == Miss::Fell
        });
        assert_eq!(rounds, Some(10));
    }
}
