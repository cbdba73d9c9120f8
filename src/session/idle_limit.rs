//! How long a connection to one host may have been idle and still be used: what the user wants,
//! what the server says, and what was learnt from its closes. Pure: time is an argument.
//!
//! A limit is learnt when the server closes an idle connection in an orderly way. It only
//! *withholds* connections: they stay open and watched, and their real end, or their living on,
//! corrects it. So a wrong estimate costs a connect and never a request.

use std::time::{Duration, Instant};

use crate::protocol::http::hint::Hint;

/// Several idle ages that close within this time are a restart, not a limit.
const TOGETHER: Duration = Duration::from_millis(50);

/// After this long an estimate is forgotten: servers are reconfigured.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// A server that cannot be reached this soon after a close was going down: nothing is learnt.
const GOING_DOWN: Duration = Duration::from_secs(2);

/// Lives of servers are no finer than this: two idle ages that differ by less are the same limit.
const SAME: Duration = Duration::from_millis(100);

/// A short limit needs more than twice itself as proof that it does not hold.
const PROOF: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub(crate) struct IdleLimit {
    hint: Option<Duration>,
    learnt: Option<Learnt>,
    /// Closes of the last moment, not yet judged.
    pending: Vec<Close>,
    rtt: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Learnt {
    limit: Duration,
    at: Instant,
    before: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Close {
    at: Instant,
    idle: Duration,
}

impl IdleLimit {
    /// How long the connection took to open: two packets and one in answer.
    pub(crate) fn on_rtt(&mut self, rtt: Duration) {
        // Slowly down, at once up: too long costs a little reuse, too short a request.
        self.rtt = Some(self.rtt.map_or(rtt, |old| rtt.max(old - old / 8)));
    }

    pub(crate) fn on_hint(&mut self, hint: Hint) {
        if let Some(timeout) = hint.timeout {
            self.hint = Some(timeout);
        }
    }

    /// The server closed a connection, in an orderly way, that had been idle for so long.
    pub(crate) fn on_close(&mut self, now: Instant, idle: Duration) {
        self.pending.push(Close { at: now, idle });
    }

    /// The server cannot be reached.
    pub(crate) fn on_unreachable(&mut self, now: Instant) {
        self.pending.clear();
        let learnt = self.learnt;
        if let Some(learnt) = learnt.filter(|learnt| now - learnt.at < GOING_DOWN) {
            self.learnt = learnt.before.map(|limit| Learnt { limit, before: None, ..learnt });
        }
    }

    /// A connection is still open after so long without a request. True if that disproves what was
    /// learnt.
    pub(crate) fn on_alive(&mut self, idle: Duration) -> bool {
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
        let shortest = closes.iter().map(|close| close.idle).min()?;
        let longest = closes.iter().map(|close| close.idle).max()?;
        if longest - shortest > SAME.max(longest / 10) {
            return None;
        }
        // A longer life than the estimate says that it does not hold; otherwise the shortest
        // counts.
        let old = self.learnt(now);
        let limit = match old {
            Some(old) if shortest <= old + old / 4 => old.min(shortest),
            _ => shortest,
        };
        self.learnt = Some(Learnt { limit, at: now, before: old });
        // Every close says it a little differently; what is the same is no news.
        let news = old.is_none_or(|old| old.abs_diff(limit) > old / 20);
        news.then_some(limit)
    }

    /// What was learnt, and not so long ago.
    pub(crate) fn learnt(&self, now: Instant) -> Option<Duration> {
        self.learnt.filter(|learnt| now - learnt.at < FORGOTTEN).map(|learnt| learnt.limit)
    }

    /// What the server says.
    pub(crate) fn hinted(&self) -> Option<Duration> {
        self.hint
    }

    /// How long a connection may have been idle to be used, at most `wanted`. A request that must
    /// not be sent twice keeps a distance from the learnt limit, one that may be replayed does not.
    pub(crate) fn usable(&self, now: Instant, wanted: Duration, replayable: bool) -> Duration {
        let hinted = self.hint.map(|hint| self.with_margin(hint));
        let learnt = self.learnt(now);
        let learnt = if replayable { learnt } else { learnt.map(|limit| self.with_margin(limit)) };
        [hinted, learnt].into_iter().flatten().fold(wanted, Duration::min)
    }

    /// The request is on its way for half a round trip, and servers count from when they sent.
    fn with_margin(&self, limit: Duration) -> Duration {
        limit.saturating_sub((limit / 10).max(self.rtt.unwrap_or_default() * 2))
    }

    /// Whether anything here is worth remembering.
    pub(crate) fn is_blank(&self, now: Instant) -> bool {
        self.hint.is_none() && self.learnt(now).is_none() && self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Duration = Duration::from_secs(90);

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn closed(limit: &mut IdleLimit, at: Instant, idle: Duration) -> Option<Duration> {
        limit.on_close(at, idle);
        assert_eq!(limit.settle(at + ms(49)), None, "judged too early");
        limit.settle(at + ms(50))
    }

    #[test]
    fn one_close_is_learnt_and_kept_away_from() {
        let (mut limit, now) = (IdleLimit::default(), Instant::now());
        limit.on_rtt(ms(20));
        assert_eq!(limit.usable(now, USER, false), USER);
        assert_eq!(closed(&mut limit, now, ms(1000)), Some(ms(1000)));
        assert_eq!(limit.usable(now, USER, false), ms(900));
        assert_eq!(limit.usable(now, USER, true), ms(1000));
        limit.on_rtt(ms(200));
        assert_eq!(limit.usable(now, USER, false), ms(600), "two round trips");
        assert_eq!(limit.usable(now, ms(50), false), ms(50), "the user's own is lower");
    }

    #[test]
    fn a_restart_teaches_nothing() {
        let (mut limit, now) = (IdleLimit::default(), Instant::now());
        limit.on_close(now, ms(3000));
        limit.on_close(now + ms(1), ms(700));
        assert_eq!(limit.settle(now + ms(60)), None);
        assert_eq!(limit.learnt(now), None);
        // Closes together at the same age are a limit.
        limit.on_close(now, ms(3000));
        limit.on_close(now + ms(1), ms(2960));
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
        assert!(!limit.on_alive(ms(9_999)));
        assert!(limit.on_alive(ms(10_000)));
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
        assert!(!limit.on_alive(ms(900)));
        assert!(limit.on_alive(ms(1002)));
    }

    #[test]
    fn a_hint_is_honoured_with_a_margin_and_never_beyond_the_users_own() {
        let (mut limit, now) = (IdleLimit::default(), Instant::now());
        let hint = |secs| Hint { timeout: Some(Duration::from_secs(secs)), max: None };
        limit.on_hint(hint(5));
        assert_eq!(limit.usable(now, USER, true), ms(4500));
        limit.on_hint(Hint::default());
        assert_eq!(limit.usable(now, USER, true), ms(4500), "a response without one");
        limit.on_hint(hint(0));
        assert_eq!(limit.usable(now, USER, true), Duration::ZERO);
        limit.on_hint(hint(86_400));
        assert_eq!(limit.usable(now, USER, true), USER);
    }
}
