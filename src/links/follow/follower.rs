//! Follower: the application keeps its connection, reader and writer; keepbeat is told what came.

use std::fmt;
use std::sync::Arc;

use crate::cause::Loss;
use crate::error::Error;
use crate::event::{LinkId, Status};
use crate::links::follow::intake::Intake;
use crate::links::handle::Handle;
use crate::links::out::feed::Feed;
use crate::state::State;
use crate::sys::Own;
use crate::transport::Transport;

/// How a connection is followed: its name, and what carries it. A plain name will do where nothing
/// else is to be said.
///
/// ```
/// # use std::time::Duration;
/// use keepbeat::{Coordinator, Following, Heartbeat, Line, Transport};
///
/// # let coordinator = Coordinator::new()?;
/// let press = Following::named("press 7").over(Transport::Serial);
/// let heartbeat = Heartbeat::every(Duration::from_secs(10));
/// let follower = coordinator.follow_as(press, heartbeat, Line, |frame| {
///     // write it to the line
/// #   let _ = frame;
///     Ok(())
/// })?;
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[must_use = "nothing is followed before it is handed to `follow`"]
#[derive(Clone, Debug, Default)]
pub struct Following {
    pub(crate) name: String,
    pub(crate) transport: Transport,
}

impl Following {
    /// Under this name, in events, status and logs; an empty one stands for `follow-N`.
    pub fn named(name: impl Into<String>) -> Following {
        Following { name: name.into(), transport: Transport::default() }
    }

    /// What carries the connection, so that what is suspected fits it: no firewall where a cable
    /// came out. Default: [`Transport::Other`].
    pub fn over(mut self, transport: Transport) -> Following {
        self.transport = transport;
        self
    }
}

impl From<&str> for Following {
    fn from(name: &str) -> Following {
        Following::named(name)
    }
}

/// A link on a connection of the application, which reads it and tells what came. Made by
/// [`Coordinator::follow`].
///
/// Two ways to tell: [`heard`](Follower::heard) takes bytes as they were read, and the protocol
/// finds the frames in them; an application that parses by itself says what it found,
/// [`acked`](Follower::acked) or [`alive`](Follower::alive). Either way a round-trip time ends with
/// the call, however late the link's thread comes to it: call at once after the read.
///
/// No call waits for the heartbeat or for a `send` that hangs, so the thread that reads can make
/// them all. Only `heard` runs the protocol, on the calling thread.
///
/// Clones are the same link. When the last of them is dropped the link ends; so it does by
/// [`stop`](Follower::stop), with the coordinator, by [`lost`](Follower::lost), by an error of
/// `send`, and by bytes that the protocol does not allow. After that the calls return an error
/// whose [`cause`](Error::cause) says why. What was told before counts: a loss is told as Down with
/// its cause though the follower is dropped in the next moment. Silence alone does not end it: it
/// is Down, goes on, and comes back Up when the peer does.
///
/// A forked child may drop its copy, and do nothing else with it ([`Error::is_forked`]).
///
/// [`Coordinator::follow`]: crate::Coordinator::follow
#[must_use = "dropping it ends the heartbeat"]
#[derive(Clone)]
pub struct Follower {
    inner: Arc<Own<Inner>>,
}

struct Inner {
    handle: Arc<Handle>,
    intake: Arc<Intake>,
    feed: Arc<Feed>,
}

impl Follower {
    pub(crate) fn new(handle: Arc<Handle>, intake: Arc<Intake>, feed: Arc<Feed>) -> Follower {
        Follower { inner: Arc::new(Own::new(Inner { handle, intake, feed })) }
    }

    /// In a forked child nothing may be locked.
    fn intake(&self) -> Result<&Intake, Error> {
        self.inner.at_home().map(|inner| &*inner.intake).ok_or_else(Error::forked)
    }

    /// The number of the link, as in its events.
    pub fn id(&self) -> LinkId {
        self.inner.handle.who.id
    }

    /// The status of the link, at this moment; also after its end.
    pub fn status(&self) -> Status {
        self.inner.handle.snapshot(self.inner.is_forked())
    }

    /// The state of the link, at this moment.
    pub fn state(&self) -> State {
        self.status().state
    }

    /// Bytes were read: whatever they are, all of them, in the order in which they came. They may
    /// be cut anywhere.
    ///
    /// # Errors
    ///
    /// The link is over, or ends by these bytes, which its protocol does not allow;
    /// [`Error::cause`] says why.
    pub fn heard(&self, bytes: &[u8]) -> Result<(), Error> {
        self.intake()?.heard(bytes).map_err(|loss| Error::lost(&loss))
    }

    /// An ack was read: of this beat, or, in a protocol without numbers, of the first beat that
    /// still waits for one.
    ///
    /// # Errors
    ///
    /// The link is over; [`Error::cause`] says why.
    pub fn acked(&self, seq: Option<u64>) -> Result<(), Error> {
        self.intake()?.acked(seq).map_err(|loss| Error::lost(&loss))
    }

    /// A whole frame was read that is no ack: a sign of life.
    ///
    /// # Errors
    ///
    /// The link is over; [`Error::cause`] says why.
    pub fn alive(&self) -> Result<(), Error> {
        self.intake()?.alive().map_err(|loss| Error::lost(&loss))
    }

    /// The application wrote something of its own to the connection. It matters only to
    /// [`Heartbeat::when_idle`](crate::Heartbeat::when_idle), which sends no beat then.
    ///
    /// # Errors
    ///
    /// The link is over; [`Error::cause`] says why.
    pub fn wrote(&self) -> Result<(), Error> {
        self.intake()?.wrote().map_err(|loss| Error::lost(&loss))
    }

    /// The connection is gone: the link is Down at once, with this cause, and ends.
    ///
    /// Takes a cause, [`Cause::ClosedByPeer`] after a read of 0 bytes say; the
    /// [error](std::io::Error) of a read or write; or a [`Loss`] with a detail of one's own. Does
    /// nothing where the link is over already.
    ///
    /// [`Cause::ClosedByPeer`]: crate::Cause::ClosedByPeer
    pub fn lost(&self, loss: impl Into<Loss>) {
        if let Ok(intake) = self.intake() {
            intake.lose(loss.into());
        }
    }

    /// Tells the link to end, and does not wait for it; [`Coordinator::remove`] waits. Its state
    /// stays as it was last known.
    ///
    /// [`Coordinator::remove`]: crate::Coordinator::remove
    pub fn stop(&self) {
        if !self.inner.is_forked() {
            self.inner.handle.stop();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.handle.release();
        self.handle.stop();
        self.feed.is_over(self.handle.who.id);
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = &self.inner.handle.who;
        f.debug_struct("Follower").field("link", &who.id).field("name", &who.name).finish()
    }
}
