//! How long a connection to one host may have been idle and still be used: what the user wants,
//! what the server says, and what was learnt from its closes. Pure: time is an argument.
//!
//! A limit is learnt when the server closes an idle connection in an orderly way. It only
//! *withholds* connections: they stay open and watched, and their real end, or their living on,
//! corrects it. So a wrong estimate costs a connect and never a request.
//!
//! A close that contradicts what is known, because a connection lived for longer before, or because
//! the server says something else, is no limit but a restart, or a reload; until it happens again.

use std::time::{Duration, Instant};

/// Several idle ages that close within this time are a restart, not a limit.
const TOGETHER: Duration = Duration::from_millis(50);

/// After this long an estimate is forgotten: servers are reconfigured.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// A server that cannot be reached this soon after a close was going down: nothing is learnt.
const GOING_DOWN: Duration = Duration::from_secs(2);

/// Lives of servers are no finer than this: two idle ages that differ by less are the same limit.
const SAME: Duration = Duration::from_millis(100);

/// A short limit needs more than twice itself as proof that it does not hold; and a suspicion needs
/// so much time without one against it.
const PROOF: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub(crate) struct IdleLimit {
    learnt: Option<Learnt>,
    /// Closes of the last moment, not yet judged.
    pending: Vec<Close>,
    /// A close that was none of a limit, unless another one confirms it.
    suspect: Option<Close>,
    /// The longest idle time that a connection outlived, since the last suspicion.
    survived: Option<(Duration, Instant)>,
    /// The last that the server said, on any connection.
    said: Option<(Duration, Instant)>,
    rtt: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Learnt {
    limit: Duration,
    at: Instant,
    before: Option<Duration>,
    /// What the server had said on the connection that taught it.
    said: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Close {
    at: Instant,
    idle: Duration,
    /// What the server had said on this connection.
    said: Option<Duration>,
}

impl IdleLimit {
    /// How long the connection took to open: two packets and one in answer.
    pub(crate) fn on_rtt(&mut self, rtt: Duration) {
        // Slowly down, at once up: too long costs a little reuse, too short a request.
        self.rtt = Some(self.rtt.map_or(rtt, |old| rtt.max(old - old / 8)));
    }

    /// The server says how long it keeps the connection that this came on.
    pub(crate) fn on_said(&mut self, now: Instant, timeout: Duration) {
        self.said = Some((timeout, now));
    }

    /// The server closed a connection, in an orderly way, that had been idle for so long.
    pub(crate) fn on_close(&mut self, now: Instant, idle: Duration, said: Option<Duration>) {
        self.pending.push(Close { at: now, idle, said });
    }

    /// The server cannot be reached.
    pub(crate) fn on_unreachable(&mut self, now: Instant) {
        self.pending.clear();
        let learnt = self.learnt;
        if let Some(learnt) = learnt.filter(|learnt| now - learnt.at < GOING_DOWN) {
            self.learnt = learnt.before.map(|limit| Learnt { limit, before: None, ..learnt });
        }
    }

    /// A connection outlived so long without a request.
    pub(crate) fn on_survived(&mut self, now: Instant, idle: Duration) {
        if lately(now, self.survived).is_none_or(|longest| idle >= longest) {
            self.survived = Some((idle, now));
        }
        if self.suspect.is_some_and(|suspect| outlives(idle, suspect.idle)) {
            self.suspect = None;
        }
    }

    /// A connection is still open after so long without a request. True if that disproves what was
    /// learnt.
    pub(crate) fn on_alive(&mut self, now: Instant, idle: Duration) -> bool {
        self.on_survived(now, idle);
        let disproved = self.disproved_at().is_some_and(|proof| idle >= proof);
        if disproved {
            self.learnt = None;
        }
        disproved
    }

    /// The idle age at which a living connection disproves what was learnt.
    pub(crate) fn disproved_at(&self) -> Option<Duration> {
        self.learnt.map(|learnt| (learnt.limit * 2).max(learnt.limit + PROOF))
    }

    /// When [`settle`](IdleLimit::settle) has something to say.
    pub(crate) fn settles_at(&self) -> Option<Instant> {
        self.pending.first().map(|close| close.at + TOGETHER)
    }

    /// Judges the closes of the last moment. Returns what was learnt by it.
    pub(crate) fn settle(&mut self, now: Instant) -> Option<Duration> {
        if self.settles_at().is_none_or(|at| now < at) {
            return None;
        }
        let closes = std::mem::take(&mut self.pending);
        let shortest = *closes.iter().min_by_key(|close| close.idle)?;
        let longest = closes.iter().map(|close| close.idle).max()?;
        if longest - shortest.idle > SAME.max(longest / 10) {
            return None;
        }
        let suspected = self.suspect.is_some_and(|before| is_same(before.idle, shortest.idle));
        if (suspected || self.contradicts(now, shortest)) && !self.confirms(now, shortest) {
            // Of several in a row the first counts: between it and what confirms it there has to be
            // time for others to speak against it.
            if !suspected {
                (self.suspect, self.survived) = (Some(shortest), None);
            }
            return None;
        }
        self.suspect = None;
        // A longer life than the estimate says that it does not hold; otherwise the shortest
        // counts.
        let (old, said, shortest) = (self.learnt(now), shortest.said, shortest.idle);
        let limit = match old {
            Some(old) if shortest <= old + old / 4 => old.min(shortest),
            _ => shortest,
        };
        self.learnt = Some(Learnt { limit, at: now, before: old, said });
        // Every close says it a little differently; what is the same is no news.
        let news = old.is_none_or(|old| old.abs_diff(limit) > old / 20);
        news.then_some(limit)
    }

    /// Whether what is known speaks against a limit of so long.
    fn contradicts(&self, now: Instant, close: Close) -> bool {
        lately(now, self.survived).is_some_and(|longest| outlives(longest, close.idle))
            || close.said.is_some_and(|said| close.idle < said * 4 / 5)
    }

    /// Whether it happens for the second time, and nothing has spoken against it since.
    fn confirms(&self, now: Instant, close: Close) -> bool {
        self.suspect.is_some_and(|before| {
            let survived = self.survived.is_none_or(|(longest, _)| !outlives(longest, close.idle));
            let apart = close.at.saturating_duration_since(before.at);
            is_same(before.idle, close.idle)
                && survived
                && apart >= PROOF
                && now - before.at < FORGOTTEN
        })
    }

    /// What was learnt, and not so long ago.
    pub(crate) fn learnt(&self, now: Instant) -> Option<Duration> {
        self.fresh(now).map(|learnt| learnt.limit)
    }

    fn fresh(&self, now: Instant) -> Option<Learnt> {
        self.learnt.filter(|learnt| now - learnt.at < FORGOTTEN)
    }

    /// What the server said last, and not so long ago.
    pub(crate) fn hinted(&self, now: Instant) -> Option<Duration> {
        lately(now, self.said)
    }

    /// How long a connection may have been idle to be used, at most `wanted`: at a distance from
    /// what the server says of it, and from the learnt limit, unless the request may enter even the
    /// last moment. What was seen of connections of which the server says the same counts more than
    /// what it says.
    pub(crate) fn usable(
        &self,
        now: Instant,
        wanted: Duration,
        to_the_last: bool,
        said: Option<Duration>,
    ) -> Duration {
        let fresh = self.fresh(now);
        let seen = fresh.is_some_and(|learnt| learnt.said == said);
        let said = said.filter(|_| !seen).map(|said| self.with_margin(said));
        let learnt = fresh.map(|learnt| match to_the_last {
            true => learnt.limit,
            false => self.with_margin(learnt.limit),
        });
        [said, learnt].into_iter().flatten().fold(wanted, Duration::min)
    }

    /// The request is on its way for half a round trip, and servers count from when they sent.
    fn with_margin(&self, limit: Duration) -> Duration {
        limit.saturating_sub((limit / 10).max(self.rtt.unwrap_or_default() * 2))
    }

    /// Whether anything here is worth remembering.
    pub(crate) fn is_blank(&self, now: Instant) -> bool {
        self.learnt(now).is_none() && self.pending.is_empty() && self.suspect.is_none()
    }
}

/// What was seen or said, if that is not too long ago.
pub(crate) fn lately(now: Instant, seen: Option<(Duration, Instant)>) -> Option<Duration> {
    seen.filter(|(_, at)| now - *at < FORGOTTEN).map(|(time, _)| time)
}

/// Whether two idle ages may be the same limit.
fn is_same(a: Duration, b: Duration) -> bool {
    a.abs_diff(b) <= SAME.max(b / 10)
}

/// Whether a life of so long shows that the other one was not ended by a limit.
fn outlives(longest: Duration, idle: Duration) -> bool {
    longest > idle + (idle / 10).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Duration = Duration::from_secs(90);

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn closed(limit: &mut IdleLimit, at: Instant, idle: Duration) -> Option<Duration> {
        limit.on_close(at, idle, None);
        assert_eq!(limit.settle(at + ms(49)), None, "judged too early");
        limit.settle(at + ms(50))
    }

    #[test]
    fn one_close_is_learnt_and_kept_away_from() {
        let (mut limit, now) = (IdleLimit::default(), Instant::now());
        limit.on_rtt(ms(20));
        assert_eq!(limit.usable(now, USER, false, None), USER);
        assert_eq!(closed(&mut limit, now, ms(1000)), Some(ms(1000)));
        assert_eq!(limit.usable(now, USER, false, None), ms(900));
        assert_eq!(limit.usable(now, USER, true, None), ms(1000));
        limit.on_rtt(ms(200));
        assert_eq!(limit.usable(now, USER, false, None), ms(600), "two round trips");
        assert_eq!(limit.usable(now, ms(50), false, None), ms(50), "the user's own is lower");
    }

    #[test]
    fn a_restart_teaches_nothing() {
        let (mut limit, now) = (IdleLimit::default(), Instant::now());
        limit.on_close(now, ms(3000), None);
        limit.on_close(now + ms(1), ms(700), None);
        assert_eq!(limit.settle(now + ms(60)), None);
        assert_eq!(limit.learnt(now), None);
        // Closes together at the same age are a limit.
        limit.on_close(now, ms(3000), None);
        limit.on_close(now + ms(1), ms(2960), None);
        assert_eq!(limit.settle(now + ms(60)), Some(ms(2960)));
    }

    #[test]
    fn a_server_that_was_going_down_teaches_nothing_and_takes_nothing_away() {
        let (mut limit, now) = (IdleLimit::default(), Instant::now());
        closed(&mut limit, now, ms(3000));
        limit.on_unreachable(now + ms(500));
        assert_eq!(limit.learnt(now + ms(500)), None);
        closed(&mut limit, now, ms(3000));
        closed(&mut limit, now + ms(60_000), ms(500));
        limit.on_unreachable(now + ms(60_500));
        assert_eq!(limit.learnt(now + ms(60_500)), Some(ms(3000)));
        limit.on_unreachable(now + ms(90_000));
        assert_eq!(limit.learnt(now + ms(90_000)), Some(ms(3000)), "long after the close");
    }

    #[test]
    fn what_no_longer_holds_is_unlearnt() {
        let (mut limit, now) = (IdleLimit::default(), Instant::now());
        closed(&mut limit, now, ms(5000));
        assert!(!limit.on_alive(now, ms(9_999)));
        assert!(limit.on_alive(now, ms(10_000)));
        assert_eq!(limit.learnt(now), None);
        closed(&mut limit, now, ms(5000));
        assert_eq!(closed(&mut limit, now + ms(100), ms(8000)), Some(ms(8000)), "its real end");
        assert_eq!(closed(&mut limit, now + ms(200), ms(7900)), None, "hardly another one");
        assert_eq!(closed(&mut limit, now + ms(300), ms(8100)), None);
        assert_eq!(limit.learnt(now + FORGOTTEN), Some(ms(7900)), "the shorter, and renewed");
        assert_eq!(limit.learnt(now + FORGOTTEN + ms(400)), None);
    }

    #[test]
    fn a_very_short_limit_needs_a_second_of_proof() {
        let (mut limit, now) = (IdleLimit::default(), Instant::now());
        assert_eq!(closed(&mut limit, now, ms(2)), Some(ms(2)));
        assert!(!limit.on_alive(now, ms(900)));
        assert!(limit.on_alive(now, ms(1002)));
    }

    #[test]
    fn what_was_said_grows_old_and_keeps_its_distance() {
        let (mut limit, now) = (IdleLimit::default(), Instant::now());
        limit.on_said(now, ms(5000));
        assert_eq!(limit.hinted(now + FORGOTTEN / 2), Some(ms(5000)));
        assert_eq!(limit.hinted(now + FORGOTTEN), None);
        assert_eq!(limit.with_margin(ms(5000)), ms(4500));
        limit.on_rtt(ms(400));
        assert_eq!(limit.with_margin(ms(5000)), ms(4200));
        assert_eq!(limit.with_margin(ms(0)), ms(0));
        assert_eq!(limit.usable(now, USER, false, None), USER, "it binds its own connection alone");
        assert_eq!(limit.usable(now, USER, false, Some(ms(1000))), ms(200));
    }

    #[test]
    fn what_was_seen_counts_more_than_what_is_said_of_the_same() {
        let (mut limit, now) = (IdleLimit::default(), Instant::now());
        limit.on_close(now, ms(6000), Some(ms(5000)));
        assert_eq!(limit.settle(now + ms(50)), Some(ms(6000)));
        let usable = |said| limit.usable(now + ms(50), USER, false, said);
        assert_eq!(usable(Some(ms(5000))), ms(5400));
        assert_eq!(usable(Some(ms(4000))), ms(3600), "another connection, another word");
        assert_eq!(usable(None), ms(5400));
    }

    #[test]
    fn a_reload_amid_requests_teaches_nothing_however_often() {
        let (mut limit, now) = (IdleLimit::default(), Instant::now());
        for reload in 0..50 {
            let at = now + ms(reload * 100);
            limit.on_survived(at, ms(3));
            assert_eq!(closed(&mut limit, at, ms(1)), None);
        }
        assert_eq!(limit.learnt(now + ms(5000)), None);
        // A server that was given such a limit is believed a second later, if nothing outlives it.
        assert_eq!(closed(&mut limit, now + ms(5500), ms(1)), None, "too soon to tell");
        assert_eq!(closed(&mut limit, now + ms(6000), ms(1)), Some(ms(1)));
    }

    #[test]
    fn a_close_long_before_what_was_said_is_believed_the_second_time() {
        let (mut limit, now) = (IdleLimit::default(), Instant::now());
        let mut closed = |at: Instant, idle, said| {
            limit.on_close(at, ms(idle), Some(ms(said)));
            limit.settle(at + ms(50))
        };
        assert_eq!(closed(now, 4900, 5000), Some(ms(4900)));
        assert_eq!(closed(now + ms(1000), 2000, 60_000), None);
        assert_eq!(closed(now + ms(2000), 30_000, 60_000), None, "another age");
        assert_eq!(closed(now + ms(3000), 30_100, 60_000), Some(ms(30_100)));
    }

    #[test]
    fn what_was_outlived_long_ago_counts_no_more() {
        let (mut limit, now) = (IdleLimit::default(), Instant::now());
        limit.on_survived(now, ms(4000));
        assert_eq!(closed(&mut limit, now + FORGOTTEN, ms(3000)), Some(ms(3000)));
    }
}
