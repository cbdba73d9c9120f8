//! Cause: why a beat or a connection failed, as a word from a closed list and a sentence.

use std::fmt;
use std::io;

macro_rules! causes {
    ($($name:ident, $word:literal, $sentence:literal, $confirm:literal, $change:literal;)*) => {
        /// Why a beat or a connection failed.
        ///
        /// The words are a closed list, the same in events, JSON lines and logs; later versions may
        /// add to it and never rename one. `Display` prints the word.
        ///
        /// | word | meaning | how to confirm | what to change |
        /// |---|---|---|---|
        $(#[doc = concat!("| `", $word, "` | ", $sentence, " | ", $confirm, " | ", $change, " |")])*
        ///
        /// At the moment of death the word is what is certain then: `closed-by-peer` for the FIN of
        /// a process that was killed. What later attempts meet, `refused` say, is told by their own
        /// events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Cause {
            $(#[doc = concat!("`", $word, "`: ", $sentence, ".")] $name,)*
        }

        impl Cause {
            /// Every cause, in the order of the table.
            pub const ALL: &'static [Cause] = &[$(Cause::$name),*];

            /// The word: kebab-case, stable, the same everywhere.
            pub fn word(self) -> &'static str {
                match self { $(Cause::$name => $word,)* }
            }

            /// The meaning in a few plain words.
            pub fn sentence(self) -> &'static str {
                match self { $(Cause::$name => $sentence,)* }
            }

            /// How to see it for oneself, by hand.
            pub fn confirm(self) -> &'static str {
                match self { $(Cause::$name => $confirm,)* }
            }

            /// The cause with this word.
            pub fn from_word(word: &str) -> Option<Cause> {
                Cause::ALL.iter().copied().find(|cause| cause.word() == word)
            }

            /// What to change so that it does not happen again.
            pub fn remedy(self) -> &'static str {
                match self { $(Cause::$name => $change,)* }
            }
        }
    };
}

