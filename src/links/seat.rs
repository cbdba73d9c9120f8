//! What a link has from its coordinator, what all links of one share, and the frame around the life
//! of a link's thread.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::base::gate::Gate;
use crate::cause::{Cause, Loss};
use crate::event::{Event, EventKind};
use crate::links::handle::{self, Handle};
use crate::links::inquiry::own_side::Interfaces;
use crate::links::out::feed::Feed;
use crate::links::out::readers::Readers;
use crate::links::resolve::Resolve;
use crate::links::side::Sides;
use crate::pulse::Roster;
use crate::state::State;
use crate::sys;

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
