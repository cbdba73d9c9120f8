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
    silent_since: Option<Instant>,
    /// It has been silent for so long that it has nothing to do with what happens now.
    is_old: bool,
}

/// Hosts count, not links: ten links to one host that dies are one host. `H` is what a host is
/// known by.
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

    /// It has not any more.
    pub(crate) fn leave(&mut self, host: H) {
        self.well(host);
        if let Some(entry) = self.hosts.get_mut(&host) {
            entry.links = entry.links.saturating_sub(1);
            if entry.links == 0 {
                self.hosts.remove(&host);
            }
        }
    }

    /// A link to this host does not answer. Those that fell silent more than `window` ago count no
    /// more, neither as silent nor as hosts.
    pub(crate) fn suspect(&mut self, host: H, now: Instant, window: Duration) -> Count {
        self.forget_old(now, window);
        if let Some(entry) = self.hosts.get_mut(&host) {
            if entry.silent_since.is_none() {
                entry.silent_since = Some(now);
                self.silent.push_back((now, host));
                self.suspects += 1;
            }
        }
        let hosts = (self.hosts.len() as u32).saturating_sub(self.old);
        let many = is_many(self.suspects, hosts);
        let is_alarm = many && !self.alarmed;
        self.alarmed |= many;
        Count { suspects: self.suspects, hosts, is_alarm }
    }

    /// It answers.
    pub(crate) fn well(&mut self, host: H) {
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

    #[test]
    fn three_tenths_and_at_least_three_are_many_and_told_once() {
        let now = Instant::now();
        let mut roster = roster(10);
        let alarms: Vec<_> = (0..5).map(|n| roster.suspect(n, now, S).is_alarm).collect();
        assert_eq!(alarms, [false, false, true, false, false]);
        (0..5).for_each(|n| roster.well(n));
        let again = (5..8).map(|n| roster.suspect(n, now, S).is_alarm);
        assert_eq!(again.collect::<Vec<_>>(), [false, false, true], "another time");
    }

    #[test]
    fn hosts_that_never_come_back_do_not_keep_the_next_alarm_from_being_told() {
        let now = Instant::now();
        let mut roster = roster(10);
        let mut alarms = |hosts: std::ops::Range<u32>, at| {
            hosts.map(|n| u32::from(roster.suspect(n, at, S).is_alarm)).sum::<u32>()
        };
        assert_eq!(alarms(0..4, now), 1);
        assert_eq!(alarms(4..8, now + 3600 * S), 1, "the first four are still silent");
    }

    #[test]
    fn many_links_to_one_host_are_one_host() {
        let now = Instant::now();
        let mut roster = roster(4);
        (0..100).for_each(|_| roster.join(0));
        let count = (0..100).map(|_| roster.suspect(0, now, S)).last();
        assert_eq!(count, Some(Count { suspects: 1, hosts: 4, is_alarm: false }));
    }

    #[test]
    fn those_that_were_silent_before_have_nothing_to_do_with_it() {
        let now = Instant::now();
        let mut roster = roster(9);
        for n in 0..2 {
            roster.suspect(n, now, S);
        }
        let later = roster.suspect(2, now + 5 * S, S);
        assert_eq!(later, Count { suspects: 1, hosts: 7, is_alarm: false });
        roster.well(0);
        roster.leave(1);
        let count = roster.suspect(0, now + 5 * S, S);
        assert_eq!(count, Count { suspects: 2, hosts: 8, is_alarm: false });
    }
}
