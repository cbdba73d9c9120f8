//! Role: which end of a conversation a link is: the one that asks, answers, or only listens.

/// Which end of a conversation a link is, after the roles of Apache MINA's keep-alive filter.
///
/// | role | sends beats | expects acks | answers the peer's beats | expects to receive something |
/// |---|---|---|---|---|
/// | [`Active`](Role::Active) | yes | yes | yes | only if [`expect_every`] says so |
/// | [`Passive`](Role::Passive) | no | no | yes | yes |
/// | [`SendOnly`](Role::SendOnly) | yes | no | no | only if [`expect_every`] says so |
/// | [`ListenOnly`](Role::ListenOnly) | no | no | no | yes |
///
/// [`Heartbeat::role`](crate::Heartbeat::role) sets the role of links on the application's own
/// connections: [`adopt`], [`connect`] and [`follow`]. A watched link is always active.
///
/// [`expect_every`]: crate::Heartbeat::expect_every
/// [`adopt`]: crate::Coordinator::adopt
/// [`connect`]: crate::Coordinator::connect
/// [`follow`]: crate::Coordinator::follow
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Sends beats and expects acks, as a client does. Answers the beats of the peer, too.
    #[default]
    Active,
    /// Answers beats and expects them to come, as a server does.
    Passive,
    /// Sends beats and expects no acks (MINA's "deaf speaker"): for peers that accept heartbeats
    /// and do not answer them. With [`expect_every`](crate::Heartbeat::expect_every) both ends can
    /// have this role, as in AMQP.
    SendOnly,
    /// Sends nothing and expects to receive something ("silent listener").
    ListenOnly,
}

impl Role {
    /// Whether the link sends beats of its own.
    pub(crate) fn sends(self) -> bool {
        matches!(self, Role::Active | Role::SendOnly)
    }

    /// Whether the link waits for acks of its beats.
    pub(crate) fn expects_acks(self) -> bool {
        self == Role::Active
    }

    /// Whether the link answers the beats of the peer.
    pub(crate) fn answers(self) -> bool {
        matches!(self, Role::Active | Role::Passive)
    }
}
