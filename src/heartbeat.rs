//! Heartbeat: the policy of one link: how often to beat, how long to wait, how many misses to
//! allow, how to reconnect. A plain value; it is checked where it is used, so that setters never
//! fail.

mod strategies;

use std::time::Duration;

use crate::diagnose::Diagnose;
use crate::error::Error;
use crate::role::Role;

pub use strategies::{Pace, Patience};

/// The policy of one link: how often a beat is sent, how long its ack may take, and what happens
/// when none comes.
///
/// The setters accept any value. A value is checked when a link is made from it
/// ([`Coordinator::watch`]), or by [`check`](Heartbeat::check).
///
/// | setting | default | bounds |
/// |---|---|---|
/// | [`interval`](Heartbeat::every) | 30 s | 1 ms to 7 days |
/// | [`timeout`](Heartbeat::timeout) | 5 s | 1 ms to 1 hour |
/// | [`fall`](Heartbeat::fall) | 3 | 1 to 100 |
/// | [`rise`](Heartbeat::rise) | 1 | 1 to 100 |
/// | [`jitter`](Heartbeat::jitter) | 0.05 | 0 to 0.5 |
/// | [`backoff`](Heartbeat::backoff) | 0.5 s to 60 s | 1 ms to 1 day |
/// | [`role`](Heartbeat::role) | active | |
/// | [`when_idle`](Heartbeat::when_idle) | off | |
/// | [`prove_every`](Heartbeat::prove_every) | 2 | 0 to 1000 |
/// | [`expect_every`](Heartbeat::expect_every) | by role | 1 ms to 7 days |
/// | [`diagnose`](Heartbeat::diagnose) | what the kernel knows | |
/// | [`connect_timeout`](Heartbeat::connect_timeout) | 10 s | 1 ms to 1 hour |
/// | [`write_timeout`](Heartbeat::write_timeout) | 10 s | 1 ms to 1 hour |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use keepbeat::Heartbeat;
///
/// let beat = Heartbeat::every(Duration::from_secs(10))
///     .timeout(Duration::from_secs(2))
///     .fall(3)
///     .rise(2);
/// assert!(beat.check().is_ok());
/// assert!(Heartbeat::every(Duration::ZERO).check().is_err());
/// ```
///
/// [`Coordinator::watch`]: crate::Coordinator::watch
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) fall: u32,
    pub(crate) rise: u32,
    pub(crate) jitter: f64,
    pub(crate) backoff_base: Duration,
    pub(crate) backoff_cap: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) user_timeout: Option<Duration>,
    pub(crate) pace: Pace,
    pub(crate) patience: Patience,
    pub(crate) rounds: Option<u64>,
    pub(crate) role: Role,
    pub(crate) when_idle: bool,
    pub(crate) prove_every: u32,
    pub(crate) expect_every: Option<Duration>,
    pub(crate) diagnose: Diagnose,
}

impl Default for Heartbeat {
    /// A beat every 30 s, 5 s for its ack, Down after three misses in a row.
    fn default() -> Heartbeat {
        Heartbeat {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            fall: 3,
            rise: 1,
            jitter: 0.05,
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            user_timeout: None,
            pace: Pace::Fixed,
            patience: Patience::Fixed,
            rounds: None,
            role: Role::Active,
            when_idle: false,
            prove_every: 2,
            expect_every: None,
            diagnose: Diagnose::kernel(),
        }
    }
}

impl Heartbeat {
    /// A beat every `interval`, counted from the time when one beat is due to the time when the
    /// next is. Everything else has its default.
    ///
    /// A shorter interval finds a dead connection sooner and keeps connections alive behind
    /// stricter firewalls, but costs the network and the peer more. The first beat goes out as soon
    /// as the connection is open, the second at a random moment of the first interval, so that many
    /// links which start together spread out.
    pub fn every(interval: Duration) -> Heartbeat {
        Heartbeat { interval, ..Heartbeat::default() }
    }

    /// The longest wait for the ack of one beat. Default 5 s.
    ///
    /// Over TCP a lost packet shows as a delay: the kernel sends it again after 0.2 s, 0.6 s and
    /// 1.4 s. With a timeout under a second, a single lost packet can be a miss. The timeout may be
    /// longer than the interval: the next beat then waits for the verdict on this one.
    pub fn timeout(mut self, timeout: Duration) -> Heartbeat {
        self.timeout = timeout;
        self
    }

