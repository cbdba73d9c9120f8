//! Which faults a simulated world has, and by which habit its peer ends connections.

use std::time::Duration;

/// Which faults happen.
#[derive(Clone, Copy)]
pub struct Faults {
    pub path: bool,
    pub peer: bool,
    pub our_pauses: bool,
    /// A pause stops our network card as well: what comes then is sent again after it.
    pub deaf_pauses: bool,
    /// We never wake in time.
    pub overload: bool,
    /// The peer accepts, and closes at the first beat.
    pub slams: bool,
    /// With so many of 256 acks the peer announces the end of the connection.
    pub renews: u16,
    /// By which rule the peer ends its connections, unannounced.
    pub habit: Option<Habit>,
}

/// By which rule a peer ends its connections.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    pub rule: Rule,
    pub limit: Duration,
    /// It may, by its protocol, while it owes no answer.
    pub is_free: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// After so long without a byte.
    Idle,
    /// At that age.
    Lifetime,
}

impl Faults {
    pub const NONE: Faults = Faults {
        path: false,
        peer: false,
        our_pauses: false,
        deaf_pauses: false,
        overload: false,
        slams: false,
        renews: 0,
        habit: None,
    };
    pub const ALL: Faults = Faults {
        path: true,
        peer: true,
        our_pauses: true,
        deaf_pauses: true,
        renews: 16,
        ..Faults::NONE
    };
}
