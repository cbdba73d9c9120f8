//! Coordinator: what the user holds. Links come and go, events go out, the status of each is at
//! hand.

mod builder;
mod follow;
mod in_band;
mod links;
mod observe;
pub(crate) mod thread;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use log::warn;

use crate::base::limits::Needs;
use crate::base::spawn::{self, Thread};
use crate::base::stopping::{self, Patience};
use crate::error::Error;
use crate::event::{Event, Identity, LinkId, Status};
use crate::event_queue::EventQueue;
use crate::heartbeat::Heartbeat;
use crate::links::dial::{Dialer, Promise};
use crate::links::driver::Driver;
use crate::links::handle::Handle;
use crate::links::medium::Medium;
use crate::links::out::queues::Queues;
use crate::links::seat;
use crate::links::seat::Seat;
use crate::links::seat::Shared;
use crate::links::watch::watch;
use crate::net::tls::Secure;
use crate::protocol::Protocol;
use crate::protocol::guarded::Guarded;
use crate::sys::{Bell, Own};
use crate::target::Target;

pub use builder::Builder;

use links::{Links, Running, join};

/// The longest queue of events: 130 MB.
const MOST_EVENTS: usize = 1 << 20;

/// Keeps connections open, beats on them, and says what happens to them.
///
/// Each link has one thread of its own; what happens goes over a crossbeam channel to
/// [`events`](Coordinator::events). All methods take `&self`, so links may come and go from any
/// thread.
///
/// Dropping a coordinator tells every thread to end and does not wait for any;
/// [`stop`](Coordinator::stop) waits.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use keepbeat::{Coordinator, EventKind, Exchange, Heartbeat, Responder, State};
///
/// let answering = || Exchange::answering("heartbeat", "heartbeat_ack");
/// let responder = Responder::bind("127.0.0.1:0", answering)?;
/// let coordinator = Coordinator::new()?;
/// let beat = Heartbeat::every(Duration::from_secs(10));
/// let exchange = Exchange::new("heartbeat", "heartbeat_ack");
/// let link = coordinator.watch(responder.local_addr(), beat, exchange)?;
/// for event in coordinator.events() {
///     if let EventKind::State { to, .. } = event.kind() {
///         assert_eq!((*to, event.link()), (State::Up, Some(link)));
///         break;
///     }
/// }
/// coordinator.stop()?;
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[must_use = "dropping it stops its links"]
pub struct Coordinator {
    own: Own<Inner>,
}

/// Whether the pace of a link can be changed while it runs.
enum Pace {
    Fixed(Duration),
    Of(Heartbeat),
}

struct Inner {
    shared: Arc<Shared>,
    queues: Arc<Queues>,
    events: Receiver<Event>,
    links: Arc<Mutex<Links>>,
    next: AtomicU64,
    quit: Arc<AtomicBool>,
    thread: Mutex<Option<Thread>>,
    stack: usize,
    seed: u64,
}

impl Coordinator {
    /// A coordinator with default settings.
    ///
    /// # Errors
    ///
    /// No thread left on this machine.
    pub fn new() -> Result<Coordinator, Error> {
        Coordinator::builder().build()
    }

    /// Settings first.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Opens a connection of its own to `target`, beats on it, and opens it again whenever it is
    /// lost.
    ///
    /// Returns at once: name resolution and connecting happen on the link's thread, and what comes
    /// of them is told by events. The first state event is to Up or to Down.
    ///
    /// # Errors
    ///
    /// A target or heartbeat that cannot work, or one under TLS without the feature `tls`; no room
    /// on this machine for another descriptor, thread or mapping ([`Error::is_limit`], with the
    /// numbers and the remedy); a coordinator that has stopped.
    pub fn watch<T>(
        &self,
        target: T,
        heartbeat: Heartbeat,
        protocol: impl Protocol + 'static,
    ) -> Result<LinkId, Error>
    where
        T: TryInto<Target>,
        Error: From<T::Error>,
    {
        let target: Target = target.try_into()?;
        let secure = checked(&target, &heartbeat)?;
        let protocol = Guarded::new(Box::new(protocol));
        let pace = Pace::Of(heartbeat.clone());
        let (name, shown) = (target.name(), target.to_string());
        self.admit(Needs::WATCH)?;
        let promise = Promise::new(&self.own.shared);
        let make = move |seat: Seat| {
            let (handle, shared) = (Arc::clone(&seat.handle), Arc::clone(&seat.shared));
            let dialer = Dialer { handle, shared, target, secure, carries_data: false, promise };
            watch(seat, dialer, heartbeat, protocol)
        };
        Ok(self.start(name, shown, pace, make)?.who.id)
    }

