//! Signs of life other than acks, and the limit for nothing received: for links that listen, and
//! for connections that carry the application's data.

use std::time::{Duration, Instant};

use crate::cause::{Cause, Loss};
use crate::counted::counted;
use crate::pulse::Report;
use crate::pulse::health::Miss;
use crate::role::Role;
use crate::state::State;

use super::{Phase, Pulse};

/// When something was last heard and written, and when silence is to be judged.
#[derive(Debug)]
pub(super) struct Silence {
    limit: Option<Duration>,
    heard: Instant,
    heard_something: bool,
    wrote: Option<Instant>,
    due: Instant,
}

impl Silence {
    pub(super) fn new(limit: Option<Duration>, now: Instant) -> Silence {
        Silence { limit, heard: now, heard_something: false, wrote: None, due: now }
    }

    /// A connection stands: silence counts from here.
    pub(super) fn start(&mut self, now: Instant) {
        (self.heard, self.heard_something, self.wrote) = (now, false, None);
        self.due = now + self.limit.unwrap_or_default();
    }

    /// Another limit, counted from what was last heard.
    pub(super) fn set_limit(&mut self, limit: Option<Duration>) {
        self.limit = limit;
        self.due = self.heard + limit.unwrap_or_default();
    }

    pub(super) fn is_judged(&self) -> bool {
        self.limit.is_some()
    }

    /// When silence is to be judged next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.limit.map(|_| self.due)
    }

    pub(super) fn heard(&mut self, at: Instant) {
        if at >= self.heard {
            (self.heard, self.heard_something) = (at, true);
            self.due = at + self.limit.unwrap_or_default();
        }
    }

    /// Until when the connection carried bytes both ways; for one that only sends, its own way.
    pub(super) fn carried(&self, role: Role) -> Option<Instant> {
        let wrote = self.wrote?;
        if role == Role::SendOnly {
            return Some(wrote);
        }
        self.heard_something.then(|| wrote.min(self.heard))
    }
}

impl Pulse {
    pub(super) fn on_heard(&mut self, at: Instant) {
        if self.connection.is_none() {
            return;
        }
        self.silence.heard(at.min(self.now));
        if let Some(connection) = &mut self.connection {
            connection.traffic.heard(at.min(self.now));
        }
        // What came before the beat went out says nothing about its round.
        let in_round = self.beats.latest().is_none_or(|sent| at >= sent);
        if let Phase::Expecting { extra, .. } = &mut self.phase {
            extra.alive |= in_round;
        }
        let judged = self.silence.is_judged();
        let rises = match self.phase {
            Phase::Listening => true,
            Phase::Resting { .. } => judged || self.has_fallen_in_place(),
            // Where no ack is expected, no end of a round tells more about the peer.
            Phase::Expecting { .. } => judged && !self.heartbeat.role.expects_acks(),
            _ => false,
        };
        if rises {
            self.rise();
        }
    }

    pub(super) fn on_wrote(&mut self, at: Instant) {
        let at = at.min(self.now);
        self.silence.wrote = self.silence.wrote.max(Some(at));
        if let Some(connection) = &mut self.connection {
            connection.traffic.moved(at);
        }
    }

    pub(super) fn on_vouched(&mut self) {
        if self.connection.is_none() {
            return;
        }
        if let Phase::Expecting { extra, .. } = &mut self.phase {
            extra.vouched = true;
        }
        self.silence.due = self.now + self.silence.limit.unwrap_or_default();
    }

    /// Nothing was heard for as long as the limit says, if that is so.
    pub(super) fn judge_silence(&mut self) {
        let Some(due) = self.silence.due().filter(|due| *due <= self.now) else { return };
        if self.connection.is_none() {
            return;
        }
        let timeout = self.heartbeat.timeout;
        let put_off = if self.notice_stall(due, timeout) {
            self.doubt.grant()
        } else {
            self.doubt.on_time();
            self.paused
        };
        self.silence.due = (due + timeout).max(self.now + timeout / 2);
        if !put_off {
            self.on_silence();
        }
    }

    fn on_silence(&mut self) {
        if self.has_fallen_in_place() {
            return; // it was told, and nothing has changed
        }
        let silent = self.now - self.silence.heard;
        let good = self.health.good;
        let from = self.health.state;
        let verdict = self.health.on_miss();
        let misses = self.health.misses();
        self.report(Report::Silent { silent, misses });
        let what = if self.silence.heard_something { "nothing more" } else { "nothing at all" };
        let detail = format!("{what} came from the peer for {silent:.1?}");
        let loss = Loss::new(Cause::AckTimeout, detail);
        match verdict {
            Miss::Stays => {}
            Miss::Suspect => {
                let detail = format!(
                    "{} (after {})",
                    loss.detail,
                    counted(good, "sign of life", "signs of life")
                );
                let loss = Some(Loss { detail, ..loss });
                self.report(Report::State { from, to: State::Suspect, loss, down: None });
            }
            Miss::Fell => self.fall(loss),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::Heartbeat;
    use crate::pulse::{Input, Output};

    const S: Duration = Duration::from_secs(1);

    fn settle(pulse: &mut Pulse, now: Instant) {
        loop {
            match pulse.poll() {
                Output::Connect => pulse.handle(now, Input::Connected),
                Output::Beat(seq) => pulse.handle(now, Input::Sent { seq, at: now }),
                Output::Wait(_) | Output::Done => break,
                Output::Close | Output::Report(_) => {}
            }
        }
    }

    fn staying(role: Role) -> (Pulse, Instant) {
        let now = Instant::now();
        let beat = Heartbeat::every(60 * S).timeout(5 * S).fall(1).role(role);
        let mut pulse = Pulse::staying(beat, 7, now);
        settle(&mut pulse, now);
        (pulse, now)
    }

    #[test]
    fn to_one_who_listens_an_ack_is_life_as_well() {
        for role in [Role::Passive, Role::ListenOnly] {
            let (mut pulse, now) = staying(role);
            pulse.handle(now + S, Input::Ack(None));
            assert_eq!(pulse.state(), State::Up, "{role:?}");
        }
    }

    #[test]
    fn one_who_only_sends_rises_by_what_it_hears_while_a_beat_is_being_written() {
        let now = Instant::now();
        let beat = Heartbeat::every(60 * S).role(Role::SendOnly).expect_every(120 * S);
        let mut pulse = Pulse::staying(beat, 7, now);
        settle(&mut pulse, now);
        pulse.handle(now + S, Input::Heard(now - S));
        assert_eq!(pulse.state(), State::Up);
    }

    #[test]
    fn what_came_before_a_beat_is_no_life_in_its_round() {
        for (heard, state) in [(S, State::Up), (Duration::ZERO, State::Down)] {
            let (mut pulse, start) = staying(Role::Active);
            // It is told late, as the link's thread was busy.
            let Some(sent) = pulse.beats.latest() else { panic!("no beat") };
            pulse.handle(start + S, Input::Heard(sent + heard - S / 1000));
            pulse.handle(start + 5 * S, Input::Tick);
            assert_eq!(pulse.state(), state, "{heard:?}");
        }
    }

    #[test]
    fn what_is_down_in_its_place_rises_by_any_frame_at_once() {
        let (mut pulse, start) = staying(Role::Active);
        pulse.handle(start + 5 * S, Input::Tick);
        settle(&mut pulse, start + 5 * S);
        assert_eq!(pulse.state(), State::Down);
        pulse.handle(start + 6 * S, Input::Ack(None)); // late
        assert_eq!(pulse.state(), State::Up);
    }
}
