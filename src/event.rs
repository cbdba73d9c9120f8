//! What a user is told: events as they happen, and the status of a link at any time.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::cause::{Cause, Loss};
use crate::counted::counted;
use crate::diagnose::Diagnosis;
pub(crate) use crate::identity::{Identity, LinkId};
use crate::pulse::Rtt;
use crate::state::State;

/// Something that happened.
///
/// `Display` is one readable line: the name, then what happened, with cause and numbers.
#[derive(Clone, Debug)]
pub struct Event {
    pub(crate) time: SystemTime,
    pub(crate) link: Option<Arc<Identity>>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) certificate: Option<SystemTime>,
    pub(crate) kind: EventKind,
}

impl Event {
    /// When it happened, by the clock on the wall. Measured on the link's thread, so it is right
    /// even where the event is read much later.
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// The link; none for [`EventKind::Lost`], which concerns a queue, and for a diagnosis that
    /// concerns many links.
    pub fn link(&self) -> Option<LinkId> {
        self.link.as_ref().map(|link| link.id)
    }

    /// The name given to the link, or its target.
    pub fn name(&self) -> &str {
        self.link.as_ref().map_or("keepbeat", |link| &link.name)
    }

    /// The target as it was typed, without user and password.
    pub fn target(&self) -> &str {
        self.link.as_ref().map_or("", |link| &link.target)
    }

    /// The address of the connection that this is about, if there is or was one.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// When the certificate of the peer expires: for a connection that has just been opened under
    /// TLS, where the certificate could be read.
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
    /// A connection stands. That is not yet Up.
    Connected {
        /// The number of this attempt since the link was last Up, from 1.
        attempt: u32,
        /// How long name resolution and connecting took; zero for one that stood before.
        took: Duration,
    },
    /// An ack came.
    Beat {
        /// The number of the beat.
        seq: u64,
        /// From written to read; none if it was late, or if the protocol has no ack of its own.
        rtt: Option<Duration>,
        /// It came after its timeout.
        late: bool,
    },
    /// The timeout passed without an ack, and that is no miss: other frames of the peer came
    /// meanwhile, or its kernel acknowledged what was sent. The ack may still come. Only on
    /// connections that carry the application's data.
    Alive {
        /// The number of the beat.
        seq: u64,
    },
    /// Nothing was received for longer than the limit says, which counts as a miss. Only on links
    /// that have such a limit ([`Heartbeat::expect_every`](crate::Heartbeat::expect_every)).
    Silent {
        /// Since the last whole frame.
        silent: Duration,
        /// Misses in a row, this one included.
        misses: u32,
    },
    /// The timeout passed without an ack.
    Missed {
        /// The number of the beat.
        seq: u64,
        /// How long it was waited for.
        timeout: Duration,
        /// Misses in a row, this one included.
        misses: u32,
        /// `ack-timeout` or `partial-reply`.
        cause: Cause,
        /// Beats acked in time, in a row, before it.
        good: u64,
    },
    /// The state turned.
    State {
        /// The state before.
        from: State,
        /// The state now.
        to: State,
        /// Why, unless it turned for the better.
        loss: Option<Loss>,
        /// Back up: how long it had been down.
        down: Option<Duration>,
        /// Why, as far as it could be worked out by now; what comes later is told by
        /// [`Diagnosed`](EventKind::Diagnosed). None where it turned for the better, or where
        /// diagnosis is [off](crate::Diagnose::off).
        diagnosis: Option<Arc<Diagnosis>>,
    },
    /// More was worked out of a trouble than an event before has told; or a warning of one that
    /// is none yet. Without a link where many links are concerned at once.
    Diagnosed {
        /// What.
        diagnosis: Arc<Diagnosis>,
    },
    /// A connection ended, or an attempt to open one failed.
    Disconnected {
        /// Why.
        loss: Loss,
        /// How long it stood; zero for an attempt that failed.
        lived: Duration,
        /// Beats acked on it.
        beats: u64,
        /// No trouble: the peer ended the connection where it may ([`Cause::Renewed`]), or as
        /// regularly as the one before, after the same pause or at the same age. The state stays,
        /// and another connection takes the place.
        expected: bool,
    },
    /// Our own process stalled: it woke this much too late. Nobody is convicted for it.
    Stalled {
        /// How late.
        late: Duration,
        /// Whether it was the process, or the whole machine that was suspended. None where
        /// diagnosis is off.
        diagnosis: Option<Arc<Diagnosis>>,
    },
    /// The last event of a link: it was removed, its rounds are over, its protocol panicked, the
    /// connection that it observed has ended, or the coordinator stopped.
    Ended,
    /// This queue was full: so many events are missing here. [`Coordinator::status`] has the truth.
    ///
    /// [`Coordinator::status`]: crate::Coordinator::status
    Lost {
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
            EventKind::Lost { .. } => "lost",
        }
    }

    /// The cause, where there is one.
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

    /// Why, where that was worked out.
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
            // It stood before the link was made: handed over, or observed.
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
            EventKind::Lost { count } => {
                write!(f, "{} lost: this queue was full", counted(*count, "event", "events"))
            }
        }
    }
}

