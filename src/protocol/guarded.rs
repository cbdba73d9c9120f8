//! A user's protocol behind a guard: its panic becomes the loss of its own link, and no other
//! suffers.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use log::warn;

use crate::cause::{Cause, Loss};
use crate::protocol::{Frame, Framing, IdleEnd, Protocol};

pub(crate) struct Guarded(Option<Box<dyn Protocol>>);

/// Methods of the protocol whose answers go on as they are, behind the guard.
macro_rules! as_they_are {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(pub(crate) fn $name(&mut self, $($argument: $type),*) -> Result<$answer, Loss> {
            self.guard(|protocol| protocol.$name($($argument),*))
        })*
    };
}

impl Guarded {
    pub(crate) fn new(protocol: Box<dyn Protocol>) -> Guarded {
        Guarded(Some(protocol))
    }

    as_they_are! {
        connected(out: &mut Vec<u8>) -> ();
        beat(seq: u64, out: &mut Vec<u8>) -> ();
        ack(seq: Option<u64>, out: &mut Vec<u8>) -> ();
        is_over() -> bool;
        idle_end() -> IdleEnd;
        idle_limit() -> Option<Duration>;
        framing() -> Box<dyn Framing>;
        limit() -> usize;
        is_ready() -> bool;
        reply(out: &mut Vec<u8>) -> ();
        farewell(out: &mut Vec<u8>) -> ();
        redact(bytes: &[u8]) -> Vec<u8>;
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

    pub(crate) fn closed(&mut self) -> Result<Option<Frame>, Loss> {
        self.guard(|protocol| protocol.closed())?.map_err(|rejected| rejected.0)
    }

    pub(crate) fn fresh(&mut self) -> Result<Option<Guarded>, Loss> {
        Ok(self.guard(|protocol| protocol.fresh())?.map(Guarded::new))
    }

    pub(crate) fn neutral(&mut self, len: usize) -> Result<Option<Vec<u8>>, Loss> {
        Ok(self.guard(|protocol| protocol.neutral(len))?.filter(|bytes| bytes.len() == len))
    }

    /// None for a protocol that panics over it: it will do so over more.
    pub(crate) fn scheme(&mut self) -> Option<&'static str> {
        self.guard(|protocol| protocol.scheme()).ok().flatten()
    }

    /// Unwind safety: after a panic the protocol is only dropped, never called again.
    fn guard<T>(&mut self, call: impl FnOnce(&mut dyn Protocol) -> T) -> Result<T, Loss> {
        let protocol = self.0.as_mut().expect("it is taken by its drop alone");
        caught(|| call(&mut **protocol))
            .map_err(|text| Loss::new(Cause::ProtocolPanicked, format!("the protocol {text}")))
    }
}

impl Drop for Guarded {
    /// Its own drop may panic as well, and in the middle of another panic that would be the end.
    fn drop(&mut self) {
        let protocol = self.0.take();
        if let Err(text) = caught(|| drop(protocol)) {
            warn!("while it was dropped, a protocol {text}");
        }
    }
}

/// Runs code of the user; what its panic said.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("(no message)"))
}
