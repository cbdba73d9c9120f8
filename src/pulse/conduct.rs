//! What the way in which a link is made decides of its life, whatever its heartbeat says.

/// How a link is made: who opens its connection, and what the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// keepbeat opens it for beats alone, and another when it is lost.
    Watch,
    /// keepbeat opens it for beats and the application's data, and another when it is lost.
    Connect,
    /// The application hands it over, with its data. With the connection the link is over.
    Adopt,
    /// It stays the application's. A link that has fallen stays on it, until it ends by itself.
    Stay,
}

impl Conduct {
    /// Whether another connection is opened when one is lost.
    pub(crate) fn reconnects(self) -> bool {
        matches!(self, Conduct::Watch | Conduct::Connect)
    }

    /// Whether a link that has fallen keeps its connection, and may come back on it.
    pub(crate) fn stays(self) -> bool {
        self == Conduct::Stay
    }

    /// Whether the connection serves the application as well. Then a peer with a closed window is
    /// slow and not dead, and no connection is given up for the sake of a beat.
    pub(crate) fn carries_data(self) -> bool {
        self != Conduct::Watch
    }

    /// Whether any whole frame of the peer is a sign of life; on a watched link only acks are.
    pub(crate) fn any_frame_is_life(self) -> bool {
        self != Conduct::Watch
    }
}
