//! What idle connections show, what time does to them, and when they are asked to stay warm.

use std::time::{Duration, Instant};

use super::super::event::SessionEventKind;
use super::super::eviction::Eviction;
use super::Pool;
use super::act::{Due, Look};
use super::places::{Keeps, Seen, SlotId};
use crate::sys::{Happened, Interest};

/// An idle connection is in steady use until it has been idle for so long. Bytes are watched for
/// after that, so that a connection in steady use costs no system call.
pub(super) const STEADY: Duration = Duration::from_millis(50);

/// Where no limit is known, a connection is kept warm this often: firewalls forget after some
/// minutes.
const UNKNOWN: Duration = Duration::from_secs(30);

impl<K: Keeps> Pool<K> {
    /// The kernel tells something of these. Those that are idle have to be looked at.
    pub(crate) fn happened(&mut self, happened: &[Happened], now: Instant) -> Vec<Look<K::Conn>> {
        happened.iter().filter_map(|happened| self.on_happened(*happened, now)).collect()
    }

    fn on_happened(&mut self, happened: Happened, now: Instant) -> Option<Look<K::Conn>> {
        let id = SlotId::of_token(happened.token);
        let index = self.index(id)?;
        let member = self.member(index);
        if let Some(idle) = &mut member.idle {
            let conn = idle.conn.take()?;
            return Some(Look { id, conn, ended: happened.ended });
        }
        if happened.ended {
            member.ended = true;
        } else if member.armed {
            // A response to a request, after a rest.
            member.armed = false;
            let socket = member.socket.clone();
            self.acts.watches.extend(socket.map(|socket| (id, socket, Interest::End)));
            self.look_again = Some(now + STEADY);
        }
        None
    }

    /// What was seen of one that had to be looked at.
    pub(crate) fn looked(&mut self, id: SlotId, conn: K::Conn, seen: Seen, now: Instant) {
        let Some(index) = self.index(id) else { return };
        let Some(idle) = &mut self.member(index).idle else { return };
        idle.conn = Some(conn);
        match self.closed {
            true => self.evict(index, Eviction::SessionClosed, now),
            false => self.judge(index, seen, now),
        }
    }

    /// What time has done, and how long the watcher may sleep then; none: until it is rung.
    pub(crate) fn look(&mut self, now: Instant) -> Option<Duration> {
        let mut next: Option<Instant> = None;
        for index in 0..self.slots.len() as u32 {
            next = [next, self.age(index, now)].into_iter().flatten().min();
        }
        for host in 0..self.hosts.len() {
            self.settle(host, now);
            next = [next, self.hosts[host].limit.settles_at()].into_iter().flatten().min();
        }
        self.serve(now);
        self.look_again = self.look_again.filter(|at| *at > now);
        self.looks_at = [next, self.look_again].into_iter().flatten().min();
        self.looks_at.map(|at| at.saturating_duration_since(now))
    }

    /// What time has done to one connection, and when to look at it again.
    fn age(&mut self, index: u32, now: Instant) -> Option<Instant> {
        if !self.is_idle(index) {
            return None;
        }
        let timeout = self.bounds.idle_timeout;
        let generation = self.slots[index as usize].generation;
        let member = self.member(index);
        let since = member.idle.as_ref()?.since;
        let (host, idle, dies) = (member.host, member.idle_for(now), member.dies);
        if now >= dies || idle >= timeout {
            let why = if now >= dies { Eviction::MaxLifetime } else { Eviction::IdleTimeout };
            self.evict(index, why, now);
            return None;
        }
        let arms_now = !member.armed && idle >= STEADY;
        member.armed |= arms_now;
        let (armed, watched, socket) = (member.armed, member.watched, member.socket.clone());
        if let Some(socket) = socket.filter(|_| arms_now) {
            self.acts.watches.push((SlotId { index, generation }, socket, Interest::Bytes));
        }
        let arms = (!armed).then_some(since + STEADY);
        // One that nobody watches may have ended long ago.
        if watched && self.hosts[host].limit.on_alive(now, idle) {
            self.say(log::Level::Info, host, "keeps idle connections longer than it did");
            self.tell(host, SessionEventKind::LimitForgotten);
        }
        let proof = self.hosts[host].limit.disproved_at().map(|proof| since + proof);
        // Round up: waking early costs a second wake-up.
        let soon = Duration::from_millis(1);
        let end = dies.min(since + timeout);
        [Some(end), arms, proof].into_iter().flatten().min().map(|at| at + soon)
    }

    /// Whether the watcher must be woken for a connection that is idle from now on.
    pub(crate) fn must_ring(&mut self, now: Instant) -> bool {
        let wanted = now + STEADY;
        let asleep = self.looks_at.is_none_or(|at| at > wanted + STEADY);
        if asleep {
            // It looks once more then, also if it finds nothing idle now: otherwise each request of
            // a busy connection would wake it.
            (self.looks_at, self.look_again) = (Some(wanted), Some(wanted));
        }
        asleep
    }

    /// A connection that should be asked now to stay warm, taken out; else when to look again. Of
    /// each host, until nobody has sent it a request for so long.
    pub(crate) fn due(&mut self, at_most: Duration, now: Instant) -> Due<K::Conn> {
        let mut next: Option<Instant> = None;
        for host in 0..self.hosts.len() {
            let Some(newest) = self.hosts[host].idle.last().copied() else { continue };
            let asked = now.saturating_duration_since(self.hosts[host].asked);
            if asked >= at_most || !self.is_idle(newest) {
                continue;
            }
            let member = self.member(newest);
            let (said, idle) = (member.said(now), member.idle_for(now));
            let wanted = self.bounds.idle_timeout;
            let limit = self.hosts[host].limit.usable(now, wanted, false, said);
            // What is beyond its limit is not used any more, not even for this.
            if idle >= limit {
                continue;
            }
            let due = now + (limit * 3 / 4).min(UNKNOWN).saturating_sub(idle);
            if due <= now {
                let key = self.hosts[host].key.clone();
                let taken = self.take(host, self.hosts[host].idle.len() - 1, now);
                return Due { now: taken.map(|taken| (key, taken)), next: None };
            }
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        Due { now: None, next }
    }
}
