//! Before a link is let go: what had happened to its connection by then is told first.

use std::time::Duration;

use socket2::Socket;

use crate::cause::Loss;
use crate::net::read_half::{Woke, end};
use crate::sys;

use super::{Common, InBand, Medium};

/// Reads of what came before an end: a megabyte.
const LAST_READS: u32 = 64;

impl InBand {
    /// Whether the connection had ended, whoever found it. Then that is told, and all that came
    /// before the end is the application's.
    pub(super) fn had_ended(&mut self, link: &mut Common) -> Option<Loss> {
        self.line.as_ref()?;
        if let Some(loss) = link.inquiry.take_broken() {
            self.lose(link, loss.clone());
            return Some(loss);
        }
        if let Some(loss) = self.outlet.broken() {
            self.on_broken(link, loss.clone());
            return Some(loss);
        }
        let loss = match self.read_on(link) {
            Ok(end) => end.or_else(|| self.end_behind_unread())?,
            Err(refused) => {
                self.lose(link, refused.clone());
                return Some(refused);
            }
        };
        self.on_end(link, loss.clone());
        Some(loss)
    }

    /// Reads and hands on what is there, as far as the application has room for it. How the
    /// connection has ended, if it has.
    ///
    /// # Errors
    ///
    /// Bytes that the protocol does not allow.
    pub(super) fn read_on(&mut self, link: &mut Common) -> Result<Option<Loss>, Loss> {
        for _ in 0..LAST_READS {
            self.pump();
            if self.delivery.is_blocked() {
                break;
            }
            let woke = self.read();
            while let Some(input) = self.next_input(link)? {
                link.tell(input);
            }
            match woke {
                Woke::Bytes => {}
                Woke::Lost(loss) => return Ok(Some(loss)),
                Woke::Interrupted | Woke::Quiet => break,
            }
        }
        Ok(None)
    }

    /// The same where the application takes nothing, and so nothing can be read.
    fn end_behind_unread(&mut self) -> Option<Loss> {
        if !self.delivery.is_blocked() {
            return None;
        }
        let line = self.line.as_ref()?;
        let (socket, wants): (&Socket, _) = (&line.read.socket, (false, false, true));
        let stirred = sys::wait_link(&*self.bell, Some(socket), wants, Some(Duration::ZERO));
        match stirred {
            Ok(stirred) if stirred.ended => Some(self.hard_end()),
            Ok(stirred) if stirred.closed || line.closed => Some(end(line.read.peer)),
            _ => None,
        }
    }
}
