//! Transport: what carries a connection of which keepbeat sees nothing.

/// What carries a [followed](crate::Coordinator::follow_as) connection. keepbeat sees nothing of
/// such a one, so what may be wrong with it, and who should act, depends on this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Nothing is known of it, and no part of a network is blamed.
    #[default]
    Other,
    /// A TCP connection.
    Tcp,
    /// TLS of the application's own, over TCP.
    Tls,
    /// A serial line, or what looks like one: a modem, a device on USB.
    Serial,
    /// A pipe or a Unix socket: the peer is a process of this machine.
    Pipe,
}

impl Transport {
    const ALL: [Transport; 5] =
        [Transport::Other, Transport::Tcp, Transport::Tls, Transport::Serial, Transport::Pipe];

    /// The word, as in the evidence.
    pub fn word(self) -> &'static str {
        match self {
            Transport::Other => "other",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Serial => "serial",
            Transport::Pipe => "pipe",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Transport> {
        Transport::ALL.into_iter().find(|transport| transport.word() == word)
    }

    /// Whether there is a network on the way.
    pub(crate) fn is_network(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Tls)
    }
}
