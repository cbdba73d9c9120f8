//! DECIDES. By which rule a peer ends its connections: after the same pause as the time before, or
//! at the same age. Such an end is expected the next time, and a beat is kept away from it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::cause::Cause;

/// So many ends are remembered.
const KEPT: usize = 8;

/// A limit that was learnt is forgotten after this long, and so many times itself: servers are
/// reconfigured, and a restart may have looked like one.
const FORGOTTEN: Duration = Duration::from_secs(600);
const FORGOTTEN_TIMES: u32 = 30;

/// Many servers look at their connections once a second, and count in whole seconds.
const TICK: Duration = Duration::from_millis(1100);

/// No server waits so shortly for a first request.
const HURRY: Duration = Duration::from_secs(1);

/// Of a short time no more than a half. A pause shows that nothing else went on; an age shows
/// nothing of the kind, and restarts come at any: so those have to be nearer to each other.
const OF_A_PAUSE: u32 = 2;
const OF_AN_AGE: u32 = 4;

/// The clock of a server: a tenth, or a tick of it, and no more than this part.
fn tolerance(time: Duration, part: u32) -> Duration {
    (time / 10).max((time / part).min(TICK))
}

fn is_same(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= tolerance(one.max(other), OF_A_PAUSE)
}

fn is_same_age(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= tolerance(one.max(other), OF_AN_AGE)
}

/// The end of one connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct End {
    /// Since bytes last went either way, a beat that met the end not counted.
    pub(super) idle: Duration,
    /// Since the connection stood.
    pub(super) lived: Duration,
    /// The longest pause on it that was followed by an answer.
    pub(super) survived: Duration,
    /// How it ended: a reset is another rule than a close.
    pub(super) cause: Cause,
    /// A beat was on its way, and may have arrived and ended it.
    pub(super) may_be_the_beat: bool,
}

/// What the ends of the last connections have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The pause before them.
    Idle,
    /// The age of the connection.
    Lifetime,
    /// Both, so far: nothing differed between the connections that would tell which.
    Either,
}

/// A rule by which the peer ends its connections, as far as ends in a row show one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regular {
    /// Which.
    pub rule: Rule,
    /// The shortest pause, or age, of those ends.
    pub after: Duration,
    /// How many ends in a row, this one included.
    pub times: u32,
}

/// The ends so far, and what follows from them.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// The latest first.
    kept: VecDeque<End>,
    /// What the peer says of its own idle limit.
    announced: Option<Duration>,
    /// The age of the last one that ended before its first beat: servers wait for that by another
    /// limit.
    unused: Option<Duration>,
    /// The idle limit as it was seen, and when.
    learnt: Option<(Duration, Instant)>,
}

impl Ends {
    /// The peer says that it ends connections which were idle for so long.
    pub(super) fn announce(&mut self, limit: Duration) {
        self.announced = Some(limit);
    }

    /// A peer that may end a connection at any time, between two beats, has done so. Whether that
    /// was to be expected: by its own word, or because the last end came after the same pause.
    pub(super) fn on_free_end(&mut self, now: Instant, end: End) -> bool {
        let announced = self.announced.is_some_and(|limit| end.idle >= limit - limit / 10);
        let again = self.kept.front().is_some_and(|last| is_same(last.idle, end.idle));
        self.keep(end);
        if !end.is_after_a_longer_pause() {
            self.learn(now, end.idle);
        }
        announced || again
    }

    /// A peer that has no business to end a connection has done so. The rule, if the last ends
    /// show one.
    pub(super) fn on_end(&mut self, end: End) -> Option<Regular> {
        self.keep(end);
        let by_idle = self.run(|other| end.is_like(other) && is_same(other.idle, end.idle));
        let by_idle = if self.survive_their_pause(by_idle) { 0 } else { by_idle };
        let by_life = self.run(|other| end.is_like(other) && is_same_age(other.lived, end.lived));
        let times = by_idle.max(by_life);
        // Ends that only ever follow a beat may be that beat's doing.
        let at_rest = self.kept.iter().take(times).any(|end| !end.may_be_the_beat);
        if times < 2 || !at_rest {
            return None;
        }
        let all = self.kept.iter().take(times);
        // A busy machine makes pauses of any length. One that was survived speaks for the age; and
        // where it errs, nothing is done: beats keep away from pauses alone.
        let is_age = by_life > by_idle
            || by_life == by_idle && all.clone().any(End::is_after_a_longer_pause);
        let rule = match is_age {
            true => Rule::Lifetime,
            // Where all was pause, the two are one and the same time.
            false if by_life == by_idle || all.clone().all(End::is_all_pause) => Rule::Either,
            false => Rule::Idle,
        };
        let after = all.map(|end| if is_age { end.lived } else { end.idle }).min();
        Some(Regular { rule, after: after.unwrap_or_default(), times: times as u32 })
    }

