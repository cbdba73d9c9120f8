//! A user's protocol behind a guard: its panic becomes the loss of its own link, and no other
//! suffers.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::cause::{Cause, Loss};
use crate::protocol::{Frame, Protocol};

pub(crate) struct Guarded(Box<dyn Protocol>);

impl Guarded {
    pub(crate) fn new(protocol: Box<dyn Protocol>) -> Guarded {
        Guarded(protocol)
    }

    pub(crate) fn connected(&mut self, out: &mut Vec<u8>) -> Result<(), Loss> {
        self.guard(|protocol| protocol.connected(out))
    }

    pub(crate) fn beat(&mut self, seq: u64, out: &mut Vec<u8>) -> Result<(), Loss> {
        self.guard(|protocol| protocol.beat(seq, out))
    }

    pub(crate) fn ack(&mut self, seq: Option<u64>, out: &mut Vec<u8>) -> Result<(), Loss> {
        self.guard(|protocol| protocol.ack(seq, out))
    }

    pub(crate) fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Loss> {
        let found = self.guard(|protocol| protocol.parse(bytes))?.map_err(|rejected| rejected.0)?;
        match found {
            Some((_, len)) if len == 0 || len > bytes.len() => Err(Loss::new(
                Cause::ProtocolPanicked,
                format!("parse took {len} of {} bytes: it must take 1 or more", bytes.len()),
            )),
            found => Ok(found),
        }
    }

    /// Unwind safety: after a panic the protocol is only dropped, never called again.
    fn guard<T>(&mut self, call: impl FnOnce(&mut dyn Protocol) -> T) -> Result<T, Loss> {
        catch_unwind(AssertUnwindSafe(|| call(&mut *self.0)))
            .map_err(|panic| Loss::new(Cause::ProtocolPanicked, message(&*panic)))
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the protocol panicked: {}", text.unwrap_or("(no message)"))
}
