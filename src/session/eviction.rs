//! Eviction: why a kept connection was let go, as a word from a closed list.

use std::fmt;

macro_rules! evictions {
    ($($name:ident, $word:literal, $sentence:literal, $change:literal;)*) => {
        /// Why a session let a connection go that it might have kept.
        ///
        /// The words are a closed list, the same in events, statistics and logs; later versions may
        /// add to it and never rename one. `Display` prints the word.
        ///
        /// | word | meaning | what to change, if it happens often |
        /// |---|---|---|
        $(#[doc = concat!("| `", $word, "` | ", $sentence, " | ", $change, " |")])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Eviction {
            $(#[doc = concat!("`", $word, "`: ", $sentence, ".")] $name,)*
        }

        impl Eviction {
            /// Every word, in the order of the table.
            pub const ALL: &'static [Eviction] = &[$(Eviction::$name),*];

            /// The word: kebab-case, stable, the same everywhere.
            pub fn word(self) -> &'static str {
                match self { $(Eviction::$name => $word,)* }
            }

            /// The meaning in a few plain words.
            pub fn sentence(self) -> &'static str {
                match self { $(Eviction::$name => $sentence,)* }
            }

            /// What to change, if it happens often.
            pub fn remedy(self) -> &'static str {
                match self { $(Eviction::$name => $change,)* }
            }
        }
    };
}

evictions! {
    ClosedByPeer, "closed-by-peer", "the server closed it while it was idle",
        "nothing: it is the server's idle limit, which is learnt, or a restart";
    Reset, "reset", "it was reset while it was idle",
        "a firewall or balancer with a short memory: `idle_timeout` below its limit, or `warm`";
    Silent, "silent", "the kernel's keepalive got no answer: the host or the path is gone",
        "the path to the server";
    UnexpectedBytes, "unexpected-bytes", "the server sent bytes that nobody had asked for",
        "the server: it answered twice, or said goodbye in words (408)";
    IdleTimeout, "idle-timeout", "nobody used it for the `idle_timeout`",
        "a longer `idle_timeout`, if requests come just too late";
    MaxLifetime, "max-lifetime", "it reached its greatest age",
        "a longer `max_lifetime`";
    ServerLimit, "server-limit", "the server serves no more requests on it",
        "the server's limit of requests per connection";
    OverIdleLimit, "over-idle-limit", "more were idle than may be kept for the host",
        "a greater `max_idle_per_host`";
    MadeRoom, "made-room", "another request needed its place",
        "a greater `max_per_host` or `max_total`";
    NotReusable, "not-reusable", "its last exchange did not end in a way that lets another begin",
        "read bodies to their end; a server that says `Connection: close` means it";
    OwnSettings, "own-settings", "its request had TLS, proxy or socket settings of its own",
        "settings of the session, in place of those of each request";
    SessionClosed, "session-closed", "the agent was shut down",
        "nothing";
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
