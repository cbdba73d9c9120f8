//! What goes wrong in a simulated world, when, and what may be said of it.

use std::time::{Duration, Instant};

use crate::cause::Cause;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Nothing passes, either way.
    PathDead,
    /// The peer's machine is off, and knows nothing of before when it is back.
    HostDown,
    /// Its process is gone: its kernel ends what stood, and refuses.
    Killed,
    /// Its process is stopped: its kernel lives.
    Hung,
    /// The peer resets the connection, once.
    Reset,
    /// The peer ends connections that were idle for so long.
    IdleClose(Duration),
    /// A firewall forgets those, and says nothing.
    Nat(Duration),
    /// A rule drops the packets of the connections that stand.
    FlowDropped,
    LinkDown,
    AddressGone,
    NoRoute,
    /// A router says so.
    Unreachable,
    Prohibited,
    /// This process does not run.
    Stall,
    /// This machine sleeps. What becomes of its connections meanwhile.
    Suspend(Meanwhile),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Meanwhile {
    Nothing,
    /// A firewall forgets them.
    Forgotten,
    /// The peer gives them up.
    GivenUp,
}

#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub from: Instant,
    pub until: Instant,
}

impl Fault {
    pub fn is_on(&self, at: Instant) -> bool {
        (self.from..self.until).contains(&at)
    }
}

/// That much is no accusation: what may be is told as possible, and a bad moment of the path, or a
/// word of our own, blames nobody.
pub fn is_harmless(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::AckTimeout
            | Cause::PassingOutage
            | Cause::LossyPath
            | Cause::SlowPath
            | Cause::LocalStall
            | Cause::ConnectTimeout
    )
}

impl Kind {
    /// What the user must read, at least likely, of a world with this fault. The first is the one
    /// that is looked for.
    pub fn names(self) -> &'static [Cause] {
        match self {
            Kind::PathDead | Kind::HostDown => &[Cause::PathDead],
            Kind::Killed => &[Cause::Refused, Cause::ClosedByPeer, Cause::Reset],
            Kind::Hung => &[Cause::PeerSilent],
            Kind::Reset => &[Cause::Reset],
            Kind::IdleClose(_) => &[Cause::IdleClosed, Cause::ClosedByPeer],
            // A pause as long as one that was survived is no reason to forget.
            Kind::Nat(_) => &[Cause::FlowForgotten, Cause::FlowDropped],
            Kind::FlowDropped => &[Cause::FlowDropped, Cause::FlowForgotten],
            Kind::LinkDown => &[Cause::LinkDown],
            Kind::AddressGone => &[Cause::LocalAddressGone],
            Kind::NoRoute => &[Cause::NoLocalRoute],
            Kind::Unreachable => &[Cause::Unreachable],
            Kind::Prohibited => &[Cause::Prohibited],
            Kind::Stall => &[Cause::LocalStall],
            Kind::Suspend(_) => &[Cause::ResumedFromSleep],
        }
    }

    /// Whether it is known at once, so that nobody need be asked.
    pub fn is_clear(self) -> bool {
        matches!(
            self,
            Kind::LinkDown
                | Kind::AddressGone
                | Kind::NoRoute
                | Kind::Prohibited
                | Kind::Killed
                | Kind::Reset
        )
    }

    fn resets(self) -> bool {
        matches!(self, Kind::Killed | Kind::Reset)
    }

    fn ends_connections(self) -> bool {
        matches!(self, Kind::Killed | Kind::Reset | Kind::IdleClose(_) | Kind::Suspend(_))
    }

    /// Whether it may be told, as likely or certain.
    pub fn allows(self, cause: Cause) -> bool {
        is_harmless(cause)
            || self.names().contains(&cause)
            // Two ends may come at the same age, or after the same pause, by chance.
            || self.ends_connections()
                && matches!(cause, Cause::LifetimeClosed | Cause::IdleClosed)
            // It may cross a beat, and is here sooner than any answer to that.
            || self.resets() && cause == Cause::ResetByMiddlebox
            // The machine is back and knows nothing of the connection.
            || self == Kind::HostDown && cause == Cause::Reset
    }
}
