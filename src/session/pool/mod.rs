//! The pool decides: which idle connection a request gets, whether one may be opened, who waits,
//! and what is let go. Pure: it does not know what it keeps, time and chance are given to it, and
//! what is to be done is returned as [`Acts`], to be done when its lock is free.

pub(crate) mod act;
mod changes;
mod host;
pub(crate) mod places;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::event::{SessionEventKind, SessionStats};
use super::eviction::Eviction;
use act::Acts;
use host::Host;
use places::{Bounds, Checkout, Grant, Keeps, Key, Member, Slot, SlotId, Taken, Want};

/// Hosts that are remembered for what was learnt of them. Beyond it, blank ones are forgotten.
const REMEMBERED: usize = 4096;

struct Waiter<W> {
    number: u64,
    host: usize,
    want: Want,
    waiter: W,
}

pub(crate) struct Pool<K: Keeps> {
    bounds: Bounds,
    hosts: Vec<Host>,
    free_hosts: Vec<usize>,
    by_key: HashMap<Key, usize>,
    last_host: usize,
    slots: Vec<Slot<K>>,
    free: Vec<u32>,
    /// Connections that were let go, and may not be closed yet.
    leaving: usize,
    waiters: VecDeque<Waiter<K::Waiter>>,
    waiter_number: u64,
    acts: Acts<K>,
    /// Somebody reads events.
    pub(crate) has_listener: bool,
    pub(crate) stats: SessionStats,
    closed: bool,
    /// When the watcher looks by itself; none: when it is rung.
    looks_at: Option<Instant>,
    look_again: Option<Instant>,
    random: fastrand::Rng,
}

