//! Link: a connection that keepbeat looks after and the application talks on. Whole frames out,
//! whole frames in, beats between them.

mod settings;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

use crate::cause::{Cause, Loss};
use crate::error::Error;
use crate::event::{LinkId, Status};
use crate::links::handle::Handle;
use crate::links::in_band::outlet::{Command, LINGER, Outlet, WriteLimit};
use crate::links::out::feed::Feed;
use crate::links::out::received::{Received, Returned};
use crate::sys::{Bell, Own};

pub use settings::{Adopt, Connect};

/// How long a close with nothing to send waits for name resolution, as a stop does.
const IN_RESOLUTION: Duration = Duration::from_millis(900);

/// More is as good as for ever, and clocks can count it.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A connection that keepbeat looks after and the application talks on: its own, handed over by
/// [`Coordinator::adopt`](crate::Coordinator::adopt), or one that keepbeat opens and opens again,
/// [`Coordinator::connect`](crate::Coordinator::connect).
///
/// The application sends whole frames from any thread and takes whole frames from a bounded
/// channel. Beats go out between frames, never inside one; beats of the peer are answered. One
/// thread of keepbeat's reads; nobody else does.
///
/// * **A slow reader** of [`frames`](Link::frames) makes backpressure, not memory: nothing more is
///   read from the connection until it takes some. Its slowness is not told as the peer's death.
/// * **A peer that does not read** stalls writers, up to the write timeout; then the connection is
///   lost with `write-stalled`. That the connection has died is found in the usual time
///   nonetheless.
/// * **At the end** every writer and every reader learns at once that it is over, and why.
///
/// Dropping the last handle of a link closes it, without waiting. What was known by then of its
/// connection is told by the events before [`Ended`](crate::EventKind::Ended): a loss is a Down with
/// its cause, however the link is let go.
///
/// A forked child may drop its copy, which does nothing to the connection, and do nothing else with
/// it ([`Error::is_forked`]).
///
/// # Examples
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use std::time::Duration;
/// use keepbeat::{Coordinator, Framed, Heartbeat, Role};
///
/// // Both ends in one program; `PING` and `PONG` are the beats, all other lines are data.
/// let coordinator = Coordinator::new()?;
/// let lines = || Framed::lines("PING", "PONG").expect("two different lines");
/// let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
/// let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
/// let (server, _) = listener.accept().expect("loopback");
///
/// let beat = Heartbeat::every(Duration::from_secs(15)).when_idle();
/// let client = coordinator.adopt(client, beat.clone(), lines())?;
/// let server = coordinator.adopt(server, beat.role(Role::Passive), lines())?;
///
/// client.send(b"HELLO")?;
/// assert_eq!(server.data().next().as_deref(), Some(b"HELLO".as_slice()));
/// client.close()?;
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[must_use = "dropping it closes the connection"]
pub struct Link {
    held: Arc<Own<Held>>,
}

/// What all handles of one link hold together.
struct Held {
    handle: Arc<Handle>,
    feed: Arc<Feed>,
    outlet: Arc<Outlet>,
    frames: Receiver<Received>,
    /// Rung when something waits in `frames`, once somebody has asked for it.
    readable: Arc<OnceLock<Bell>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may be over already.
        let _ = self.close(None);
        self.handle.release();
        self.feed.is_over(self.handle.who.id);
    }
}

impl Held {
    /// Where frames wait for the connection that is being opened, that is waited for.
    fn close(&self, told: Option<(Sender<Result<(), Error>>, Instant)>) -> Result<(), Error> {
        self.outlet.ask(Command::Close(told))?;
        if self.outlet.waiting() == 0 {
            self.handle.give_up_dialing();
        }
        Ok(())
    }

    /// The time for closing is up: the link ends by itself, as soon as it can.
    fn abandon(&self, limit: Duration) -> Error {
        let name = &self.handle.who.name;
        let waiting = self.outlet.waiting();
        self.handle.give_up_dialing();
        self.handle.stop();
        if self.handle.is_resolving() {
            let place = "its thread is in name resolution, which nothing can wake";
            return Error::left_behind(format!("{name} is not closed after {limit:.1?}: {place}"));
        }
        let why = match waiting {
            0 => "the peer or the protocol took longer".to_owned(),
            n => format!("{n} frames still wait for a connection, and are not sent"),
        };
        Error::unsent(format!("{name} is not closed after {limit:.1?}: {why}"))
    }
}

