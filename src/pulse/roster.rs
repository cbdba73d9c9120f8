//! All links at once: which hosts have fallen silent, whether so many have at the same time that it
//! is our own network, and what those share that have. Pure: times are arguments.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Fewer hosts than this fall silent together by chance.
const LEAST: u32 = 3;

/// So many that fell silent one after another, and nobody answered in between, are no chance.
const IN_A_ROW: u32 = 5;

/// Whether so many of all hosts are silent at once that what they share is to blame. Where others
/// have answered since, that is nearly all of them. Where nobody has, three tenths are enough, if
/// they are so many that somebody would have answered in between, or more than half.
pub(crate) fn is_many(suspects: u32, hosts: u32, well: u32) -> bool {
    let (suspects, hosts, well) = (u64::from(suspects), u64::from(hosts), u64::from(well));
    if well > 0 {
        return suspects >= LEAST.into() && suspects * 10 >= (suspects + well) * 9;
    }
    let share = if suspects >= IN_A_ROW.into() { 3 } else { 6 };
    suspects >= LEAST.into() && suspects * 10 >= hosts * share
}

/// Whether several of many are silent, others answer, and the silent ones share a network.
pub(crate) fn is_far(suspects: u32, well: u32) -> bool {
    suspects >= LEAST && well > 0
}

/// By what a host is known: its family, and so many bits.
pub(crate) trait Host: Copy + Eq + Hash {
    fn bits(self) -> (u32, u128);
}

/// When a host was heard last. Shared by its links, which write it at each ack.
#[derive(Debug)]
pub(crate) struct Heard {
    epoch: Instant,
    /// Microseconds since then, and one; 0 for never.
    at: AtomicU64,
}

impl Heard {
    pub(crate) fn now(&self, now: Instant) {
        let after = now.saturating_duration_since(self.epoch).as_micros();
        self.at.store(u64::try_from(after).unwrap_or(u64::MAX - 1) + 1, Ordering::Relaxed);
    }

    fn is_after(&self, since: Instant) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at > 0 && self.epoch + Duration::from_micros(at - 1) > since
    }
}

/// How many hosts are silent, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count<H> {
    pub(crate) suspects: u32,
    pub(crate) hosts: u32,
    /// Those that have answered since the first of them fell silent.
    pub(crate) well: u32,
    /// One of the silent ones, and so many bits that all of them have in common, and no other host
    /// that has answered.
    pub(crate) network: Option<(H, u32)>,
    /// It is many, or a network, for the first time.
    pub(crate) is_alarm: bool,
}

#[derive(Debug)]
struct Entry {
    links: u32,
    /// Of them, those that are not answered.
    silent: u32,
    silent_since: Option<Instant>,
    /// It has been silent for so long that it has nothing to do with what happens now.
    is_old: bool,
    heard: Arc<Heard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    Own,
    Far,
}

/// Hosts count, not links: ten links to one host that dies are one host, and a host that answers on
/// one of its links is not silent. `H` is what a host is known by.
#[derive(Debug)]
pub(crate) struct Roster<H> {
    hosts: HashMap<H, Entry>,
    /// In the order in which they fell silent; some have come back since.
    silent: VecDeque<(Instant, H)>,
    suspects: u32,
    old: u32,
    alarmed: Option<Alarm>,
    /// What was found of the others, and when.
    others: Option<(Instant, Others<H>)>,
}

/// How many have answered, and the network of those that have not.
type Others<H> = (u32, Option<(H, u32)>);

/// Of more hosts than this the others are asked for once in [`OTHERS_LAST`]: a thousand links that
/// fail at once would ask for a thousand hosts each.
const MANY_HOSTS: usize = 200;
const OTHERS_LAST: Duration = Duration::from_millis(20);

impl<H> Default for Roster<H> {
    fn default() -> Roster<H> {
        let (hosts, silent) = (HashMap::new(), VecDeque::new());
        Roster { hosts, silent, suspects: 0, old: 0, alarmed: None, others: None }
    }
}

