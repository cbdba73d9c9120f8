//! Ends that come as regularly as the one before: after the same pause, or at the same age. The
//! peer lives, and has a limit; another connection is opened at once, and the state stays.

use std::time::{Duration, Instant};

use crate::cause::{Cause, Loss};
use crate::pulse::Regular;
use crate::pulse::ends::End;
use crate::role::After;
use crate::state::State;

use super::{Connection, Extra, Partial, Phase, Pulse, Purpose};

/// A connection that ends sooner has not proven anything, and opening one after the other at once
/// would be a storm.
const LEAST: Duration = Duration::from_secs(1);

/// When bytes went over a connection.
#[derive(Debug)]
pub(super) struct Traffic {
    /// Last, either way.
    busy: Instant,
    /// How long nothing had gone before the beat in flight; none if it opened the connection.
    pause: Option<Duration>,
    /// The longest pause that was followed by an answer.
    survived: Duration,
    /// A beat went out as soon as it stood, and nothing came yet.
    is_fresh: bool,
}

impl Traffic {
    pub(super) fn new(now: Instant) -> Traffic {
        Traffic { busy: now, pause: None, survived: Duration::ZERO, is_fresh: false }
    }

    /// A beat goes out as soon as the connection stands.
    pub(super) fn begin(&mut self) {
        self.is_fresh = true;
    }

    /// A beat went out.
    pub(super) fn asked(&mut self, at: Instant) {
        self.pause = Some(at.saturating_duration_since(self.busy));
        self.busy = self.busy.max(at);
    }

    /// A beat was answered.
    pub(super) fn answered(&mut self, now: Instant) {
        self.survived = self.survived.max(self.pause.take().unwrap_or_default());
        self.heard(now);
    }

    /// Bytes came.
    pub(super) fn heard(&mut self, at: Instant) {
        self.moved(at);
        self.is_fresh = false;
    }

    /// Bytes went either way.
    pub(super) fn moved(&mut self, at: Instant) {
        self.busy = self.busy.max(at);
    }

    /// Since bytes last went either way.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.busy)
    }

    /// Whether the beat in flight went out as soon as the connection stood: then no end of it that
    /// the peer had decided on before can have crossed it.
    pub(super) fn is_fresh(&self) -> bool {
        self.is_fresh
    }
}

impl Phase {
    fn is_expecting(&self) -> bool {
        matches!(self, Phase::Expecting { .. })
    }

    /// A part of the answer was here already, or other signs of life.
    fn has_begun(&self) -> bool {
        let Phase::Expecting { extra: Extra { partial, .. }, .. } = self else { return false };
        *partial != Partial::No
    }
}

impl Pulse {
    /// This connection ends now.
    pub(super) fn end_of(&self, connection: &Connection) -> End {
        let traffic = &connection.traffic;
        let (in_flight, since_beat) = (self.phase.is_expecting(), traffic.idle(self.now));
        // Nothing that a beat does is here before its round trip is over.
        let there_and_back = self.rtt.min().unwrap_or_default() * 9 / 10;
        // Who ended it before that has not seen the beat: its pause goes on.
        let before = traffic.pause.filter(|_| in_flight).unwrap_or_default();
        End {
            idle: since_beat + before,
            lived: self.now.saturating_duration_since(connection.since),
            survived: traffic.survived,
            may_be_the_beat: in_flight && since_beat >= there_and_back,
        }
    }

    /// Whether this is the end of a connection that was well, as regular as the last.
    pub(super) fn regular_end(&mut self, loss: &Loss) -> Option<Regular> {
        let connection = self.connection.as_ref()?;
        let causes = [Cause::ClosedByPeer, Cause::ClosedWithReason, Cause::Reset];
        let may_be = self.heartbeat.after == After::Reconnect
            && causes.contains(&loss.cause)
            && !self.phase.has_begun();
        if !may_be {
            return None;
        }
        let end = self.end_of(connection);
        let was_well = connection.up_since.is_some() && self.health.state == State::Up;
        let regular = self.ends.on_end(self.now, end)?;
        (was_well && end.lived >= LEAST && !self.paused).then_some(regular)
    }

    /// Another connection takes the place of one that the peer ended as it always does.
    pub(super) fn reopen(&mut self, loss: Loss, regular: Regular) {
        let crossed = self.phase.is_expecting();
        self.let_go(loss, Some(regular));
        self.purpose = if crossed { Purpose::Repeat } else { Purpose::Regular };
        self.open();
    }
}