causes! {
    NameNotResolved, "name-not-resolved", "the name has no address",
        "`getent ahosts NAME`", "the name, or the name server's zone";
    NameServerSilent, "name-server-silent", "no name server answered",
        "`getent ahosts NAME` hangs", "the name servers in `/etc/resolv.conf`";
    Refused, "refused", "nobody listens on the port, or a firewall refuses in its place",
        "`ss -ltn` on the peer", "start the service, or the port";
    ConnectTimeout, "connect-timeout", "nothing answered the attempt to connect",
        "`tcpdump` shows SYNs without an answer", "the host, the route, or a firewall that drops";
    TlsFailed, "tls-failed", "the connection stands, and TLS on it failed",
        "`openssl s_client -connect HOST:PORT`",
        "what the detail's first word says: the certificate (`expired`, `not-yet-valid`), this \
         machine's clock (`clock`), the name (`wrong-name`), whom to trust (`untrusted`), the TLS \
         settings (`protocol`), the port (`plaintext`), the server behind it (`silent`)";
    CertificateExpiring, "certificate-expiring",
        "the certificate of the peer expires soon, or has since the connection was made; a warning",
        "`openssl s_client -connect HOST:PORT` shows its `NotAfter`",
        "renew the certificate, and let the server load the new one";
    ProxyFailed, "proxy-failed", "a proxy on the way could not reach the peer, or refused to",
        "the proxy's log", "the proxy, or its rules";
    ClosedByPeer, "closed-by-peer", "the peer closed the connection in an orderly way",
        "the peer's log", "the peer's idle limit or its client limit; a shorter interval";
    ClosedWithReason, "closed-with-reason", "the peer said why, and closed the connection",
        "the reason, in the detail", "what the reason says";
    IdleClosed, "idle-closed", "the peer closes connections that were idle for so long",
        "the idle limit in the peer's settings; `tcpdump` shows its FIN after the same pause",
        "a shorter interval than the idle limit, or a longer limit there";
    LifetimeClosed, "lifetime-closed", "the peer ends each connection at the same age",
        "`tcpdump` shows its FIN at the same age of each connection",
        "nothing, if it is meant; else the lifetime in the settings of the peer, or of a proxy";
    DroppedAtOnce, "dropped-at-once", "the connection was accepted and ended at once",
        "`nc HOST PORT` ends at once",
        "what accepts in the peer's place: a proxy or balancer without a living backend, a list of \
         allowed clients, or a limit on them";
    Reset, "reset", "the connection was reset",
        "`tcpdump` shows the RST and who sent it", "the peer, or the firewall before it";
    ResetByMiddlebox, "reset-by-middlebox",
        "the reset came sooner than the peer could have sent it",
        "`tcpdump` on the peer: it sent no RST", "ask whoever runs the firewall or proxy between";
    AckTimeout, "ack-timeout", "no ack came in time, or nothing at all where something was due",
        "`ss -tino` shows unacked bytes and the backoff", "the peer or the path; a longer timeout";
    PeerSilent, "peer-silent", "the peer's kernel acknowledged the beat, and no answer came",
        "`ss -tino`: nothing unacked; on the peer `ss -tn` shows a filling Recv-Q",
        "the process on the peer: it hangs, or is overloaded";
    RepliesFiltered, "replies-filtered", "the beats arrive, and the answers are lost on the way",
        "`tcpdump` on the peer shows the answers leave, here none comes",
        "ask whoever runs the firewall: answers of the peer are dropped";
    ConversationSilent, "conversation-silent",
        "this connection is not answered, and a fresh one is",
        "a second connection by hand, with the same beat", "the peer: one of its sessions hangs";
    AcceptQueueFull, "accept-queue-full", "the peer listens and accepts nobody",
        "`ss -ltn` on the peer: Recv-Q has reached Send-Q",
        "the process on the peer: it hangs, or its backlog is too short";
    PeerNotReading, "peer-not-reading", "the peer's window is closed: it lives and does not read",
        "`ss -tino` shows `rwnd_limited` and a persist timer", "the reader on the peer";
    QueuedBehindData, "queued-behind-data", "the beat waits behind data of our own",
        "`ss -tn` shows a long Send-Q that moves", "less data at once, or a longer timeout";
    PathDead, "path-dead", "nothing comes back from the host at all",
        "`ss -tino` shows the backoff; `ping` and `traceroute` are silent, too",
        "the network on the way, or the host: it may be off";
    SomePathsDead, "some-paths-dead", "one of several parallel paths to the peer is dead",
        "several connections in a row: some are answered, some are not",
        "ask whoever runs the network: a link of a bundle, or a router among several, is dead";
    PortFiltered, "port-filtered", "packets to this port are dropped, the host answers on others",
        "`tcpdump` shows SYNs without an answer; another port refuses at once",
        "ask whoever runs the firewall: this port is dropped";
    FlowDropped, "flow-dropped", "packets of this connection are dropped, a fresh one is answered",
        "`ss -tino` shows the backoff; a second connection by hand works",
        "ask whoever runs the firewall: the packets of this connection are dropped";
    FlowForgotten, "flow-forgotten", "a firewall or NAT has forgotten the connection while idle",
        "`ss -tino` shows the backoff after a pause; a second connection by hand works",
        "a shorter interval than the firewall's memory, or a longer memory there";
    PayloadFiltered, "payload-filtered", "packets with these bytes are dropped, others pass",
        "`tcpdump` on both sides: the same packet leaves again and again, and never arrives",
        "ask whoever runs the firewall: packets with the bytes of the heartbeat are dropped";
    SizeFiltered, "size-filtered", "packets of this size are dropped, smaller ones pass",
        "`ping -M do -s SIZE`; `tracepath` shows where",
        "the MTU on the way, or a firewall that drops by length and eats ICMP";
    AllPayloadDropped, "all-payload-dropped", "connections are opened, and no data passes",
        "`tcpdump` on the peer: the handshake arrives, and no data",
        "ask whoever runs the firewall: data packets are dropped";
    RateLimited, "rate-limited", "only so many beats in a while pass, the rest come late or never",
        "`ss -tino` shows retransmissions that grow with each beat",
        "a longer interval, or ask whoever runs the firewall for its rate limit";
    SlowPath, "slow-path", "answers come, and take longer than the timeout",
        "`ping`; `ss -tino` shows the round-trip time",
        "a longer timeout, or whatever fills the path";
    PassingOutage, "passing-outage", "the path was dead for a while, and is alive again",
        "the logs of the network's devices at that time",
        "the network on the way, if it comes again";
    Unreachable, "unreachable", "a router says that the host or its network cannot be reached",
        "`tcpdump icmp`", "the route to the peer; the host may be off";
    Prohibited, "prohibited", "a firewall says that it forbids the connection",
        "`tcpdump icmp`; the own host's rules", "ask whoever runs the firewall";
    LocalStall, "local-stall", "this process slept or starved; nobody else is to blame",
        "load, a stopped process, a suspended machine", "more room for this process";
    ResumedFromSleep, "resumed-from-sleep", "this machine was suspended; nobody else is to blame",
        "the system's log", "nothing; connections that fell meanwhile come back";
    LocalAddressGone, "local-address-gone", "the own address vanished from this machine",
        "`ip addr`", "the own network's settings";
    NoLocalRoute, "no-local-route", "this machine has no route to the peer",
        "`ip route get ADDRESS`", "the own routes";
    LinkDown, "link-down", "the own network interface is down, or its cable is out",
        "`ip link`", "the own interface, its cable or its switch";
    NotTransmitted, "not-transmitted", "this machine does not send what was written",
        "`ss -tino`: unsent bytes, none unacked; `nft list ruleset`; `tc -s qdisc`",
        "the own firewall, or a full queue of the own interface";
    LocalResources, "local-resources", "this machine ran out of descriptors, ports or memory",
        "`ulimit -n`, `ss -s`", "the limit that the detail names";
    LocalNetwork, "local-network", "many links fail at once: it is our network, told once",
        "`ping` of the own gateway", "the own uplink, or what all the links share";
    FarNetwork, "far-network", "several hosts of one network fail at once, and others answer",
        "`traceroute` to them ends at the same hop",
        "what these hosts share: a router, a switch, a site";
    WrongReply, "wrong-reply", "bytes came that are not the ack",
        "the first bytes, in the detail", "the protocol or the port: another service answers";
    BadStatus, "bad-status", "the server answered with a status that was not expected",
        "`curl -I URL`", "the server; or the path, or the statuses to expect";
    PartialReply, "partial-reply", "only a part of the ack came",
        "`tcpdump -X` shows the reply", "the peer: it stopped in the middle of a reply";
    UnaskedBytes, "unasked-bytes", "bytes came that nobody had asked for",
        "the first bytes, in the detail", "the peer: it speaks first, or twice";
    LoginRefused, "login-refused", "the peer refused the credentials, or asks for some",
        "log in by hand", "user and password";
    PermissionMissing, "permission-missing",
        "the login was accepted, and a right that the beat needs is missing",
        "log in by hand and send the beat", "the rights of that user on the server";
    NotReady, "not-ready", "the right server answered, and does not serve now",
        "the server's own words, in the detail", "what those words ask for; often to wait";
    SingleClient, "single-client",
        "the peer serves one client at a time, and our own side connection disturbed it",
        "connect twice by hand: the first connection ends or goes silent",
        "no side connections to this target";
    LossyPath, "lossy-path", "packets are lost on the way and sent again; a warning",
        "`ss -tino` shows retransmissions; `ping -c 100`",
        "the network on the way; a longer timeout meanwhile";
    WriteStalled, "write-stalled", "a beat could not be written in time: the peer does not read",
        "`ss -tn` shows a full send queue", "the peer";
    KernelGaveUp, "kernel-gave-up", "the kernel gave the connection up after sending in vain",
        "`ss -tino` before it happens", "the path";
    ProtocolPanicked, "protocol-panicked", "the code of the protocol panicked; the link has ended",
        "the panic's message on stderr", "the protocol's code";
    Renewed, "renewed", "the peer announced the end of its connection; the next beat opens one",
        "`curl -I URL` shows `Connection: close`", "nothing; a higher limit of requests there";
    ClosedByApplication, "closed-by-application", "the application closed its own connection",
        "the application's log", "nothing, if it was meant";
    Stopped, "stopped", "ended on request",
        "the caller", "nothing";
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A cause with what was seen: the end of a connection or of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The word.
    pub cause: Cause,
    /// What was seen, with names and numbers. Never empty, never a secret.
    pub detail: String,
}