/// A snapshot of a link: always the truth, however slowly events are read.
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
    /// Why it is not Up: what was met last. Where a link that is Down fails to come back for
    /// another reason than it fell for, it is that reason.
    pub loss: Option<Loss>,
    /// Why it is not Up, as far as that could be worked out; of the same trouble as `loss`.
    pub diagnosis: Option<Arc<Diagnosis>>,
    /// The address it is connected to.
    pub peer: Option<SocketAddr>,
    /// When the certificate expires that the peer showed last. None without TLS, and where it could
    /// not be read.
    pub certificate_expires: Option<SystemTime>,
    /// When it took its state.
    pub since: Instant,
    /// Beats sent, over its whole life.
    pub sent: u64,
    /// Beats acked, the late ones included.
    pub acked: u64,
    /// Acks that came after their timeout.
    pub late: u64,
    /// Timeouts that passed without an ack.
    pub missed: u64,
    /// Connections opened after the first.
    pub reconnects: u64,
    /// Connections that the peer ended where it may, or as regularly as before, and that were
    /// replaced while the state stayed.
    pub renewals: u64,
    /// Stalls of our own process that were noticed.
    pub stalls: u64,
    /// Round-trip times.
    pub rtt: Rtt,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether the application leaves the frames of its [`Link`](crate::Link) untaken, so that
    /// nothing more is read from the connection. Rounds are then judged by what the peer's kernel
    /// acknowledges alone: our slow reader is not the peer's death.
    pub unread: bool,
    /// Whether its thread has ended: nothing will change any more.
    pub ended: bool,
    /// The word of `loss` before it was refined.
    pub(crate) word: Option<Cause>,
    /// When it left Connecting.
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

    /// The state turned: keeps the account of the time in which the peer answered.
    pub(crate) fn turn(&mut self, to: State, now: Instant) {
        if self.state.is_alive() {
            self.alive += now.saturating_duration_since(self.since);
        }
        (self.state, self.since) = (to, now);
        if to != State::Connecting {
            self.judged.get_or_insert(now);
        }
    }

    /// The part of its life, from 0 to 1, in which the link was Up or Suspect. Its life counts from
    /// the first verdict, the first Up or Down, until `now`, or until it ended; before that verdict
    /// nothing is known, and the ratio is 0. A link of which every beat was answered has 1.
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
    /// When, by the clock on the wall.
    pub time: SystemTime,
    /// The client.
    pub peer: SocketAddr,
    /// What.
    pub kind: ClientEventKind,
}

/// What happened to a client.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientEventKind {
    /// It connected.
    Connected,
    /// Nothing came from it for so long; it is closed.
    Silent {
        /// Since its last whole frame.
        silent: Duration,
    },
    /// Its connection ended.
    Disconnected {
        /// Why.
        loss: Loss,
        /// How long it stood.
        lived: Duration,
        /// Beats answered.
        beats: u64,
    },
    /// It was closed at once: there were as many clients as are allowed.
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
