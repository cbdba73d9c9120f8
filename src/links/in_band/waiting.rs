//! The waits of a link that carries data: for its socket, its bell and for time; and what is read
//! when the time is up.

use std::time::Instant;

use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::links::common::Common;
use crate::links::medium::{Medium, Passed};
use crate::net::read_half::Woke;
use crate::sys;

use super::InBand;

impl InBand {
    pub(super) fn wait_without_connection(
        &mut self,
        until: Option<Instant>,
        now: Instant,
    ) -> Passed {
        let until = [until, self.leave_reader(now)].into_iter().flatten().min();
        let left = until.map(|until| until.saturating_duration_since(now));
        let none = None::<&Socket>;
        match sys::wait_link(&*self.bell, none, (false, false, false), left) {
            Ok(stirred) if stirred.bell => drop(self.bell.clear()),
            _ => {}
        }
        self.pump();
        Passed::Time
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

    pub(super) fn wait_for_line(
        &mut self,
        link: &mut Common,
        until: Option<Instant>,
        now: Instant,
    ) -> Passed {
        let blocked = self.delivery.is_blocked();
        let pause = self.leave_reader(now);
        let until = [until, self.outlet.stuck_until(), pause].into_iter().flatten().min();
        let left = until.map(|until| until.saturating_duration_since(now));
        let Some(line) = &mut self.line else { return Passed::Something };
        let wants = (!blocked, self.outlet.wants_room(), blocked && !line.closed);
        let woke = match self.outlet.opened(&mut line.read).filter(|_| !blocked) {
            Some(woke) => woke,
            None => match sys::wait_link(&*self.bell, Some(&*line.read.socket), wants, left) {
                Ok(stirred) => {
                    line.read.is_in_time();
                    line.closed |= stirred.closed;
                    // Without a wish to read, an empty poll is no look.
                    line.read.looked = !blocked && !stirred.read;
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
        if let Woke::Lost(loss) = woke {
            self.on_end(link, loss);
            return Passed::Something;
        }
        self.pump();
        let bytes = self.line.as_ref().is_some_and(|line| line.read.inbox.is_fresh());
        match until {
            Some(until) if !bytes && until <= Instant::now() => Passed::Time,
            _ => Passed::Something,
        }
    }

    /// The time is up: what waits to be read is read before anybody is judged.
    pub(super) fn read_in_overtime(&mut self, link: &mut Common) -> Passed {
        let Some(line) = &mut self.line else { return Passed::Something };
        if self.delivery.is_blocked() {
            line.read.is_in_time();
            self.pump();
            return Passed::Time;
        }
        if !line.read.may_read_in_overtime() {
            return Passed::Time;
        }
        match self.read() {
            Woke::Lost(loss) => self.on_end(link, loss),
            Woke::Bytes => {}
            Woke::Interrupted | Woke::Quiet => return Passed::Time,
        }
        Passed::Something
    }
}
