//! A protocol of your own: two functions say what a beat looks like and how its ack is read.
//!
//! The device here uses frames of three bytes: a mark, a number, and a check byte. The number in
//! each ack is useful: an answer that went missing is only one miss.
//!
//! `cargo run --example own_protocol`

use std::time::Duration;

use keepbeat::protocol::{Frame, Rejected, escaped};
use keepbeat::{Coordinator, Error, EventKind, Heartbeat, Protocol, Responder};

const ASK: u8 = b'?';
const ANSWER: u8 = b'!';

/// Serves both ends: the one that sends beats, and, by `ack`, the one that answers.
struct Device {
    /// The number of the last beat. Only one byte of it is sent, so this completes it.
    last: u64,
}

impl Protocol for Device {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        self.last = seq;
        out.extend([ASK, seq as u8, check(ASK, seq as u8)]);
    }

    /// Bytes come in portions of any size. `Ok(None)` asks for more; a frame is returned with its
    /// length.
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        let &[mark, number, sum, ..] = bytes else { return Ok(None) };
        if sum != check(mark, number) {
            // The link goes Down with `wrong-reply` and this text, which shows the bytes escaped.
            let seen = escaped(&bytes[..3]);
            return Err(Rejected::wrong_reply(format!("the check byte of `{seen}` is wrong")));
        }
        match mark {
            ANSWER => Ok(Some((Frame::Ack(Some(self.whole(number))), 3))),
            ASK => Ok(Some((Frame::Beat(Some(number.into())), 3))),
            // A valid frame that is no answer, for example a reading: skipped, and no sign of life.
            _ => Ok(Some((Frame::Data, 3))),
        }
    }

    fn ack(&mut self, seq: Option<u64>, out: &mut Vec<u8>) {
        let number = seq.unwrap_or_default() as u8;
        out.extend([ANSWER, number, check(ANSWER, number)]);
    }
}

impl Device {
    /// The latest beat whose number ends in this byte. An answer to a beat that was never sent
    /// gives a number for which no beat waits, and the link reports that.
    fn whole(&self, number: u8) -> u64 {
        self.last.saturating_sub((self.last as u8).wrapping_sub(number).into())
    }
}

fn check(mark: u8, number: u8) -> u8 {
    mark ^ number ^ 0x5A
}

fn main() -> Result<(), Error> {
    env_logger::init();
    let peer = Responder::bind("127.0.0.1:0", || Device { last: 0 })?;
    let coordinator = Coordinator::new()?;
    // `rounds` ends the link by itself; after 300 the one byte of the number has wrapped around.
    let heartbeat = Heartbeat::every(Duration::from_millis(5)).rounds(300);
    let link = coordinator.watch(peer.local_addr(), heartbeat, Device { last: 0 })?;
    for event in coordinator.events() {
        match event.kind() {
            EventKind::Beat { seq, .. } if seq % 100 != 0 => {}
            EventKind::Ended => break,
            _ => println!("{event}"),
        }
    }
    let status = coordinator.status(link)?;
    println!("{} of {} beats acked", status.acked, status.sent);
    coordinator.stop()
}
