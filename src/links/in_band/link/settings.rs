//! How a link is made: Adopt for a connection that is handed over, Connect for one that keepbeat
//! opens and opens again.

use std::fmt;
use std::net::{SocketAddr, TcpStream};

use crossbeam_channel::Sender;

use crate::error::Error;
use crate::event::LinkId;
use crate::links::in_band::login::{Login, LoginHook};
use crate::links::in_band::outlet::Meanwhile;
use crate::links::out::received::Received;
use crate::protocol::Rejected;
use crate::target::Target;

/// Frames that wait for the application to take them. Each may be as long as the protocol's limit.
const FRAMES: usize = 64;

/// The most frames that may wait, either way: their places are made at once.
const MOST_FRAMES: usize = 1 << 20;

/// A connection to be handed over, with settings. A plain `TcpStream` will do where none are
/// needed.
///
/// # Examples
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use keepbeat::{Adopt, Coordinator, Framed, Heartbeat};
///
/// let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
/// let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
/// let coordinator = Coordinator::new()?;
/// let machine = Adopt::new(stream).named("press 7").already_read(b"HEL").frames_capacity(256);
/// let link = coordinator.adopt(machine, Heartbeat::default(), Framed::lines("PING", "PONG")?)?;
/// assert_eq!(link.status().name, "press 7");
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[must_use = "nothing is adopted before it is handed to `adopt`"]
#[derive(Debug)]
pub struct Adopt {
    pub(crate) stream: TcpStream,
    pub(crate) name: Option<String>,
    pub(crate) unread: Vec<u8>,
    pub(crate) frames: usize,
    pub(crate) nodelay: bool,
    pub(crate) deliver: Option<Sender<(LinkId, Received)>>,
}

impl Adopt {
    /// This connection, with default settings.
    pub fn new(stream: TcpStream) -> Adopt {
        let (name, unread, deliver) = (None, Vec::new(), None);
        Adopt { stream, name, unread, frames: FRAMES, nodelay: true, deliver }
    }

    /// A name for events and logs. Default: the address of the peer.
    pub fn named(mut self, name: impl Into<String>) -> Adopt {
        self.name = Some(name.into());
        self
    }

    /// Bytes that the application has read of it and not used, the rest of its buffer say: they are
    /// parsed before whatever comes.
    pub fn already_read(mut self, bytes: impl Into<Vec<u8>>) -> Adopt {
        self.unread = bytes.into();
        self
    }

    /// How many frames may wait to be taken from [`Link::frames`](crate::Link::frames), until
    /// nothing more is read from the connection. Default 64; 1 to 1,048,576. Each may be as long as
    /// the protocol's limit.
    pub fn frames_capacity(mut self, frames: usize) -> Adopt {
        self.frames = frames;
        self
    }

    /// Whether small frames are sent at once (`TCP_NODELAY`). Default true, also for a socket that
    /// comes without: with Nagle's algorithm the second of two small frames waits for the peer's
    /// kernel to acknowledge the first, which takes it 40 ms as a rule. What the socket came with
    /// is put back when it is handed back.
    pub fn nodelay(mut self, nodelay: bool) -> Adopt {
        self.nodelay = nodelay;
        self
    }

    /// What comes goes into this queue, with the number of the link, in place of
    /// [`Link::frames`](crate::Link::frames): one reader for many links. A full queue makes
    /// backpressure on each of them, as a slow reader does.
    ///
    /// The last item of a link waits for room, too; if there is none until the coordinator stops,
    /// it is lost, and [`Link::loss`](crate::Link::loss) says why the link is over.
    ///
    /// ```
    /// # use std::net::{TcpListener, TcpStream};
    /// use keepbeat::crossbeam_channel::bounded;
    /// use keepbeat::{Adopt, Coordinator, Framed, Heartbeat, Received};
    ///
    /// # let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    /// # let mut connect = || {
    /// #     let to = listener.local_addr().expect("bound");
    /// #     let ours = TcpStream::connect(to).expect("loopback");
    /// #     (ours, listener.accept().expect("loopback").0)
    /// # };
    /// # let ((press, mut theirs), (oven, _other)) = (connect(), connect());
    /// let (all, frames) = bounded(256);
    /// let coordinator = Coordinator::new()?;
    /// let adopt = |stream| {
    ///     let adopt = Adopt::new(stream).deliver_to(all.clone());
    ///     coordinator.adopt(adopt, Heartbeat::default(), Framed::lines("PING", "PONG")?)
    /// };
    /// let (press, _oven) = (adopt(press)?, adopt(oven)?);
    /// # std::io::Write::write_all(&mut theirs, b"200 degrees\n").expect("loopback");
    /// for (link, received) in &frames {
    ///     if let Received::Frame(data) = received {
    ///         assert_eq!((link, data), (press.id(), b"200 degrees".to_vec()));
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), keepbeat::Error>(())
    /// ```
    pub fn deliver_to(mut self, queue: Sender<(LinkId, Received)>) -> Adopt {
        self.deliver = Some(queue);
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        check_frames(self.frames)
    }
}

