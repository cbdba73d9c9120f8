//! Links on connections that carry the application's data: handed over, or opened by keepbeat.

use std::os::fd::AsFd;
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};
use socket2::Socket;

use crate::base::limits::Needs;
use crate::cause::Loss;
use crate::error::Error;
use crate::event::LinkId;
use crate::heartbeat::Heartbeat;
use crate::links::dial::{Dialer, Promise};
use crate::links::in_band::link::{Adopt, Connect, Link};
use crate::links::in_band::outlet::{Meanwhile, Outlet};
use crate::links::in_band::{Origin, Plan, in_band};
use crate::links::observe::observer::peer_to_adopt;
use crate::links::out::frame_queue::To;
use crate::links::out::received::Received;
use crate::links::seat::Seat;
use crate::net::tls::Secure;
use crate::protocol::Protocol;
use crate::protocol::guarded::Guarded;
use crate::sys::Bell;
use crate::target::Target;

use super::{Coordinator, Pace};

/// A link that carries data, to be made.
struct New {
    name: String,
    target: String,
    frames: usize,
    deliver: Option<Sender<(LinkId, Received)>>,
    nagle: bool,
    meanwhile: Meanwhile,
}

impl Coordinator {
    /// Takes over a connection of the application's, and beats on it between the application's
    /// frames. It is not opened again: when it is lost the [`Link`] is over; adopt a new one.
    ///
    /// Hand over a `TcpStream` that nobody else reads or writes, or [`Adopt`] for settings. Of its
    /// options two are changed: `TCP_NOTSENT_LOWAT` to 128 KiB, so that beats do not wait behind
    /// megabytes of data, and [`TCP_NODELAY`](Adopt::nodelay) to on, so that small frames do not
    /// wait for each other. What the protocol says on a new connection, a login say, it
    /// says on this one, too.
    ///
    /// # Errors
    ///
    /// A heartbeat or setting that cannot work; a socket that is no connection of TCP, or none any
    /// more ([`Error::is_invalid`]); no room on this
    /// machine for another descriptor, thread or mapping ([`Error::is_limit`]); a coordinator that
    /// has stopped.
    pub fn adopt(
        &self,
        stream: impl Into<Adopt>,
        heartbeat: Heartbeat,
        protocol: impl Protocol + 'static,
    ) -> Result<Link, Error> {
        let adopt = stream.into();
        adopt.check()?;
        let peer = peer_to_adopt(adopt.stream.as_fd())?;
        let target = Target::from(peer).to_string();
        let name = adopt.name.unwrap_or_else(|| target.clone());
        self.admit(Needs::ADOPT)?;
        let nagle = adopt.nodelay && !adopt.stream.nodelay().unwrap_or(true);
        if nagle {
            let _ = adopt.stream.set_nodelay(true); // it works without, and later
        }
        let given = Some((Socket::from(adopt.stream), peer, adopt.unread));
        let origin = Origin::Adopted { given, nagle };
        let (frames, deliver) = (adopt.frames, adopt.deliver);
        let new = New { name, target, frames, deliver, nagle: false, meanwhile: Meanwhile::Refuse };
        self.link(new, heartbeat, Box::new(protocol), |_| origin)
    }

    /// Opens a connection of its own to `target`, and opens it again whenever it is lost; the
    /// application talks on it through the [`Link`].
    ///
    /// As [`watch`](Coordinator::watch), it returns at once. [`Connect`] has the settings: a login
    /// on each new connection, and what becomes of frames that are sent while none stands.
    ///
    /// # Errors
    ///
    /// As `watch`.
    pub fn connect<T>(
        &self,
        target: T,
        heartbeat: Heartbeat,
        protocol: impl Protocol + 'static,
    ) -> Result<Link, Error>
    where
        T: TryInto<Connect>,
        Error: From<T::Error>,
    {
        let connect: Connect = target.try_into()?;
        connect.check()?;
        let Connect { target, frames, meanwhile, login, nodelay, deliver } = connect;
        let secure = Secure::of(&target)?;
        let (name, shown) = (target.name(), target.to_string());
        self.admit(Needs::CONNECT)?;
        let promise = Promise::new(&self.own.shared);
        let new = New { name, target: shown, frames, deliver, nagle: !nodelay, meanwhile };
        self.link(new, heartbeat, Box::new(protocol), |seat| {
            let (handle, shared) = (Arc::clone(&seat.handle), Arc::clone(&seat.shared));
            let dialer = Dialer { handle, shared, target, secure, carries_data: true, promise };
            Origin::Dialed(Box::new(dialer), login)
        })
    }

    fn link(
        &self,
        new: New,
        heartbeat: Heartbeat,
        protocol: Box<dyn Protocol>,
        origin: impl FnOnce(&Seat) -> Origin + Send + 'static,
    ) -> Result<Link, Error> {
        heartbeat.check()?;
        let New { name, target, frames, deliver, nagle, meanwhile } = new;
        let mut protocol = Guarded::new(protocol);
        let panicked = |loss: Loss| Error::invalid(loss.detail);
        let (framing, limit) =
            (protocol.framing().map_err(panicked)?, protocol.limit().map_err(panicked)?);
        let bell = Bell::new().map_err(Error::no_descriptor)?;
        let bell = Arc::new(bell);
        let (write_timeout, rung) = (heartbeat.write_timeout, Arc::clone(&bell));
        let outlet = Arc::new(Outlet::new(framing, limit, write_timeout, meanwhile, rung));
        let readable = Arc::default();
        let (to, receiver) = match deliver {
            Some(queue) => (To::Shared(queue), bounded(0).1), // of which the other end is gone
            None => To::own(frames, Arc::clone(&readable)),
        };
        let (pace, theirs) = (Pace::Of(heartbeat.clone()), Arc::clone(&outlet));
        let plan = Plan { heartbeat, protocol, limit, outlet: theirs, to, bell, nagle };
        let handle = self.start(name, target, pace, |seat| {
            let origin = origin(&seat);
            in_band(seat, plan, origin)
        })?;
        let feed = Arc::clone(&self.own.shared.feed);
        Ok(Link::new(handle, feed, outlet, receiver, readable))
    }
}
