//! The links of a coordinator: started, told to end, joined.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::warn;

use crate::drive::limits::Room;
use crate::error::Error;
use crate::event::LinkId;
use crate::links::handle::Handle;

/// How long `stop` and `remove` wait for threads. Every thread ends within milliseconds of being
/// told, but for one inside name resolution, which nothing can wake.
pub(super) const PATIENCE_AT_STOP: Duration = Duration::from_millis(900);

/// The lock is held while a link is started or looked up, never while one is waited for.
#[derive(Default)]
pub(super) struct Links {
    pub(super) running: HashMap<LinkId, Running>,
    pub(super) room: Room,
    pub(super) stopped: bool,
}

impl Links {
    /// Gives back the stacks of links that ended by themselves; their status stays, until nobody
    /// holds the link any more.
    pub(super) fn join_ended(&mut self, ended: Vec<LinkId>) {
        for link in ended {
            // Removed ones are joined by whoever removed them.
            let Some(running) = self.running.get_mut(&link) else { continue };
            let over = running.handle.has_left();
            if let Some(thread) = running.thread.take_if(|_| over) {
                let _ = thread.join(); // it is in its last instructions
            }
            if over && running.handle.is_released() {
                self.running.remove(&link);
            }
        }
    }
}

pub(super) struct Running {
    pub(super) handle: Arc<Handle>,
    /// None once somebody waits for it; then only the status is left to read.
    pub(super) thread: Option<JoinHandle<()>>,
}

/// Waits for threads that have been told to end.
pub(super) fn join(
    mut running: Vec<(Arc<Handle>, JoinHandle<()>)>,
    deadline: Instant,
) -> Result<(), Error> {
    let mut pause = Duration::from_micros(50);
    loop {
        let (over, left): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|(_, thread)| thread.is_finished());
        for (_, thread) in over {
            let _ = thread.join(); // a panic has been told by the link itself
        }
        running = left;
        if running.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            break;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    let place = |(handle, _): &(Arc<Handle>, JoinHandle<()>)| {
        let name = &handle.who.name;
        let place = if handle.is_resolving() {
            "in name resolution"
        } else if handle.is_waiting_for_send() {
            "in the `send` of the application"
        } else {
            "in its protocol, or starved"
        };
        format!("{name} ({place})")
    };
    // A few names are enough to find the cause.
    let places: Vec<_> = running.iter().take(8).map(place).collect();
    let more = if running.len() > places.len() { ", ..." } else { "" };
    let text = format!(
        "{} thread(s) left behind, told to end and still busy: {}{more}",
        running.len(),
        places.join(", ")
    );
    warn!("{text}");
    Err(Error::left_behind(text))
}
