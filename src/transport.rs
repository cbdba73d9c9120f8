//! Transport: what carries a followed connection, which keepbeat cannot see.

/// What carries a [followed](crate::Coordinator::follow_as) connection. keepbeat cannot see such a
/// connection, so the diagnosis depends on this: what may be wrong, and who should act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Unknown: the diagnosis blames no part of a network.
    #[default]
    Other,
    /// A TCP connection.
    Tcp,
    /// The application's own TLS, over TCP.
    Tls,
    /// A serial line, or what looks like one, for example a modem or a USB device.
    Serial,
    /// A pipe or a Unix socket: the peer is a process on this machine.
    Pipe,
}

impl Transport {
    const ALL: [Transport; 5] =
        [Transport::Other, Transport::Tcp, Transport::Tls, Transport::Serial, Transport::Pipe];

    /// The word for it in the evidence.
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

    /// Whether the connection crosses a network.
    pub(crate) fn is_network(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Tls)
    }
}
