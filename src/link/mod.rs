//! Link: a connection that keepbeat looks after and the application talks on. Whole frames out,
//! whole frames in, beats between them.

mod settings;

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::cause::Loss;
use crate::drive::feed::Feed;
use crate::drive::handle::Handle;
use crate::drive::in_band::Conversation;
use crate::drive::in_band::outlet::{Command, Outlet, Patience};
use crate::error::Error;
use crate::event::{LinkId, Status};
use crate::protocol::Rejected;

pub use settings::{Adopt, Connect};

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
/// Dropping the last handle of a link closes it, without waiting.
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
pub struct Link {
    held: Arc<Held>,
}

/// What all handles of one link hold together.
struct Held {
    handle: Arc<Handle>,
    feed: Arc<Feed>,
    outlet: Arc<Outlet>,
    frames: Receiver<Received>,
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
    fn close(&self, told: Option<Sender<Result<(), Error>>>) -> Result<(), Error> {
        self.outlet.ask(Command::Close(told))?;
        if self.outlet.waiting() == 0 {
            self.handle.give_up_dialing();
        }
        Ok(())
    }
}

/// What comes out of [`Link::frames`], in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// A frame of the peer: its data, without prefix or line end.
    Frame(Vec<u8>),
    /// A new connection stands and is logged in; frames from here on come from it. Only on links
    /// that reconnect.
    Connected {
        /// Its number on this link, from 1.
        connection: u64,
    },
    /// The connection has ended: all that came on it came before this. On a link that does not
    /// reconnect, and on any that was closed, it is the last.
    ///
    /// Frames are numbered as [`Link::send`] returned. Those that are in neither range have been
    /// read by the peer: an ack of a beat after them came, and TCP keeps order.
    Lost {
        /// Why.
        loss: Loss,
        /// Frames that were written and not known to have been read: delivered or not.
        in_doubt: Range<u64>,
        /// Frames that were taken and never written. They wait for the next connection; where the
        /// link is over, nobody gets them.
        unsent: Range<u64>,
    },
}

impl Received {
    /// The data, if it is a frame.
    pub fn into_frame(self) -> Option<Vec<u8>> {
        match self {
            Received::Frame(data) => Some(data),
            _ => None,
        }
    }
}

/// A connection that was handed back by [`Link::into_stream`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Returned {
    /// The socket, connected as it is, with the options that it had.
    pub stream: TcpStream,
    /// Frames that had come and were not taken: their data.
    pub frames: Vec<Vec<u8>>,
    /// Bytes that came after those frames and are not yet a whole one. Read on behind them.
    pub unread: Vec<u8>,
    /// So many acks of beats may still come: whoever reads on has to pass over them.
    pub acks_due: usize,
}

impl Link {
    pub(crate) fn new(
        handle: Arc<Handle>,
        feed: Arc<Feed>,
        outlet: Arc<Outlet>,
        frames: Receiver<Received>,
    ) -> Link {
        Link { held: Arc::new(Held { handle, feed, outlet, frames }) }
    }

    /// Its number within its coordinator.
    pub fn id(&self) -> LinkId {
        self.held.handle.who.id
    }

    /// Its status at this moment.
    pub fn status(&self) -> Status {
        self.held.handle.status().clone()
    }