impl Link {
    pub(crate) fn new(
        handle: Arc<Handle>,
        feed: Arc<Feed>,
        outlet: Arc<Outlet>,
        frames: Receiver<Received>,
        readable: Arc<OnceLock<Bell>>,
    ) -> Link {
        Link { held: Arc::new(Own::new(Held { handle, feed, outlet, frames, readable })) }
    }

    /// In a forked child nothing may be locked or written.
    fn at_home(&self) -> Result<&Held, Error> {
        self.held.at_home().ok_or_else(Error::forked)
    }

    /// Its number within its coordinator.
    pub fn id(&self) -> LinkId {
        self.held.handle.who.id
    }

    /// Its status at this moment.
    pub fn status(&self) -> Status {
        self.held.handle.snapshot(self.held.is_forked())
    }

    /// Why the link is over, if it is. A link that reconnects is not over while it is down.
    pub fn loss(&self) -> Option<Loss> {
        match self.at_home() {
            Ok(held) => held.outlet.over(),
            Err(error) => Some(Loss::new(Cause::Stopped, error.to_string())),
        }
    }

    /// Sends `data` as one whole frame, and says which number it has on this link, from 1.
    ///
    /// Waits its turn behind other writers, and for a peer that is slow to read, up to the
    /// heartbeat's write timeout. A frame that cannot be written within it means the end of the
    /// connection, `write-stalled`: the peer does not read. `Ok` means that the frame is with the
    /// kernel, or in the queue of a link that reconnects; what became of it by the end of the
    /// connection is told by [`Received::Lost`].
    ///
    /// On a link that reconnects and has just been made it waits for the first connection.
    ///
    /// # Errors
    ///
    /// After an error nobody has got the frame, not even in part as far as frames are understood.
    /// Data that the protocol cannot frame, or over its limit ([`Error::is_invalid`]); the link or
    /// its connection is down ([`Error::cause`]); the time was up while others wrote
    /// ([`Error::is_timeout`]); a forked child ([`Error::is_forked`]).
    pub fn send(&self, data: impl AsRef<[u8]>) -> Result<u64, Error> {
        self.at_home()?.outlet.send(data.as_ref(), WriteLimit::WriteTimeout, None)
    }

    /// As [`send`](Link::send), but does not wait: where it would have to, nothing is sent.
    ///
    /// # Errors
    ///
    /// As `send`; and [`Error::is_busy`] where it would have to wait.
    pub fn try_send(&self, data: impl AsRef<[u8]>) -> Result<u64, Error> {
        self.at_home()?.outlet.send(data.as_ref(), WriteLimit::Never, None)
    }

    /// As [`send`](Link::send), but waits until `deadline` at most. A frame that was begun by then
    /// is sent to its end without the caller.
    ///
    /// # Errors
    ///
    /// As `send`; [`Error::is_timeout`] where the deadline passed and nothing of it was sent.
    pub fn send_deadline(&self, data: impl AsRef<[u8]>, deadline: Instant) -> Result<u64, Error> {
        self.at_home()?.outlet.send(data.as_ref(), WriteLimit::Until(deadline), None)
    }

    /// As [`send`](Link::send), and tells the number of the frame to `note` before a byte of it has
    /// left: from then on the peer may answer it, or its connection may be lost and the frame be in
    /// doubt, before `send` has come back with the number. With a deadline it waits as
    /// [`send_deadline`](Link::send_deadline).
    ///
    /// `note` runs on the calling thread, in its turn: other writers wait for it, so it only takes
    /// a note. After an error the number is given to the next frame.
    ///
    /// ```
    /// # use std::net::{TcpListener, TcpStream};
    /// # use std::collections::BTreeMap;
    /// # use std::sync::Mutex;
    /// # use keepbeat::{Coordinator, Framed, Heartbeat};
    /// # let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    /// # let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    /// # let coordinator = Coordinator::new()?;
    /// # let lines = Framed::lines("PING", "PONG")?;
    /// # let link = coordinator.adopt(stream, Heartbeat::default(), lines)?;
    /// let journal = Mutex::new(BTreeMap::new());
    /// let order = "OPEN 7";
    /// link.send_noted(order, None, |number| {
    ///     journal.lock().expect("nobody panics").insert(number, order);
    /// })?;
    /// # assert_eq!(journal.lock().expect("nobody panics").get(&1), Some(&order));
    /// # Ok::<(), keepbeat::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As `send`.
    pub fn send_noted(
        &self,
        data: impl AsRef<[u8]>,
        deadline: Option<Instant>,
        note: impl FnOnce(u64),
    ) -> Result<u64, Error> {
        let patience = deadline.map_or(WriteLimit::WriteTimeout, WriteLimit::Until);
        let mut note = Some(note);
        let mut once = |number| note.take().into_iter().for_each(|note| note(number));
        self.at_home()?.outlet.send(data.as_ref(), patience, Some(&mut once))
    }

