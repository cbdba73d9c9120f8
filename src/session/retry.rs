//! Retry: how often, and after which wait, a request that failed is tried again; never if it may
//! have run and may not run twice.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use ureq::http::{Method, StatusCode};

use super::date;
use super::inbound::Head;
use super::replay::Replay;
use crate::error::{Error, ErrorKind};
use crate::protocol::http::hint::number;

/// A request earns so much of a further attempt: a server that fails gets a tenth more of requests,
/// and not a multiple of them.
const EARNED: u32 = 1;
const COST: u32 = 10;

/// What has been saved up at most, and is there at first: ten attempts.
const SAVED: u32 = 10 * COST;

/// Further attempts after a failure that may pass. None unless a session has this.
///
/// Tried again is what certainly has not run (no connection, no place, nothing sent), whatever its
/// method; and what [`Replay`] allows to run twice, after any failure of the connection or of time,
/// and after the answers 408, 429, 502, 503 and 504. Never a body that was read and cannot be read
/// again. The wait doubles from one attempt to the next, less up to a half that is left to chance;
/// `Retry-After` of an answer counts instead, unless it is longer than the longest wait. What does
/// not fit into the `timeout` of the request is not begun. All requests of a session together try
/// again ten times, and then once for every ten requests: so that a server that is down is not
/// asked for more than before.
///
/// ```
/// use std::time::Duration;
/// use keepbeat::Session;
/// use keepbeat::session::Retry;
///
/// let retry = Retry::times(3).waits(Duration::from_millis(100), Duration::from_secs(5));
/// let session = Session::builder().retry(retry).timeout(Duration::from_secs(20)).build()?;
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[must_use = "nothing is sent again before a session or a request has it"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    times: u32,
    first: Duration,
    longest: Duration,
}

impl Retry {
    /// So many attempts beside the first; the waits between them begin with 100 ms and grow up to
    /// 10 s.
    pub fn times(times: u32) -> Retry {
        Retry { times, first: Duration::from_millis(100), longest: Duration::from_secs(10) }
    }

    /// The first wait, and the longest.
    pub fn waits(self, first: Duration, longest: Duration) -> Retry {
        Retry { first, longest, ..self }
    }

    pub(crate) fn is_valid(&self) -> bool {
        let times = super::limits::TIMES;
        times.contains(&self.first) && times.contains(&self.longest) && self.first <= self.longest
    }

    /// How long to wait before the next attempt, after so many of them; none if that was the last,
    /// or the server wants a longer wait. `chance` is from 0 to 1.
    fn wait(&self, done: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
        if done >= self.times {
            return None;
        }
        if let Some(asked) = asked {
            return Some(asked).filter(|asked| *asked <= self.longest);
        }
        let doubled = self.first.saturating_mul(1 << done.min(30)).min(self.longest);
        Some(doubled.mul_f64(1.0 - chance / 2.0))
    }
}

/// What a session may still spend on further attempts.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU32);

impl Default for Budget {
    fn default() -> Budget {
        Budget(AtomicU32::new(SAVED))
    }
}

impl Budget {
    /// One more request.
    pub(crate) fn earn(&self) {
        let earned = |saved: u32| Some((saved + EARNED).min(SAVED));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earned);
    }

    fn spend(&self) -> bool {
        let spent = |saved: u32| saved.checked_sub(COST);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok()
    }
}

/// What came of an attempt.
pub(crate) enum Came<'a> {
    Answer(&'a Head),
    Error(&'a Error),
}

/// The wait before a request is tried again; none if it is not.
pub(crate) fn again(
    retry: &Retry,
    budget: &Budget,
    done: u32,
    came: &Came,
    (replay, method): (Replay, &Method),
) -> Option<Duration> {
    let asked = match came {
        Came::Answer(head) if replay.allows(method) && may_pass(head.status) => {
            head.all("retry-after").first().and_then(|value| asked(value, SystemTime::now()))
        }
        Came::Error(error) if has_passed_by(error, replay, method) => None,
        _ => return None,
    };
    let wait = retry.wait(done, asked, fastrand::f64())?;
    budget.spend().then_some(wait)
}

/// Answers that another attempt may get another answer than (RFC 9110, section 15.5.9 and 15.6;
/// RFC 6585, section 4).
fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504)
}

