//! Cause: why a beat or a connection failed, as a word from a closed list with a sentence.

use std::fmt;
use std::io;

macro_rules! causes {
    ($($name:ident, $word:literal, $sentence:literal, $confirm:literal, $change:literal;)*) => {
        /// Why a beat or a connection failed.
        ///
        /// The words are a closed list, the same in events, JSON lines and logs. Later versions may
        /// add words and never rename one. `Display` prints the word.
        ///
        /// | word | meaning | how to confirm | what to change |
        /// |---|---|---|---|
        $(#[doc = concat!("| `", $word, "` | ", $sentence, " | ", $confirm, " | ", $change, " |")])*
        ///
        /// The word of an end is what is certain at that moment: a killed process sends a FIN, so
        /// its end is `closed-by-peer`. Later attempts have events and words of their own, for
        /// example `refused`.
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

            /// How to confirm the cause by hand.
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
        "`getent ahosts NAME`", "the name, or the zone on the name server";
    NameServerSilent, "name-server-silent", "no name server answered",
        "`getent ahosts NAME` hangs", "the name servers in `/etc/resolv.conf`";
    Refused, "refused", "nobody listens on the port, or a firewall refuses in its place",
        "`ss -ltn` on the peer", "start the service, or correct the port";
    ConnectTimeout, "connect-timeout", "the attempt to connect got no answer",
        "`tcpdump` shows SYNs without an answer",
        "the host, the route, or a firewall that drops packets";
    TlsFailed, "tls-failed", "the connection was opened, and TLS on it failed",
        "`openssl s_client -connect HOST:PORT`",
        "what the first word of the detail points to: the certificate (`expired`, \
         `not-yet-valid`), this machine's clock (`clock`), the name (`wrong-name`), the trusted \
         authorities (`untrusted`), the TLS settings (`protocol`), the port (`plaintext`), the \
         server (`silent`)";
    CertificateExpiring, "certificate-expiring",
        "a warning: the peer's certificate expires soon, or expired while the connection was open",
        "`openssl s_client -connect HOST:PORT` shows its `NotAfter`",
        "renew the certificate, and let the server load the new one";
    ProxyFailed, "proxy-failed", "a proxy could not reach the peer, or refused to",
        "the proxy's log", "the proxy, or its rules";
    ClosedByPeer, "closed-by-peer", "the peer closed the connection in an orderly way (FIN)",
        "the peer's log", "the peer's idle limit or its client limit; a shorter interval";
    ClosedWithReason, "closed-with-reason", "the peer gave a reason and closed the connection",
        "the reason is in the detail", "what the reason asks for";
    IdleClosed, "idle-closed", "the peer closes each connection after the same idle time",
        "the idle limit in the peer's settings; `tcpdump` shows its FIN after the same idle time",
        "an interval shorter than the idle limit, or a longer limit on the peer";
    LifetimeClosed, "lifetime-closed", "the peer closes each connection at the same age",
        "`tcpdump` shows its FIN at the same age of each connection",
        "nothing, if that is intended; otherwise the lifetime set on the peer or a proxy";
    DroppedAtOnce, "dropped-at-once", "the connection was accepted and closed at once",
        "`nc HOST PORT` ends at once",
        "what accepts in the peer's place: a proxy or load balancer without a healthy backend, a \
         list of allowed clients, or a limit on their number";
    Reset, "reset", "the connection was reset",
        "`tcpdump` shows the RST and who sent it", "the peer, or the firewall in front of it";
    ResetByMiddlebox, "reset-by-middlebox",
        "the reset came sooner than the peer could have sent one",
        "`tcpdump` on the peer shows no RST sent",
        "ask whoever runs the firewall or proxy on the path";
    AckTimeout, "ack-timeout", "no ack came in time, or nothing was received for too long",
        "`ss -tino` shows unacked bytes and the backoff",
        "the peer or the path; or a longer timeout";
    PeerSilent, "peer-silent",
        "the peer's kernel received the beat, and the process did not answer",
        "`ss -tino` shows nothing unacked; on the peer `ss -tn` shows a growing Recv-Q",
        "the process on the peer: it hangs or is overloaded";
    RepliesFiltered, "replies-filtered", "the beats arrive, and the answers are dropped on the way",
        "`tcpdump` on the peer shows the answers leave; here none arrive",
        "ask whoever runs the firewall: answers of the peer are dropped";
    ConversationSilent, "conversation-silent",
        "the peer does not answer on this connection, and answers on a fresh one",
        "a second connection by hand, with the same beat", "the peer: this session on it hangs";
    AcceptQueueFull, "accept-queue-full", "the peer listens and accepts no connection",
        "`ss -ltn` on the peer: Recv-Q has reached Send-Q",
        "the process on the peer: it hangs, or its backlog is too short";
    PeerNotReading, "peer-not-reading",
        "the peer is alive and does not read: its receive window is closed",
        "`ss -tino` shows `rwnd_limited` and a persist timer",
        "the process on the peer: it does not read";
    QueuedBehindData, "queued-behind-data", "the beat waits in the send queue behind our own data",
        "`ss -tn` shows a long Send-Q that moves",
        "send less data at once, or set a longer timeout";
    PathDead, "path-dead", "nothing comes back from the host",
        "`ss -tino` shows the backoff; `ping` and `traceroute` get no answer either",
        "the network on the way, or the host, which may be off";
    SomePathsDead, "some-paths-dead", "one of several parallel paths to the peer is dead",
        "open several connections in a row: some are answered, some are not",
        "ask whoever runs the network: one link of a bundle, or one of several routers, is dead";
    PortFiltered, "port-filtered", "packets to this port are dropped; the host answers on others",
        "`tcpdump` shows SYNs without an answer; another port refuses at once",
        "ask whoever runs the firewall: this port is dropped";
    FlowDropped, "flow-dropped", "packets of this connection are dropped; a fresh one is answered",
        "`ss -tino` shows the backoff; a second connection by hand works",
        "ask whoever runs the firewall: the packets of this connection are dropped";
    FlowForgotten, "flow-forgotten", "a firewall or NAT forgot the connection while it was idle",
        "`ss -tino` shows the backoff after an idle time; a second connection by hand works",
        "an interval shorter than the firewall's idle timeout, or a longer timeout there";
    PayloadFiltered, "payload-filtered", "packets with these bytes are dropped; others pass",
        "`tcpdump` on both sides shows the same packet leave again and again, and never arrive",
        "ask whoever runs the firewall: packets with the bytes of the heartbeat are dropped";
    SizeFiltered, "size-filtered", "packets of this size are dropped; smaller ones pass",
        "`ping -M do -s SIZE`; `tracepath` shows where",
        "the MTU on the way, or a firewall that drops long packets and ICMP";
    AllPayloadDropped, "all-payload-dropped", "connections can be opened, and no data passes",
        "`tcpdump` on the peer shows the handshake arrive, and no data",
        "ask whoever runs the firewall: data packets are dropped";
    RateLimited, "rate-limited", "a rate limit lets some beats pass; the others come late or never",
        "`ss -tino` shows retransmissions that grow with each beat",
        "a longer interval, or ask whoever runs the firewall for its rate limit";
    SlowPath, "slow-path", "answers come, but take longer than the timeout",
        "`ping`; `ss -tino` shows the round-trip time",
        "a longer timeout, or the traffic that fills the path";
    PassingOutage, "passing-outage", "the path was dead for a while, and works again",
        "the logs of the network's devices at that time",
        "the network on the way, if this happens again";
    Unreachable, "unreachable", "a router says that the host or its network cannot be reached",
        "`tcpdump icmp`", "the route to the peer; the host may be off";
    Prohibited, "prohibited", "a firewall says that it forbids the connection",
        "`tcpdump icmp`; the firewall rules of this machine", "ask whoever runs the firewall";
    LocalStall, "local-stall",
        "this process was stopped or got no processor time; the peer is not to blame",
        "look for high load, swapping, or a stopped process",
        "give this process more processor time and memory";
    ResumedFromSleep, "resumed-from-sleep", "this machine was suspended; the peer is not to blame",
        "the system's log", "nothing; connections lost meanwhile are opened again";
    LocalAddressGone, "local-address-gone",
        "this machine has lost the address that the connection uses",
        "`ip addr`", "this machine's network settings";
    NoLocalRoute, "no-local-route", "this machine has no route to the peer",
        "`ip route get ADDRESS`", "this machine's routes";
    LinkDown, "link-down", "this machine's network interface is down, or its cable is out",
        "`ip link`", "this machine's interface, its cable or its switch";
    NotTransmitted, "not-transmitted", "this machine does not send what was written",
        "`ss -tino` shows unsent bytes, none unacked; `nft list ruleset`; `tc -s qdisc`",
        "this machine's firewall, or the full queue of its interface";
    LocalResources, "local-resources", "this machine ran out of descriptors, ports or memory",
        "`ulimit -n`, `ss -s`", "the limit that the detail names";
    LocalNetwork, "local-network", "many links fail at once: this machine's own network is down",
        "`ping` this machine's gateway",
        "this machine's uplink, or what all the links share";
    FarNetwork, "far-network", "several hosts of one network fail at once; others answer",
        "`traceroute` to them ends at the same hop",
        "what these hosts share: a router, a switch or a site";
    WrongReply, "wrong-reply", "bytes came that are not the ack",
        "the first bytes are in the detail",
        "the protocol or the port: another service answers";
    BadStatus, "bad-status", "the server answered with an unexpected HTTP status",
        "`curl -I URL`", "the server, the path, or the expected statuses";
    PartialReply, "partial-reply", "only a part of the answer came",
        "`tcpdump -X` shows the reply", "the peer: it stopped in the middle of a reply";
    UnaskedBytes, "unasked-bytes", "bytes came though no beat was waiting for an answer",
        "the first bytes are in the detail",
        "the peer: it speaks first, or answers twice";
    LoginRefused, "login-refused", "the peer refused the credentials, or requires some",
        "log in by hand", "the user and the password";
    PermissionMissing, "permission-missing",
        "the login was accepted, and the user lacks a right that the beat needs",
        "log in by hand and send the beat", "the rights of that user on the server";
    NotReady, "not-ready", "the right server answered, but does not serve at the moment",
        "the server's own words are in the detail",
        "what those words ask for; often waiting is enough";
    SingleClient, "single-client",
        "the peer serves one client at a time, and our side connection disturbed it",
        "connect twice by hand: the first connection ends or falls silent",
        "turn side connections off for this target";
    LossyPath, "lossy-path", "a warning: packets are lost on the way and sent again",
        "`ss -tino` shows retransmissions; `ping -c 100`",
        "the network on the way; until then, a longer timeout";
    WriteStalled, "write-stalled",
        "the beat could not be written in time, because the peer does not read",
        "`ss -tn` shows a full Send-Q", "the process on the peer: it does not read";
    KernelGaveUp, "kernel-gave-up",
        "the kernel gave up the connection after its retransmissions got no answer",
        "`ss -tino` beforehand shows the retransmissions", "the path";
    ProtocolPanicked, "protocol-panicked", "the protocol's code panicked; the link has ended",
        "the panic's message on stderr", "the protocol's code";
    Renewed, "renewed", "the peer ended the connection as its protocol allows; another replaces it",
        "`curl -I URL` shows `Connection: close`",
        "nothing; or the server's limit of requests for each connection";
    ClosedByApplication, "closed-by-application", "the application closed its own connection",
        "the application's log", "nothing, if that was intended";
    Stopped, "stopped", "the link was ended on request",
        "the program that stopped it", "nothing";
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Why a connection or an attempt ended: a cause, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The cause.
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
    /// The detail is the sentence of the cause.
    fn from(cause: Cause) -> Loss {
        Loss::new(cause, cause.sentence())
    }
}

impl From<io::Error> for Loss {
    /// The kernel's error number decides the cause. Without a number, `UnexpectedEof` is
    /// `closed-by-peer` and any other error is `reset`. The error's text is the detail.
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