    /// Why the link is over, if it is. A link that reconnects is not over while it is down.
    pub fn loss(&self) -> Option<Loss> {
        self.held.outlet.over()
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
    /// ([`Error::is_timeout`]).
    pub fn send(&self, data: impl AsRef<[u8]>) -> Result<u64, Error> {
        self.held.outlet.send(data.as_ref(), Patience::WriteTimeout)
    }

    /// As [`send`](Link::send), but does not wait: where it would have to, nothing is sent.
    ///
    /// # Errors
    ///
    /// As `send`; and [`Error::is_busy`] where it would have to wait.
    pub fn try_send(&self, data: impl AsRef<[u8]>) -> Result<u64, Error> {
        self.held.outlet.send(data.as_ref(), Patience::Never)
    }

    /// As [`send`](Link::send), but waits until `deadline` at most. A frame that was begun by then
    /// is sent to its end without the caller.
    ///
    /// # Errors
    ///
    /// As `send`; [`Error::is_timeout`] where the deadline passed and nothing of it was sent.
    pub fn send_deadline(&self, data: impl AsRef<[u8]>, deadline: Instant) -> Result<u64, Error> {
        self.held.outlet.send(data.as_ref(), Patience::Until(deadline))
    }

    /// What comes from the peer: the application's frames, no beats. Bounded; while it is full
    /// nothing more is read from the connection. Ends when the link is over.
    ///
    /// Every clone of it takes from the same queue. It works with crossbeam's `select!`.
    pub fn frames(&self) -> &Receiver<Received> {
        &self.held.frames
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
    /// Ends it for every other handle as well.
    ///
    /// # Errors
    ///
    /// The link was over already, or what was begun could not be written within the write timeout.
    /// It is closed then, too.
    pub fn close(self) -> Result<(), Error> {
        let (told, done) = bounded(1);
        self.held.close(Some(told))?;
        done.recv().unwrap_or_else(|_| Err(self.over()))
    }

    /// Gives the connection back to the application, with whatever had come and was not taken.
    /// Frames that were begun are written to their end first. No beat follows, and the socket has
    /// the options that it came with.
    ///
    /// Ends the link for every other handle.
    ///
    /// # Errors
    ///
    /// The link is over or has no connection; what was begun could not be written within the write
    /// timeout; or the connection is under TLS, where the socket alone is of no use (the link goes
    /// on until it is dropped).
    pub fn into_stream(self) -> Result<Returned, Error> {
        let (to, answer) = bounded(1);
        self.held.outlet.ask(Command::HandBack(to))?;
        let mut returned = answer.recv().unwrap_or_else(|_| Err(self.over()))?;
        // What was in the queue comes before what had no room in it.
        let mut frames: Vec<_> =
            self.held.frames.try_iter().filter_map(Received::into_frame).collect();
        frames.append(&mut returned.frames);
        Ok(Returned { frames, ..returned })
    }

    fn over(&self) -> Error {
        let stopped = || crate::Cause::Stopped.into();
        Error::lost(&self.loss().unwrap_or_else(stopped))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = &self.held.handle.who;
        f.debug_struct("Link").field("id", &who.id).field("name", &who.name).finish()
    }
}

/// What logs in on each new connection: see [`Connect::login`](crate::Connect::login).
pub(crate) type LoginHook = Box<dyn FnMut(&mut Login<'_>) -> Result<(), Rejected> + Send + 'static>;

/// A new connection, before the application's frames flow: for logging in on it.
///
/// All of it must be through within the heartbeat's connect timeout.
pub struct Login<'a>(pub(crate) &'a mut dyn Conversation);

impl Login<'_> {
    /// The number of this connection on its link, from 1.
    pub fn connection(&self) -> u64 {
        self.0.connection()
    }

    /// The address that it goes to.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer()
    }

    /// Sends `data` as one whole frame.
    ///
    /// # Errors
    ///
    /// The connection has ended. Hand it on with `?`: it becomes the cause.
    pub fn send(&mut self, data: impl AsRef<[u8]>) -> Result<(), Rejected> {
        self.0.send(data.as_ref()).map_err(Rejected)
    }

    /// Waits for the next frame of the peer: its data.
    ///
    /// # Errors
    ///
    /// The connection has ended, or the time is up. Hand it on with `?`: it becomes the cause.
    pub fn receive(&mut self) -> Result<Vec<u8>, Rejected> {
        self.0.receive().map_err(Rejected)
    }
}

impl fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("connection", &self.connection()).finish_non_exhaustive()
    }
}