impl<K: Keeps> Pool<K> {
    pub(crate) fn new(bounds: Bounds, seed: u64) -> Pool<K> {
        Pool {
            bounds,
            hosts: Vec::new(),
            free_hosts: Vec::new(),
            by_key: HashMap::new(),
            last_host: 0,
            slots: Vec::new(),
            free: Vec::new(),
            leaving: 0,
            waiters: VecDeque::new(),
            waiter_number: 0,
            acts: Acts::default(),
            has_listener: false,
            stats: SessionStats::default(),
            closed: false,
            looks_at: None,
            look_again: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// What is to be done, if there is anything.
    pub(crate) fn acts(&mut self) -> Option<Acts<K>> {
        (!self.acts.are_none()).then(|| std::mem::take(&mut self.acts))
    }

    fn tell(&mut self, host: usize, kind: SessionEventKind) {
        if self.has_listener {
            self.acts.tells.push((Arc::clone(&self.hosts[host].name), kind));
        }
    }

    fn say(&mut self, level: log::Level, host: usize, what: &str) {
        self.acts.lines.push((level, format!("{} {what}", self.hosts[host].name)));
    }

    /// A connection for a request, or room for one, or a place in the queue for this waiter.
    pub(crate) fn checkout(
        &mut self,
        key: &Key,
        want: Want,
        now: Instant,
        waiter: impl FnOnce() -> K::Waiter,
    ) -> Checkout<K::Conn> {
        if self.closed {
            return Checkout::Closed;
        }
        let host = self.host(key, now);
        self.hosts[host].asked = now;
        self.settle(host, now);
        if let Some(grant) = self.grant(host, want, now) {
            return Checkout::Granted(grant);
        }
        self.waiter_number += 1;
        let number = self.waiter_number;
        self.waiters.push_back(Waiter { number, host, want, waiter: waiter() });
        Checkout::Wait(number)
    }

    /// Judges what was seen of a host's closes.
    fn settle(&mut self, host: usize, now: Instant) {
        if let Some(limit) = self.hosts[host].limit.settle(now) {
            let line = format!("closes idle connections after {limit:.1?}");
            self.say(log::Level::Info, host, &line);
            self.tell(host, SessionEventKind::LimitLearnt { limit });
        }
    }

    /// The wait is over. False if a grant was already decided: it is on its way.
    pub(crate) fn give_up(&mut self, number: u64) -> bool {
        let before = self.waiters.len();
        self.waiters.retain(|waiter| waiter.number != number);
        self.waiters.len() < before
    }

    fn grant(&mut self, host: usize, want: Want, now: Instant) -> Option<Grant<K::Conn>> {
        if !want.fresh {
            if let Some(taken) = self.take_idle(host, want, now) {
                return Some(Grant::Kept(taken));
            }
        }
        self.open_one(host, now).map(Grant::Open)
    }

    /// The newest idle connection that may be used. Those that are withheld stay.
    fn take_idle(&mut self, host: usize, want: Want, now: Instant) -> Option<Taken<K::Conn>> {
        let wanted = self.bounds.idle_timeout.min(want.idle_at_most);
        let mut at = self.hosts[host].idle.len();
        while at > 0 {
            at -= 1;
            let index = self.hosts[host].idle[at];
            if !self.is_idle(index) {
                continue; // somebody looks at it
            }
            let member = self.member(index);
            let (idle, said, dies) = (member.idle_for(now), member.said(now), member.dies);
            if now >= dies {
                self.evict(index, Eviction::MaxLifetime, now);
            } else if idle >= self.bounds.idle_timeout {
                self.evict(index, Eviction::IdleTimeout, now);
            } else if idle < self.hosts[host].limit.usable(now, wanted, want.to_the_last, said) {
                return self.take(host, at, now);
            }
        }
        None
    }

    fn take(&mut self, host: usize, at: usize, now: Instant) -> Option<Taken<K::Conn>> {
        let index = self.hosts[host].idle[at];
        let generation = self.slots[index as usize].generation;
        let member = self.member(index);
        let (idle, born) = (member.idle_for(now), member.born);
        let conn = member.idle.as_mut()?.conn.take()?;
        member.idle = None;
        self.hosts[host].idle.remove(at);
        self.stats.idle -= 1;
        Some(Taken { id: SlotId { index, generation }, conn, idle, born })
    }

    /// Room for one more, if need be in place of one that nobody uses.
    fn open_one(&mut self, host: usize, now: Instant) -> Option<SlotId> {
        let of_host = self.hosts[host].open + self.hosts[host].leaving;
        if of_host >= self.bounds.max_per_host && !self.inherit(Some(host)) {
            let idle = &self.hosts[host].idle;
            let oldest = idle.iter().copied().find(|index| self.is_idle(*index))?;
            self.evict(oldest, Eviction::MadeRoom, now);
            self.inherit(Some(host));
        }
        if self.stats.open + self.leaving >= self.bounds.max_total && !self.inherit(None) {
            let oldest = self.oldest_idle()?;
            self.evict(oldest, Eviction::MadeRoom, now);
            self.inherit(None);
        }
        Some(self.settle_in(host, now))
    }

    /// Takes the place of one that is about to be closed, of this host or of any: it is closed
    /// before the new one is opened, because both are done by whoever is given this room.
    fn inherit(&mut self, host: Option<usize>) -> bool {
        let mut closes = self.acts.closes.iter_mut();
        let fits = |host: usize, of: Option<usize>| of.is_none_or(|of| of == host);
        let Some(close) = closes.find(|close| !close.has_heir && fits(close.host, host)) else {
            return false;
        };
        close.has_heir = true;
        let id = close.id;
        self.free_place(id);
        true
    }

    fn settle_in(&mut self, host: usize, now: Instant) -> SlotId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, taken: None });
            u32::try_from(self.slots.len() - 1).expect("descriptors run out long before")
        });
        self.hosts[host].open += 1;
        self.stats.open += 1;
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        // A quarter of the lifetime is left to chance, so that what was opened together is not
        // renewed together.
        let share = 1.0 - self.random.f64() / 4.0;
        let dies = now + self.bounds.max_lifetime.mul_f64(share);
        slot.taken = Some(Member {
            host,
            born: now,
            dies,
            socket: None,
            idle: None,
            leaving: false,
            watched: false,
            armed: false,
            ended: false,
            said: None,
        });
        SlotId { index, generation: slot.generation }
    }

    fn oldest_idle(&self) -> Option<u32> {
        let indices = (0..self.slots.len() as u32).filter(|index| self.is_idle(*index));
        indices.min_by_key(|index| {
            let member = self.slots[*index as usize].taken.as_ref();
            member.and_then(|member| member.idle.as_ref()).map(|idle| idle.since)
        })
    }

    /// Gives what has become free to those who wait, the first in the queue first.
    fn serve(&mut self, now: Instant) {
        let mut at = 0;
        while at < self.waiters.len() {
            let (host, want) = (self.waiters[at].host, self.waiters[at].want);
            match self.grant(host, want, now) {
                Some(grant) => {
                    let waiter = self.waiters.remove(at).expect("it was there a line above");
                    self.acts.grants.push((waiter.waiter, grant));
                }
                None => at += 1,
            }
        }
    }

    /// Whether it is idle, and nobody looks at it.
    fn is_idle(&self, index: u32) -> bool {
        let taken = self.slots[index as usize].taken.as_ref();
        taken.and_then(|member| member.idle.as_ref()).is_some_and(|idle| idle.conn.is_some())
    }

    /// Whose connection this is, if it is still the same.
    fn index(&self, id: SlotId) -> Option<u32> {
        let slot = self.slots.get(id.index as usize)?;
        (slot.generation == id.generation && slot.taken.is_some()).then_some(id.index)
    }

    fn member(&mut self, index: u32) -> &mut Member<K> {
        let slot = &mut self.slots[index as usize];
        slot.taken.as_mut().expect("only places that are taken are named")
    }

    fn host(&mut self, key: &Key, now: Instant) -> usize {
        // Most requests go where the last one went; hashing a name costs more than comparing it.
        if self.hosts.get(self.last_host).is_some_and(|host| host.key == *key) {
            return self.last_host;
        }
        if let Some(index) = self.by_key.get(key) {
            self.last_host = *index;
            return *index;
        }
        if self.by_key.len() >= REMEMBERED {
            self.forget_blank_hosts(now);
        }
        let host = Host::new(key, now);
        let index = match self.free_hosts.pop() {
            Some(index) => {
                self.hosts[index] = host;
                index
            }
            None => {
                self.hosts.push(host);
                self.hosts.len() - 1
            }
        };
        self.by_key.insert(key.clone(), index);
        index
    }

    fn forget_blank_hosts(&mut self, now: Instant) {
        let (hosts, waiters) = (&self.hosts, &self.waiters);
        let blank = |index: usize| {
            let host = &hosts[index];
            let unused =
                host.open + host.leaving == 0 && waiters.iter().all(|waiter| waiter.host != index);
            unused && (host.limit.is_blank(now) || self.by_key.len() > 2 * REMEMBERED)
        };
        let gone: HashSet<_> =
            self.by_key.values().copied().filter(|index| blank(*index)).collect();
        self.by_key.retain(|_, index| !gone.contains(index));
        self.last_host = usize::MAX; // it may be one of those
        self.free_hosts.extend(gone);
    }

    pub(crate) fn stats(&self, now: Instant) -> SessionStats {
        let mut stats = self.stats.clone();
        stats.waiting = self.waiters.len();
        stats.hosts = self.by_key.values().map(|index| self.hosts[*index].stats(now)).collect();
        stats.hosts.sort_by(|a, b| a.name.cmp(&b.name));
        stats
    }
}
