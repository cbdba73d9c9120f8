//! The pool decides: which idle connection a request gets, whether one may be opened, who waits,
//! and what is let go. It acts on nothing but its own connections, and never blocks.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Sender, bounded};
use ureq::http::Uri;

use super::buffers::Spare;
use super::event::{SessionEventKind, SessionStats, Teller};
use super::eviction::Eviction;
use super::host::Host;
use super::pipe::{Pipe, Probe};
use super::places::{
    Bounds, Checkout, Grant, Idle, Key, Member, Opened, Slot, SlotId, Taken, Want,
};
use crate::protocol::http::hint::Hint;

/// Hosts that are remembered for what was learnt of them. Beyond it, blank ones are forgotten.
const REMEMBERED: usize = 4096;

#[derive(Debug)]
struct Waiter {
    number: u64,
    host: usize,
    want: Want,
    sender: Sender<Grant>,
}

#[derive(Debug)]
pub(crate) struct Pool {
    pub(super) bounds: Bounds,
    pub(super) hosts: Vec<Host>,
    free_hosts: Vec<usize>,
    by_key: HashMap<Key, usize>,
    last_host: usize,
    pub(super) slots: Vec<Slot>,
    free: Vec<u32>,
    waiters: VecDeque<Waiter>,
    waiter_number: u64,
    pub(crate) spare: Spare,
    pub(crate) teller: Teller,
    pub(crate) stats: SessionStats,
    pub(crate) closed: bool,
    /// For the log, once the lock is free: a logger may do anything.
    pub(super) lines: Vec<(log::Level, String)>,
    /// When the watcher looks by itself; none: when it is rung.
    pub(super) looks_at: Option<Instant>,
    pub(super) look_again: Option<Instant>,
    random: fastrand::Rng,
}

impl Pool {
    pub(crate) fn new(bounds: Bounds) -> Pool {
        Pool {
            bounds,
            hosts: Vec::new(),
            free_hosts: Vec::new(),
            by_key: HashMap::new(),
            last_host: 0,
            slots: Vec::new(),
            free: Vec::new(),
            waiters: VecDeque::new(),
            waiter_number: 0,
            spare: Spare::default(),
            teller: Teller::new(),
            stats: SessionStats::default(),
            closed: false,
            lines: Vec::new(),
            looks_at: None,
            look_again: None,
            random: fastrand::Rng::new(),
        }
    }

    /// A connection for a request, or room for one, or a place in the queue.
    pub(crate) fn checkout(&mut self, key: &Key, want: Want, now: Instant) -> Checkout {
        if self.closed {
            return Checkout::Closed;
        }
        let host = self.host(key, now);
        self.hosts[host].asked = now;
        self.settle(host, now);
        if let Some(grant) = self.grant(host, want, now) {
            return Checkout::Granted(grant);
        }
        let (sender, receiver) = bounded(1);
        self.waiter_number += 1;
        let number = self.waiter_number;
        self.waiters.push_back(Waiter { number, host, want, sender });
        Checkout::Wait(number, receiver)
    }

    /// Judges what was seen of a host's closes.
    pub(super) fn settle(&mut self, host: usize, now: Instant) {
        let host = &mut self.hosts[host];
        if let Some(limit) = host.limit.settle(now) {
            let line = format!("{} closes idle connections after {limit:.1?}", host.name);
            self.lines.push((log::Level::Info, line));
            self.teller.tell(&host.name, SessionEventKind::LimitLearnt { limit });
        }
    }

    /// The wait is over. False if a grant was already given: it lies in the channel.
    pub(crate) fn give_up(&mut self, number: u64) -> bool {
        let before = self.waiters.len();
        self.waiters.retain(|waiter| waiter.number != number);
        self.waiters.len() < before
    }

    fn grant(&mut self, host: usize, want: Want, now: Instant) -> Option<Grant> {
        if !want.fresh {
            if let Some(taken) = self.take_idle(host, want, now) {
                return Some(Grant::Kept(taken));
            }
        }
        self.open_one(host, now).map(Grant::Open)
    }

