//! Many targets that fare alike at about the same time: the first ones have lines of their own, and
//! the others share one. Times are arguments.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How many have lines of their own.
const SHOWN: usize = 3;

/// Up to this number of targets, each has its own lines in any case.
pub const FEW: usize = 10;

/// A burst is over when nothing more has come for this long.
const CALM: Duration = Duration::from_secs(5);

/// How often a burst is reported at least, however long it lasts.
const LONGEST: Duration = Duration::from_secs(10);

/// Up to this number, the shared line has the names of targets; with more, only hosts.
const NAMED: usize = 5;

/// How many hosts the shared line has.
const HOSTS: usize = 3;

/// The link that a line is about.
pub struct Member<'a, L> {
    pub link: L,
    pub name: &'a str,
    pub host: &'a str,
}

struct Burst<L> {
    shown: Vec<L>,
    /// Names and hosts of those without a line, by their links.
    hidden: HashMap<L, (String, String)>,
    last: Instant,
    told: Instant,
    /// When the first link without a line came.
    first: Instant,
}

/// Counts who had a line, for each kind of line.
pub struct Crowd<K, L> {
    bursts: HashMap<K, Burst<L>>,
    /// Whether there are enough targets to share lines.
    many: bool,
}

impl<K: Clone + Eq + Hash, L: Copy + Eq + Hash> Crowd<K, L> {
    /// For this number of targets.
    pub fn new(targets: usize) -> Crowd<K, L> {
        Crowd { bursts: HashMap::new(), many: targets > FEW }
    }

    /// Whether this line is shown. If not, it is counted for the shared line.
    pub fn admits(&mut self, kind: K, member: &Member<L>, now: Instant) -> bool {
        if !self.many {
            return true;
        }
        let new = || Burst {
            shown: Vec::new(),
            hidden: HashMap::new(),
            last: now,
            told: now,
            first: now,
        };
        let burst = self.bursts.entry(kind).or_insert_with(new);
        if now.saturating_duration_since(burst.last) >= CALM && burst.hidden.is_empty() {
            *burst = new();
        }
        burst.last = now;
        if burst.shown.contains(&member.link) {
            return true;
        }
        if burst.shown.len() < SHOWN {
            burst.shown.push(member.link);
            return true;
        }
        if burst.hidden.is_empty() {
            (burst.told, burst.first) = (now, now);
        }
        burst.hidden.insert(member.link, (member.name.to_owned(), member.host.to_owned()));
        false
    }

    /// When the next shared line is due.
    pub fn due(&self) -> Option<Instant> {
        let hiding = self.bursts.values().filter(|burst| !burst.hidden.is_empty());
        hiding.map(|burst| (burst.last + CALM).min(burst.told + LONGEST)).min()
    }

    /// The shared lines that are due, each with its kind. `all` takes those that are not due, too.
    pub fn take(&mut self, now: Instant, all: bool) -> Vec<(K, String)> {
        let mut told = Vec::new();
        self.bursts.retain(|kind, burst| {
            let over = now >= burst.last + CALM;
            let due = all || over || now >= burst.told + LONGEST;
            if due && !burst.hidden.is_empty() {
                told.push((burst.first, kind.clone(), words(burst.hidden.values())));
                burst.hidden.clear();
            }
            !over
        });
        told.sort_by_key(|(first, ..)| *first);
        told.into_iter().map(|(_, kind, words)| (kind, words)).collect()
    }

    /// Whether there are enough targets for them to share lines.
    pub fn is_many(&self) -> bool {
        self.many
    }
}

/// `7 more targets: a, b, ...`, or how many on which host.
fn words<'a>(hidden: impl ExactSizeIterator<Item = &'a (String, String)> + Clone) -> String {
    let n = hidden.len();
    let targets = if n == 1 { "target" } else { "targets" };
    if n <= NAMED {
        let mut names: Vec<&str> = hidden.map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        return format!("{n} more {targets}: {}", names.join(", "));
    }
    let mut hosts: BTreeMap<&str, usize> = BTreeMap::new();
    hidden.for_each(|(_, host)| *hosts.entry(host).or_default() += 1);
    let mut hosts: Vec<_> = hosts.into_iter().collect();
    if let [(host, _)] = hosts[..] {
        return format!("{n} more {targets}, all on {host}");
    }
    hosts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let shown: Vec<_> = hosts.iter().take(HOSTS).map(|(host, n)| format!("{host} ({n})")).collect();
    match hosts.len() - shown.len() {
        0 => format!("{n} more {targets}, on {}", shown.join(", ")),
        1 => format!("{n} more {targets}, on {} and 1 other host", shown.join(", ")),
        more => format!("{n} more {targets}, on {} and {more} other hosts", shown.join(", ")),
    }
}
