//! What is written on a watched link: the beat, what opens the conversation before it, and what
//! follows from an answer in the middle of one.

use std::time::Instant;

use crate::cause::{Cause, Loss};
use crate::protocol::shown::shown;
use crate::pulse::Input;

use super::{Common, Watch};

impl Watch {
    /// What opens the conversation, or goes on with it.
    pub(super) fn write_opening(&mut self, link: &mut Common, seq: u64) -> Result<Instant, Loss> {
        let Some(connection) = &mut self.connection else {
            return Err(Cause::ClosedByPeer.into());
        };
        if self.out.is_empty() {
            return Ok(Instant::now()); // the peer goes first
        }
        let known = connection.tcp_info().filter(|_| link.inquiry.is_on());
        let at = connection.write(&self.out, link.heartbeat.write_timeout)?;
        link.inquiry.on_sent(seq, at, self.out.len(), known);
        (link.beat_at, self.beat_at) = (at, 0);
        self.written = true;
        Ok(at)
    }

    pub(super) fn write_out(&mut self, link: &mut Common, seq: u64) -> Result<Input, Loss> {
        let Some(connection) = &mut self.connection else {
            return Err(Cause::ClosedByPeer.into());
        };
        self.beat_at = self.out.len();
        self.protocol.beat(seq, &mut self.out)?;
        let beat = &self.out[self.beat_at..];
        let (bytes, silent) = (beat.len(), beat.is_empty());
        let mut known = None;
        if link.inquiry.is_on() && !silent {
            // Under TLS nobody here knows how many bytes a beat is on the way.
            if link.inquiry.case().asks_kernel() || connection.is_secure() {
                known = connection.tcp_info();
            }
            // Once, and where the protocol says that these bytes mean nothing to anybody.
            if seq == 1 && self.protocol.neutral(bytes)?.is_some() {
                link.inquiry.case().set_beat(Some(shown(beat, &[])));
            }
        }
        let at = connection.write(&self.out, link.heartbeat.write_timeout)?;
        if !silent {
            link.inquiry.on_sent(seq, at, bytes, known);
        }
        link.beat_at = at;
        self.written = true;
        self.overheard.on_beat();
        Ok(if silent { Input::Stands(seq) } else { Input::Sent { seq, at } })
    }

    /// The conversation went on by one step: what follows from it is sent, and the beat that waits
    /// for it, once it is through. Each step has the time of an ack.
    pub(super) fn went_on(&mut self, link: &mut Common) -> Result<Option<Input>, Loss> {
        if std::mem::take(&mut self.written) {
            self.out.clear();
        }
        self.protocol.reply(&mut self.out)?;
        match self.held {
            Some(seq) if self.protocol.is_ready()? => {
                self.held = None;
                self.write_out(link, seq).map(Some)
            }
            Some(seq) => self.write_opening(link, seq).map(|at| Some(Input::Sent { seq, at })),
            None if self.out.is_empty() => Ok(None),
            // In the middle of a beat: its ack is timed from its beginning.
            None => {
                let Some(connection) = &mut self.connection else { return Ok(None) };
                connection.write(&self.out, link.heartbeat.write_timeout)?;
                self.written = true;
                Ok(None)
            }
        }
    }
}
