//! Role: which end of a conversation a link is. Who asks, who answers, who only listens.

/// Which end of a conversation a link is, after the roles of Apache MINA's keep-alive filter.
///
/// | role | sends beats | expects acks | answers the peer's beats | expects to hear something |
/// |---|---|---|---|---|
/// | [`Active`](Role::Active) | yes | yes | yes | only if [`expect_every`] says so |
/// | [`Passive`](Role::Passive) | no | no | yes | yes |
/// | [`SendOnly`](Role::SendOnly) | yes | no | no | only if [`expect_every`] says so |
/// | [`ListenOnly`](Role::ListenOnly) | no | no | no | yes |
///
/// Set by [`Heartbeat::role`](crate::Heartbeat::role), for links on the application's own
/// connections: [`adopt`], [`connect`] and [`follow`]. A watched link is always active.
///
/// [`expect_every`]: crate::Heartbeat::expect_every
/// [`adopt`]: crate::Coordinator::adopt
/// [`connect`]: crate::Coordinator::connect
/// [`follow`]: crate::Coordinator::follow
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Asks and expects answers, as a client does; answers, too, where the peer asks.
    #[default]
    Active,
    /// Answers and expects to be asked, as a server does.
    Passive,
    /// Sends beats and expects nothing ("deaf speaker"): for peers that take heartbeats and answer
    /// none. With [`expect_every`](crate::Heartbeat::expect_every) both ends can be so, as in AMQP.
    SendOnly,
    /// Sends nothing and expects to hear something ("silent listener").
    ListenOnly,
}

impl Role {
    /// Whether it sends beats of its own.
    pub(crate) fn sends(self) -> bool {
        matches!(self, Role::Active | Role::SendOnly)
    }

    /// Whether it waits for acks of its beats.
    pub(crate) fn expects_acks(self) -> bool {
        self == Role::Active
    }

    /// Whether it answers the beats of the peer.
    pub(crate) fn answers(self) -> bool {
        matches!(self, Role::Active | Role::Passive)
    }
}