    /// The newest idle connection that may be used. Those that are withheld stay.
    fn take_idle(&mut self, host: usize, want: Want, now: Instant) -> Option<Taken> {
        let wanted = self.bounds.idle_timeout.min(want.idle_at_most);
        let mut at = self.hosts[host].idle.len();
        while at > 0 {
            at -= 1;
            let index = self.hosts[host].idle[at];
            let member = self.member(index);
            let (idle, said) = (member.idle_for(now), member.said(now));
            let limit = self.hosts[host].limit.usable(now, wanted, want.to_the_last, said);
            let member = self.member(index);
            if now >= member.dies {
                self.evict(index, Eviction::MaxLifetime, now);
            } else if idle >= self.bounds.idle_timeout {
                self.evict(index, Eviction::IdleTimeout, now);
            } else if idle < limit {
                return Some(self.take(host, at, now));
            }
        }
        None
    }

    pub(super) fn take(&mut self, host: usize, at: usize, now: Instant) -> Taken {
        let index = self.hosts[host].idle.remove(at);
        self.stats.idle -= 1;
        let generation = self.slots[index as usize].generation;
        let member = self.member(index);
        let held = member.idle.take().expect("what stands in the list of idle ones is idle");
        let idle = now.saturating_duration_since(held.since);
        Taken { id: SlotId { index, generation }, pipe: held.pipe, idle, born: member.born }
    }

