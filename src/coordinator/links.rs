//! The links of a coordinator: started, told to end, joined.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::warn;

use crate::base::limits::Room;
use crate::base::spawn::Thread;
use crate::base::stopping::Patience;
use crate::error::Error;
use crate::event::LinkId;
use crate::links::handle::Handle;

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
    pub(super) thread: Option<Thread>,
}

/// How often it is looked who has ended while one is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// Waits for threads that have been told to end.
///
/// The last that was told is waited for first: by the time that it has ended most others have, too,
/// and their joins wait for nothing.
pub(super) fn join(
    mut running: Vec<(Arc<Handle>, Thread)>,
    mut patience: Patience,
) -> Result<(), Error> {
    running.reverse();
    while !running.is_empty() {
        let before = running.len();
        let until = patience.ends().min(Instant::now() + LOOK);
        running = running
            .into_iter()
            .filter_map(|(handle, thread)| Some((handle, thread.join_by(until).err()?)))
            .collect();
        let now = Instant::now();
        if running.len() < before {
            patience.renew(now);
        }
        if patience.is_over(now) {
            break;
        }
    }
    if running.is_empty() { Ok(()) } else { Err(left_behind(&running)) }
}

/// Where those are that have not ended.
fn left_behind(running: &[(Arc<Handle>, Thread)]) -> Error {
    let place = |(handle, _): &(Arc<Handle>, Thread)| {
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
    Error::left_behind(text)
}
