//! Events and status: what happens to a link, and how it is at any time.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::cause::{Cause, Loss};
use crate::counted::counted;
use crate::diagnose::Diagnosis;
pub use crate::link_id::LinkId;
use crate::pulse::Rtt;
use crate::state::State;

/// The part of an event that stays the same for a link.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) id: LinkId,
    pub(crate) name: String,
    pub(crate) target: String,
}

/// Something that happened to a link or a queue.
///
/// `Display` is one readable line: the name, then what happened, with the cause and the numbers.
#[derive(Clone, Debug)]
pub struct Event {
    pub(crate) time: SystemTime,
    pub(crate) link: Option<Arc<Identity>>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) certificate: Option<SystemTime>,
    pub(crate) kind: EventKind,
}

impl Event {
    /// The wall-clock time at which it happened. The link's thread takes the time, so it is right
    /// even if the event is read much later.
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// The link. None for [`EventKind::Overflowed`], which is about a queue, and for a diagnosis of
    /// many links.
    pub fn link(&self) -> Option<LinkId> {
        self.link.as_ref().map(|link| link.id)
    }

    /// The name that was given to the link, or else its target.
    pub fn name(&self) -> &str {
        self.link.as_ref().map_or("keepbeat", |link| &link.name)
    }

    /// The target as it was typed, without user and password.
    pub fn target(&self) -> &str {
        self.link.as_ref().map_or("", |link| &link.target)
    }

    /// The address of the connection that the event is about, if there is or was one.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// When the peer's certificate expires: set for a connection that was just opened under TLS, if
    /// the certificate could be read.
    pub fn certificate_expires(&self) -> Option<SystemTime> {
        self.certificate
    }

    /// What happened.
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.kind)
    }
}

/// What happened to a link.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// A connection was opened. The link is not Up yet.
    Connected {
        /// The number of this attempt since the link was last Up, from 1.
        attempt: u32,
        /// How long name resolution and connecting took. Zero for a connection that was open
        /// before.
        took: Duration,
    },
    /// An ack came.
    Beat {
        /// The number of the beat.
        seq: u64,
        /// The time from writing the beat to reading its ack. None if the ack was late, or if the
        /// protocol has none.
        rtt: Option<Duration>,
        /// Whether the ack came after its timeout.
        late: bool,
    },
    /// The timeout passed without an ack, and this is no miss, because other frames of the peer
    /// came meanwhile, or its kernel acknowledged what was sent. The ack may still come. Only on
    /// connections that carry the application's data.
    Alive {
        /// The number of the beat.
        seq: u64,
    },
    /// Nothing was received for longer than the limit says, which counts as a miss. Only on links
    /// that have such a limit ([`Heartbeat::expect_every`](crate::Heartbeat::expect_every)).
    Silent {
        /// The time since the last whole frame.
        silent: Duration,
        /// Misses in a row, this one included.
        misses: u32,
    },
    /// The timeout passed without an ack.
    Missed {
        /// The number of the beat.
        seq: u64,
        /// How long the link waited for the ack.
        timeout: Duration,
        /// Misses in a row, this one included.
        misses: u32,
        /// `ack-timeout` or `partial-reply`.
        cause: Cause,
        /// Beats acked in time, in a row, before it.
        good: u64,
    },
    /// The state changed.
    State {
        /// The state before.
        from: State,
        /// The state now.
        to: State,
        /// Why, unless the state changed for the better.
        loss: Option<Loss>,
        /// If the link came back up: how long it was down.
        down: Option<Duration>,
        /// Why, as far as it is known by now; [`Diagnosed`](EventKind::Diagnosed) reports what is
        /// found later. None if the state changed for the better, or diagnosis is
        /// [off](crate::Diagnose::off).
        diagnosis: Option<Arc<Diagnosis>>,
    },
    /// A new diagnosis of a failure that an earlier event reported, or a warning: degraded, not
    /// failed. The event has no link if the diagnosis is about many links at once.
    Diagnosed {
        /// The diagnosis.
        diagnosis: Arc<Diagnosis>,
    },
    /// A connection ended, or an attempt to open one failed.
    Disconnected {
        /// Why.
        loss: Loss,
        /// How long the connection was open. Zero for an attempt that failed.
        lived: Duration,
        /// Beats acked on it.
        beats: u64,
        /// Whether the end is no failure: the peer ended the connection as its protocol allows
        /// ([`Cause::Renewed`]), or by its rule, after the same idle time or at the same age as
        /// before. The state stays, and another connection replaces this one.
        expected: bool,
    },
    /// Our own process stalled and woke too late. The peer is not blamed.
    Stalled {
        /// How much too late it woke.
        late: Duration,
        /// Whether the process stalled or the whole machine was suspended. None if diagnosis is
        /// off.
        diagnosis: Option<Arc<Diagnosis>>,
    },
    /// The last event of a link: the link was removed, its rounds are over, its protocol panicked,
    /// its connection ended for good, or the coordinator stopped.
    Ended,
    /// This queue was full, and events are missing here. [`Coordinator::status`] has the current
    /// state.
    ///
    /// [`Coordinator::status`]: crate::Coordinator::status
    Overflowed {
        /// How many.
        count: u64,
    },
}

