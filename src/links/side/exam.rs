//! The questions that side connections answer, in order: is the address still answered, is the
//! beat, does another payload pass, does a tiny one, is the beat lost again, does another port
//! refuse, and do more connections fare alike.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::{Budget, Slot, Spared};
use crate::cause::{Cause, Loss};
use crate::diagnose::{Carried, Evidence, Fresh, Kept, Ledger, Question};
use crate::heartbeat::Heartbeat;
use crate::links::connect::connect;
use crate::links::handle::Handle;
use crate::links::socket_view::Allowed;
use crate::net::connection::{Connection, Woke};
use crate::net::inbox::Next;
use crate::net::tls::Secure;
use crate::protocol::Frame;
use crate::protocol::guarded::Guarded;
use crate::tcp_info::{TcpInfo, TcpState};

/// How long an attempt may take: one lost SYN is sent again after a second.
const LEAST: Duration = Duration::from_millis(300);
const MOST: Duration = Duration::from_millis(1300);

/// Three times what a round trip took, up to here.
const SLOWEST: Duration = Duration::from_secs(6);

/// Three tenths of the link's timeout: three questions in a row are answered within one.
fn patience(timeout: Duration, rtt: Duration) -> Duration {
    let share = (timeout * 3 / 10).clamp(LEAST, MOST).min(timeout.max(LEAST));
    share.max((3 * rtt).min(SLOWEST))
}

/// More connections, each from another port: with five in all one dead path of two is met, or
/// missed, by luck once in sixteen times.
const MORE: u32 = 4;

/// After so many changes from one to the next they go different ways.
const CHANGES: u32 = 2;

/// Nobody listens on it, as a rule (tcpmux, RFC 1078).
const CLOSED_PORT: u16 = 1;

/// Between two looks at what the kernel has acknowledged, or whether anybody still wants to know.
const STEP: Duration = Duration::from_millis(5);
const LOOK: Duration = Duration::from_millis(100);

/// Of a beat that is longer than that its beginning is tried alone, so much of it.
const LONG: usize = 500;
const CUT: usize = 64;

/// So long a connection that was accepted and not answered is kept, to see whether it is answered
/// when the link's own is; and so long after that, at least.
const HOLD: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_millis(500);

/// What a link wants to know, and what it lends for that.
pub(crate) struct Asked {
    /// Who asks, to be woken when there is an answer.
    pub(crate) link: Arc<Handle>,
    pub(crate) slot: Arc<Slot>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) question: Question,
    pub(crate) allowed: Allowed,
}

pub(super) fn run(asked: Asked, handle: &Handle, budget: &Budget, spared: &Spared) {
    let Asked { link, slot, heartbeat, question, allowed } = asked;
    let patience = patience(heartbeat.timeout, question.rtt);
    let heartbeat = Heartbeat {
        connect_timeout: patience,
        write_timeout: patience,
        user_timeout: None,
        ..heartbeat
    };
    let mut exam = Exam {
        link,
        slot,
        question,
        allowed,
        handle,
        budget,
        spared,
        heartbeat,
        patience,
        found: Evidence::default(),
    };
    // A budget that is spent, or a stop, ends it where it is.
    let _ = exam.all();
    handle.set_socket(None);
    exam.tell();
    exam.spare();
}

/// There are no more connections to be had.
struct Over;

struct Exam<'a> {
    link: Arc<Handle>,
    slot: Arc<Slot>,
    question: Question,
    allowed: Allowed,
    handle: &'a Handle,
    budget: &'a Budget,
    spared: &'a Spared,
    heartbeat: Heartbeat,
    patience: Duration,
    found: Evidence,
}

