//! All links at once: which hosts have fallen silent, and whether so many have at the same time
//! that it is our own network. Pure: times are arguments.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Fewer hosts than this fall silent together by chance.
const LEAST: u32 = 3;

/// Whether so many of all hosts are silent at once that what they share is to blame: three tenths
/// of them, and at least three.
pub(crate) fn is_many(suspects: u32, hosts: u32) -> bool {
    suspects >= LEAST && u64::from(suspects) * 10 >= u64::from(hosts) * 3
}

/// How many hosts are silent, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) suspects: u32,
    pub(crate) hosts: u32,
    /// It is many, for the first time.
    pub(crate) is_alarm: bool,
}

#[derive(Debug, Default)]
struct Host {
    links: u32,
    /// Of them, those that are not answered.
    silent: u32,
    silent_since: Option<Instant>,
    /// It has been silent for so long that it has nothing to do with what happens now.
    is_old: bool,
}

/// Hosts count, not links: ten links to one host that dies are one host, and a host that answers on
/// one of its links is not silent. `H` is what a host is known by.
#[derive(Debug)]
pub(crate) struct Roster<H> {
    hosts: HashMap<H, Host>,
    /// In the order in which they fell silent; some have come back since.
    silent: VecDeque<(Instant, H)>,
    suspects: u32,
    old: u32,
    alarmed: bool,
}

impl<H> Default for Roster<H> {
    fn default() -> Roster<H> {
        let (hosts, silent) = (HashMap::new(), VecDeque::new());
        Roster { hosts, silent, suspects: 0, old: 0, alarmed: false }
    }
}

impl<H: Copy + Eq + Hash> Roster<H> {
    /// A link has a host now.
    pub(crate) fn join(&mut self, host: H) {
        self.hosts.entry(host).or_default().links += 1;
    }

    /// It has not any more; `was_silent` says whether it was not answered.
    pub(crate) fn leave(&mut self, host: H, was_silent: bool) {
        let Some(entry) = self.hosts.get_mut(&host) else { return };
        entry.links = entry.links.saturating_sub(1);
        entry.silent = entry.silent.saturating_sub(u32::from(was_silent));
        if entry.links == 0 || entry.silent == 0 {
            self.answers(host);
        }
        if self.hosts.get(&host).is_some_and(|entry| entry.links == 0) {
            self.hosts.remove(&host);
        }
    }

    /// A link to this host does not answer any more: told once, until it is [`well`](Roster::well).
    pub(crate) fn suspect(&mut self, host: H, now: Instant, window: Duration) {
        self.forget_old(now, window);
        let Some(entry) = self.hosts.get_mut(&host) else { return };
        entry.silent = (entry.silent + 1).min(entry.links);
        if entry.silent == entry.links && entry.silent_since.is_none() {
            entry.silent_since = Some(now);
            self.silent.push_back((now, host));
            self.suspects += 1;
        }
    }

    /// How many are silent, if this host is one of them. Those that fell silent more than `window`
    /// ago count no more, neither as silent nor as hosts.
    pub(crate) fn count(&mut self, host: H, now: Instant, window: Duration) -> Option<Count> {
        self.forget_old(now, window);
        self.hosts.get(&host)?.silent_since?;
        let hosts = (self.hosts.len() as u32).saturating_sub(self.old);
        let many = is_many(self.suspects, hosts);
        let is_alarm = many && !self.alarmed;
        self.alarmed |= many;
        Some(Count { suspects: self.suspects, hosts, is_alarm })
    }

    /// A link that was not answered is.
    pub(crate) fn well(&mut self, host: H) {
        if let Some(entry) = self.hosts.get_mut(&host) {
            entry.silent = entry.silent.saturating_sub(1);
            self.answers(host);
        }
    }

    /// The host is not silent, or not any more.
    fn answers(&mut self, host: H) {
        let Some(entry) = self.hosts.get_mut(&host) else { return };
        if entry.silent_since.take().is_none() {
            return;
        }
        if std::mem::take(&mut entry.is_old) {
            self.old -= 1;
        } else {
            self.suspects -= 1;
        }
        self.alarmed &= self.suspects > 0;
    }

    fn forget_old(&mut self, now: Instant, window: Duration) {
        while let Some((since, host)) = self.silent.front() {
            let is_it = |entry: &&mut Host| entry.silent_since == Some(*since) && !entry.is_old;
            let entry = self.hosts.get_mut(host).filter(is_it);
            if let Some(entry) = entry {
                if now.saturating_duration_since(*since) <= window {
                    break;
                }
                entry.is_old = true;
                self.suspects -= 1;
                self.old += 1;
            }
            self.silent.pop_front();
        }
        // What was alarmed of is old, and the next is another trouble.
        self.alarmed &= self.suspects > 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn roster(hosts: u32) -> Roster<u32> {
        let mut roster = Roster::default();
        (0..hosts).for_each(|n| roster.join(n));
        roster
    }

    /// One more link that is not answered; whether that is an alarm.
    fn falls(roster: &mut Roster<u32>, host: u32, now: Instant) -> bool {
        roster.suspect(host, now, S);
        roster.count(host, now, S).is_some_and(|count| count.is_alarm)
    }

    #[test]
    fn three_tenths_and_at_least_three_are_many_and_told_once() {
        let now = Instant::now();
        let mut roster = roster(10);
        let alarms: Vec<_> = (0..5).map(|n| falls(&mut roster, n, now)).collect();
        assert_eq!(alarms, [false, false, true, false, false]);
        (0..5).for_each(|n| roster.well(n));
        let again: Vec<_> = (5..8).map(|n| falls(&mut roster, n, now)).collect();
        assert_eq!(again, [false, false, true], "another time");
    }

    #[test]
    fn hosts_that_never_come_back_do_not_keep_the_next_alarm_from_being_told() {
        let now = Instant::now();
        let mut roster = roster(10);
        let mut alarms = |hosts: std::ops::Range<u32>, at| {
            hosts.map(|n| u32::from(falls(&mut roster, n, at))).sum::<u32>()
        };
        assert_eq!(alarms(0..4, now), 1);
        assert_eq!(alarms(4..8, now + 3600 * S), 1, "the first four are still silent");
    }

    #[test]
    fn many_links_to_one_host_are_one_host_and_it_is_silent_when_all_of_them_are() {
        let now = Instant::now();
        let mut roster = roster(4);
        (1..100).for_each(|_| roster.join(0));
        (1..100).for_each(|_| roster.suspect(0, now, S));
        assert_eq!(roster.count(0, now, S), None, "one of them is answered");
        roster.suspect(0, now, S);
        let one = Some(Count { suspects: 1, hosts: 4, is_alarm: false });
        assert_eq!(roster.count(0, now, S), one);
        roster.leave(0, true);
        assert_eq!(roster.count(0, now, S), one, "the others are still silent");
        roster.well(0);
        assert_eq!(roster.count(0, now, S), None);
    }

    #[test]
    fn those_that_were_silent_before_have_nothing_to_do_with_it() {
        let now = Instant::now();
        let mut roster = roster(9);
        (0..2).for_each(|n| roster.suspect(n, now, S));
        let later = now + 5 * S;
        roster.suspect(2, later, S);
        let count = |roster: &mut Roster<u32>, host| roster.count(host, later, S);
        let expected = |suspects, hosts| Some(Count { suspects, hosts, is_alarm: false });
        assert_eq!(count(&mut roster, 2), expected(1, 7));
        roster.well(0);
        roster.leave(1, true);
        roster.suspect(0, later, S);
        assert_eq!(count(&mut roster, 0), expected(2, 8));
    }
}
