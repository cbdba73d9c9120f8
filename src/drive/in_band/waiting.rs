//! The waits of a link that carries data: for its socket, its bell and for time; and what is read
//! when the time is up.

use std::time::Instant;

use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::drive::connect::set_options;
use crate::drive::socket::Woke;
use crate::heartbeat::Heartbeat;
use crate::pulse::Input;
use crate::sys;

use super::{InBand, Origin, READS_IN_OVERTIME};

impl InBand {
    pub(super) fn wait_without_connection(&mut self, until: Option<Instant>) {
        let now = Instant::now();
        let until = [until, self.leave_reader(now)].into_iter().flatten().min();
        let left = until.map(|until| until.saturating_duration_since(now));
        let none = None::<&Socket>;
        match sys::wait_link(&*self.bell, none, (false, false, false), left) {
            Ok(stirred) if stirred.bell => drop(self.bell.clear()),
            _ => {}
        }
        self.pump();
        self.tick();
    }

    /// Hands on what the reader has room for.
    pub(super) fn pump(&mut self) {
        if self.delivery.is_blocked() {
            self.delivery.pump();
            self.handle.status().unread = self.delivery.is_blocked();
        }
    }

    /// Until when a reader that takes nothing is left alone, if the bell does not ring then.
    fn leave_reader(&mut self, now: Instant) -> Option<Instant> {
        let blocked = self.delivery.is_blocked();
        blocked.then(|| self.delivery.pause(&self.bell)).flatten().map(|pause| now + pause)
    }

    pub(super) fn wait_for_line(&mut self, until: Option<Instant>, now: Instant) {
        let blocked = self.delivery.is_blocked();
        let pause = self.leave_reader(now);
        let until = [until, self.outlet.stuck_until(), pause].into_iter().flatten().min();
        let left = until.map(|until| until.saturating_duration_since(now));
        let Some(line) = &mut self.line else { return };
        let wants = (!blocked, self.outlet.wants_room(), blocked && !line.closed);
        let woke = match self.outlet.opened(&mut line.inbox).filter(|_| !blocked) {
            Some(woke) => woke,
            None => match sys::wait_link(&*self.bell, Some(&*line.socket), wants, left) {
                Ok(stirred) => {
                    line.overtime = 0;
                    line.closed |= stirred.closed;
                    // Without a wish to read, an empty poll is no look.
                    line.looked = !blocked && !stirred.read;
                    if stirred.bell {
                        self.bell.clear();
                    }
                    if stirred.write {
                        self.outlet.flush();
                    }
                    match (stirred.read, stirred.ended && blocked) {
                        (true, _) => self.read(),
                        (_, true) => Woke::Lost(self.hard_end()),
                        _ => Woke::Interrupted,
                    }
                }
                Err(error) => {
                    Woke::Lost(Loss::new(Cause::LocalResources, format!("poll: {error}")))
                }
            },
        };
        match woke {
            Woke::Lost(loss) => self.on_end(loss),
            _ => self.deliver_or_tick(until),
        }
    }

    fn deliver_or_tick(&mut self, until: Option<Instant>) {
        self.pump();
        let bytes = self.line.as_ref().is_some_and(|line| line.inbox.is_fresh());
        if !bytes && until.is_some_and(|until| until <= Instant::now()) {
            self.tick();
        }
    }

    /// The time is up: what waits to be read is read before anybody is judged.
    pub(super) fn read_in_overtime(&mut self) {
        let Some(line) = &mut self.line else { return };
        line.overtime += 1;
        if line.overtime > READS_IN_OVERTIME || self.delivery.is_blocked() {
            line.overtime = 0;
            self.pump();
            return self.tick();
        }
        match self.read() {
            Woke::Lost(loss) => self.on_end(loss),
            Woke::Bytes => {}
            Woke::Interrupted | Woke::Quiet => self.tick(),
        }
    }

    /// Whether something was changed from outside since the pulse was told.
    fn has_turned(&self) -> bool {
        self.handle.is_paused() != self.paused || self.handle.is_to_adjust()
    }

    /// Another pace from here on.
    pub(super) fn adjust(&mut self, heartbeat: Heartbeat) {
        self.inquiry.set_heartbeat(&heartbeat);
        if let (Some(line), Origin::Dialed(..)) = (&self.line, &self.origin) {
            let _ = set_options(&line.socket, &heartbeat); // it works without
        }
        self.heartbeat = heartbeat.clone();
        self.tell(Input::Adjust(Box::new(heartbeat)));
    }

    /// Time has passed. A pause or a stop that came meanwhile goes first.
    pub(super) fn tick(&mut self) {
        if self.handle.is_stopping() || self.has_turned() {
            return;
        }
        if let Some(wrote) = self.outlet.wrote() {
            self.tell(Input::Wrote(wrote));
        }
        if self.heartbeat.when_idle {
            self.tell(Input::Unproven(self.outlet.has_unproven()));
        }
        if self.is_kept_from_judging() && self.is_vouched_for() {
            self.tell(Input::Vouched);
        }
        self.tell(Input::Tick);
    }
}
