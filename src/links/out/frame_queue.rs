//! The queue from which the application takes frames: the link's own, or one that others fill, too.

use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::event::LinkId;
use crate::links::out::received::Received;
use crate::sys::Bell;

/// Where the frames go.
#[derive(Clone)]
pub(crate) enum To {
    /// The link's own queue, with one place more than the capacity, kept for the last word.
    Own { frames: Sender<Received>, capacity: usize, bell: Arc<OnceLock<Bell>> },
    /// A queue of the application, which other links fill, too.
    Shared(Sender<(LinkId, Received)>),
}

impl To {
    /// A queue of the link's own, and its other end.
    pub(crate) fn own(capacity: usize, bell: Arc<OnceLock<Bell>>) -> (To, Receiver<Received>) {
        let capacity = capacity.max(1);
        let (frames, receiver) = bounded(capacity + 1);
        (To::Own { frames, capacity, bell }, receiver)
    }

    /// Whether there seems to be room: of a shared queue others may take it first.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            To::Own { frames, capacity, .. } => frames.len() < *capacity,
            To::Shared(frames) => frames.capacity().is_none_or(|most| frames.len() < most.max(1)),
        }
    }

    /// Gives it back where there is no room. A reader that has gone needs none.
    pub(crate) fn offer(&self, link: LinkId, item: Received) -> Result<(), Received> {
        match self {
            To::Own { frames, bell, .. } => {
                let full = frames.try_send(item).err().filter(TrySendError::is_full);
                bell.get().into_iter().for_each(Bell::ring);
                full.map_or(Ok(()), |full| Err(full.into_inner()))
            }
            To::Shared(frames) => match frames.try_send((link, item)) {
                Err(TrySendError::Full((_, item))) => Err(item),
                _ => Ok(()),
            },
        }
    }
}
