//! Links on connections that stay the application's, reader and writer included.

use std::io;
use std::sync::Arc;

use crate::base::limits::Needs;
use crate::error::Error;
use crate::heartbeat::Heartbeat;
use crate::links::follow::follower::{Follower, Following};
use crate::links::follow::intake::Intake;
use crate::links::follow::{Followed, follow};
use crate::protocol::Protocol;
use crate::protocol::guarded::Guarded;

use super::{Coordinator, Pace};

impl Coordinator {
    /// Beats on a connection of the application, which keeps its reader and its writer: any
    /// transport, TLS of its own, a serial line, a pipe, a WebSocket. keepbeat sends by `send` and
    /// is told what came by [`Follower::heard`]; it answers the beats of the peer, too, where the
    /// [role](Heartbeat::role) is to answer. The link is named `follow-N` and
    /// has no target.
    ///
    /// `send` gets one whole frame at a time: what opens the conversation, if the protocol has
    /// that, a beat, an answer. It writes all of it, under the same lock as the application's own
    /// frames, and returns. It runs on a thread of its own and may block as long as it likes: the
    /// link is judged meanwhile, and where it hangs for longer than the
    /// [write timeout](Heartbeat::write_timeout) a link that goes Down says `write-stalled`. Beats
    /// do not pile up behind it: one at most waits. An error of it ends the link at once; a panic
    /// does, too, with `protocol-panicked`.
    ///
    /// Any whole frame is life, and only acks tell round-trip times. Silence makes the link Down
    /// and does not end it: the connection is not closed, beats go on at their interval, and it
    /// comes back Up. A protocol with numbered acks, [`Line`](crate::Line) say, does best where
    /// frames may get lost, as on a serial line: without numbers every later ack is taken for the
    /// one before, and is told as late.
    ///
    /// The reader must read while `send` blocks, or both ends may wait for each other for ever:
    /// never read under the lock that `send` takes.
    ///
    /// # Errors
    ///
    /// A heartbeat that cannot work; no room for threads ([`Error::is_limit`]); a coordinator that
    /// has stopped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    /// use keepbeat::{Cause, Coordinator, EventKind, Heartbeat, Line};
    ///
    /// // The peer, for this example, answers one beat and goes.
    /// let (mut ours, theirs) = UnixStream::pair()?;
    /// std::thread::spawn(move || {
    ///     let mut theirs = theirs;
    ///     theirs.read(&mut [0; 64]).expect("the first beat");
    ///     theirs.write_all(b"ack 1\n").expect("the example reads");
    /// });
    ///
    /// let coordinator = Coordinator::new()?;
    /// let mut writer = ours.try_clone()?;
    /// let heartbeat = Heartbeat::every(Duration::from_secs(10));
    /// let follower = coordinator.follow(heartbeat, Line, move |frame| writer.write_all(frame))?;
    ///
    /// let mut bytes = [0; 1024];
    /// loop {
    ///     match ours.read(&mut bytes) {
    ///         Ok(0) => break follower.lost(Cause::ClosedByPeer),
    ///         Ok(n) => follower.heard(&bytes[..n])?, // and then use them
    ///         Err(error) => break follower.lost(error),
    ///     }
    /// }
    /// let end = coordinator.events().iter().find(|event| *event.kind() == EventKind::Ended);
    /// assert_eq!((follower.status().acked, end.is_some()), (1, true));
    /// # coordinator.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn follow(
        &self,
        heartbeat: Heartbeat,
        protocol: impl Protocol + 'static,
        send: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> Result<Follower, Error> {
        self.follow_as(Following::default(), heartbeat, protocol, send)
    }

    /// The same under a name, for events, status and logs.
    ///
    /// # Errors
    ///
    /// As [`follow`](Coordinator::follow).
    pub fn follow_named(
        &self,
        name: &str,
        heartbeat: Heartbeat,
        protocol: impl Protocol + 'static,
        send: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> Result<Follower, Error> {
        self.follow_as(name, heartbeat, protocol, send)
    }

    /// The same, where more is known of the connection: what carries it.
    ///
    /// # Errors
    ///
    /// As [`follow`](Coordinator::follow).
    pub fn follow_as(
        &self,
        following: impl Into<Following>,
        heartbeat: Heartbeat,
        protocol: impl Protocol + 'static,
        send: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> Result<Follower, Error> {
        let Following { name, transport } = following.into();
        heartbeat.check()?;
        self.admit(Needs::FOLLOW)?;
        let mut protocol = Guarded::new(Box::new(protocol));
        let mut opening = Vec::new();
        // Before the first byte is heard, wherever the link's thread is by then.
        let asked = protocol.connected(&mut opening).and_then(|()| protocol.limit());
        let limit = *asked.as_ref().unwrap_or(&0);
        let (intake, rung) = Intake::new(&heartbeat, protocol, limit);
        let intake = Arc::new(intake);
        if let Err(loss) = asked {
            intake.lose(loss);
        }
        let (stack, send) = (self.own.stack, Box::new(send));
        let pace = Pace::Of(heartbeat.clone());
        let theirs = Arc::clone(&intake);
        let from = Followed { heartbeat, intake: theirs, rung, opening, send, stack, transport };
        let handle = self.start(name, String::new(), pace, |seat| follow(seat, from))?;
        Ok(Follower::new(handle, intake, Arc::clone(&self.own.shared.feed)))
    }
}