impl Exam<'_> {
    fn all(&mut self) -> Result<(), Over> {
        if self.question.connecting {
            return self.closed_port();
        }
        let start = Instant::now();
        let first = self.open(self.question.address, self.allowed.secure.clone())?;
        self.on_first(&first, start.elapsed());
        match first {
            Ok(connection) => self.payloads(connection)?,
            Err(_) if self.found.fresh == Some(Fresh::Silent) => {
                self.closed_port()?;
                if self.question.acked {
                    self.again()?;
                }
            }
            Err(_) => {}
        }
        self.tell();
        // Where the live beat arrived, or one on a fresh connection did not, the path is no riddle.
        let lost_again = self.found.fresh_beat == Some(Carried::Unacked);
        let answers = matches!(self.found.fresh, Some(Fresh::Connected | Fresh::Silent));
        if answers && !lost_again && !self.question.acked { self.more() } else { Ok(()) }
    }

    /// What the first of them says.
    fn on_first(&mut self, first: &Result<Connection, Loss>, took: Duration) {
        self.found.fresh = Some(fresh(first, self.handle));
        self.found.fresh_took_us = Some(took);
        let info = first.as_ref().ok().and_then(Connection::tcp_info);
        if let Some(info) = info.filter(|info| self.believes(info)) {
            self.found.fresh_rtt_us = Some(info.rtt);
            self.found.fresh_resent = Some(info.total_retransmits).filter(|resent| *resent > 0);
        }
        if first.is_err() {
            self.handle.attempt().add_icmp(&mut self.found);
        }
    }

    /// The link's own connection was answered meanwhile, and nobody knows that one of these would
    /// have been: it was the last to this peer.
    fn spare(&self) {
        let Exam { slot, question: Question { acked, address, .. }, .. } = self;
        let is_answered = slot.answered.load(Ordering::Acquire);
        if *acked && slot.has_stood() && is_answered && !slot.was_served() {
            self.spared.add(*address);
        }
    }

    fn tell(&self) {
        self.slot.put(&self.found);
        self.link.wake();
    }

    /// One connection, if the budget has it, and this machine.
    fn open(
        &mut self,
        address: SocketAddr,
        secure: Option<Secure>,
    ) -> Result<Result<Connection, Loss>, Over> {
        // One at a time: the last one is closed by now, but for what holds it to wake it.
        self.handle.set_socket(None);
        // They are for a link that is silent, and for no other.
        if self.handle.is_stopping() || self.slot.is_over() {
            return Err(Over);
        }
        if !self.budget.take(Instant::now()) {
            self.found.side = Some(Kept::Budget);
            return Err(Over);
        }
        let slot = &self.slot;
        let (before, is_peer) = (slot.met(), address == self.question.address);
        if is_peer {
            slot.on_begun(Some(Instant::now()));
        }
        let result = connect(self.handle, &[address], secure.as_ref(), &self.heartbeat, false);
        let has_stood = result.is_ok() || self.handle.has_stood();
        if is_peer && has_stood {
            slot.on_stood(Instant::now());
        } else if is_peer {
            slot.on_begun(before);
        }
        if self.handle.is_stopping() {
            return Err(Over);
        }
        match &result {
            // That says nothing of the peer.
            Err(loss) if loss.cause == Cause::LocalResources => {
                self.found.side = Some(Kept::Full);
                Err(Over)
            }
            _ => Ok(result),
        }
    }

    /// One that is waited for until a lost SYN has been sent again.
    fn again(&mut self) -> Result<(), Over> {
        self.tell();
        let quick = self.heartbeat.connect_timeout;
        self.heartbeat.connect_timeout = quick.max(MOST);
        let result = self.open(self.question.address, None);
        self.heartbeat.connect_timeout = quick;
        self.found.fresh_again = Some(fresh(&result?, self.handle));
        Ok(())
    }

    fn payloads(&mut self, connection: Connection) -> Result<(), Over> {
        let Some(protocol) = self.allowed.protocol.take() else { return Ok(()) };
        let (carried, cut) = self.beat(connection, protocol);
        self.found.fresh_beat = Some(carried);
        if carried != Carried::Unacked {
            return Ok(());
        }
        self.tell();
        let mut passed = None;
        if self.allowed.secure.is_none() {
            passed = self.other_payloads(cut)?;
            self.tell();
        }
        // Once each may be chance, or a rate that somebody limits.
        if let Some(protocol) = self.allowed.again.take() {
            let secure = self.allowed.secure.clone();
            let Ok(connection) = self.open(self.question.address, secure)? else { return Ok(()) };
            let carried = self.beat(connection, protocol).0;
            if let Some(payload) = passed.filter(|_| carried == Carried::Unacked) {
                self.found.fresh_passed_again = Some(self.payload(&payload)?);
            }
            self.found.fresh_beat_again = Some(carried);
        }
        Ok(())
    }

    /// Until one of them passes: that one.
    fn other_payloads(&mut self, cut: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Over> {
        if let Some(payload) = self.allowed.same_length.take() {
            let carried = self.payload(&payload)?;
            self.found.fresh_same_length = Some(carried);
            if carried != Carried::Unacked {
                return Ok(Some(payload));
            }
        }
        // The beginning of the beat is no more than what arrives when a connection breaks.
        let is_tiny = self.allowed.tiny.is_some();
        let Some(payload) = self.allowed.tiny.take().or(cut) else { return Ok(None) };
        let carried = Some(self.payload(&payload)?);
        if is_tiny {
            self.found.fresh_tiny = carried;
        } else {
            self.found.fresh_cut = carried;
        }
        Ok(Some(payload).filter(|_| carried != Some(Carried::Unacked)))
    }

    /// The same beat, after what opens the conversation; and its beginning, if it is a long one.
    fn beat(
        &mut self,
        mut connection: Connection,
        mut protocol: Guarded,
    ) -> (Carried, Option<Vec<u8>>) {
        let mut out = Vec::new();
        let made = protocol.connected(&mut out).and_then(|()| protocol.beat(1, &mut out));
        if made.is_err() || connection.write(&out, self.patience).is_err() {
            return (Carried::Ended, None);
        }
        let cut = (out.len() > LONG).then(|| out[..CUT].to_vec());
        let until = Instant::now() + self.spoken(&connection);
        if let Some(carried) = self.answer(&mut connection, &mut protocol, until) {
            if carried == Carried::Answered {
                self.slot.served.store(true, Ordering::Relaxed);
            }
            return (carried, cut);
        }
        let carried = self.given_up(&connection);
        self.count_twice(&connection);
        if self.question.acked && matches!(carried, Carried::Acked | Carried::Unanswered) {
            self.found.fresh_beat = Some(carried);
            self.hold(connection, protocol);
        }
        (carried, cut)
    }

    /// What becomes of the beat; none if nothing has until then.
    fn answer(
        &self,
        connection: &mut Connection,
        protocol: &mut Guarded,
        until: Instant,
    ) -> Option<Carried> {
        loop {
            match connection.read.inbox.next(protocol) {
                Ok(Next::Frame(Frame::Ack(_))) => return Some(Carried::Answered),
                Ok(Next::Frame(_)) => continue,
                Ok(Next::Partial | Next::Nothing) => {}
                Err(_) => return Some(Carried::Answered), // not as it should, but it came
            }
            match connection.wait(Some(until), None) {
                Woke::Bytes => {}
                Woke::Interrupted if self.handle.is_stopping() => return Some(Carried::Ended),
                Woke::Interrupted => {}
                Woke::Quiet => return None,
                Woke::Lost(_) => return Some(Carried::Ended),
            }
        }
    }

    /// The peer took it and does not serve it. A process that hangs answers both once it wakes; a
    /// device for one client goes on with the first, and must not be disturbed again.
    fn hold(&mut self, mut connection: Connection, mut protocol: Guarded) {
        self.slot.put(&self.found);
        self.slot.waits.store(true, Ordering::Release);
        self.link.wake();
        let start = Instant::now();
        let mut until = start + HOLD;
        let mut is_last = false;
        let served = loop {
            let now = Instant::now();
            if now >= until || self.handle.is_stopping() {
                break None;
            }
            let step = until.min(now + LOOK);
            if let Some(carried) = self.answer(&mut connection, &mut protocol, step) {
                break Some(carried == Carried::Answered);
            }
            if self.count_twice(&connection) {
                self.tell();
            }
            if !is_last && self.slot.is_over() {
                is_last = true;
                until = Instant::now() + GRACE.max(4 * self.question.rtt);
            }
        };
        if served == Some(true) {
            self.on_served(start.elapsed());
        }
        self.slot.waits.store(false, Ordering::Release);
    }

    /// It was answered after a while. Who was busy answers both; a device for one client has turned
    /// to this one for good.
    fn on_served(&mut self, after: Duration) {
        self.slot.served.store(true, Ordering::Release);
        let until = Instant::now() + GRACE.max(4 * self.question.rtt);
        while self.slot.is_awaited() && !self.handle.is_stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.found.fresh_beat = Some(Carried::Answered);
                self.found.fresh_beat_us = Some(after);
                return self.tell();
            }
            std::thread::park_timeout(left.min(LOOK));
        }
    }

    /// Whether something that was sent on it is known to have arrived twice, and was not before.
    fn count_twice(&mut self, connection: &Connection) -> bool {
        let info = connection.tcp_info().filter(|info| self.believes(info));
        let twice = info.and_then(|info| info.dsack_dups).filter(|twice| *twice > 0);
        twice.is_some() && std::mem::replace(&mut self.found.fresh_duplicates, twice) != twice
    }

    /// A payload of no meaning, on a connection of its own: whether the kernel of the peer has it.
    fn payload(&mut self, payload: &[u8]) -> Result<Carried, Over> {
        let Ok(mut connection) = self.open(self.question.address, None)? else {
            return Ok(Carried::Ended);
        };
        if connection.write(payload, self.patience).is_err() {
            return Ok(Carried::Ended);
        }
        let until = Instant::now() + self.spoken(&connection);
        while let Some(info) = connection.tcp_info().filter(TcpInfo::is_outstanding) {
            if info.state == TcpState::Closed {
                return Ok(Carried::Ended);
            }
            if Instant::now() >= until || self.handle.is_stopping() {
                break;
            }
            std::thread::park_timeout(STEP);
        }
        Ok(self.given_up(&connection))
    }

    /// How long until silence says something on this connection.
    fn spoken(&self, connection: &Connection) -> Duration {
        let Some(info) = connection.tcp_info() else { return self.patience };
        (3 * info.rto).max(4 * info.rtt + Duration::from_millis(200)).min(self.patience)
    }

    fn closed_port(&mut self) -> Result<(), Over> {
        if self.heartbeat.diagnose.closed_port {
            let address = SocketAddr::new(self.question.address.ip(), CLOSED_PORT);
            let result = self.open(address, None)?;
            self.found.closed_port = Some(fresh(&result, self.handle));
        }
        Ok(())
    }

    /// More connections, until it is clear that they go different ways.
    fn more(&mut self) -> Result<(), Over> {
        let mut last = self.found.fresh == Some(Fresh::Connected);
        let (mut tried, mut answered, mut changes) = (0, 0, 0);
        while tried < MORE && changes < CHANGES {
            let result = self.open(self.question.address, None)?;
            let is_answered = match fresh(&result, self.handle) {
                Fresh::Connected | Fresh::Refused => true,
                Fresh::Silent => false,
                _ => break,
            };
            tried += 1;
            answered += u32::from(is_answered);
            changes += u32::from(is_answered != last);
            last = is_answered;
            (self.found.more_fresh, self.found.more_answered) = (Some(tried), Some(answered));
            self.found.more_changes = Some(changes);
            self.tell();
        }
        Ok(())
    }

    fn believes(&self, info: &TcpInfo) -> bool {
        let opened = Ledger { opened: true, ..Ledger::default() };
        self.question.believes && opened.doubts(info).is_none()
    }

    /// No answer came.
    fn given_up(&self, connection: &Connection) -> Carried {
        match connection.tcp_info().filter(|info| self.believes(info)) {
            Some(info) if !info.is_outstanding() => Carried::Acked,
            Some(_) => {
                // Or the kernel here would go on sending it for minutes.
                let _ = SockRef::from(connection.socket()).set_linger(Some(Duration::ZERO));
                Carried::Unacked
            }
            None => Carried::Unanswered,
        }
    }
}

fn fresh(result: &Result<Connection, Loss>, handle: &Handle) -> Fresh {
    match result {
        Ok(_) => Fresh::Connected,
        Err(loss) => match loss.cause {
            Cause::Refused => Fresh::Refused,
            // The peer took it, and says nothing in the handshake of TLS.
            Cause::ConnectTimeout if handle.has_stood() => Fresh::Failed,
            Cause::ConnectTimeout => Fresh::Silent,
            Cause::Unreachable => Fresh::Unreachable,
            Cause::Prohibited => Fresh::Prohibited,
            // Reset: it was accepted before.
            Cause::TlsFailed | Cause::Reset => Fresh::Failed,
            _ => Fresh::Local,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_questions_are_answered_within_a_timeout_and_a_slow_path_is_waited_for() {
        let ms = Duration::from_millis;
        assert_eq!(patience(ms(5000), ms(20)), MOST);
        assert_eq!(patience(ms(1500), ms(20)), ms(450));
        assert_eq!(patience(ms(1500), ms(250)), ms(750));
        assert_eq!(patience(ms(1500), ms(900)), ms(2700));
        assert_eq!(patience(ms(300), ms(2000)), ms(6000));
        assert_eq!(patience(ms(100), ms(20)), LEAST);
    }
}
