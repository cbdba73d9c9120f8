//! Snapshot: what the kernel knows of a connection at one moment, for people and programs.

use std::fmt;
use std::time::Duration;

use crate::tcp_info::{TcpInfo, TcpState};

/// What the kernel knows of an observed connection at one moment. Made by
/// [`Observed::look`](crate::Observed::look).
///
/// `Display` is one readable line. A field that the running kernel does not report is `None`; Linux
/// 5.5 and later report all of them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The state of the connection, in the words of RFC 9293: `established`, `close-wait`,
    /// `fin-wait-1`, `fin-wait-2`, `closing`, `last-ack`, `time-wait`, `closed`, `syn-sent`,
    /// `syn-received`, `listening`; `unknown` for a state that this version does not know.
    pub state: &'static str,
    /// The smoothed round-trip time, which the kernel measures from segment to acknowledgement.
    /// Zero if it was never measured.
    pub rtt: Duration,
    /// The mean deviation of round-trip times from `rtt`.
    pub rtt_variation: Duration,
    /// The shortest round-trip time of the last minutes.
    pub min_rtt: Option<Duration>,
    /// The time since the last bytes came. None if none ever came.
    pub since_received: Option<Duration>,
    /// The time since bytes were last handed to the network. None if none ever were.
    pub since_sent: Option<Duration>,
    /// The time since the peer's kernel last acknowledged something, keepalive probes included.
    pub since_ack: Duration,
    /// Retransmission timeouts in a row, without an answer since the first of them.
    pub retransmits: u8,
    /// Retransmitted segments, over the whole life of the connection.
    pub total_retransmits: u32,
    /// Segments sent and not yet acknowledged.
    pub unacked: u32,
    /// Bytes that the application wrote and the kernel has not sent yet.
    pub unsent_bytes: Option<u32>,
    /// Bytes received, over the whole life of the connection; a FIN counts as one.
    pub bytes_received: Option<u64>,
    /// Bytes sent, over the whole life of the connection, each counted once.
    pub bytes_sent: Option<u64>,
    /// Bytes that the peer acknowledged, over the whole life of the connection. On a connection
    /// that was opened from here the opening counts as one byte; our own FIN counts as one, too.
    pub bytes_acked: Option<u64>,
    /// The peer has closed its side, and the application has not closed its own yet.
    pub fin_waits: bool,
    /// The peer's window is closed, and bytes wait for it to open: the peer does not read.
    pub window_closed: bool,
    /// Probes in a row without an answer, of the keepalive or of a closed window.
    pub probes_unanswered: u8,
    evidence: String,
}

impl Snapshot {
    pub(crate) fn new(info: &TcpInfo) -> Snapshot {
        let unique = info.bytes_sent.zip(info.bytes_retrans);
        let bytes_sent = unique.map(|(sent, again)| sent.saturating_sub(again));
        let some = |since: Duration, bytes: Option<u64>| (bytes != Some(0)).then_some(since);
        Snapshot {
            state: info.state.word(),
            rtt: info.rtt,
            rtt_variation: info.rtt_variation,
            min_rtt: info.min_rtt,
            since_received: some(info.last_data_recv, info.bytes_received),
            since_sent: some(info.last_data_sent, bytes_sent),
            since_ack: info.last_ack_recv,
            retransmits: info.retransmits,
            total_retransmits: info.total_retransmits,
            unacked: info.unacked,
            unsent_bytes: info.notsent_bytes,
            bytes_received: info.bytes_received,
            bytes_sent,
            bytes_acked: info.bytes_acked,
            fin_waits: info.state == TcpState::CloseWait,
            window_closed: info.is_window_closed(),
            probes_unanswered: info.probes,
            evidence: info.evidence(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Snapshot { state, rtt, rtt_variation, since_ack, total_retransmits, .. } = self;
        write!(f, "{state}, rtt {rtt:.1?} ± {rtt_variation:.1?}, acked {since_ack:.1?} ago")?;
        if let Some(since) = self.since_received {
            write!(f, ", received {since:.1?} ago")?;
        }
        if let (Some(received), Some(sent)) = (self.bytes_received, self.bytes_sent) {
            write!(f, ", {received} bytes in, {sent} out")?;
        }
        if *total_retransmits > 0 {
            write!(f, ", {total_retransmits} retransmissions in all")?;
        }
        let fin = if self.fin_waits { "; a FIN waits to be read" } else { "" };
        write!(f, "; {}{fin}", self.evidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_one_readable_line() {
        let info = TcpInfo::calm(|info| {
            (info.rtt, info.rtt_variation) = (Duration::from_micros(420), Duration::from_micros(7));
            (info.bytes_sent, info.bytes_retrans) = (Some(120), Some(20));
            (info.bytes_received, info.last_data_recv) = (Some(9), Duration::from_millis(1500));
            (info.total_retransmits, info.unacked, info.retransmits) = (4, 2, 3);
        });
        let text = "established, rtt 420.0µs ± 7.0µs, acked 0.0ns ago, received 1.5s ago, 9 bytes \
                    in, 100 out, 4 retransmissions in all; 2 segments unacked, 3 retransmissions \
                    in a row";
        assert_eq!(Snapshot::new(&info).to_string(), text);
        let closing = TcpInfo::calm(|info| info.state = TcpState::CloseWait);
        assert!(Snapshot::new(&closing).to_string().ends_with("a FIN waits to be read"));
        assert_eq!(Snapshot::new(&closing).since_received, None, "nothing ever came");
    }
}
