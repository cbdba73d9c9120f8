//! What becomes of what a link sends: its kernel, the path and the peer's kernel and process.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use crate::cause::{Cause, Loss};
use crate::pulse::Input;
use crate::tcp_info::TcpState;

use super::super::fate::{Fault, Kind, Meanwhile};
use super::super::kernel::{Flow, Segment};
use super::{BEAT, Event, Link};

impl Link {
    fn push(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    fn flow_of(&mut self, id: u64) -> Option<&mut Flow> {
        [&mut self.flow, &mut self.old].into_iter().flatten().find(|flow| flow.id == id)
    }

    pub(super) fn send(&mut self, now: Instant, is_old: bool, segment: Segment) {
        let place = if is_old { &mut self.old } else { &mut self.flow };
        let Some(flow) = place else { return };
        let Segment { from, to, seq } = segment;
        let half = self.path.rtt / 2;
        if let Some(errno) = self.path.said(now) {
            let id = flow.id;
            return self.push(now + half, Event::Said(id, errno));
        }
        self.path.pass(flow, now);
        if self.path.carries(flow, now) && self.rng.f64() >= self.path.loss {
            let id = flow.id;
            self.push(now + half, Event::Arrive(id, from, to, seq));
        }
    }

    pub(super) fn run_kernel(&mut self, now: Instant) {
        if self.path.hung_until.is_some_and(|until| until <= now) {
            self.path.hung_until = None;
            for (id, seq) in std::mem::take(&mut self.owed) {
                self.answer(id, seq, now);
            }
        }
        while let Some(Reverse((at, _, event))) = self.events.peek().copied() {
            if at > now {
                break;
            }
            self.events.pop();
            self.on_event(event, at);
        }
        for is_old in [false, true] {
            let flow = if is_old { &mut self.old } else { &mut self.flow };
            let Some(flow) = flow.as_mut().filter(|flow| flow.timer.is_some_and(|t| t <= now))
            else {
                continue;
            };
            let again = flow.time_out(now);
            again.into_iter().for_each(|segment| self.send(now, is_old, segment));
        }
    }

    fn on_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Arrive(id, from, to, seq) => self.on_arrival(id, from, to, seq, now),
            Event::Ack(id, to, twice) => {
                let Some(flow) = self.flow_of(id) else { return };
                let out = flow.on_ack(now, to, twice);
                let is_old = self.old.as_ref().is_some_and(|old| old.id == id);
                out.into_iter().for_each(|segment| self.send(now, is_old, segment));
            }
            Event::Answer(id, seq) => {
                let Some(flow) = self.flow_of(id) else { return };
                flow.on_bytes(now, BEAT);
                if self.flow.as_ref().is_some_and(|flow| flow.id == id) {
                    self.inbox.push_back(Input::Ack(Some(seq)));
                }
            }
            Event::Said(id, errno) => {
                if let Some(flow) = self.flow_of(id) {
                    flow.on_said(now, errno);
                }
            }
            Event::Fin(id) => self.end(id, Cause::ClosedByPeer, TcpState::CloseWait),
            Event::Rst(id) => self.end(id, Cause::Reset, TcpState::Closed),
        }
    }

    fn end(&mut self, id: u64, cause: Cause, state: TcpState) {
        let Some(flow) = self.flow_of(id) else { return };
        flow.state = state;
        if state == TcpState::Closed {
            flow.timer = None;
        }
        if self.flow.as_ref().is_some_and(|flow| flow.id == id) {
            self.inbox.push_back(Input::Lost(Loss::from(cause)));
        }
    }

    /// A segment is there.
    fn on_arrival(&mut self, id: u64, from: u64, to: u64, seq: u64, now: Instant) {
        let (half, loss) = (self.path.rtt / 2, self.path.loss);
        let is_hung = self.path.hung(now);
        let is_lost = self.rng.f64() < loss;
        let Some(flow) = self.flow_of(id) else { return };
        if !flow.is_known {
            return self.push(now + half, Event::Rst(id));
        }
        let (twice, in_order) = (to <= flow.arrived, from <= flow.arrived);
        if !in_order {
            return;
        }
        flow.arrived = flow.arrived.max(to);
        let arrived = flow.arrived;
        let is_forgotten = flow.is_forgotten;
        if !is_forgotten && !is_lost && self.path.is_clear(now) {
            self.push(now + half, Event::Ack(id, arrived, twice));
        }
        match (twice, is_hung) {
            (true, _) => {}
            (_, true) => self.owed.push((id, seq)),
            (_, false) => self.answer(id, seq, now),
        }
    }

    /// The peer's process answers; its kernel sends that again until it arrives.
    fn answer(&mut self, id: u64, seq: u64, now: Instant) {
        let half = self.path.rtt / 2;
        let mut at = now;
        for n in 0..10 {
            let is_lost = self.rng.f64() < self.path.loss;
            let Some(flow) = self.flow_of(id) else { return };
            let is_forgotten = flow.is_forgotten;
            if !is_lost && !is_forgotten && self.path.is_clear(at) {
                return self.push(at + half, Event::Answer(id, seq));
            }
            at += (Duration::from_millis(200) + self.path.rtt) * 2_u32.pow(n);
        }
    }

    /// A fault begins.
    pub fn strike(&mut self, fault: Fault, now: Instant) {
        let half = self.path.rtt / 2;
        let id = self.flow.as_ref().map(|flow| flow.id);
        match fault.kind {
            Kind::Killed | Kind::Reset => {
                self.give_up();
                let end = match self.rng.bool() && fault.kind == Kind::Killed {
                    true => Event::Fin,
                    false => Event::Rst,
                };
                id.into_iter().for_each(|id| self.push(now + half, end(id)));
            }
            Kind::HostDown => self.give_up(),
            Kind::FlowDropped => self.forget(),
            Kind::Hung => self.path.hung_until = Some(fault.until),
            Kind::Suspend(meanwhile) => {
                let slept = Duration::from_secs(3600);
                self.slept = (self.slept.0 + slept, self.slept.1 + slept);
                // What comes to a machine that sleeps is lost.
                self.events.retain(|Reverse((_, _, event))| matches!(event, Event::Arrive(..)));
                match meanwhile {
                    Meanwhile::Nothing => {}
                    Meanwhile::Forgotten => self.forget(),
                    Meanwhile::GivenUp => self.give_up(),
                }
            }
            _ => {}
        }
    }

    fn give_up(&mut self) {
        self.owed.clear();
        self.flow.iter_mut().for_each(|flow| flow.is_known = false);
    }

    fn forget(&mut self) {
        self.flow.iter_mut().for_each(|flow| flow.is_forgotten = true);
    }

    /// The peer ends the connection by its habit, if its time has come.
    pub fn end_idle(&mut self, limit: Duration, now: Instant) -> Option<Instant> {
        let half = self.path.rtt / 2;
        let flow = self.flow.as_mut().filter(|flow| flow.is_known)?;
        let due = flow.crossed + limit;
        if due > now {
            return Some(due);
        }
        flow.is_known = false;
        let id = flow.id;
        self.push(now + half, Event::Fin(id));
        None
    }
}
