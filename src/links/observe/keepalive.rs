//! The kernel's keepalive on a socket of the application: switched on so that an idle peer is
//! heard, put back as it was found, and slowed down before it could end a connection by our doing.

use std::io;
use std::time::Duration;

use log::warn;

use crate::links::observe::observed_fd::{Gone, ObservedFd};
use crate::sys::{Foreign, IntOption};

/// The kernel takes no more (MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL; MAX_TCP_KEEPCNT).
const LONGEST: Duration = Duration::from_secs(32_767);
const MOST: i32 = 127;

/// Unanswered probes from which on the rest of the kernel's [`MOST`] is spread over the time that
/// the connection may have.
const SPREAD_FROM: u8 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settings {
    on: i32,
    /// Seconds.
    idle: i32,
    /// Seconds.
    every: i32,
    count: i32,
}

/// What the kernel is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    settings: Settings,
    /// After how long a silence the application itself wants the connection to end. None: never.
    patience: Option<Duration>,
}

/// Puts the options back when it is dropped, as long as the socket still is that socket.
#[derive(Debug)]
pub(crate) struct Keepalive {
    socket: ObservedFd,
    found: Settings,
    plan: Plan,
    /// As we set them last.
    set: Settings,
    restore: bool,
}

impl Keepalive {
    /// None where the application's own keepalive asks often enough: it is left alone.
    pub(crate) fn switch_on(
        socket: ObservedFd,
        interval: Duration,
        timeout: Duration,
        restore: bool,
    ) -> io::Result<Option<Keepalive>> {
        let descriptor = socket.check().map_err(|gone| io::Error::other(gone.words()))?;
        let found = Settings::read(descriptor)?;
        let Some(plan) = Plan::new(found, interval, timeout) else { return Ok(None) };
        let mut keepalive = Keepalive { socket, found, plan, set: found, restore };
        // Dropped on the way, it puts back what it has changed.
        keepalive.set = plan.settings;
        found.change(plan.settings, descriptor)?;
        plan.warn_of_user_timeout(descriptor, socket.number());
        Ok(Some(keepalive))
    }

    /// After a look: so many probes were left unanswered, over such a silence.
    pub(crate) fn on_look(&mut self, probes: u8, silent: Duration) {
        let every = self.plan.spacing(probes, silent);
        // It grows with every second; an eighth is soon enough.
        let near = (self.set.every - every).abs() * 8 <= every;
        if every == self.set.every || (near && every != self.plan.settings.every) {
            return;
        }
        let wanted = Settings { every, ..self.set };
        if self.put(self.set, wanted).is_ok() {
            self.set = wanted;
        }
    }

    fn put(&self, from: Settings, to: Settings) -> Result<(), Gone> {
        let descriptor = self.socket.check()?;
        if let Err(error) = from.change(to, descriptor) {
            warn!("descriptor {}: its keepalive could not be set: {error}", self.socket.number());
        }
        Ok(())
    }
}

impl Drop for Keepalive {
    fn drop(&mut self) {
        let to = if self.restore { self.found } else { self.plan.settings };
        // A socket that is gone took its options along.
        let _ = self.put(self.set, to);
    }
}

impl Settings {
    fn read(descriptor: Foreign) -> io::Result<Settings> {
        Ok(Settings {
            on: descriptor.get(IntOption::Keepalive)?,
            idle: descriptor.get(IntOption::KeepaliveIdle)?,
            every: descriptor.get(IntOption::KeepaliveInterval)?,
            count: descriptor.get(IntOption::KeepaliveCount)?,
        })
    }

    /// Sets what differs, the switch last. What the application has changed since is its own will:
    /// it stays.
    fn change(self, to: Settings, descriptor: Foreign) -> io::Result<()> {
        for (option, from, to) in [
            (IntOption::KeepaliveCount, self.count, to.count),
            (IntOption::KeepaliveInterval, self.every, to.every),
            (IntOption::KeepaliveIdle, self.idle, to.idle),
            (IntOption::Keepalive, self.on, to.on),
        ] {
            if from != to && descriptor.get(option)? == from {
                descriptor.set(option, to)?;
            }
        }
        Ok(())
    }
}

