//! What becomes of a connection: opened, given back, let go, closed.

use std::time::{Duration, Instant};

use super::super::event::SessionEventKind;
use super::super::eviction::Eviction;
use super::Pool;
use super::act::Close;
use super::places::{Grant, Idle, Keeps, Key, Opened, Seen, SlotId, Taken, Want};
use crate::protocol::http::hint::Hint;

impl<K: Keeps> Pool<K> {
    /// This socket is on its way to stand in this place. False if the pool was closed meanwhile.
    pub(crate) fn opening(&mut self, id: SlotId, socket: K::Socket, watched: bool) -> bool {
        if let Some(index) = self.index(id) {
            let member = self.member(index);
            (member.socket, member.watched) = (Some(socket), watched);
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
        self.tell(host, SessionEventKind::Opened { peer: opened.peer, took: opened.took });
        let certificate = &mut self.hosts[host].certificate;
        certificate.on_connected(opened.expires, opened.warns_before);
        if let Some(left) = certificate.warning(now, || opened.wall) {
            self.tell(host, SessionEventKind::CertificateExpiring { left });
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

    /// The socket of the connection in this place.
    pub(crate) fn socket(&mut self, id: SlotId) -> Option<K::Socket> {
        let index = self.index(id)?;
        self.member(index).socket.clone()
    }

    /// A kept connection was looked at and goes to its request.
    pub(crate) fn reused(&mut self, taken: &Taken<K::Conn>, now: Instant) {
        self.stats.reused += 1;
        if let Some(index) = self.index(taken.id) {
            let host = self.member(index).host;
            self.hosts[host].limit.on_survived(now, taken.idle);
            let age = now.saturating_duration_since(taken.born);
            self.tell(host, SessionEventKind::Reused { idle: taken.idle, age });
        }
    }

    /// A request is sent again.
    pub(crate) fn replayed(&mut self, key: &Key, kind: SessionEventKind) {
        self.stats.replayed += 1;
        if let Some(host) = self.by_key.get(key).copied() {
            self.tell(host, kind);
        }
    }

    /// A request is done with it and it is clean.
    pub(crate) fn give_back(
        &mut self,
        id: SlotId,
        conn: K::Conn,
        since: Instant,
        hint: Hint,
        now: Instant,
    ) {
        let Some(index) = self.index(id) else { return };
        let closed = self.closed;
        let member = self.member(index);
        member.idle = Some(Idle { conn: Some(conn), since });
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
            let oldest = self.hosts[host].idle[at..].iter().copied();
            if let Some(oldest) = oldest.into_iter().find(|index| self.is_idle(*index)) {
                self.evict(oldest, Eviction::OverIdleLimit, now);
            }
        }
        self.serve(now);
    }

    /// A connection in use has ended, or cannot be used again. It is closed already.
    pub(crate) fn leave_used(&mut self, id: SlotId, why: Eviction, now: Instant) {
        if let Some(index) = self.index(id) {
            self.note(index, why, Duration::ZERO, now);
            self.leave(index);
            self.serve(now);
        }
    }

    /// What came of a look at an idle connection.
    pub(super) fn judge(&mut self, index: u32, seen: Seen, now: Instant) {
        let idle = self.member(index).idle_for(now);
        if let Some(why) = self.verdict(index, seen, idle, now) {
            self.evict(index, why, now);
        }
    }

    /// The same for one that was just taken for a request, is not quiet, and is closed by now.
    /// Another one, or its place, goes to the same request: it had waited for its turn. None if the
    /// pool was closed.
    pub(crate) fn judge_taken(
        &mut self,
        id: SlotId,
        idle: Duration,
        seen: Seen,
        want: Want,
        now: Instant,
    ) -> Option<Grant<K::Conn>> {
        let index = self.index(id)?;
        let host = self.member(index).host;
        let why = self.verdict(index, seen, idle, now).unwrap_or(Eviction::UnexpectedBytes);
        self.note(index, why, idle, now);
        self.leave(index);
        if self.closed { None } else { self.grant(host, want, now) }
    }

    /// Why it has to go, if it has to; and what that teaches. Where nobody watches, an end is found
    /// some time later, and its age would teach a lie.
    fn verdict(
        &mut self,
        index: u32,
        seen: Seen,
        idle: Duration,
        now: Instant,
    ) -> Option<Eviction> {
        match seen {
            Seen::Quiet => None,
            Seen::Bytes => Some(Eviction::UnexpectedBytes),
            Seen::Closed => {
                let member = self.member(index);
                let (host, watched, said) = (member.host, member.watched, member.said(now));
                if watched {
                    self.hosts[host].limit.on_close(now, idle, said);
                }
                Some(Eviction::ClosedByPeer)
            }
            Seen::Silent => Some(Eviction::Silent),
            Seen::Reset => Some(Eviction::Reset),
        }
    }

    /// Lets an idle connection go. Its place counts until it is closed: the limits count what the
    /// server sees.
    pub(super) fn evict(&mut self, index: u32, why: Eviction, now: Instant) {
        let id = SlotId { index, generation: self.slots[index as usize].generation };
        let member = self.member(index);
        let (host, idle) = (member.host, member.idle_for(now));
        let Some(conn) = member.idle.as_mut().and_then(|idle| idle.conn.take()) else { return };
        (member.idle, member.leaving) = (None, true);
        self.hosts[host].idle.retain(|other| *other != index);
        self.hosts[host].open -= 1;
        self.hosts[host].leaving += 1;
        self.stats.idle -= 1;
        self.stats.open -= 1;
        self.leaving += 1;
        self.note(index, why, idle, now);
        self.acts.closes.push(Close { id, conn, host, has_heir: false });
    }

    /// These were let go, and are closed now.
    pub(crate) fn left(&mut self, closed: &[SlotId], now: Instant) {
        for id in closed {
            self.free_place(*id);
        }
        self.serve(now);
    }

    /// Of one that was let go.
    pub(super) fn free_place(&mut self, id: SlotId) {
        if let Some(index) = self.index(id).filter(|index| self.member(*index).leaving) {
            let host = self.member(index).host;
            self.hosts[host].leaving -= 1;
            self.leaving -= 1;
            self.slots[index as usize].taken = None;
            self.free.push(index);
        }
    }

    fn note(&mut self, index: u32, why: Eviction, idle: Duration, now: Instant) {
        let member = self.member(index);
        let (host, age) = (member.host, now.saturating_duration_since(member.born));
        self.stats.evicted.0[why as usize] += 1;
        if log::log_enabled!(log::Level::Debug) {
            let line = format!("{why}: let go after {idle:.1?} idle, {age:.1?} old");
            self.say(log::Level::Debug, host, &line);
        }
        self.tell(host, SessionEventKind::Evicted { cause: why, idle, age });
    }

    /// Of one that is closed, or was never opened.
    fn leave(&mut self, index: u32) {
        if let Some(member) = self.slots[index as usize].taken.take() {
            self.hosts[member.host].open -= 1;
            self.stats.open -= 1;
            self.free.push(index);
        }
    }

    /// Ends all that is idle, and gives nothing out any more. Returns the sockets in use.
    pub(crate) fn close(&mut self, now: Instant) -> Vec<K::Socket> {
        self.closed = true;
        self.waiters.clear();
        for index in 0..self.slots.len() as u32 {
            if self.is_idle(index) {
                self.evict(index, Eviction::SessionClosed, now);
            }
        }
        let members = self.slots.iter().filter_map(|slot| slot.taken.as_ref());
        members.filter(|member| !member.leaving).filter_map(|m| m.socket.clone()).collect()
    }
}
