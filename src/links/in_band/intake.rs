//! From bytes to frames: the application's, and signs of life.

use std::time::Instant;

use crate::cause::Loss;
use crate::links::out::received::Received;
use crate::net::inbox::Next;
use crate::protocol::Frame;
use crate::pulse::Input;

use super::{Common, InBand};

impl InBand {
    /// What the bytes that came amount to.
    pub(super) fn next_input(&mut self, link: &mut Common) -> Result<Option<Input>, Loss> {
        let mut heard = false;
        loop {
            if self.delivery.is_blocked() {
                break;
            }
            let Some(line) = &mut self.line else { return Ok(None) };
            match line.read.inbox.next(&mut self.protocol)? {
                Next::Frame(Frame::Data | Frame::Unasked) => {
                    let data = self.outlet.data(line.read.inbox.frame_bytes())?;
                    self.delivery.push(Received::Frame(data));
                    if self.delivery.is_blocked() {
                        self.handle.status().unread = true;
                    }
                    heard = true;
                }
                Next::Frame(Frame::Own) => heard = true,
                Next::Frame(Frame::Beat(seq)) => {
                    heard = true;
                    self.answer(link.heartbeat.role, seq)?;
                }
                Next::Frame(Frame::Ack(seq)) => {
                    if let Some((sent, at)) = self.outlet.take_sent() {
                        let input = self.on_sent(link, sent, at);
                        link.tell(input);
                    }
                    return Ok(Some(Input::Ack(seq)));
                }
                Next::Partial if !heard => return Ok(Some(Input::Partial)),
                Next::Partial | Next::Nothing => break,
            }
        }
        Ok(heard.then(|| Input::Heard(Instant::now())))
    }
}