    /// Whether [`watch`](Coordinator::watch) would take this target and heartbeat. Nothing is
    /// started: for a check of settings, all of them at once.
    ///
    /// # Errors
    ///
    /// What `watch` would say of them.
    pub fn check(target: &Target, heartbeat: &Heartbeat) -> Result<(), Error> {
        checked(target, heartbeat).map(drop)
    }

    /// Starts the thread of a link, of whatever kind. One without a name gets a number.
    ///
    /// The link is made here and not on its own thread: what that takes of the stack, three pages,
    /// would stay with each of them for life.
    fn start<M: Medium + Send + 'static>(
        &self,
        name: String,
        target: String,
        pace: Pace,
        make: impl FnOnce(Seat) -> Driver<M>,
    ) -> Result<Arc<Handle>, Error> {
        let id = LinkId(self.own.next.fetch_add(1, Ordering::Relaxed));
        let name = if name.is_empty() { format!("follow-{}", id.0) } else { name };
        let who = Identity { id, name, target };
        let (handle, interval) = match pace {
            Pace::Fixed(interval) => (Handle::new(who), interval),
            Pace::Of(heartbeat) => {
                let (interval, slack) = (heartbeat.interval, self.own.shared.timer_slack);
                (Handle::with_pace(who, heartbeat, slack), interval)
            }
        };
        let handle = Arc::new(handle);
        let seed = self.own.seed ^ id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (theirs, shared) = (Arc::clone(&handle), Arc::clone(&self.own.shared));
        let mut driver = Box::new(make(Seat { handle: theirs, shared, seed }));
        let (theirs, shared) = (Arc::clone(&handle), Arc::clone(&self.own.shared));
        let body = move || seat::run(theirs, &shared, interval, move || driver.run());
        let thread = format!("keepbeat-{}", id.0);
        let mut links = self.links()?;
        if links.stopped {
            return Err(Error::stopped());
        }
        let feed = &self.own.shared.feed;
        let running = feed.links.fetch_add(1, Ordering::SeqCst);
        match spawn::spawn(&thread, self.own.stack, body) {
            Ok(thread) => {
                let running = Running { handle: Arc::clone(&handle), thread: Some(thread) };
                links.running.insert(id, running);
                feed.knock.knock();
                Ok(handle)
            }
            Err(error) => {
                feed.links.fetch_sub(1, Ordering::SeqCst);
                Err(Error::limit(format!("no thread for link {running}: {error}")))
            }
        }
    }

    /// The main queue of events. Every clone of it takes from the same queue; for a copy of all
    /// events use [`subscribe`](Coordinator::subscribe). After [`stop`](Coordinator::stop) it ends.
    ///
    /// Changes arrive at once, acks within a quarter of a second (each with its own time). A queue
    /// that is full loses the newest events and says how many ([`EventKind::Overflowed`]).
    ///
    /// [`EventKind::Overflowed`]: crate::EventKind::Overflowed
    pub fn events(&self) -> &Receiver<Event> {
        &self.own.events
    }

    /// A queue of its own, with a copy of each event from now on. A slow reader of it costs nobody
    /// else. Drop the receiver to end it.
    ///
    /// Its room, some 130 bytes an event, is made at once; a capacity over 1,048,576 counts as
    /// that.
    pub fn subscribe(&self, capacity: usize) -> Receiver<Event> {
        match self.at_home() {
            Ok(inner) => inner.queues.add(capacity.min(MOST_EVENTS)),
            Err(_) => bounded(0).1, // whose other end is gone
        }
    }

    /// As [`subscribe`](Coordinator::subscribe), with a descriptor that is readable while events
    /// wait: for programs that wait in poll or epoll.
    ///
    /// # Errors
    ///
    /// No descriptor left ([`Error::is_limit`]); a forked child.
    pub fn event_queue(&self, capacity: usize) -> Result<EventQueue, Error> {
        let queues = &self.at_home()?.queues;
        let bell = Bell::new().map_err(Error::no_descriptor)?;
        let bell = Arc::new(bell);
        let events = queues.add_with(capacity.min(MOST_EVENTS), Some(Arc::clone(&bell)));
        Ok(EventQueue::new(events, bell))
    }

    /// The status of a link, at this moment.
    ///
    /// # Errors
    ///
    /// No such link.
    pub fn status(&self, link: LinkId) -> Result<Status, Error> {
        Ok(self.handle(link)?.status().clone())
    }

    /// The status of every link, in the order in which they were made.
    pub fn statuses(&self) -> Vec<Status> {
        let Ok(mut links) = self.links() else { return Vec::new() };
        links.join_ended(self.own.shared.feed.take_ended());
        let handles: Vec<_> =
            links.running.values().map(|running| Arc::clone(&running.handle)).collect();
        drop(links);
        let mut all: Vec<_> = handles.iter().map(|handle| handle.status().clone()).collect();
        all.sort_unstable_by_key(|status| status.link);
        all
    }

    /// No beats and no attempts to connect, from the next planned one on. The connection stays
    /// open, its end is still told, and a beat on its way is still judged.
    ///
    /// # Errors
    ///
    /// No such link.
    pub fn pause(&self, link: LinkId) -> Result<(), Error> {
        self.handle(link)?.set_paused(true);
        Ok(())
    }

    /// Beats again, from the next planned one on: at most one interval from now.
    ///
    /// # Errors
    ///
    /// No such link.
    pub fn resume(&self, link: LinkId) -> Result<(), Error> {
        self.handle(link)?.set_paused(false);
        Ok(())
    }

    /// Changes how often a link beats, and what follows from that, while it runs: of this
    /// heartbeat the interval, timeout, fall, rise, jitter, backoff, connect timeout and
    /// [`prove_every`](Heartbeat::prove_every). All else stays as the link was made.
    ///
    /// The next beat is planned anew, at most one new interval from now; links that are changed
    /// together spread out over it. A beat on its way is judged as it was sent. A watched link
    /// waits on its connection alone, where nobody can wake it: there it holds from the beat or
    /// attempt on that was planned before.
    ///
    /// # Errors
    ///
    /// What cannot work, also with what stays; no such link; one that is observed, whose pace is
    /// set in the kernel: end that and observe again.
    pub fn set_heartbeat(&self, link: LinkId, heartbeat: &Heartbeat) -> Result<(), Error> {
        self.handle(link)?.set_heartbeat(heartbeat)
    }

    /// Ends a link and waits for its thread, a few milliseconds as a rule. From within the link's
    /// own protocol it only tells it to end.
    ///
    /// # Errors
    ///
    /// No such link; or its thread is still busy after 0.9 s, inside name resolution, or in
    /// a protocol or a `send` that blocks, which cannot be woken: then it ends by itself, and
    /// [`Error::is_left_behind`] says so.
    pub fn remove(&self, link: LinkId) -> Result<(), Error> {
        self.remove_within(link, stopping::AT_STOP)
    }

    /// As [`remove`](Coordinator::remove), and waits so long at most.
    ///
    /// # Errors
    ///
    /// As `remove`.
    pub fn remove_within(&self, link: LinkId, limit: Duration) -> Result<(), Error> {
        let running = self.links()?.running.remove(&link).ok_or_else(|| Error::unknown(link))?;
        running.handle.stop();
        match running.thread {
            Some(thread) if !running.handle.is_current_thread() => {
                join(vec![(running.handle, thread)], Patience::until(soon(limit)))
            }
            _ => Ok(()),
        }
    }

    /// Tells a link to end, and does not wait for it; it is forgotten as soon as its thread has
    /// ended.
    ///
    /// # Errors
    ///
    /// No such link.
    pub fn end(&self, link: LinkId) -> Result<(), Error> {
        let handle = self.handle(link)?;
        handle.release();
        handle.stop();
        self.own.shared.feed.is_over(link);
        Ok(())
    }

    /// Ends every link and joins every thread, within one second, also while links are blocked in
    /// connect, read, write or backoff; where thousands of threads on a busy machine take longer,
    /// as long as they go on ending, and 10 s at most. What was reported until then can still be
    /// read from the queues, which end after it; so can the status of each link, as it was at the
    /// end.
    ///
    /// A second call waits until the queues have ended, and tells nothing of threads that the first
    /// left behind. A call from within a link's own protocol does not wait for that link.
    ///
    /// # Errors
    ///
    /// [`Error::is_left_behind`] names links whose threads were still busy when no other had ended
    /// for a while, after 0.9 s at the soonest: inside name resolution, in a protocol or a `send`
    /// that blocks, which nothing can wake, or on a machine that is starved. They have been told,
    /// and end by themselves. In a forked child, which has none of the threads, it does nothing and
    /// says so.
    pub fn stop(&self) -> Result<(), Error> {
        self.stop_by(Patience::new(Instant::now()), None)
    }

    /// As [`stop`](Coordinator::stop), and comes back after `limit` in any case; at most 0.9 s are
    /// spent on links. Whoever is left then ends by itself, and the queues end after that.
    ///
    /// # Errors
    ///
    /// As `stop`; and where `limit` was shorter than the threads took.
    pub fn stop_within(&self, limit: Duration) -> Result<(), Error> {
        let deadline = soon(limit);
        let links = Patience::until(deadline.min(soon(stopping::AT_STOP)));
        self.stop_by(links, Some(deadline))
    }

    fn stop_by(&self, links: Patience, all: Option<Instant>) -> Result<(), Error> {
        let inner = self.at_home()?;
        let mut running = inner.signal_all();
        let before = running.len();
        running.retain(|(handle, _)| !handle.is_current_thread());
        let from_a_link = running.len() < before;
        inner.quit();
        let result = join(running, links);
        // The thread hands out the last words of the links; on a link's own thread nobody can wait
        // for those.
        if from_a_link {
            return result;
        }
        result.and(inner.join_own(all))
    }

    /// Room on this machine for one more link, before anything of it is opened.
    fn admit(&self, needs: Needs) -> Result<(), Error> {
        let mut links = self.links()?;
        if links.stopped {
            return Err(Error::stopped());
        }
        links.join_ended(self.own.shared.feed.take_ended());
        links.room.take(needs, self.own.shared.promised.load(Ordering::SeqCst))
    }

    /// In a forked child nothing may be locked: whoever holds a lock is not there to give it back.
    fn at_home(&self) -> Result<&Inner, Error> {
        self.own.at_home().ok_or_else(Error::forked)
    }

    fn handle(&self, link: LinkId) -> Result<Arc<Handle>, Error> {
        let links = self.links()?;
        let running = links.running.get(&link).ok_or_else(|| Error::unknown(link))?;
        Ok(Arc::clone(&running.handle))
    }

    fn links(&self) -> Result<MutexGuard<'_, Links>, Error> {
        Ok(locked(&self.at_home()?.links))
    }
}