    /// Misses in a row until the link is Down. Default 3.
    ///
    /// The first miss makes the link Suspect. From then on beats follow each other at once, so a
    /// dead peer is found after at most `1.05 x interval + fall x timeout + 50 ms`.
    pub fn fall(mut self, misses: u32) -> Heartbeat {
        self.fall = misses;
        self
    }

    /// Acks in time and in a row until the link is Up. Default 1.
    pub fn rise(mut self, acks: u32) -> Heartbeat {
        self.rise = acks;
        self
    }

    /// How far each interval may deviate, as a fraction of it. Default 0.05, which is 5 % either
    /// way.
    pub fn jitter(mut self, fraction: f64) -> Heartbeat {
        self.jitter = fraction;
        self
    }

    /// The wait before attempt `n` to reconnect is drawn from `0 .. min(cap, base * 2^n)`.
    /// Default 0.5 s and 60 s.
    ///
    /// This is "full jitter", from M. Brooker, *Exponential Backoff and Jitter* (AWS Architecture
    /// Blog, 2015). The first attempt is immediate if the connection had been Up for one interval,
    /// and for at least 10 s.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Heartbeat {
        self.backoff_base = base;
        self.backoff_cap = cap;
        self
    }

    /// The longest time for one attempt to connect, over all addresses of the name. Default 10 s.
    /// Each address gets an equal share of the time that is left. The lookup of the name does not
    /// count: the system's resolver has its own time limits.
    pub fn connect_timeout(mut self, timeout: Duration) -> Heartbeat {
        self.connect_timeout = timeout;
        self
    }

    /// The longest time for writing one beat. Default 10 s. It passes only if the peer does not
    /// read. The connection is then closed, because a part of the beat was sent.
    pub fn write_timeout(mut self, timeout: Duration) -> Heartbeat {
        self.write_timeout = timeout;
        self
    }

    /// How long the kernel keeps retransmitting unacknowledged bytes before it gives up the
    /// connection (`TCP_USER_TIMEOUT`). Default: `interval + (fall + 2) x timeout`, at least 10 s
    /// and what its keepalive needs, so that the kernel does not give up before the heartbeat does
    /// (unless a stall of our own has stretched the timeouts). A value under one detection
    /// (`interval + fall x timeout`) or over 24 days is refused.
    pub fn user_timeout(mut self, timeout: Duration) -> Heartbeat {
        self.user_timeout = Some(timeout);
        self
    }

    /// The strategy for the next interval. Default [`Pace::Fixed`].
    pub fn pace(mut self, pace: Pace) -> Heartbeat {
        self.pace = pace;
        self
    }

    /// The strategy for the ack timeout. Default [`Patience::Fixed`].
    pub fn patience(mut self, patience: Patience) -> Heartbeat {
        self.patience = patience;
        self
    }

    /// Ends the link by itself after this number of rounds. A round is a beat that was acked or
    /// missed, or an attempt to connect that failed. The link then waits up to 10 s for its side
    /// connections, so that the last diagnosis includes what they find. Default: no end. The status
    /// of the link stays until the link is removed.
    pub fn rounds(mut self, rounds: u64) -> Heartbeat {
        self.rounds = Some(rounds);
        self
    }

    /// Which end of the conversation this link is. Default [`Role::Active`], the only one for a
    /// watched link.
    pub fn role(mut self, role: Role) -> Heartbeat {
        self.role = role;
        self
    }

    /// Leaves a beat out if the connection carried bytes in both directions within the interval
    /// (for
    /// [`Role::SendOnly`]: from here to the peer). For links on the application's own connections.
    /// Default: a beat every interval, whatever else the connection carries.
    ///
    /// Traffic keeps a connection alive as well as a beat does. This saves the beat and loses its
    /// round-trip time. An ack also proves that the peer has read every frame that the application
    /// sent before the beat, so a beat goes out now and then all the same: see
    /// [`prove_every`](Heartbeat::prove_every).
    pub fn when_idle(mut self) -> Heartbeat {
        self.when_idle = true;
        self
    }

    /// With [`when_idle`](Heartbeat::when_idle): sends a beat every `intervals` intervals, however
    /// busy the connection is, while the application has sent frames that the peer may not have
    /// read. Default 2, at most 1000; 0 for none.
    ///
    /// When the connection ends, at most the frames of that many intervals are in doubt. No such
    /// beat is needed if the application reports what was [`answered`](crate::Link::answered).
    pub fn prove_every(mut self, intervals: u32) -> Heartbeat {
        self.prove_every = intervals;
        self
    }

    /// The longest time without a received frame: a whole frame of any kind must come at least
    /// every `limit`. If none comes, the link is Suspect, and Down after `fall` misses, one
    /// `timeout` apart. For links on the application's own connections; 1 ms to 7 days.
    ///
    /// Default: none for roles that send beats. For [`Role::Passive`] and [`Role::ListenOnly`] it
    /// is `1.05 x interval + timeout`, where `interval` is the one at which the peer sends. The
    /// longest time without a *sent* beat is the interval itself.
    pub fn expect_every(mut self, limit: Duration) -> Heartbeat {
        self.expect_every = Some(limit);
        self
    }

    /// How far to go to find out why the link failed. Default [`Diagnose::kernel`]: only what this
    /// machine knows, without any packet beyond the heartbeat.
    pub fn diagnose(mut self, diagnose: Diagnose) -> Heartbeat {
        self.diagnose = diagnose;
        self
    }

    /// These settings at the pace of `other`: everything that can be changed while a link runs.
    pub(crate) fn at_pace_of(&self, other: &Heartbeat) -> Heartbeat {
        let Heartbeat { interval, timeout, fall, rise, jitter, .. } = *other;
        let Heartbeat { backoff_base, backoff_cap, connect_timeout, prove_every, .. } = *other;
        Heartbeat {
            interval,
            timeout,
            fall,
            rise,
            jitter,
            backoff_base,
            backoff_cap,
            connect_timeout,
            prove_every,
            ..self.clone()
        }
    }

    /// The longest silence of the peer before it counts as a miss.
    pub(crate) fn longest_silence(&self) -> Option<Duration> {
        let listens = !self.role.sends();
        let usual = || self.interval.mul_f64(1.0 + self.jitter) + self.timeout;
        self.expect_every.or_else(|| listens.then(usual))
    }

    /// Checks whether these settings can work.
    ///
    /// # Errors
    ///
    /// Names the first setting that cannot work, with the numbers and the remedy.
    pub fn check(&self) -> Result<(), Error> {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        const HOUR: Duration = Duration::from_secs(3600);
        within("interval", self.interval, 7 * DAY)?;
        within("timeout", self.timeout, HOUR)?;
        within("connect timeout", self.connect_timeout, HOUR)?;
        within("write timeout", self.write_timeout, HOUR)?;
        within("backoff base", self.backoff_base, DAY)?;
        within("backoff cap", self.backoff_cap, DAY)?;
        if let Some(limit) = self.expect_every {
            within("limit for nothing received", limit, 7 * DAY)?;
        }
        count("fall", self.fall)?;
        count("rise", self.rise)?;
        if self.backoff_base > self.backoff_cap {
            return Err(Error::invalid(format!(
                "the backoff base of {:?} is over its cap of {:?}: raise the cap",
                self.backoff_base, self.backoff_cap
            )));
        }
        if !(0.0..=0.5).contains(&self.jitter) {
            return Err(Error::invalid(format!(
                "a jitter of {} cannot work: it is a fraction of the interval, from 0 to 0.5",
                self.jitter
            )));
        }
        if self.prove_every > 1000 {
            return Err(Error::invalid(format!(
                "a beat for proof every {} intervals cannot work: use 1 to 1000, or 0 for none",
                self.prove_every
            )));
        }
        if self.rounds == Some(0) {
            return Err(Error::invalid("0 rounds cannot work: ask for 1 or more"));
        }
        let detection = self.interval + self.fall * self.timeout;
        match self.user_timeout {
            Some(t) if t < detection => Err(Error::invalid(format!(
                "a user timeout of {t:?} is shorter than one detection, interval {:?} + fall {} x \
                 timeout {:?} = {detection:?}: the kernel would close living connections; leave it \
                 out or raise it",
                self.interval, self.fall, self.timeout
            ))),
            Some(t) if t > LONGEST_USER_TIMEOUT => Err(Error::invalid(format!(
                "a user timeout of {t:?} is more than the kernel can count: use 24 days at most"
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses the settings that make no sense on a connection which carries only beats.
    pub(crate) fn check_watch(&self) -> Result<(), Error> {
        if self.role != Role::Active || self.when_idle || self.expect_every.is_some() {
            return Err(Error::invalid(
                "a watched link asks and expects acks, and carries nothing else: roles, \
                 `when_idle` and `expect_every` are for `adopt`, `connect` and `follow`",
            ));
        }
        Ok(())
    }

    /// Refuses the settings that make no sense where keepbeat only looks, and intervals that are
    /// too short for the kernel, which counts in whole seconds.
    pub(crate) fn check_observe(&self) -> Result<(), Error> {
        if !matches!(self.role, Role::Active | Role::ListenOnly)
            || self.when_idle
            || self.expect_every.is_some()
            || self.rounds.is_some()
        {
            return Err(Error::invalid(
                "an observed connection carries no beats: leave out the role, `when_idle`, \
                 `expect_every` and `rounds`; its interval is the longest silence that is no miss",
            ));
        }
        let least = Duration::from_secs(2);
        if self.interval < least {
            return Err(Error::invalid(format!(
                "an interval of {:?} is too short to observe by: the kernel asks an idle peer in \
                 whole seconds; use {least:?} or more",
                self.interval
            )));
        }
        Ok(())
    }

    /// The value for TCP_USER_TIMEOUT, if it is set: never shorter than our own verdict takes, nor
    /// than the keepalive needs to ask `fall` times, because the user timeout overrides that count.
    /// A connection that also carries the application's data has none by default: a peer with a
    /// closed window is slow, and the kernel must not take it for dead.
    pub(crate) fn kernel_patience(&self, carries_data: bool) -> Option<Duration> {
        if carries_data && self.user_timeout.is_none() {
            return None;
        }
        let (idle, interval) = self.kernel_keepalive();
        let verdict = self.interval + (self.fall + 2) * self.timeout;
        let probes = idle + (self.fall + 1) * interval;
        let default = verdict.max(probes).max(Duration::from_secs(10));
        Some(self.user_timeout.unwrap_or(default).min(LONGEST_USER_TIMEOUT))
    }

    /// When the kernel's keepalive sends its first probe, and how often the next ones: one second
    /// after the next beat is due, so that beats keep it quiet, then one a timeout. The kernel
    /// counts whole seconds, up to a maximum.
    pub(crate) fn kernel_keepalive(&self) -> (Duration, Duration) {
        let second = Duration::from_secs(1);
        let idle = self.interval.mul_f64(1.0 + self.jitter) + second;
        (idle.min(LONGEST_KEEPALIVE), self.timeout.max(second).min(LONGEST_KEEPALIVE))
    }
}

/// The kernel's maximum (MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL).
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(32_767);

/// The kernel counts milliseconds in a C int, which holds 24.8 days.
const LONGEST_USER_TIMEOUT: Duration = Duration::from_secs(24 * 24 * 3600);

fn within(name: &str, value: Duration, max: Duration) -> Result<(), Error> {
    let min = Duration::from_millis(1);
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let article = if name.starts_with('i') { "an" } else { "a" };
    Err(Error::invalid(format!(
        "{article} {name} of {value:?} cannot work: use {min:?} to {max:?}"
    )))
}

fn count(name: &str, value: u32) -> Result<(), Error> {
    // At most 100: each miss may leave an ack outstanding, and the room for them is allocated
    // first.
    if (1..=100).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("a {name} of {value} cannot work: use 1 to 100")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_defaults_and_the_tutorials_settings_are_accepted() {
        assert!(Heartbeat::default().check().is_ok());
        assert!(Heartbeat::every(60 * S).timeout(5 * S).fall(3).check().is_ok());
        assert!(Heartbeat::every(S).check().is_ok(), "an interval under the timeout is no mistake");
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_numbers() {
        let refused = [
            (Heartbeat::every(Duration::ZERO), "an interval of 0ns"),
            (Heartbeat::default().timeout(Duration::ZERO), "a timeout of 0ns"),
            (Heartbeat::default().fall(0), "a fall of 0"),
            (Heartbeat::default().rise(101), "a rise of 101"),
            (Heartbeat::default().jitter(f64::NAN), "jitter of NaN"),
            (Heartbeat::default().backoff(2 * S, S), "over its cap of 1s"),
            (Heartbeat::default().user_timeout(44 * S), "45s"),
            (Heartbeat::default().user_timeout(25 * 24 * 3600 * S), "24 days"),
            (Heartbeat::default().rounds(0), "0 rounds"),
        ];
        for (beat, words) in refused {
            let error = beat.check().expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.is_invalid());
        }
        assert!(Heartbeat::default().user_timeout(45 * S).check().is_ok());
    }
}