impl Plan {
    /// The kernel's timers of many seconds fire late, by up to an eighth. An ack of the probe is
    /// wanted within the interval all the same, so it goes out a sixth earlier at least.
    fn new(found: Settings, interval: Duration, timeout: Duration) -> Option<Plan> {
        let second = Duration::from_secs(1);
        let margin = timeout.min(interval / 2).max(interval / 6).max(second);
        let idle = interval.saturating_sub(margin).clamp(second, LONGEST);
        let every = timeout.min(idle).max(second);
        let (idle, every) = (idle.as_secs() as i32, every.as_secs() as i32);
        if found.on == 0 {
            let settings = Settings { on: 1, idle, every, count: MOST };
            return Some(Plan { settings, patience: None });
        }
        if found.idle <= idle && found.every <= every {
            return None;
        }
        // The connection ends when the application's own settings would have ended it.
        let (idle, every) = (idle.min(found.idle), every.min(found.every));
        let patience = found.idle + found.every * found.count;
        let count = ((patience - idle) / every).clamp(1, MOST);
        let settings = Settings { on: 1, idle, every, count };
        Some(Plan { settings, patience: Some(Duration::from_secs(patience as u64)) })
    }

    /// How far apart the next probes are to be, in seconds. The kernel ends a connection after
    /// [`MOST`] unanswered ones, however much longer it would live without us.
    fn spacing(&self, probes: u8, silent: Duration) -> i32 {
        let every = self.settings.every;
        if probes < SPREAD_FROM || self.settings.count < MOST {
            return every;
        }
        let left = u32::try_from(MOST).unwrap_or(1).saturating_sub(probes.into()).max(1);
        let spread = match self.patience {
            Some(patience) => patience.saturating_sub(silent) / left,
            // For ever: each probe makes the silence an eighth longer.
            None => silent / 8,
        };
        every.max(spread.min(LONGEST).as_secs() as i32)
    }

    /// TCP_USER_TIMEOUT replaces the count: a single lost probe could end the connection.
    fn warn_of_user_timeout(&self, descriptor: Foreign, number: i32) {
        let Ok(limit @ 1..) = descriptor.get(IntOption::UserTimeout) else { return };
        let Settings { idle, every, .. } = self.settings;
        if limit / 1000 < idle + 3 * every {
            warn!(
                "descriptor {number} has a TCP_USER_TIMEOUT of {limit} ms, which replaces the \
                 keepalive's count: a lost probe may end the idle connection; raise it, or observe \
                 without keepalive"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const OFF: Settings = Settings { on: 0, idle: 7200, every: 75, count: 9 };

    fn plan(found: Settings, interval: u32, timeout: u32) -> Option<Plan> {
        Plan::new(found, interval * S, timeout * S)
    }

    fn numbers(plan: Option<Plan>) -> (i32, i32, i32) {
        let settings = plan.unwrap().settings;
        (settings.idle, settings.every, settings.count)
    }

    #[test]
    fn an_idle_peer_is_asked_early_enough_to_be_heard_within_the_interval() {
        assert_eq!(numbers(plan(OFF, 30, 5)), (25, 5, 127));
        assert_eq!(numbers(plan(OFF, 2, 5)), (1, 1, 127));
        assert_eq!(numbers(plan(OFF, 1000, 5)), (833, 5, 127), "the kernel may be 104 s late");
        assert_eq!(numbers(plan(OFF, 7 * 24 * 3600, 3600)), (32_767, 3600, 127));
        assert_eq!(numbers(Plan::new(OFF, S * 5 / 2, S / 2)), (1, 1, 127));
    }

    #[test]
    fn a_keepalive_of_the_application_ends_the_connection_when_it_would_have() {
        let on = |idle, every, count| Settings { on: 1, idle, every, count };
        assert_eq!(plan(on(25, 5, 3), 30, 5), None, "it asks often enough");
        assert_eq!(numbers(plan(on(77, 7, 5), 2, 5)), (1, 1, 111));
        assert_eq!(numbers(plan(on(10, 75, 9), 30, 5)), (10, 5, 127));
        let usual = plan(on(7200, 75, 9), 30, 5).unwrap();
        assert_eq!(usual.settings.count, MOST);
        // 63 probes are left for the rest of the 7875 s, and the last ends it in time.
        let spacing = usual.spacing(64, 345 * S);
        assert_eq!(spacing, (7875 - 345) / 63);
        assert!(usual.spacing(126, 7000 * S) <= 875);
    }

    #[test]
    fn a_connection_without_a_keepalive_of_its_own_is_not_given_up_for_days() {
        let plan = plan(OFF, 2, 5).unwrap();
        assert_eq!(plan.spacing(63, 64 * S), 1);
        let (mut silent, mut probes) = (64, 64);
        while probes < MOST as u8 {
            silent += plan.spacing(probes, silent * S) as u32;
            probes += 1;
        }
        assert!(silent > 20 * 3600, "{silent} s");
        assert_eq!(plan.spacing(0, S), 1, "and when it is heard again, all is as before");
    }
}