    /// The number of the last frame that the peer is known to have read, 0 if of none it is. So it
    /// has read all before it, but for those that a [`Received::Lost`] has told as in doubt.
    ///
    /// Known by the acks of beats, and by [`answered`](Link::answered).
    pub fn read_by_peer(&self) -> u64 {
        self.at_home().map_or(0, |held| held.outlet.read_by_peer())
    }

    /// The application knows that the peer has read every frame up to this number: it has answered
    /// it. Such frames are never in doubt, and with
    /// [`when_idle`](crate::Heartbeat::when_idle) they need no beat to prove them.
    pub fn answered(&self, number: u64) {
        if let Ok(held) = self.at_home() {
            held.outlet.answered(number);
        }
    }

    /// What comes from the peer: the application's frames, no beats. Bounded; while it is full
    /// nothing more is read from the connection. Ends when the link is over, and is over from the
    /// start where frames go [elsewhere](crate::Adopt::deliver_to).
    ///
    /// Every clone of it takes from the same queue. It works with crossbeam's `select!`.
    pub fn frames(&self) -> &Receiver<Received> {
        &self.held.frames
    }

    /// A descriptor that is readable while something waits in [`frames`](Link::frames), and for
    /// ever once the link is over: for poll, epoll, or whatever stands on them. Take what waits by
    /// [`try_frame`](Link::try_frame), and never read from or close the descriptor itself.
    ///
    /// It is opened by the first call.
    ///
    /// # Errors
    ///
    /// No descriptor left ([`Error::is_limit`]); a forked child.
    pub fn frames_fd(&self) -> Result<BorrowedFd<'_>, Error> {
        let held = self.at_home()?;
        if held.readable.get().is_none() {
            let bell = Bell::new().map_err(Error::no_descriptor)?;
            let _ = held.readable.set(bell); // another thread may have been faster
            // What came before that was rung for by nobody.
            let bell = held.readable.get().filter(|_| !held.frames.is_empty() || self.is_over());
            bell.into_iter().for_each(Bell::ring);
        }
        Ok(held.readable.get().expect("set just now").as_fd())
    }

    /// What came first and was not taken yet. Where nothing waits, [`frames_fd`](Link::frames_fd)
    /// is not readable after it, until something comes.
    ///
    /// # Errors
    ///
    /// Nothing waits, or nothing will come any more: the link is over and all was taken.
    pub fn try_frame(&self) -> Result<Received, TryRecvError> {
        let held = self.at_home().map_err(|_| TryRecvError::Disconnected)?;
        Bell::take(held.readable.get(), &held.frames)
    }

    /// The data of each frame as it comes, until the link is over: for links on which nothing but
    /// data matters, or that do not reconnect.
    pub fn data(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.held.frames.iter().filter_map(Received::into_frame)
    }

    /// Another handle of the same link, for another thread that sends.
    ///
    /// # Errors
    ///
    /// The link is over, with its cause.
    pub fn try_clone(&self) -> Result<Link, Error> {
        match self.loss() {
            Some(loss) => Err(Error::lost(&loss)),
            None => Ok(Link { held: Arc::clone(&self.held) }),
        }
    }

    /// Closes the link in good order: what was sent goes out, then the protocol's farewell if it
    /// has one, then the end; up to a second is waited for the peer to close, too, because closing
    /// with bytes unread would turn into a reset that takes the last frames with it.
    ///
    /// Ends it for every other handle as well. Waits for the write timeout and that second at most;
    /// [`close_within`](Link::close_within) has a limit of its own.
    ///
    /// # Errors
    ///
    /// The link was over already, or what was begun could not be written within the write timeout.
    /// It is closed then, too.
    pub fn close(self) -> Result<(), Error> {
        let limit = self.at_home()?.outlet.patience() + LINGER - Instant::now();
        self.close_within(limit)
    }

    /// As [`close`](Link::close), and comes back after `limit` in any case.
    ///
    /// # Errors
    ///
    /// As `close`; and where the time was up ([`Error::is_timeout`]), with how many frames were not
    /// sent. The link ends by itself then, as soon as it can. It cannot be woken inside name
    /// resolution: with nothing to send, that is waited for at most 0.9 s, and told by
    /// [`Error::is_left_behind`].
    pub fn close_within(self, limit: Duration) -> Result<(), Error> {
        let held = self.at_home()?;
        let limit = limit.min(LONGEST);
        let (told, done) = bounded(1);
        let start = Instant::now();
        held.close(Some((told, start + limit - slack(limit))))?;
        for most in [limit.min(IN_RESOLUTION), limit] {
            match done.recv_deadline(start + most) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(self.over()),
                Err(RecvTimeoutError::Timeout) => {
                    if held.handle.is_resolving() && held.outlet.waiting() == 0 {
                        break;
                    }
                }
            }
        }
        Err(held.abandon(start.elapsed()))
    }

    /// Gives the connection back to the application, with whatever had come and was not taken.
    /// Frames that were begun are written to their end first. No beat follows, and the socket has
    /// the options that it came with.
    ///
    /// Ends the link for every other handle. Waits for the write timeout at most;
    /// [`into_stream_within`](Link::into_stream_within) has a limit of its own.
    ///
    /// # Errors
    ///
    /// The link is over or has no connection; what was begun could not be written within the write
    /// timeout; another handle is handing it back; or the connection is under TLS, where the socket
    /// alone is of no use (the link goes on until it is dropped).
    pub fn into_stream(self) -> Result<Returned, Error> {
        let limit = self.at_home()?.outlet.patience() - Instant::now();
        self.into_stream_within(limit)
    }

    /// As [`into_stream`](Link::into_stream), and comes back after `limit` in any case.
    ///
    /// # Errors
    ///
    /// As `into_stream`; and where the time was up ([`Error::is_timeout`]). While the link is being
    /// connected it goes on as it was; where it could not write what was begun, it is over.
    pub fn into_stream_within(self, limit: Duration) -> Result<Returned, Error> {
        let held = self.at_home()?;
        let limit = limit.min(LONGEST);
        let (to, answer) = bounded(1);
        let start = Instant::now();
        let until = start + limit - slack(limit);
        held.outlet.ask(Command::HandBack(to, until))?;
        let mut returned = match answer.recv_deadline(start + limit) {
            Ok(returned) => returned?,
            Err(RecvTimeoutError::Disconnected) => return Err(self.over()),
            Err(RecvTimeoutError::Timeout) => {
                let why = match held.outlet.ask_no_more(until) {
                    true => "it is being connected",
                    false => "its thread is busy",
                };
                let name = &held.handle.who.name;
                let text = format!("{name} is not handed back after {limit:.1?}: {why}");
                return Err(Error::unsent(text));
            }
        };
        // What was in the queue comes before what had no room in it.
        let mut frames: Vec<_> = held.frames.try_iter().filter_map(Received::into_frame).collect();
        frames.append(&mut returned.frames);
        Ok(Returned { frames, ..returned })
    }

    fn is_over(&self) -> bool {
        self.loss().is_some()
    }

    fn over(&self) -> Error {
        let stopped = || Loss::new(Cause::Stopped, "another handle has closed it");
        Error::lost(&self.loss().unwrap_or_else(stopped))
    }
}

/// So much sooner than the caller wants to be back the link's thread gives up what it was asked
/// for, to have time for the answer.
fn slack(limit: Duration) -> Duration {
    (limit / 8).min(Duration::from_millis(20))
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = &self.held.handle.who;
        f.debug_struct("Link").field("id", &who.id).field("name", &who.name).finish()
    }
}
