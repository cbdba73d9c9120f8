//! What demos share: links whose events are shown, lines between them, and waits for events.

use std::io;
use std::time::Duration;

use crossbeam_channel::{after, select};
use keepbeat::{Coordinator, Event};

use crate::output::Output;
use crate::run;
use crate::signals::Waiter;

/// The longest wait for an expected event. Half of it is for busy machines.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Why a script ended before its end.
pub enum Stop {
    /// A signal came.
    Asked,
    /// Standard output failed.
    Output(io::Error),
    /// An expected event did not come.
    Missing(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Output(error)
    }
}

pub struct Script {
    pub coordinator: Coordinator,
    pub output: Output,
    waiter: Waiter,
}

impl Script {
    /// # Errors
    ///
    /// The machine has no room for the threads.
    pub fn new(output: Output) -> Result<Script, String> {
        let waiter =
            Waiter::start().map_err(|error| format!("cannot wait for signals: {error}"))?;
        let coordinator = Coordinator::new().map_err(|error| error.to_string())?;
        Ok(Script { coordinator, output, waiter })
    }

    /// Shows what the demo does next.
    pub fn act(&self, words: &str) -> Result<(), Stop> {
        Ok(self.output.act(words)?)
    }

    /// Shows events until `hit` accepts one, and returns it.
    pub fn until(
        &mut self,
        what: &str,
        mut hit: impl FnMut(&Event) -> bool,
    ) -> Result<Event, Stop> {
        let limit = after(LIMIT);
        loop {
            select! {
                recv(self.coordinator.events()) -> event => {
                    let Ok(event) = event else { return Err(Stop::Asked) };
                    self.output.event(&event)?;
                    if hit(&event) {
                        return Ok(event);
                    }
                }
                recv(self.waiter.asked()) -> _ => return Err(Stop::Asked),
                recv(limit) -> _ => return Err(Stop::Missing(what.to_owned())),
            }
        }
    }

    /// Ends the links and sums up. True if every target was alive until then.
    ///
    /// # Errors
    ///
    /// An expected event did not come, or standard output failed.
    pub fn end(&mut self, played: Result<(), Stop>) -> Result<bool, String> {
        let (result, missing) = match played {
            Ok(()) | Err(Stop::Asked) => (Ok(()), None),
            Err(Stop::Output(error)) => (Err(error), None),
            Err(Stop::Missing(what)) => (Ok(()), Some(what)),
        };
        let alive = run::conclude(&self.coordinator, &mut self.output, result)?;
        match missing {
            Some(what) => Err(format!("the demo waited {LIMIT:?} in vain for {what}")),
            None => Ok(alive),
        }
    }
}
