//! ACTS, together with [`links`](crate::links): what all links of a coordinator share, the thread
//! that hands out what they report, and what an inquiry into one of them does outside. Threads and
//! `Instant::now` are in these two alone.

pub(crate) mod certificate;
mod coordinator;
pub(crate) mod feed;
pub(crate) mod gate;
pub(crate) mod inquiry;
pub(crate) mod limits;
pub(crate) mod looks;
mod member;
pub(crate) mod overheard;
mod own_side;
pub(crate) mod queues;
pub(crate) mod readers;
mod relic;
pub(crate) mod resolve;
pub(crate) mod scene;
pub(crate) mod side;
pub(crate) mod spawn;
pub(crate) mod stopping;
mod suspension;
pub(crate) mod verdict;
mod zone;

// Files that stand here take what has moved by its old path.
pub(crate) use crate::links::{connect, handle, reporter};
pub(crate) use crate::net::{connection as socket, inbox, tls};
pub(crate) use crate::protocol::guarded;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::cause::{Cause, Loss};
use crate::event::{Event, EventKind};
use crate::pulse::Roster;
use crate::state::State;
use crate::sys;

pub(crate) use coordinator::run as run_coordinator;

use feed::Feed;
use gate::Gate;
use handle::Handle;
use own_side::Interfaces;
use readers::Readers;
use resolve::Resolve;
use side::Sides;

/// What all links of a coordinator share.
pub(crate) struct Shared {
    pub(crate) feed: Arc<Feed>,
    pub(crate) gate: Gate,
    pub(crate) resolve: Box<Resolve>,
    pub(crate) timer_slack: Duration,
    /// Links wait for a free processor.
    pub(crate) background: bool,
    /// Sockets that links will want and that are not open at this moment.
    pub(crate) promised: AtomicU64,
    pub(crate) readers: Arc<Readers>,
    pub(crate) sides: Sides,
    /// Links that look at a beat which is not answered.
    pub(crate) lookers: Arc<AtomicU32>,
    pub(crate) interfaces: Interfaces,
    /// Held for some nanoseconds.
    pub(crate) roster: Mutex<Roster<IpAddr>>,
}

/// What every link, of whatever kind, has from its coordinator.
pub(crate) struct Seat {
    pub(crate) handle: Arc<Handle>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) seed: u64,
}

/// The whole life of a link's thread.
pub(crate) fn run(handle: Arc<Handle>, shared: &Shared, interval: Duration, body: impl FnOnce()) {
    handle.enter();
    sys::set_timer_slack(handle::slack(shared.timer_slack, interval));
    if shared.background {
        sys::run_in_background();
    }
    let _leaving = Leaving { handle, feed: Arc::clone(&shared.feed) };
    body();
}

/// Says that the thread is over, however it ends.
struct Leaving {
    handle: Arc<Handle>,
    feed: Arc<Feed>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell_panic();
        }
        self.handle.leave();
        self.feed.leave(self.handle.who.id); // the last deed: from here on nothing is touched
    }
}

impl Leaving {
    /// Whatever it was, a logger of the host say: the link is Down, and that is told.
    fn tell_panic(&self) {
        let who = &self.handle.who;
        let loss = Loss::new(Cause::ProtocolPanicked, "the link's thread panicked");
        let mut status = self.handle.status();
        let from = status.state;
        status.turn(State::Down, Instant::now());
        status.loss = Some(loss.clone());
        status.ended = true;
        drop(status);
        let down = EventKind::State {
            from,
            to: State::Down,
            loss: Some(loss),
            down: None,
            diagnosis: None,
        };
        for kind in [down, EventKind::Ended] {
            let link = Some(Arc::clone(who));
            let event =
                Event { time: SystemTime::now(), link, peer: None, certificate: None, kind };
            self.feed.push(event, true);
        }
    }
}
