//! What a peer says beside its acks on a watched link, and what becomes of it in what is told of an
//! end.

use std::time::{Duration, Instant};

use crate::cause::{Cause, Loss};
use crate::diagnose::{AT_ONCE, Heard, Service};
use crate::links::inquiry::overheard::with_words;
use crate::net::connection::Woke;
use crate::protocol::FRAME_LIMIT;

use super::{Common, Watch};

/// So long the end of a connection is waited for behind words that speak of one: it comes in the
/// same moment as they do, and a wrong reply is still told at once.
const BEHIND: Duration = Duration::from_millis(30);

/// So many reads meanwhile: a peer that floods ends nothing.
const MOST_BEHIND: u32 = 16;

impl Watch {
    /// The peer answered one beat twice: worth a word, once.
    pub(super) fn on_doubled(&mut self, link: &mut Common) {
        if std::mem::replace(&mut self.is_doubled, true) {
            return;
        }
        let Some(heard) = self.heard() else { return };
        link.inquiry.on_unasked(&heard, &mut link.reporter);
    }

    /// The peer said what its protocol does not allow.
    pub(super) fn rejected(&mut self, link: &Common, mut loss: Loss) -> Loss {
        self.overheard.touch(Instant::now());
        if loss.cause != Cause::WrongReply {
            return loss;
        }
        if let Some(end) = self.end_behind() {
            return end;
        }
        // Not even a late ack was to come. Who never answered one speaks another protocol.
        if link.pulse.outstanding() == 0 && self.overheard.has_answered() {
            loss.cause = Cause::UnaskedBytes;
        }
        loss
    }

    /// Words about an end are no wrong reply: the end, if it comes right behind them.
    pub(super) fn end_behind(&mut self) -> Option<Loss> {
        let heard = self.heard()?;
        // Where another service listens, all that it says is of another protocol.
        let is_other = heard.service.is_some_and(|service| !service.is_spoken_by(&self.scheme));
        if is_other || heard.weight().is_none() {
            return None;
        }
        let until = Instant::now() + BEHIND;
        let connection = self.connection.as_mut()?;
        for _ in 0..MOST_BEHIND {
            if connection.read.inbox.rest().len() > FRAME_LIMIT / 2 {
                return None;
            }
            match connection.wait(Some(until), None) {
                Woke::Bytes | Woke::Interrupted => {}
                Woke::Lost(loss) => return Some(loss),
                Woke::Quiet => return None,
            }
        }
        None
    }

    /// What the peer said since its last ack.
    pub(super) fn heard(&mut self) -> Option<Heard> {
        let Watch { overheard, connection, protocol, out, beat_at, written, .. } = self;
        let rest = connection.as_ref()?.read.inbox.rest();
        let beat = out.get(*beat_at..).filter(|_| *written).unwrap_or_default();
        // What a broken protocol would hide is not shown at all.
        let redact = |bytes: &[u8]| protocol.redact(bytes).unwrap_or_default();
        overheard.tell(rest, beat, Instant::now(), redact)
    }

    /// What the peer said last goes into what is told of the end, and so does what it is by that.
    pub(super) fn add_last_words(&mut self, link: &mut Common, loss: &mut Loss) {
        let heard = self.heard();
        let is_end = matches!(loss.cause, Cause::ClosedByPeer | Cause::Reset);
        let is_wrong = matches!(loss.cause, Cause::WrongReply | Cause::UnaskedBytes);
        let lived = self.since.elapsed();
        let is_new = self.connection.is_some() && lived <= AT_ONCE;
        let is_new = is_new && !self.overheard.was_answered();
        match &heard {
            Some(heard) if is_end => {
                let is_orderly = loss.cause == Cause::ClosedByPeer;
                loss.detail = with_words(&loss.detail, is_orderly, heard);
            }
            Some(heard) if is_wrong => {
                let is_other = |service: &Service| !service.is_spoken_by(&self.scheme);
                if let Some(service) = heard.service.filter(is_other) {
                    loss.detail = format!("it is {}: {}", service.name(), loss.detail);
                }
            }
            None if is_end && is_new => {
                loss.detail = format!("{}, {lived:.1?} after it was accepted", loss.detail);
            }
            _ => {}
        }
        link.inquiry.case().set_heard(heard);
    }
}