    /// The rule is one to go by: beats keep away from its pause.
    pub(super) fn go_by(&mut self, now: Instant, regular: Regular) {
        if regular.rule != Rule::Lifetime {
            self.learn(now, regular.after);
        }
    }

    /// The same, of a connection that ended before its first beat. One that ends at once is no
    /// habit: so does each connection to a server that is going down.
    pub(super) fn on_unused_end(&mut self, end: End) -> bool {
        let before = self.unused.replace(end.lived);
        end.lived >= HURRY && before.is_some_and(|before| is_same(before, end.lived))
    }

    fn keep(&mut self, end: End) {
        self.kept.truncate(KEPT - 1);
        self.kept.push_front(end);
    }

    /// How many of the last ends, in a row, are like this.
    fn run(&self, is_like: impl Fn(&End) -> bool) -> usize {
        self.kept.iter().take_while(|end| is_like(end)).count()
    }

    /// Whether one of the last so many connections had survived a longer pause than that which one
    /// of them ended with. Then it is not the pause.
    fn survive_their_pause(&self, times: usize) -> bool {
        let last = || self.kept.iter().take(times);
        let shortest = last().map(|end| end.idle).min().unwrap_or_default();
        last().any(|end| end.survived > shortest + tolerance(shortest, OF_A_PAUSE))
    }

    fn learn(&mut self, now: Instant, idle: Duration) {
        let before = self.learnt.filter(|(limit, _)| is_same(*limit, idle));
        let limit = before.map_or(idle, |(limit, _)| limit.min(idle));
        self.learnt = Some((limit, now));
    }

    /// The idle limit near which a connection is that was idle for so long and still stands: a beat
    /// on it might cross its end. One that stands well after what was learnt disproves it.
    pub(super) fn limit_near(
        &mut self,
        now: Instant,
        idle: Duration,
        rtt: Duration,
    ) -> Option<Duration> {
        let early = |limit: Duration| limit.saturating_sub((limit / 10).max(rtt * 2));
        if let Some(limit) = self.announced.filter(|limit| idle >= early(*limit)) {
            return Some(limit);
        }
        let (limit, at) = self.learnt?;
        let lasts = FORGOTTEN + limit * FORGOTTEN_TIMES;
        let is_old = now.saturating_duration_since(at) >= lasts;
        if is_old || idle > limit + tolerance(limit, OF_A_PAUSE) {
            self.learnt = None;
            return None;
        }
        Some(limit).filter(|limit| idle >= early(*limit))
    }
}

impl End {
    fn is_like(&self, other: &End) -> bool {
        self.cause == other.cause
    }

    /// Nothing went either way but at its beginning.
    fn is_all_pause(&self) -> bool {
        is_same_age(self.idle, self.lived)
    }