impl Loss {
    /// A loss with its detail.
    pub fn new(cause: Cause, detail: impl Into<String>) -> Loss {
        Loss { cause, detail: detail.into() }
    }
}

impl From<Cause> for Loss {
    /// The cause's own sentence is the detail.
    fn from(cause: Cause) -> Loss {
        Loss::new(cause, cause.sentence())
    }
}

impl From<io::Error> for Loss {
    /// The word is what the kernel's number of the error says. Without one, an end in the middle
    /// (`UnexpectedEof`) is `closed-by-peer`, and all else is `reset`. The text is the detail.
    fn from(error: io::Error) -> Loss {
        let cause = match error.kind() {
            io::ErrorKind::UnexpectedEof => Cause::ClosedByPeer,
            _ if error.raw_os_error() == Some(libc::ETIMEDOUT) => Cause::KernelGaveUp,
            _ => cause_of(&error).unwrap_or(Cause::Reset),
        };
        Loss::new(cause, error.to_string())
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause, self.detail)
    }
}

/// What an error of the kernel means, where it means the same at any time.
pub(crate) fn cause_of(error: &io::Error) -> Option<Cause> {
    Some(match error.raw_os_error()? {
        libc::ECONNREFUSED => Cause::Refused,
        libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED => Cause::Reset,
        libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN => Cause::Unreachable,
        libc::ENETDOWN => Cause::NoLocalRoute,
        libc::EACCES | libc::EPERM => Cause::Prohibited,
        libc::EADDRNOTAVAIL | libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => {
            Cause::LocalResources
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kebab_case_follow_the_names_and_occur_once() {
        let mut seen = std::collections::HashSet::new();
        for cause in Cause::ALL {
            let camel: String =
                cause.word().split('-').map(|part| part[..1].to_uppercase() + &part[1..]).collect();
            assert_eq!(camel, format!("{cause:?}"));
            assert!(seen.insert(cause.word()));
            assert!(!cause.sentence().is_empty() && !cause.remedy().is_empty());
        }
    }
}
