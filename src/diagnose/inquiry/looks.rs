//! DECIDES: when a beat that is not answered is looked at. What a router says is told within 50 ms
//! of its coming, and a healthy beat is answered before the first look.

use std::time::{Duration, Instant};

/// How long after a beat the first look is taken, at least, and how often from then on.
const LOOK: Duration = Duration::from_millis(40);

/// So many links may look at that pace; more share it.
const LOOKERS: u32 = 250;

/// How long after a beat its first look is taken: twice the usual answer at least. It moves in
/// steps of two, and back only where the usual answer has fallen to an eighth: the read timeout
/// follows it, so an answer that varies around a step must not move it at every beat.
fn attention(before: Duration, usual: Option<Duration>) -> Duration {
    let usual = usual.unwrap_or_default();
    let mut look = before.max(LOOK);
    while look < 2 * usual {
        look *= 2;
    }
    while look > LOOK && look > 8 * usual {
        look /= 2;
    }
    look
}

/// Each so many looks are thorough: our own side is looked at as well.
const THOROUGH: u32 = 5;

pub(super) struct Looks {
    next: Option<Instant>,
    attention: Duration,
    /// How often this beat was looked at.
    times: u32,
}

impl Default for Looks {
    fn default() -> Looks {
        Looks { next: None, attention: LOOK, times: 0 }
    }
}

impl Looks {
    /// How long after a beat the first look is taken.
    pub(super) fn attention(&self) -> Duration {
        self.attention
    }

    /// When the beat that was written then is looked at next.
    pub(super) fn due(&mut self, sent: Instant, usual: Option<Duration>) -> Instant {
        if self.next.is_none() {
            self.attention = attention(self.attention, usual);
        }
        *self.next.get_or_insert(sent + self.attention)
    }

    /// Whether this look, one of so many links', is a thorough one.
    pub(super) fn on_looked(&mut self, now: Instant, lookers: u32) -> bool {
        self.next = Some(now + LOOK * (1 + lookers / LOOKERS));
        self.times += 1;
        self.times % THOROUGH == 0
    }

    /// No beat is in flight.
    pub(super) fn stop(&mut self) {
        (self.next, self.times) = (None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_look_comes_after_a_usual_answer_and_many_lookers_share_the_pace() {
        let (now, ms) = (Instant::now(), Duration::from_millis);
        let mut looks = Looks::default();
        assert_eq!(looks.due(now, None), now + ms(40));
        looks.on_looked(now + ms(40), 1);
        assert_eq!(looks.due(now, None), now + ms(80));
        looks.on_looked(now, 1001);
        assert_eq!(looks.due(now, None), now + ms(200));
    }

    #[test]
    fn an_answer_that_varies_around_a_step_does_not_move_the_first_look() {
        let (now, ms) = (Instant::now(), Duration::from_millis);
        let mut looks = Looks::default();
        let mut first = |usual| {
            let due = looks.due(now, Some(ms(usual)));
            looks.stop();
            (due - now, looks.attention())
        };
        assert_eq!(first(70), (ms(160), ms(160)));
        for usual in [79, 81, 75, 100, 41, 100] {
            assert!([ms(160), ms(320)].contains(&first(usual).0));
        }
        assert_eq!(first(100), (ms(320), ms(320)));
        assert_eq!(first(41).0, ms(320), "not yet an eighth");
        assert_eq!(first(21).0, ms(160));
        assert_eq!(first(1).0, ms(40));
    }
}