impl EventKind {
    /// The word that JSON lines use.
    pub fn word(&self) -> &'static str {
        match self {
            EventKind::Connected { .. } => "connect",
            EventKind::Beat { .. } => "beat",
            EventKind::Alive { .. } => "alive",
            EventKind::Silent { .. } => "silence",
            EventKind::Missed { .. } => "miss",
            EventKind::State { .. } => "state",
            EventKind::Disconnected { .. } => "disconnect",
            EventKind::Stalled { .. } | EventKind::Diagnosed { .. } => "diagnosis",
            EventKind::Ended => "end",
            EventKind::Overflowed { .. } => "lost",
        }
    }

    /// The cause, if the event has one.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            EventKind::Missed { cause, .. } => Some(*cause),
            EventKind::Silent { .. } => Some(Cause::AckTimeout),
            EventKind::State { loss, .. } => loss.as_ref().map(|loss| loss.cause),
            EventKind::Disconnected { loss, .. } => Some(loss.cause),
            EventKind::Stalled { diagnosis, .. } => {
                Some(diagnosis.as_ref().map_or(Cause::LocalStall, |told| told.cause()))
            }
            EventKind::Diagnosed { diagnosis } => Some(diagnosis.cause()),
            _ => None,
        }
    }

    /// The diagnosis, if the event has one.
    pub fn diagnosis(&self) -> Option<&Arc<Diagnosis>> {
        match self {
            EventKind::State { diagnosis, .. } | EventKind::Stalled { diagnosis, .. } => {
                diagnosis.as_ref()
            }
            EventKind::Diagnosed { diagnosis } => Some(diagnosis),
            _ => None,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The connection was open before the link was made: handed over, or observed.
            EventKind::Connected { took: Duration::ZERO, .. } => f.write_str("connected already"),
            EventKind::Connected { attempt, took } => {
                write!(f, "connected in {took:.1?} (attempt {attempt})")
            }
            EventKind::Beat { seq, late: true, .. } => write!(f, "late ack of beat {seq}"),
            EventKind::Beat { seq, rtt: Some(rtt), .. } => {
                write!(f, "beat {seq} acked after {rtt:.1?}")
            }
            EventKind::Beat { seq, .. } => write!(f, "beat {seq}: the connection stands"),
            EventKind::Alive { seq } => {
                write!(f, "no ack of beat {seq} in time, but other signs of life")
            }
            EventKind::Silent { silent, misses } => write!(
                f,
                "{}: nothing received for {silent:.1?} ({misses} in a row)",
                Cause::AckTimeout
            ),
            EventKind::Missed { seq, timeout, misses, cause, good } => write!(
                f,
                "{cause}: no ack of beat {seq} within {timeout:?} ({misses} in a row, after {})",
                counted(*good, "good beat", "good beats")
            ),
            EventKind::State { to, diagnosis: Some(diagnosis), .. } => {
                write!(f, "{to}: {diagnosis}")
            }
            EventKind::State { to, loss: Some(loss), .. } => write!(f, "{to}: {loss}"),
            EventKind::State { to, down: Some(down), .. } => {
                write!(f, "{to} after {down:.1?} down")
            }
            EventKind::State { to, .. } => write!(f, "{to}"),
            EventKind::Disconnected { loss, lived: Duration::ZERO, .. } => {
                write!(f, "attempt failed: {loss}")
            }
            EventKind::Disconnected { loss, lived, beats, .. } => {
                let beats = counted(*beats, "beat", "beats");
                write!(f, "disconnected after {lived:.1?} and {beats}: {loss}")
            }
            EventKind::Diagnosed { diagnosis }
            | EventKind::Stalled { diagnosis: Some(diagnosis), .. } => diagnosis.fmt(f),
            EventKind::Stalled { late, .. } => {
                write!(f, "{}: this process woke {late:.1?} too late", Cause::LocalStall)
            }
            EventKind::Ended => f.write_str("ended"),
            EventKind::Overflowed { count } => {
                write!(f, "{} lost: this queue was full", counted(*count, "event", "events"))
            }
        }
    }
}

