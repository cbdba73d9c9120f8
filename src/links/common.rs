//! What every link has, whatever carries it: the pulse that decides, the inquiry and the reporter
//! that tell, and what happened and was not yet handed to the pulse.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::heartbeat::Heartbeat;
use crate::links::handle::Handle;
use crate::links::inquiry::Inquiry;
use crate::links::reporter::Reporter;
use crate::links::seat::Seat;
use crate::pulse::{Input, Pulse};

/// What every link has, whatever carries it.
pub(crate) struct Common {
    pub(crate) handle: Arc<Handle>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) pulse: Pulse,
    pub(crate) reporter: Reporter,
    pub(crate) inquiry: Inquiry,
    /// When the beat in flight was written, or was due.
    pub(crate) beat_at: Instant,
    /// The pulse knows that the link is paused.
    pub(crate) paused: bool,
    /// What happened and when, not yet handed to the pulse.
    pub(crate) inputs: VecDeque<(Instant, Input)>,
}

impl Common {
    pub(crate) fn new(seat: Seat, heartbeat: Heartbeat, pulse: Pulse, now: Instant) -> Common {
        let inquiry = Inquiry::new(&seat, &heartbeat, now);
        let reporter = Reporter::new(Arc::clone(&seat.handle), Arc::clone(&seat.shared.feed));
        let (paused, inputs) = (false, VecDeque::with_capacity(2));
        let handle = seat.handle;
        Common { handle, heartbeat, pulse, reporter, inquiry, beat_at: now, paused, inputs }
    }

    /// Something happened just now.
    pub(crate) fn tell(&mut self, input: Input) {
        self.tell_at(Instant::now(), input);
    }

    /// Something happened then. The pulse takes it once all is done that follows from what was told
    /// before.
    pub(crate) fn tell_at(&mut self, at: Instant, input: Input) {
        if let Input::Heard(at) | Input::Wrote(at) = input {
            self.inquiry.case().on_traffic(at);
        }
        self.inputs.push_back((at, input));
    }

    /// Beats whose acks may still come.
    pub(crate) fn outstanding(&self) -> usize {
        let count = |is: fn(&Input) -> bool| self.inputs.iter().filter(|(_, i)| is(i)).count();
        let sent = count(|input| matches!(input, Input::Sent { .. }));
        let acked = count(|input| matches!(input, Input::Ack(_)));
        (self.pulse.outstanding() + sent).saturating_sub(acked)
    }

    /// Whether something was changed from outside that the pulse does not know of.
    pub(crate) fn has_turned(&self) -> bool {
        self.handle.is_paused() != self.paused || self.handle.is_to_adjust()
    }
}
