//! How the next interval and the ack timeout come about: room for other strategies.

/// The strategy for the next interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pace {
    /// Always the interval of the heartbeat, with its jitter.
    #[default]
    Fixed,
}

/// The strategy for the ack timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Patience {
    /// Always the timeout of the heartbeat.
    #[default]
    Fixed,
    /// From measured round-trip times, as TCP computes its own retransmission timeout (RFC 6298):
    /// `SRTT + 4 RTTVAR`, never more than the heartbeat's timeout, never less than what the kernel
    /// needs to send a lost packet three times again (15 times its own timeout, 3 s as a rule).
    /// Without that floor one lost packet would be a miss, because over TCP loss shows as delay.
    FromRtt,
}