    /// It ended after a pause, though it had survived one as long.
    fn is_after_a_longer_pause(&self) -> bool {
        self.survived >= self.idle && !self.idle.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn end(idle: Duration, lived: Duration) -> End {
        let cause = Cause::ClosedByPeer;
        End { idle, lived, survived: Duration::ZERO, cause, may_be_the_beat: false }
    }

    fn regular(ends: &[End]) -> Option<Regular> {
        let mut all = Ends::default();
        ends.iter().map(|end| all.on_end(*end)).last().flatten()
    }

    fn rule(ends: &[End]) -> Option<(Rule, Duration, u32)> {
        regular(ends).map(|Regular { rule, after, times }| (rule, after, times))
    }

    #[test]
    fn the_same_pause_or_the_same_age_twice_is_a_rule_and_which_is_told_by_what_differs() {
        assert_eq!(rule(&[end(60 * S, 90 * S)]), None, "once is no rule");
        assert_eq!(rule(&[end(60 * S, 90 * S), end(17 * S, 400 * S)]), None);
        let idle = [end(60 * S, 90 * S), end(61 * S, 400 * S)];
        assert_eq!(rule(&idle), Some((Rule::Idle, 60 * S, 2)));
        let age = [end(2 * S, 3600 * S), end(29 * S, 3610 * S), end(11 * S, 3605 * S)];
        assert_eq!(rule(&age), Some((Rule::Lifetime, 3600 * S, 3)));
        let both = [end(60 * S, 60 * S), end(60 * S, 60 * S)];
        assert_eq!(rule(&both), Some((Rule::Either, 60 * S, 2)));
        let told = [end(60 * S, 90 * S), end(60 * S, 60 * S), end(60 * S, 60 * S)];
        assert_eq!(rule(&told), Some((Rule::Idle, 60 * S, 3)), "the first of them tells");
    }

    #[test]
    fn an_end_of_another_kind_begins_anew() {
        let ends = [end(60 * S, 90 * S), end(5 * S, 7 * S), end(60 * S, 200 * S)];
        assert_eq!(rule(&ends), None);
        let again = [ends.as_slice(), &[end(60 * S, 300 * S)]].concat();
        assert_eq!(rule(&again), Some((Rule::Idle, 60 * S, 2)));
        let reset = End { cause: Cause::Reset, ..end(60 * S, 90 * S) };
        assert_eq!(rule(&[reset, end(60 * S, 400 * S)]), None);
        assert_eq!(rule(&[reset, reset]), Some((Rule::Either, 60 * S, 2)));
    }

    #[test]
    fn a_pause_as_long_as_one_that_was_survived_is_no_reason() {
        // A lifetime of 7 s, with a beat a second: each end comes some time after the last beat.
        let ends = [0.3, 0.8, 0.6]
            .map(|idle| End { survived: S * 21 / 20, ..end(S.mul_f64(idle), 7 * S + S / 100) });
        assert_eq!(rule(&ends), Some((Rule::Lifetime, 7 * S + S / 100, 3)));
        // The same where the ends come shortly before the next beat, each time.
        let ends = [0.95, 0.9].map(|idle| End { survived: S, ..end(S.mul_f64(idle), 7 * S) });
        assert_eq!(rule(&ends), Some((Rule::Lifetime, 7 * S, 2)));
        // Nothing is learnt of it where the peer is free to end, either.
        let (mut free, now) = (Ends::default(), Instant::now());
        let told = ends.map(|end| free.on_free_end(now, end));
        assert_eq!(told, [false, true]);
        assert_eq!(free.limit_near(now, S, S / 100), None);
    }

    #[test]
    fn what_only_beats_in_flight_have_met_is_no_rule_of_pauses() {
        let crossing = |lived| End { may_be_the_beat: true, ..end(60 * S, lived) };
        assert_eq!(rule(&[crossing(90 * S), crossing(400 * S)]), None, "the beat may kill it");
        let one = [end(60 * S, 100 * S), crossing(400 * S)];
        assert_eq!(rule(&one), Some((Rule::Idle, 60 * S, 2)));
    }

    #[test]
    fn the_clocks_of_servers_tick_once_a_second() {
        assert!(is_same(2 * S, 3 * S), "a Redis with a timeout of 2 s");
        assert!(!is_same(2 * S, S * 7 / 2) && !is_same(S / 2, S * 5 / 4));
        assert!(is_same(600 * S, 650 * S) && !is_same(600 * S, 700 * S));
        assert!(is_same(Duration::ZERO, Duration::ZERO));
        let age = |one: f64, other: f64| is_same_age(S.mul_f64(one), S.mul_f64(other));
        assert!(age(7.0, 8.0) && age(3600.0, 3700.0) && age(1.5, 1.6));
        assert!(!age(1.1, 2.1) && !age(7.0, 9.0), "a restart, and another");
        // A Redis with a timeout of 2 s, and a single beat on each connection.
        let ends = [3.1, 2.1].map(|time| end(S.mul_f64(time), S.mul_f64(time)));
        assert_eq!(rule(&ends), Some((Rule::Either, S.mul_f64(2.1), 2)));
    }

    #[test]
    fn a_free_end_is_known_by_what_was_announced_and_by_the_one_before() {
        let (mut ends, now) = (Ends::default(), Instant::now());
        assert!(!ends.on_free_end(now, end(5 * S, 9 * S)));
        assert!(ends.on_free_end(now, end(S * 51 / 10, 30 * S)));
        assert!(!ends.on_free_end(now, end(9 * S, 30 * S)), "another limit, or a restart");
        assert!(!ends.on_free_end(now, end(S / 100, S)));
        assert!(ends.on_free_end(now, end(S / 100, S)), "it ends each after its answer");
        ends.announce(5 * S);
        assert!(ends.on_free_end(now, end(S * 47 / 10, 9 * S)), "a little early");
        assert!(ends.on_free_end(now, end(8 * S, 9 * S)), "late is no news, either");
        assert!(!ends.on_free_end(now, end(2 * S, 9 * S)));
    }

    #[test]
    fn what_ends_before_its_first_beat_is_a_rule_of_its_own() {
        let (mut ends, now) = (Ends::default(), Instant::now());
        ends.on_free_end(now, end(5 * S, 9 * S));
        assert!(!ends.on_unused_end(end(20 * S, 20 * S)));
        assert!(ends.on_unused_end(end(20 * S, 20 * S)));
        assert!(!ends.on_unused_end(end(3 * S, 3 * S)), "a restart");
        for _ in 0..3 {
            assert!(!ends.on_unused_end(end(S / 1000, S / 1000)), "it is going down");
        }
        assert!(ends.on_free_end(now, end(5 * S, 9 * S)), "the other rule stands");
    }

    #[test]
    fn beats_keep_away_from_a_limit_until_it_is_disproved_or_old() {
        let (mut ends, now, rtt) = (Ends::default(), Instant::now(), S / 100);
        assert_eq!(ends.limit_near(now, 5 * S, rtt), None);
        ends.on_free_end(now, end(5 * S, 9 * S));
        assert_eq!(ends.limit_near(now, 4 * S, rtt), None);
        assert_eq!(ends.limit_near(now, S * 46 / 10, rtt), Some(5 * S));
        assert_eq!(ends.limit_near(now, 4 * S, S / 2), Some(5 * S), "a slow path");
        assert_eq!(ends.limit_near(now, 7 * S, rtt), None, "it stands");
        assert_eq!(ends.limit_near(now, 5 * S, rtt), None, "so that was no limit");
        ends.on_free_end(now, end(5 * S, 9 * S));
        assert_eq!(ends.limit_near(now + FORGOTTEN, 5 * S, rtt), Some(5 * S));
        assert_eq!(ends.limit_near(now + FORGOTTEN + 150 * S, 5 * S, rtt), None);
        ends.announce(3 * S);
        assert_eq!(ends.limit_near(now, 3600 * S, rtt), Some(3 * S), "a word stays a word");
        // Where nothing may end at any time, one end is no limit.
        let mut ends = Ends::default();
        ends.on_end(end(5 * S, 9 * S));
        assert_eq!(ends.limit_near(now, 5 * S, rtt), None);
        let rule = ends.on_end(end(5 * S, 99 * S)).unwrap();
        assert_eq!(ends.limit_near(now, 5 * S, rtt), None, "not before it was found one to go by");
        ends.go_by(now, rule);
        assert_eq!(ends.limit_near(now, 5 * S, rtt), Some(5 * S));
    }

    #[test]
    fn only_so_many_are_kept() {
        let mut ends = Ends::default();
        let times: Vec<_> = (0..20)
            .filter_map(|n| ends.on_end(end(5 * S, n * 60 * S)))
            .map(|regular| regular.times)
            .collect();
        assert_eq!((times.len(), times[0], times[18]), (19, 2, KEPT as u32));
    }
}
