//! A protocol of one's own: two functions, what a beat looks like and how its ack is read.
//!
//! The device here speaks in frames of three bytes: a mark, a number, and a check byte. A number on
//! each ack pays: an answer that went missing is one miss and no more.
//!
//! `cargo run --example own_protocol`

use std::time::Duration;

use keepbeat::protocol::{Frame, Rejected, escaped};
use keepbeat::{Coordinator, Error, EventKind, Heartbeat, Protocol, Responder};

const ASK: u8 = b'?';
const ANSWER: u8 = b'!';

/// Serves both ends: the one that beats, and through `ack` the one that answers.
struct Device {
    /// The last beat, to find its whole number again: only one byte of it travels.
    last: u64,
}

impl Protocol for Device {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        self.last = seq;
        out.extend([ASK, seq as u8, check(ASK, seq as u8)]);
    }

    /// Bytes come in any portions. `Ok(None)` asks for more; what is taken is said with its length.
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        let &[mark, number, sum, ..] = bytes else { return Ok(None) };
        if sum != check(mark, number) {
            // The link goes down with `wrong-reply` and these words; show the bytes, escaped.
            let seen = escaped(&bytes[..3]);
            return Err(Rejected::wrong_reply(format!("the check byte of `{seen}` is wrong")));
        }
        match mark {
            ANSWER => Ok(Some((Frame::Ack(Some(self.whole(number))), 3))),
            ASK => Ok(Some((Frame::Beat(Some(number.into())), 3))),
            // Valid and no answer, a reading perhaps: passed over, and no sign of life.
            _ => Ok(Some((Frame::Data, 3))),
        }
    }

    fn ack(&mut self, seq: Option<u64>, out: &mut Vec<u8>) {
        let number = seq.unwrap_or_default() as u8;
        out.extend([ANSWER, number, check(ANSWER, number)]);
    }
}

impl Device {
    /// The latest beat whose number ends in this byte. An answer to a beat that never was comes out
    /// as a number that nobody waits for, and the link says so.
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
    // `rounds` ends the link by itself; by 300 the number has been through its one byte.
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