impl From<TcpStream> for Adopt {
    fn from(stream: TcpStream) -> Adopt {
        Adopt::new(stream)
    }
}

/// A target to keep a connection to, with settings. A plain target (`"10.0.0.5:7000"`) will do
/// where none are needed.
///
/// # Examples
///
/// ```no_run
/// use keepbeat::protocol::Rejected;
/// use keepbeat::{Connect, Coordinator, Framed, Heartbeat};
///
/// let coordinator = Coordinator::new()?;
/// let machine = Connect::to("10.0.0.5:7000")?.queue(1000).login(|login| {
///     login.send("LOGIN monitor")?;
///     match login.receive()?.as_slice() {
///         b"WELCOME" => Ok(()),
///         _ => Err(Rejected::login_refused("not welcome: is `monitor` known there?")),
///     }
/// });
/// let link = coordinator.connect(machine, Heartbeat::default(), Framed::lines("PING", "PONG")?)?;
/// link.send("START")?;
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[must_use = "nothing is connected before it is handed to `connect`"]
pub struct Connect {
    pub(crate) target: Target,
    pub(crate) frames: usize,
    pub(crate) meanwhile: Meanwhile,
    pub(crate) login: Option<LoginHook>,
    pub(crate) nodelay: bool,
    pub(crate) deliver: Option<Sender<(LinkId, Received)>>,
}

impl Connect {
    /// To this target, with default settings. User and password of the target are for the protocol
    /// or the login to use.
    ///
    /// # Errors
    ///
    /// As [`Target::new`].
    pub fn to<T>(target: T) -> Result<Connect, Error>
    where
        T: TryInto<Target>,
        Error: From<T::Error>,
    {
        Ok(Connect::from(target.try_into()?))
    }

    /// As [`Adopt::frames_capacity`].
    pub fn frames_capacity(mut self, frames: usize) -> Connect {
        self.frames = frames;
        self
    }

    /// While no connection stands, up to so many frames that are sent wait for the next one, and go
    /// out first on it, in order. When the queue is full, senders wait, as long as they are willing
    /// to. At most 1,048,576.
    ///
    /// Default: none. Then sending while the link is down is an error with its cause.
    pub fn queue(mut self, frames: usize) -> Connect {
        self.meanwhile = if frames == 0 { Meanwhile::Refuse } else { Meanwhile::Queue(frames) };
        self
    }

    /// As [`Adopt::nodelay`].
    pub fn nodelay(mut self, nodelay: bool) -> Connect {
        self.nodelay = nodelay;
        self
    }

    /// As [`Adopt::deliver_to`].
    pub fn deliver_to(mut self, queue: Sender<(LinkId, Received)>) -> Connect {
        self.deliver = Some(queue);
        self
    }

    /// Runs on each new connection, before frames flow, on the link's own thread: to log in, to
    /// subscribe again. What the protocol itself does on a new connection goes before it.
    ///
    /// An error ends the attempt and is its cause; [`Rejected::login_refused`] is tried again every
    /// 10 s at most. If it panics, the link ends with `protocol-panicked`.
    pub fn login(
        mut self,
        login: impl FnMut(&mut Login<'_>) -> Result<(), Rejected> + Send + 'static,
    ) -> Connect {
        self.login = Some(Box::new(login));
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.meanwhile {
            Meanwhile::Queue(frames) => check_frames(frames)?,
            Meanwhile::Refuse => {}
        }
        check_frames(self.frames)
    }
}

fn check_frames(frames: usize) -> Result<(), Error> {
    if (1..=MOST_FRAMES).contains(&frames) {
        return Ok(());
    }
    Err(Error::invalid(format!("room for {frames} frames cannot work: use 1 to {MOST_FRAMES}")))
}

impl From<Target> for Connect {
    fn from(target: Target) -> Connect {
        let (meanwhile, login, deliver) = (Meanwhile::Refuse, None, None);
        Connect { target, frames: FRAMES, meanwhile, login, nodelay: true, deliver }
    }
}

impl From<SocketAddr> for Connect {
    fn from(address: SocketAddr) -> Connect {
        Connect::from(Target::from(address))
    }
}

impl TryFrom<&str> for Connect {
    type Error = Error;

    fn try_from(target: &str) -> Result<Connect, Error> {
        Ok(Connect::from(Target::new(target)?))
    }
}

impl TryFrom<String> for Connect {
    type Error = Error;

    fn try_from(target: String) -> Result<Connect, Error> {
        Connect::try_from(target.as_str())
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("target", &self.target).finish_non_exhaustive()
    }
}