/// The state of a link at one moment. It is current however slowly events are read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The link.
    pub link: LinkId,
    /// Its name, or its target.
    pub name: String,
    /// Its target, without user and password.
    pub target: String,
    /// Its state.
    pub state: State,
    /// Why the link is not Up. If a link that is Down fails to come back for another reason, this
    /// is the latest reason.
    pub loss: Option<Loss>,
    /// The diagnosis of `loss`, as far as one was made.
    pub diagnosis: Option<Arc<Diagnosis>>,
    /// The address that the link is connected to.
    pub peer: Option<SocketAddr>,
    /// When the certificate expires that the peer showed last. None without TLS, or if it could not
    /// be read.
    pub certificate_expires: Option<SystemTime>,
    /// Since when the link has had its state.
    pub since: Instant,
    /// Beats sent, over the whole life of the link.
    pub sent: u64,
    /// Beats acked, late acks included.
    pub acked: u64,
    /// Acks that came after their timeout.
    pub late: u64,
    /// Timeouts that passed without an ack.
    pub missed: u64,
    /// Connections opened after the first.
    pub reconnects: u64,
    /// Connections that the peer ended as its protocol allows or by its rule, and that were
    /// replaced while the state stayed.
    pub renewals: u64,
    /// Stalls of our own process that were noticed.
    pub stalls: u64,
    /// Round-trip times.
    pub rtt: Rtt,
    /// Whether the link is paused.
    pub paused: bool,
    /// Whether the application does not take the frames of its [`Link`](crate::Link), so that
    /// nothing more is read from the connection. Only what the peer's kernel acknowledges then
    /// counts, because our slow reader does not mean that the peer is dead.
    pub unread: bool,
    /// Whether the link's thread has ended, so that nothing changes any more.
    pub ended: bool,
    /// The cause of `loss` before the diagnosis replaced it.
    pub(crate) word: Option<Cause>,
    /// When the link left Connecting.
    pub(crate) judged: Option<Instant>,
    pub(crate) alive: Duration,
}

impl Status {
    pub(crate) fn new(who: &Identity, now: Instant) -> Status {
        Status {
            link: who.id,
            name: who.name.clone(),
            target: who.target.clone(),
            state: State::Connecting,
            loss: None,
            diagnosis: None,
            peer: None,
            certificate_expires: None,
            since: now,
            sent: 0,
            acked: 0,
            late: 0,
            missed: 0,
            reconnects: 0,
            renewals: 0,
            stalls: 0,
            rtt: Rtt::default(),
            paused: false,
            unread: false,
            ended: false,
            word: None,
            judged: None,
            alive: Duration::ZERO,
        }
    }