    /// Room for one more, if need be in place of one that nobody uses.
    fn open_one(&mut self, host: usize, now: Instant) -> Option<SlotId> {
        if self.hosts[host].open >= self.bounds.max_per_host {
            let oldest = *self.hosts[host].idle.first()?;
            self.evict(oldest, Eviction::MadeRoom, now);
        }
        if self.stats.open >= self.bounds.max_total {
            let oldest = self.oldest_idle()?;
            self.evict(oldest, Eviction::MadeRoom, now);
        }
        Some(self.settle_in(host, now))
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
            watched: false,
            armed: false,
            ended: false,
            said: None,
        });
        SlotId { index, generation: slot.generation }
    }

    fn oldest_idle(&self) -> Option<u32> {
        let idle = self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let since = slot.taken.as_ref()?.idle.as_ref()?.since;
            Some((since, index as u32))
        });
        idle.min().map(|(_, index)| index)
    }

    /// This socket is on its way to stand in this place. False if the pool was closed meanwhile.
    pub(crate) fn opening(&mut self, id: SlotId, socket: &Arc<TcpStream>, watched: bool) -> bool {
        if let Some(index) = self.index(id) {
            let member = self.member(index);
            (member.socket, member.watched) = (Some(Arc::clone(socket)), watched);
        }
        !self.closed
    }

    /// The connection in this place is open. False if the pool was closed meanwhile.
    pub(crate) fn opened(&mut self, id: SlotId, opened: Opened, now: Instant) -> bool {
        let Some(index) = self.index(id) else { return false };
        let member = self.member(index);
        member.born = now;
        let host = member.host;
        if let Some(rtt) = opened.rtt {
            self.hosts[host].limit.on_rtt(rtt);
        }
        self.stats.opened += 1;
        let kind = SessionEventKind::Opened { peer: opened.peer, took: opened.took };
        let host = &mut self.hosts[host];
        self.teller.tell(&host.name, kind);
        host.certificate.on_connected(opened.expires, opened.warns_before);
        if let Some(left) = host.certificate.warning(now, SystemTime::now) {
            self.teller.tell(&host.name, SessionEventKind::CertificateExpiring { left });
        }
        !self.closed
    }

    /// It could not be opened.
    pub(crate) fn not_opened(&mut self, id: SlotId, unreachable: bool, now: Instant) {
        if let Some(index) = self.index(id) {
            let host = self.member(index).host;
            if unreachable {
                self.hosts[host].limit.on_unreachable(now);
            }
            self.leave(index);
            self.serve(now);
        }
    }

    /// A kept connection was looked at and goes to its request.
    pub(crate) fn reused(&mut self, taken: &Taken, now: Instant) {
        self.stats.reused += 1;
        if let Some(index) = self.index(taken.id) {
            let host = self.member(index).host;
            self.hosts[host].limit.on_survived(now, taken.idle);
            let age = now.saturating_duration_since(taken.born);
            let kind = SessionEventKind::Reused { idle: taken.idle, age };
            self.teller.tell(&self.hosts[host].name, kind);
        }
    }

    /// A request is sent again.
    pub(crate) fn replayed(&mut self, uri: &Uri, kind: SessionEventKind) {
        self.stats.replayed += 1;
        let key = Key::of(uri);
        if let Some(host) = key.and_then(|key| self.by_key.get(&key)) {
            self.teller.tell(&self.hosts[*host].name, kind);
        }
    }

    /// A request is done with it and it is clean.
    pub(crate) fn give_back(
        &mut self,
        id: SlotId,
        pipe: Box<dyn Pipe>,
        since: Instant,
        hint: Hint,
        now: Instant,
    ) {
        let Some(index) = self.index(id) else { return };
        let closed = self.closed;
        let member = self.member(index);
        member.idle = Some(Idle { pipe, since });
        if let Some(timeout) = hint.timeout {
            member.said = Some((timeout, now));
        }
        let host = member.host;
        let why = if closed {
            Some(Eviction::SessionClosed)
        } else if hint.max == Some(0) {
            Some(Eviction::ServerLimit)
        } else if member.ended {
            Some(Eviction::ClosedByPeer)
        } else if now >= member.dies {
            Some(Eviction::MaxLifetime)
        } else {
            None
        };
        if let Some(timeout) = hint.timeout {
            self.hosts[host].limit.on_said(now, timeout);
        }
        self.hosts[host].idle.push(index);
        self.stats.idle += 1;
        if let Some(why) = why {
            self.evict(index, why, now);
        } else if self.hosts[host].idle.len() > self.bounds.max_idle_per_host {
            // The oldest is a witness, where a limit was learnt: its living on disproves it.
            let witness = self.hosts[host].limit.disproved_at().is_some();
            let at = usize::from(witness && self.hosts[host].idle.len() > 1);
            let oldest = self.hosts[host].idle[at];
            self.evict(oldest, Eviction::OverIdleLimit, now);
        }
        self.serve(now);
    }

    /// A connection in use has ended, or cannot be used again. Its socket is closed already.
    pub(crate) fn leave_used(&mut self, id: SlotId, why: Eviction, now: Instant) {
        if let Some(index) = self.index(id) {
            self.note(index, why, Duration::ZERO, now);
            self.leave(index);
            self.serve(now);
        }
    }

    /// What came of a look at an idle connection.
    pub(super) fn judge(&mut self, index: u32, probe: Probe, now: Instant) {
        let idle = self.member(index).idle_for(now);
        if let Some(why) = self.verdict(index, &probe, idle, now) {
            self.evict(index, why, now);
        }
    }

    /// The same for one that was just taken for a request, and is not quiet. Another one, or its
    /// place, goes to the same request: it had waited for its turn. None if the pool was closed.
    pub(crate) fn judge_taken(
        &mut self,
        id: SlotId,
        idle: Duration,
        probe: &Probe,
        want: Want,
        now: Instant,
    ) -> Option<Grant> {
        let index = self.index(id)?;
        let host = self.member(index).host;
        let why = self.verdict(index, probe, idle, now).unwrap_or(Eviction::UnexpectedBytes);
        self.note(index, why, idle, now);
        self.leave(index);
        if self.closed { None } else { self.grant(host, want, now) }
    }

    /// Why it has to go, if it has to; and what that teaches. Where nobody watches, an end is found
    /// some time later, and its age would teach a lie.
    fn verdict(
        &mut self,
        index: u32,
        probe: &Probe,
        idle: Duration,
        now: Instant,
    ) -> Option<Eviction> {
        Some(match probe {
            Probe::Quiet => return None,
            Probe::Bytes => Eviction::UnexpectedBytes,
            Probe::Closed => {
                let member = self.member(index);
                let (host, watched, said) = (member.host, member.watched, member.said(now));
                if watched {
                    self.hosts[host].limit.on_close(now, idle, said);
                }
                Eviction::ClosedByPeer
            }
            Probe::Broken(error) if error.raw_os_error() == Some(libc::ETIMEDOUT) => {
                Eviction::Silent
            }
            Probe::Broken(_) => Eviction::Reset,
        })
    }

    /// Lets an idle connection go. It is closed before its place is free: the limits count what the
    /// server sees. That does not block.
    pub(super) fn evict(&mut self, index: u32, why: Eviction, now: Instant) {
        let member = self.member(index);
        let (host, idle) = (member.host, member.idle_for(now));
        if member.idle.take().is_none() {
            return;
        }
        self.hosts[host].idle.retain(|other| *other != index);
        self.stats.idle -= 1;
        self.note(index, why, idle, now);
        self.leave(index);
    }

    fn note(&mut self, index: u32, why: Eviction, idle: Duration, now: Instant) {
        let member = self.member(index);
        let (host, age) = (member.host, now.saturating_duration_since(member.born));
        self.stats.evicted.0[why as usize] += 1;
        let name = &self.hosts[host].name;
        if log::log_enabled!(log::Level::Debug) {
            let line = format!("{name} {why}: let go after {idle:.1?} idle, {age:.1?} old");
            self.lines.push((log::Level::Debug, line));
        }
        self.teller.tell(name, SessionEventKind::Evicted { cause: why, idle, age });
    }

    fn leave(&mut self, index: u32) {
        if let Some(member) = self.slots[index as usize].taken.take() {
            self.hosts[member.host].open -= 1;
            self.stats.open -= 1;
            self.free.push(index);
        }
    }

    /// Gives what has become free to those who wait, the first in the queue first.
    pub(super) fn serve(&mut self, now: Instant) {
        let mut at = 0;
        while at < self.waiters.len() {
            let (host, want) = (self.waiters[at].host, self.waiters[at].want);
            match self.grant(host, want, now) {
                Some(grant) => {
                    let waiter = self.waiters.remove(at).expect("it was there a line above");
                    waiter.sender.try_send(grant).expect("one grant, room for one, and a receiver");
                }
                None => at += 1,
            }
        }
    }

    /// Ends all that is idle, and gives nothing out any more. Returns the sockets in use.
    pub(crate) fn close(&mut self, now: Instant) -> Vec<Arc<TcpStream>> {
        self.closed = true;
        self.waiters.clear();
        for index in 0..self.slots.len() as u32 {
            if self.is_idle(index) {
                self.evict(index, Eviction::SessionClosed, now);
            }
        }
        let members = self.slots.iter().filter_map(|slot| slot.taken.as_ref());
        members.filter_map(|member| member.socket.clone()).collect()
    }

    fn is_idle(&self, index: u32) -> bool {
        let taken = self.slots[index as usize].taken.as_ref();
        taken.is_some_and(|member| member.idle.is_some())
    }

    /// Whose connection this is, if it is still the same.
    pub(super) fn index(&self, id: SlotId) -> Option<u32> {
        let slot = self.slots.get(id.index as usize)?;
        (slot.generation == id.generation && slot.taken.is_some()).then_some(id.index)
    }

    pub(super) fn member(&mut self, index: u32) -> &mut Member {
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
            let unused = hosts[index].open == 0 && waiters.iter().all(|w| w.host != index);
            unused && (hosts[index].limit.is_blank(now) || self.by_key.len() > 2 * REMEMBERED)
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
        stats.events_lost = self.teller.lost;
        stats.hosts = self.by_key.values().map(|index| self.hosts[*index].stats(now)).collect();
        stats.hosts.sort_by(|a, b| a.name.cmp(&b.name));
        stats
    }
}
