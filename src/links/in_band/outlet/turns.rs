//! Whose turn it is to write: first come, first served, once it is crowded.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Who comes new may go before those that wait, as long as none has waited for so long: handing the
/// outlet from thread to thread at each frame would cost more than the frame. With a full window
/// every frame takes longer than this, and then nobody passes anybody.
const UNFAIR: Duration = Duration::from_millis(1);

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

#[derive(Debug, Default)]
pub(super) struct Turns {
    next: u64,
    line: VecDeque<(Ticket, Instant)>,
}

impl Turns {
    /// Whether whoever has this place, or none yet, may write now.
    pub(super) fn is_turn(&self, place: Option<Ticket>) -> bool {
        match (self.line.front(), place) {
            (None, _) => true,
            (Some((first, _)), Some(place)) => *first == place,
            (Some((_, since)), None) => since.elapsed() < UNFAIR,
        }
    }

    /// Takes a place at the end, unless one is held already.
    pub(super) fn queue(&mut self, place: &mut Option<Ticket>) {
        if place.is_none() {
            self.next += 1;
            *place = Some(Ticket(self.next));
            self.line.push_back((Ticket(self.next), Instant::now()));
        }
    }

    /// Gives it up.
    pub(super) fn leave(&mut self, place: Option<Ticket>) {
        if let Some(place) = place {
            self.line.retain(|(other, _)| *other != place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_go_in_the_order_in_which_they_came_and_who_gives_up_is_passed_over() {
        let mut turns = Turns::default();
        let mut places = [None; 3];
        assert!(turns.is_turn(None));
        places.iter_mut().for_each(|place| turns.queue(place));
        let first = places[0];
        turns.queue(&mut places[0]);
        assert_eq!(first, places[0], "one place is enough");
        assert_eq!(places.map(|place| turns.is_turn(place)), [true, false, false]);
        turns.leave(places[1]);
        turns.leave(places[0]);
        assert!(turns.is_turn(places[2]));
        std::thread::sleep(UNFAIR);
        assert!(!turns.is_turn(None), "nobody passes one who has waited");
        turns.leave(places[2]);
        assert!(turns.is_turn(None));
    }
}
