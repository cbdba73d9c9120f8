//! `Coordinator::observe`: the application keeps its whole socket.

use std::sync::Arc;

use crate::base::limits::Needs;
use crate::error::Error;
use crate::heartbeat::Heartbeat;
use crate::links::observe::observer::{Observe, Observed};
use crate::links::observe::observing;

use super::{Coordinator, Pace};

impl Coordinator {
    /// Looks at what the kernel knows of a TCP connection of the application's own, which goes on
    /// using its socket as before and need not know. Not a byte is read or written, the socket is
    /// never duplicated or shut down, and the error that waits to be read on it stays there.
    ///
    /// One thread a connection. `socket` is whatever has a descriptor, the one of a library
    /// included; it is borrowed for this call only, though the observation goes on until the
    /// connection ends, [`Observed::stop`] is called or the [`Observed`] dropped. Keep the
    /// descriptor itself open until then: of a duplicate, nothing is known here.
    ///
    /// | what happens | what is told, and when |
    /// |---|---|
    /// | the peer closes, or its process dies | Down, `closed-by-peer`, at once |
    /// | a reset | Down, `reset`, at once |
    /// | the kernel gives the connection up | Down, `kernel-gave-up`, at once |
    /// | host or path die, whatever it does | Suspect after an interval, Down after `fall` |
    /// | the application closes its descriptor | Down, `closed-by-application`, within a second |
    ///
    /// A dead path ends nothing: the link is Up again if it heals. The others end the link
    /// ([`EventKind::Ended`]), and the application reads that end as if nobody had looked. Its own
    /// `shutdown` of the connection is an end, too.
    ///
    /// Of the heartbeat, `interval` is the longest silence that is no miss, 2 s at least, and
    /// `fall` and `rise` count intervals and signs of life; `timeout` is the spacing of probes. A
    /// sign of life is any segment that the kernel accepts: data, or a bare acknowledgement.
    ///
    /// # The keepalive
    ///
    /// So that an idle peer is heard, the kernel's keepalive is switched on, with a first probe
    /// `interval - max(1 s, interval / 6, min(timeout, interval / 2))` after the last segment. A
    /// probe carries no byte, and only the peer's kernel sees it. The kernel would end the
    /// connection after 127 unanswered ones; long before, they are spaced out, so that it lives as
    /// long as it would have by the application's own settings. Where the application's keepalive
    /// asks often enough already, it is left alone. The options are put back as they were found
    /// when the observation ends in whatever way, unless the application has changed them since or
    /// the descriptor is not that socket any more; see [`Observe::leave_options`] and
    /// [`Observe::without_keepalive`].
    ///
    /// A `TCP_USER_TIMEOUT` that the application has set overrides the count: with the keepalive
    /// on, the kernel ends an idle connection when a probe is unanswered for so long.
    ///
    /// # What it cannot see
    ///
    /// * A hung application at the other end, whose kernel goes on acknowledging: it is Up here. So
    ///   is one whose answers a firewall swallows while acknowledgements pass. A heartbeat of
    ///   [`watch`](Coordinator::watch) sees both.
    /// * What is behind a proxy or load balancer: that one acknowledges for itself.
    /// * Who sent a reset: the peer, or something between.
    /// * An end that the application answers by closing at once may be told as
    ///   `closed-by-application`, where the application was faster than this thread.
    /// * TLS, or any protocol on the connection: bytes are counted, not read.
    ///
    /// # Errors
    ///
    /// A descriptor that is no connected TCP socket; a heartbeat with an interval under 2 s, the
    /// role `Passive` or `SendOnly`, `when_idle`, `expect_every` or `rounds`; no room on this
    /// machine ([`Error::is_limit`]); a coordinator that has stopped; a system other than Linux.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    /// use keepbeat::{Cause, Coordinator, EventKind, Heartbeat};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect(listener.local_addr()?)?; // or that of a library
    /// let (peer, _) = listener.accept()?;
    ///
    /// let coordinator = Coordinator::new()?;
    /// let observed = coordinator.observe(&stream, Heartbeat::every(Duration::from_secs(15)))?;
    /// println!("{}", observed.look()?); // established, rtt 20.0µs ± 10.0µs, acked 0.0ns ago ...
    /// drop(peer);
    /// let events = coordinator.events().iter();
    /// let causes: Vec<_> = events
    ///     .take_while(|event| *event.kind() != EventKind::Ended)
    ///     .filter_map(|event| event.kind().cause())
    ///     .collect();
    /// assert_eq!(causes, [Cause::ClosedByPeer, Cause::ClosedByPeer]); // Down, and disconnected
    /// coordinator.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [`EventKind::Ended`]: crate::EventKind::Ended
    pub fn observe<'a>(
        &self,
        socket: impl Into<Observe<'a>>,
        heartbeat: Heartbeat,
    ) -> Result<Observed, Error> {
        self.admit(Needs::OBSERVE)?;
        let (sight, name, target) = socket.into().prepare(&heartbeat)?;
        let (socket, interval) = (sight.socket, heartbeat.interval);
        let (over, is_over) = Observed::channel();
        let make = |seat| observing(seat, sight, heartbeat, over);
        let handle = self.start(name, target, Pace::Fixed(interval), make)?;
        Ok(Observed::new(handle, Arc::clone(&self.own.shared.feed), socket, is_over))
    }
}