fn locked(links: &Mutex<Links>) -> MutexGuard<'_, Links> {
    links.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn quit(&self) {
        self.quit.store(true, Ordering::SeqCst);
        self.shared.feed.knock.knock();
    }

    /// Waits for the coordinator's thread. Whoever comes second waits here for the first.
    fn join_own(&self, deadline: Option<Instant>) -> Result<(), Error> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = thread.take() else { return Ok(()) };
        if let Some(deadline) = deadline {
            return own.join_by(deadline).map_err(|own| {
                *thread = Some(own); // for whoever stops it next
                Error::left_behind("the coordinator's own thread is still busy")
            });
        }
        if own.join().is_err() {
            warn!("the coordinator's thread panicked: a bug in keepbeat");
        }
        Ok(())
    }

    /// Tells every link to end; the threads that nobody waits for yet.
    fn signal_all(&self) -> Vec<(Arc<Handle>, Thread)> {
        let mut links = locked(&self.links);
        links.stopped = true;
        let mut threads = Vec::with_capacity(links.running.len());
        for running in links.running.values_mut() {
            running.handle.stop();
            threads.extend(running.thread.take().map(|t| (Arc::clone(&running.handle), t)));
        }
        threads.extend(self.shared.sides.stop());
        threads
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.signal_all();
        self.quit();
    }
}

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let links = self.links().map_or(0, |links| links.running.len());
        f.debug_struct("Coordinator").field("links", &links).finish_non_exhaustive()
    }
}

/// So long from now; more than a year is as good as that.
fn soon(limit: Duration) -> Instant {
    Instant::now() + limit.min(Duration::from_secs(365 * 24 * 3600))
}

/// What a watched link is made with, where its target and heartbeat can work.
fn checked(target: &Target, heartbeat: &Heartbeat) -> Result<Option<Secure>, Error> {
    heartbeat.check()?;
    heartbeat.check_watch()?;
    Secure::of(target)
}