    /// Changes the state, and adds up the time in which the peer answered.
    pub(crate) fn turn(&mut self, to: State, now: Instant) {
        if self.state.is_alive() {
            self.alive += now.saturating_duration_since(self.since);
        }
        (self.state, self.since) = (to, now);
        if to != State::Connecting {
            self.judged.get_or_insert(now);
        }
    }

    /// The part of the time, from 0 to 1, in which the link was Up or Suspect. The time counts from
    /// the first verdict (Up or Down) until `now`, or until the link ended. Before the first
    /// verdict the ratio is 0. If every beat was answered, it is 1.
    pub fn uptime_ratio(&self, now: Instant) -> f64 {
        let Some(judged) = self.judged else { return 0.0 };
        let now = if self.ended { self.since } else { now };
        let life = now.saturating_duration_since(judged).as_secs_f64();
        let current = if self.state.is_alive() && !self.ended {
            now.saturating_duration_since(self.since)
        } else {
            Duration::ZERO
        };
        if life == 0.0 {
            return f64::from(u8::from(self.state.is_alive()));
        }
        ((self.alive + current).as_secs_f64() / life).min(1.0)
    }
}

/// Something that happened to a client of a [`Responder`](crate::Responder).
#[derive(Clone, Debug)]
pub struct ClientEvent {
    /// The wall-clock time.
    pub time: SystemTime,
    /// The address of the client.
    pub peer: SocketAddr,
    /// What happened.
    pub kind: ClientEventKind,
}

/// What happened to a client.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientEventKind {
    /// The client connected.
    Connected,
    /// Nothing came from the client for too long, so its connection is closed.
    Silent {
        /// The time since its last whole frame.
        silent: Duration,
    },
    /// The client's connection ended.
    Disconnected {
        /// Why.
        loss: Loss,
        /// How long the connection was open.
        lived: Duration,
        /// Beats answered.
        beats: u64,
    },
    /// The client was closed at once, because the limit of clients was reached.
    TurnedAway,
}

impl fmt::Display for ClientEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}: ", self.peer)?;
        match &self.kind {
            ClientEventKind::Connected => f.write_str("connected"),
            ClientEventKind::Silent { silent } => write!(f, "silent for {silent:.1?}: closed"),
            ClientEventKind::Disconnected { loss, lived, beats } => {
                let beats = counted(*beats, "beat", "beats");
                write!(f, "disconnected after {lived:.1?} and {beats}: {loss}")
            }
            ClientEventKind::TurnedAway => f.write_str("turned away: too many clients"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_counts_up_and_suspect_over_the_whole_life() {
        let start = Instant::now();
        let s = Duration::from_secs;
        let who = Identity { id: LinkId(1), name: "a".into(), target: "tcp://a:1".into() };
        let mut status = Status::new(&who, start);
        status.turn(State::Up, start + s(1));
        status.turn(State::Suspect, start + s(2));
        status.turn(State::Down, start + s(4));
        assert_eq!(status.uptime_ratio(start + s(6)), 3.0 / 5.0);
        status.turn(State::Up, start + s(6));
        assert_eq!(status.uptime_ratio(start + s(9)), 6.0 / 8.0);
        status.turn(State::Up, start + s(11));
        status.ended = true;
        assert_eq!(status.uptime_ratio(start + s(99)), 0.8, "its life is over");
    }

    #[test]
    fn a_link_that_always_answered_was_up_all_its_life_however_long_its_connect_took() {
        let start = Instant::now();
        let who = Identity { id: LinkId(1), name: "a".into(), target: "tcp://a:1".into() };
        let mut status = Status::new(&who, start);
        assert_eq!(status.uptime_ratio(start + Duration::from_secs(9)), 0.0, "nothing is known");
        let up = start + Duration::from_secs(5);
        status.turn(State::Up, up);
        assert_eq!(status.uptime_ratio(up), 1.0);
        assert_eq!(status.uptime_ratio(up + Duration::from_secs(7)), 1.0);
    }
}