impl<H: Host> Roster<H> {
    /// A link has a host now; where to write when it is heard.
    pub(crate) fn join(&mut self, host: H, now: Instant) -> Arc<Heard> {
        let entry = self.hosts.entry(host).or_insert_with(|| Entry {
            links: 0,
            silent: 0,
            silent_since: None,
            is_old: false,
            heard: Arc::new(Heard { epoch: now, at: AtomicU64::new(0) }),
        });
        entry.links += 1;
        Arc::clone(&entry.heard)
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

    /// The same of a link that fell silent at `since`, longer ago than `window`, and blamed its
    /// peer until now; how many fell silent at about that time. Asked once: it looks at each host.
    pub(crate) fn suspect_late(
        &mut self,
        host: H,
        since: Instant,
        window: Duration,
    ) -> Option<Count<H>> {
        let entry = self.hosts.get_mut(&host)?;
        entry.silent = (entry.silent + 1).min(entry.links);
        if entry.silent < entry.links || entry.silent_since.is_some() {
            return None;
        }
        (entry.silent_since, entry.is_old) = (Some(since), true);
        self.old += 1;
        let is_near = |at: Instant| at.max(since) - at.min(since) <= window;
        let near = self.hosts.values().filter_map(|entry| entry.silent_since);
        let suspects = near.filter(|at| is_near(*at)).count() as u32;
        let well = self.hosts.values().filter(|entry| entry.silent_since.is_none());
        let well = well.filter(|entry| entry.heard.is_after(since)).count() as u32;
        let silent = self.hosts.values().filter(|entry| entry.silent_since.is_some()).count();
        let hosts = (self.hosts.len() - silent) as u32 + suspects;
        Some(Count { suspects, hosts, well, network: None, is_alarm: false })
    }

    /// How many are silent, if this host is one of them. Those that fell silent more than `window`
    /// ago count no more, neither as silent nor as hosts.
    pub(crate) fn count(&mut self, host: H, now: Instant, window: Duration) -> Option<Count<H>> {
        self.forget_old(now, window);
        self.hosts.get(&host)?.silent_since?;
        let hosts = (self.hosts.len() as u32).saturating_sub(self.old);
        // Below that nobody asks what they share.
        let (well, network) = if self.suspects < LEAST { (0, None) } else { self.others(now) };
        let alarm = if is_many(self.suspects, hosts, well) {
            Some(Alarm::Own)
        } else {
            network.filter(|_| is_far(self.suspects, well)).map(|_| Alarm::Far)
        };
        let is_alarm = alarm.is_some() && alarm != self.alarmed;
        self.alarmed = alarm.or(self.alarmed);
        Some(Count { suspects: self.suspects, hosts, well, network, is_alarm })
    }

    fn others(&mut self, now: Instant) -> Others<H> {
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < OTHERS_LAST;
        let known = self.others.filter(|(at, _)| self.hosts.len() > MANY_HOSTS && is_fresh(*at));
        let (_, others) = known.unwrap_or_else(|| (now, self.ask_others()));
        self.others = known.or(Some((now, others)));
        others
    }

    /// How many have answered since the first of the silent ones fell silent, and what those share
    /// that have not, if that tells them apart.
    fn ask_others(&self) -> Others<H> {
        let is_suspect = |entry: &Entry| entry.silent_since.is_some() && !entry.is_old;
        let silent: Vec<_> = self.hosts.iter().filter(|(_, entry)| is_suspect(entry)).collect();
        let since = silent.iter().filter_map(|(_, entry)| entry.silent_since).min();
        let (Some(since), Some((first, _))) = (since, silent.first()) else { return (0, None) };
        let common = silent.iter().map(|(host, _)| shared(**first, **host)).min().unwrap_or(0);
        let (mut well, mut is_apart) = (0, common > 0);
        let is_well = |entry: &Entry| entry.silent_since.is_none() && entry.heard.is_after(since);
        for (host, _) in self.hosts.iter().filter(|(_, entry)| is_well(entry)) {
            well += 1;
            is_apart &= shared(**first, *host) < common;
        }
        (well, is_apart.then_some((**first, common)))
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
        self.calm_down();
    }

    fn forget_old(&mut self, now: Instant, window: Duration) {
        while let Some((since, host)) = self.silent.front() {
            let is_it = |entry: &&mut Entry| entry.silent_since == Some(*since) && !entry.is_old;
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
        self.calm_down();
    }

    fn calm_down(&mut self) {
        self.alarmed = self.alarmed.filter(|_| self.suspects > 0);
    }
}

/// How many bits two hosts have in common, from the front.
fn shared<H: Host>(one: H, other: H) -> u32 {
    let ((family, ours), (same, theirs)) = (one.bits(), other.bits());
    if family != same {
        return 0;
    }
    // The bits stand at the end of the number.
    (ours ^ theirs).leading_zeros().saturating_sub(u128::BITS - family).min(family)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    impl Host for u32 {
        fn bits(self) -> (u32, u128) {
            (32, self.into())
        }
    }

    fn roster(hosts: u32) -> Roster<u32> {
        let mut roster = Roster::default();
        (0..hosts).for_each(|n| drop(roster.join(n, Instant::now())));
        roster
    }

    /// One more link that is not answered; whether that is an alarm.
    fn falls(roster: &mut Roster<u32>, host: u32, now: Instant) -> bool {
        roster.suspect(host, now, S);
        roster.count(host, now, S).is_some_and(|count| count.is_alarm)
    }

    #[test]
    fn so_many_that_nobody_answered_in_between_are_told_once() {
        let now = Instant::now();
        let mut roster = roster(10);
        let alarms: Vec<_> = (0..7).map(|n| falls(&mut roster, n, now)).collect();
        assert_eq!(alarms, [false, false, false, false, true, false, false]);
        (0..7).for_each(|n| roster.well(n));
        let again: Vec<_> = (3..8).map(|n| falls(&mut roster, n, now)).collect();
        assert_eq!(again, [false, false, false, false, true], "another time");
        let few = |suspects, hosts| is_many(suspects, hosts, 0);
        assert!(few(3, 4) && few(3, 3) && !few(2, 2) && !few(3, 10) && few(5, 16));
    }

    #[test]
    fn some_that_share_a_network_are_far_and_others_that_answer_are_well() {
        let start = Instant::now();
        let mut roster = Roster::default();
        // Four of a network of 16 addresses, and six elsewhere.
        let hosts: Vec<u32> = (0x40..0x44).chain(0x81..0x87).collect();
        let heard: Vec<_> = hosts.iter().map(|host| roster.join(*host, start)).collect();
        let count = |roster: &mut Roster<u32>| roster.count(0x41, start + 2 * S, 9 * S).unwrap();
        for host in [0x40, 0x41, 0x42] {
            roster.suspect(host, start + S, 9 * S);
        }
        assert_eq!((count(&mut roster).well, count(&mut roster).network.is_some()), (0, true));
        assert!(!count(&mut roster).is_alarm, "who answers, nobody knows yet");
        heard.iter().for_each(|heard| heard.now(start + S / 2));
        assert_eq!(count(&mut roster).well, 0, "that was before");
        heard[4..].iter().for_each(|heard| heard.now(start + 2 * S));
        let told = count(&mut roster);
        assert_eq!((told.suspects, told.well, told.is_alarm), (3, 6, true));
        assert_eq!(told.network.map(|(host, bits)| (host & !3, bits)), Some((0x40, 30)));
        assert!(!count(&mut roster).is_alarm, "told once");
        heard[3].now(start + 2 * S);
        assert_eq!(count(&mut roster).network, None, "one of them answers: it is not the network");
    }

    #[test]
    fn where_most_answer_it_is_not_our_own_network() {
        assert!(!is_many(3, 10, 7) && !is_many(5, 10, 5) && is_many(9, 10, 1));
        assert!(is_far(3, 7) && !is_far(2, 8) && !is_far(3, 0));
    }

    #[test]
    fn hosts_that_never_come_back_do_not_keep_the_next_alarm_from_being_told() {
        let now = Instant::now();
        let mut roster = roster(10);
        let mut alarms = |hosts: std::ops::Range<u32>, at| {
            hosts.map(|n| u32::from(falls(&mut roster, n, at))).sum::<u32>()
        };
        assert_eq!(alarms(0..5, now), 1);
        assert_eq!(alarms(5..10, now + 3600 * S), 1, "the first five are still silent");
    }

    #[test]
    fn many_links_to_one_host_are_one_host_and_it_is_silent_when_all_of_them_are() {
        let now = Instant::now();
        let mut roster = roster(4);
        (1..100).for_each(|_| drop(roster.join(0, now)));
        (1..100).for_each(|_| roster.suspect(0, now, S));
        assert_eq!(roster.count(0, now, S), None, "one of them is answered");
        roster.suspect(0, now, S);
        let (well, network, is_alarm) = (0, None, false);
        let one = Some(Count { suspects: 1, hosts: 4, well, network, is_alarm });
        assert_eq!(roster.count(0, now, S), one);
        roster.leave(0, true);
        assert_eq!(roster.count(0, now, S), one, "the others are still silent");
        roster.well(0);
        assert_eq!(roster.count(0, now, S), None);
    }

    #[test]
    fn a_host_that_blamed_its_peer_at_first_belongs_to_those_that_fell_silent_with_it() {
        let start = Instant::now();
        let mut roster = roster(9);
        (0..2).for_each(|n| roster.suspect(n, start, S));
        (2..6).for_each(|n| roster.suspect(n, start + 60 * S, S));
        let count = roster.suspect_late(6, start + 60 * S - S / 2, S).unwrap();
        assert_eq!((count.suspects, count.hosts, count.is_alarm), (5, 7, false));
        let later = start + 70 * S;
        assert_eq!(roster.count(6, later, S).map(|count| count.suspects), Some(0), "all are old");
        (0..7).for_each(|n| roster.well(n));
        let alarms: u32 = (0..9).map(|n| u32::from(falls(&mut roster, n, later))).sum();
        assert_eq!(alarms, 1, "another time");
    }

    #[test]
    fn those_that_were_silent_before_have_nothing_to_do_with_it() {
        let now = Instant::now();
        let mut roster = roster(9);
        (0..2).for_each(|n| roster.suspect(n, now, S));
        let later = now + 5 * S;
        roster.suspect(2, later, S);
        let count = |roster: &mut Roster<u32>, host| roster.count(host, later, S);
        let (well, network, is_alarm) = (0, None, false);
        let expected = |suspects, hosts| Some(Count { suspects, hosts, well, network, is_alarm });
        assert_eq!(count(&mut roster, 2), expected(1, 7));
        roster.well(0);
        roster.leave(1, true);
        roster.suspect(0, later, S);
        assert_eq!(count(&mut roster, 0), expected(2, 8));
    }
}