/// Errors that may pass, of what has not run or may run twice.
fn has_passed_by(error: &Error, replay: Replay, method: &Method) -> bool {
    let passes = matches!(
        error.kind(),
        ErrorKind::Connect
            | ErrorKind::Timeout
            | ErrorKind::Stale
            | ErrorKind::Http
            | ErrorKind::Limit
    );
    passes && (!error.may_have_run() || replay.allows(method))
}

/// What `Retry-After` says: seconds, or a time (RFC 9110, section 10.2.3).
fn asked(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if let Some(seconds) = number(text) {
        return Some(Duration::from_secs(seconds));
    }
    Some(time_of(text)?.duration_since(now).unwrap_or_default())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`; nobody sends the older forms.
fn time_of(text: &str) -> Option<SystemTime> {
    let words: Vec<&str> = text.split(' ').collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let clock: Vec<&str> = time.split(':').collect();
    let [hour, minute, second] = clock[..] else { return None };
    let month = date::month(month).filter(|_| month.len() == 3)?;
    let number = |text: &str| text.parse().ok();
    date::moment(
        (number(year)?, month, number(day)?),
        (number(hour)?, number(minute)?, number(second)?),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_double_less_a_half_by_chance_up_to_the_longest() {
        let retry = Retry::times(5).waits(100 * MS, 500 * MS);
        let waits: Vec<_> = (0..6).map(|done| retry.wait(done, None, 0.0)).collect();
        let some = |n: u32| Some(n * MS);
        assert_eq!(waits, [some(100), some(200), some(400), some(500), some(500), None]);
        assert_eq!(retry.wait(1, None, 1.0), some(100));
        assert_eq!(retry.wait(1, some(450), 0.5), some(450));
        assert_eq!(retry.wait(1, Some(Duration::ZERO), 0.5), some(0));
        assert_eq!(retry.wait(1, some(501), 0.5), None, "so long nobody waits");
        assert_eq!(Retry::times(u32::MAX).wait(1_000_000, None, 0.0), some(10_000));
    }

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_by_the_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let secs = |text: &str| asked(text.as_bytes(), now).map(|wait| wait.as_secs());
        assert_eq!((secs("120"), secs(" 0 ")), (Some(120), Some(0)));
        assert_eq!(secs("99999999999999999999999"), Some(u64::MAX));
        // The example of RFC 9110, section 5.6.7.
        assert_eq!(secs("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(secs("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(secs("Sat, 05 Nov 1994 08:49:37 GMT"), Some(0), "it has passed");
        assert_eq!(secs("Thu, 29 Feb 1996 00:00:00 GMT"), Some(825_552_000 - 784_111_777));
        for nonsense in ["", "-1", "+1", "1.5", "soon", "Sun, 06 Nob 1994 08:49:37 GMT"] {
            assert_eq!(secs(nonsense), None, "{nonsense}");
        }
        assert_eq!(secs("Sun, 99 Nov 1994 08:49:37 GMT"), None);
        assert_eq!(secs("Sun, 06 anF 1994 08:49:37 GMT"), None);
    }

    #[test]
    fn a_budget_is_a_tenth_and_ten() {
        let budget = Budget::default();
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 10);
        (0..35).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 3);
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 10);
    }

    #[test]
    fn only_what_may_pass_and_may_run_is_tried_again() {
        let error = |kind, ran| Error::request(kind, "x").having_run(ran);
        let may = |error: &Error, method: Method| has_passed_by(error, Replay::Idempotent, &method);
        let unsent = error(Kind::Connect, false);
        assert!(may(&unsent, Method::GET) && may(&unsent, Method::POST));
        for kind in [Kind::Timeout, Kind::Http, Kind::Stale, Kind::Limit] {
            let ran = error(kind, true);
            assert!(may(&ran, Method::GET) && !may(&ran, Method::POST), "{kind:?}");
            assert!(has_passed_by(&ran, Replay::All, &Method::POST));
            assert!(!has_passed_by(&ran, Replay::Never, &Method::GET));
        }
        for kind in [Kind::Invalid, Kind::Stopped, Kind::Cancelled, Kind::Forked, Kind::Io] {
            assert!(!may(&error(kind, false), Method::GET), "{kind:?}");
        }
        assert!(may_pass(StatusCode::SERVICE_UNAVAILABLE) && !may_pass(StatusCode::NOT_FOUND));
        assert!(!may_pass(StatusCode::INTERNAL_SERVER_ERROR), "a bug does not pass");
    }
}
