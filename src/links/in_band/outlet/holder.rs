//! The outlet as whoever holds the link asks it: for its end, and for what is known of its frames.

use std::time::Instant;

use crate::cause::{Cause, Loss};
use crate::error::Error;

use super::{Command, Outlet, Stage};

impl Outlet {
    /// Asks the link's thread for something. An error if the link is over, or on its way out.
    pub(crate) fn ask(&self, command: Command) -> Result<(), Error> {
        let mut state = self.lock();
        if let Stage::Closing(loss, _) | Stage::Over(loss) = &state.stage {
            return Err(Error::lost(loss));
        }
        let busy = match &state.command {
            Some(Command::Close(_)) => Some("the link is being closed"),
            Some(Command::HandBack(..)) if matches!(command, Command::HandBack(..)) => {
                Some("the connection is being handed back to another caller of `into_stream`")
            }
            _ => None,
        };
        if let Some(text) = busy {
            return Err(Error::lost(&Loss::new(Cause::Stopped, text)));
        }
        state.command = Some(command);
        drop(state);
        self.bell.ring();
        Ok(())
    }

    /// Takes back a hand-back, known by its deadline, that the link's thread has not come to. True
    /// if it had not.
    pub(crate) fn ask_no_more(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        let asked =
            |c: &mut Command| matches!(c, Command::HandBack(_, until) if *until == deadline);
        state.command.take_if(asked).is_some()
    }

    /// Why the link is over, if it is.
    pub(crate) fn over(&self) -> Option<Loss> {
        match &self.lock().stage {
            Stage::Closing(loss, _) | Stage::Over(loss) => Some(loss.clone()),
            _ => None,
        }
    }

    /// Until when a caller waits who has named no time of its own.
    pub(crate) fn patience(&self) -> Instant {
        Instant::now() + self.write_timeout
    }

    /// The last frame that the peer is known to have read.
    pub(crate) fn read_by_peer(&self) -> u64 {
        self.lock().numbers.read()
    }

    /// The application knows that the peer has read so far.
    pub(crate) fn answered(&self, number: u64) {
        self.lock().numbers.on_answer(number);
    }

    /// Frames that wait for a connection.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().queue.len()
    }
}
