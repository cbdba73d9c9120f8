//! Settings of a coordinator, and its start.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::base::gate::Gate;
use crate::base::spawn;
use crate::error::Error;
use crate::links::out::feed::Feed;
use crate::links::out::queues::Queues;
use crate::links::out::readers::Readers;
use crate::links::resolve::{Resolve, by_system};
use crate::links::seat::Shared;
use crate::links::side::Sides;
use crate::sys::Own;

use super::links::Links;
use super::thread;
use super::{Coordinator, Inner, MOST_EVENTS};

/// Of so many links at once side connections are made.
const MOST_SIDES: usize = 64;

/// Settings of a [`Coordinator`].
#[must_use = "nothing runs before `build`"]
pub struct Builder {
    events: usize,
    connects_per_second: u32,
    timer_slack: Duration,
    background: bool,
    stack: usize,
    seed: Option<u64>,
    resolve: Box<Resolve>,
    sides_at_once: usize,
    sides_per_minute: u32,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            events: 4096,
            connects_per_second: 1000,
            timer_slack: Duration::from_millis(5),
            background: false,
            stack: spawn::STACK,
            seed: None,
            resolve: Box::new(by_system),
            sides_at_once: 8,
            sides_per_minute: 60,
        }
    }
}

impl Builder {
    /// How many events the main queue holds until some are lost. Default 4096, about half a
    /// megabyte, made at once; at most 1,048,576.
    pub fn events_capacity(mut self, events: usize) -> Builder {
        self.events = events;
        self
    }

    /// How many connections are opened a second at most, over all links. Default 1000, at least 1.
    /// A tenth of a second's worth may go at once.
    pub fn connects_per_second(mut self, connects: u32) -> Builder {
        self.connects_per_second = connects;
        self
    }

    /// How late the kernel may fire a link's timers, so that one wake-up of the processor serves
    /// several. Default 5 ms, and never more than 1/200 of the link's interval. Costs punctuality
    /// of the beats, not precision of round-trip times.
    pub fn timer_slack(mut self, slack: Duration) -> Builder {
        self.timer_slack = slack;
        self
    }

    /// Whether links run in the background, as batch work (`SCHED_BATCH`; on Linux alone). Default:
    /// no. A link that wakes then waits until a processor is free, in the place of interrupting
    /// who runs.
    ///
    /// With thousands of links that saves processor time at each beat. It costs punctuality where
    /// the processors are busy: a beat may go out some milliseconds later, and its ack may be seen
    /// as much later, which the round-trip time then includes. On an idle machine nothing is later.
    pub fn background(mut self, background: bool) -> Builder {
        self.background = background;
        self
    }

    /// The stack of a link's thread, in bytes. Default 256 KiB, of virtual memory: what is not used
    /// costs nothing. Raise it for a protocol that needs more.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack = bytes;
        self
    }

    /// The budget of [side connections](crate::Diagnose::side_connections), over all links: of so
    /// many links at once, and so many connections a minute. A quarter of a minute's worth may be
    /// opened at once, so that no minute sees more than five quarters. Default 8 and 60; 0 of
    /// either for none. More than 64 links at once count as 64: each has a thread and a descriptor,
    /// which no link's share of the machine's limits covers.
    pub fn side_connections(mut self, at_once: usize, per_minute: u32) -> Builder {
        (self.sides_at_once, self.sides_per_minute) = (at_once.min(MOST_SIDES), per_minute);
        self
    }

    /// The seed of all jitter. Default: drawn anew each time.
    pub fn seed(mut self, seed: u64) -> Builder {
        self.seed = Some(seed);
        self
    }

    /// How names become addresses. Default: the system's resolver. Called on a link's own thread,
    /// at each attempt; it may block.
    pub fn resolver(
        mut self,
        resolve: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Builder {
        self.resolve = Box::new(resolve);
        self
    }

    /// Starts the coordinator's thread.
    ///
    /// # Errors
    ///
    /// A rate of 0 connects a second, or no thread left on this machine.
    pub fn build(self) -> Result<Coordinator, Error> {
        if self.connects_per_second == 0 {
            return Err(Error::invalid("0 connects a second cannot work: use 1 or more"));
        }
        if self.events > MOST_EVENTS {
            return Err(Error::invalid(format!(
                "a queue of {} events cannot work: its room is made at once; use {MOST_EVENTS} at \
                 most",
                self.events
            )));
        }
        let (feed, reports) = Feed::new();
        let feed = Arc::new(feed);
        let readers = Arc::new(Readers::new(Arc::clone(&feed.knock)));
        let queues = Arc::new(Queues::default());
        let events = queues.add(self.events);
        let quit = Arc::new(AtomicBool::new(false));
        let links = Arc::<Mutex<Links>>::default();
        let body = {
            let (feed, queues, quit) = (Arc::clone(&feed), Arc::clone(&queues), Arc::clone(&quit));
            let links = Arc::clone(&links);
            let readers = Arc::clone(&readers);
            let let_go = move |ended| super::locked(&links).join_ended(ended);
            move || thread::run(feed, reports, queues, quit, readers, let_go)
        };
        let thread = spawn::spawn("keepbeat", spawn::STACK, body)
            .map_err(|error| Error::io("no thread for the coordinator", error))?;
        let shared = Arc::new(Shared {
            feed,
            gate: Gate::new(self.connects_per_second, Instant::now()),
            resolve: self.resolve,
            timer_slack: self.timer_slack,
            background: self.background,
            readers,
            promised: AtomicU64::new(0),
            sides: Sides::new(self.sides_at_once, self.sides_per_minute, Instant::now()),
            lookers: Arc::default(),
            interfaces: Default::default(),
            roster: Mutex::default(),
        });
        let inner = Inner {
            shared,
            queues,
            events,
            links,
            next: AtomicU64::new(1),
            quit,
            thread: Mutex::new(Some(thread)),
            stack: self.stack,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..)),
        };
        Ok(Coordinator { own: Own::new(inner) })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("events", &self.events).finish_non_exhaustive()
    }
}
