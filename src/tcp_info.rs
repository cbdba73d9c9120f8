//! TCP_INFO: what the kernel knows of a connection, read at the offsets of its ABI.
//!
//! The struct of the C library has only the fields that its kernel had. Here the length that the
//! kernel returned decides: a field past it is `None`.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::sys;

/// More bytes than any kernel returns today.
pub(crate) const ROOM: usize = 288;

/// The bytes that every kernel since 2.6 returns.
const LEAST: usize = 104;

/// The state of a connection; the kernel has a number for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TcpState {
    Established,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Closed,
    CloseWait,
    LastAck,
    Listening,
    Closing,
    Unknown,
}

impl TcpState {
    fn of(number: u8) -> TcpState {
        match number {
            1 => TcpState::Established,
            2 => TcpState::SynSent,
            3 => TcpState::SynReceived,
            4 => TcpState::FinWait1,
            5 => TcpState::FinWait2,
            6 => TcpState::TimeWait,
            7 => TcpState::Closed,
            8 => TcpState::CloseWait,
            9 => TcpState::LastAck,
            10 => TcpState::Listening,
            11 => TcpState::Closing,
            _ => TcpState::Unknown,
        }
    }

    /// The word of RFC 9293.
    pub(crate) fn word(self) -> &'static str {
        match self {
            TcpState::Established => "established",
            TcpState::SynSent => "syn-sent",
            TcpState::SynReceived => "syn-received",
            TcpState::FinWait1 => "fin-wait-1",
            TcpState::FinWait2 => "fin-wait-2",
            TcpState::TimeWait => "time-wait",
            TcpState::Closed => "closed",
            TcpState::CloseWait => "close-wait",
            TcpState::LastAck => "last-ack",
            TcpState::Listening => "listening",
            TcpState::Closing => "closing",
            TcpState::Unknown => "unknown",
        }
    }
}

/// What the kernel knew of a connection at one moment. A `last_` field is the time since then.
#[derive(Clone, Debug, PartialEq)]
#[allow(dead_code)] // a diagnosis of silence reads the rest
pub(crate) struct TcpInfo {
    pub(crate) state: TcpState,
    /// Retransmission timeouts in a row.
    pub(crate) retransmits: u8,
    /// Probes without an answer, of the keepalive or of a closed window.
    pub(crate) probes: u8,
    pub(crate) backoff: u8,
    pub(crate) rto: Duration,
    /// Segments sent and not yet acknowledged.
    pub(crate) unacked: u32,
    /// How many of `unacked` the peer has received behind a missing one.
    pub(crate) sacked: u32,
    pub(crate) last_data_sent: Duration,
    pub(crate) last_data_recv: Duration,
    pub(crate) last_ack_recv: Duration,
    pub(crate) rtt: Duration,
    pub(crate) rtt_variation: Duration,
    pub(crate) total_retransmits: u32,
    /// An acknowledged SYN or FIN counts as one byte.
    pub(crate) bytes_acked: Option<u64>,
    /// The FIN counts as one byte.
    pub(crate) bytes_received: Option<u64>,
    /// Segments received, of any kind.
    pub(crate) segs_in: Option<u32>,
    /// Bytes in the send queue that were not sent yet.
    pub(crate) notsent_bytes: Option<u32>,
    pub(crate) min_rtt: Option<Duration>,
    pub(crate) data_segs_in: Option<u32>,
    /// How long the peer's receive window held up sending.
    pub(crate) rwnd_limited: Option<Duration>,
    /// With retransmissions, without SYN and FIN.
    pub(crate) bytes_sent: Option<u64>,
    pub(crate) bytes_retrans: Option<u64>,
    /// Our segments that arrived twice, as the peer reports.
    pub(crate) dsack_dups: Option<u32>,
    /// Segments received while an earlier one was missing.
    pub(crate) rcv_ooopack: Option<u32>,
    /// The peer's receive window.
    pub(crate) snd_wnd: Option<u32>,
    pub(crate) rehash: Option<u32>,
    pub(crate) total_rto: Option<u16>,
    pub(crate) total_rto_recoveries: Option<u16>,
    pub(crate) total_rto_time: Option<Duration>,
}

impl TcpInfo {
    /// # Errors
    ///
    /// `Unsupported` if the kernel has no such information; otherwise what is wrong with the
    /// descriptor.
    pub(crate) fn of(socket: &impl AsFd) -> io::Result<TcpInfo> {
        let mut bytes = [0; ROOM];
        let told = sys::tcp_info(socket, &mut bytes)?;
        TcpInfo::parse(told).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Whether the peer or the kernel has ended this connection. The end may not be read yet.
    pub(crate) fn has_ended(socket: &impl AsFd) -> bool {
        let ended = [TcpState::CloseWait, TcpState::LastAck, TcpState::Closed];
        TcpInfo::of(socket).is_ok_and(|info| ended.contains(&info.state))
    }

    /// None if there are too few bytes for a `tcp_info`.
    pub(crate) fn parse(told: &[u8]) -> Option<TcpInfo> {
        if told.len() < LEAST {
            return None;
        }
        let old = |at: usize| u32(told, at).unwrap_or_default();
        let micros = |at: usize| Duration::from_micros(old(at).into());
        let millis = |at: usize| Duration::from_millis(old(at).into());
        let least = u32(told, 148).filter(|rtt| *rtt != u32::MAX); // it says: none yet
        Some(TcpInfo {
            state: TcpState::of(told[0]),
            retransmits: told[2],
            probes: told[3],
            backoff: told[4],
            rto: micros(8),
            unacked: old(24),
            sacked: old(28),
            last_data_sent: millis(44),
            last_data_recv: millis(52),
            last_ack_recv: millis(56),
            rtt: micros(68),
            rtt_variation: micros(72),
            total_retransmits: old(100),
            bytes_acked: u64(told, 120),
            bytes_received: u64(told, 128),
            segs_in: u32(told, 140),
            notsent_bytes: u32(told, 144),
            min_rtt: least.map(|rtt| Duration::from_micros(rtt.into())),
            data_segs_in: u32(told, 152),
            rwnd_limited: u64(told, 176).map(Duration::from_micros),
            bytes_sent: u64(told, 200),
            bytes_retrans: u64(told, 208),
            dsack_dups: u32(told, 216),
            rcv_ooopack: u32(told, 224),
            snd_wnd: u32(told, 228),
            rehash: u32(told, 236),
            total_rto: u16(told, 240),
            total_rto_recoveries: u16(told, 242),
            total_rto_time: u32(told, 244).map(|time| Duration::from_millis(time.into())),
        })
    }

    /// The time since the last segment that the kernel accepted: data, or an acknowledgement.
    pub(crate) fn silent(&self) -> Duration {
        self.last_ack_recv.min(self.last_data_recv)
    }

    pub(crate) fn unsent(&self) -> u32 {
        self.notsent_bytes.unwrap_or(0)
    }

    /// Whether the peer opened the connection, if that is visible: on a connection that was opened
    /// from here, the opening counts as one byte.
    pub(crate) fn is_accepted(&self) -> bool {
        !self.is_outstanding() && self.acked_past_data() == Some(0)
    }

    /// Our bytes that were written and not yet acknowledged; off by one at most.
    pub(crate) fn bytes_ahead(&self) -> Option<u64> {
        let unique = self.bytes_sent?.saturating_sub(self.bytes_retrans?);
        let on_the_way = match self.unacked {
            0 => 0,
            _ => unique.saturating_sub(self.bytes_acked?).saturating_add(1),
        };
        Some(on_the_way + u64::from(self.unsent()))
    }

    /// Whether bytes of ours wait to be sent, or to be acknowledged.
    pub(crate) fn is_outstanding(&self) -> bool {
        self.unacked > 0 || self.unsent() > 0
    }

    /// Whether something of ours waits for an answer of the peer's kernel. If nothing does, silence
    /// means nothing.
    pub(crate) fn is_asking(&self) -> bool {
        self.is_outstanding() || self.probes > 0
    }

    /// Whether the peer's receive window is closed and bytes wait for it to open.
    pub(crate) fn is_window_closed(&self) -> bool {
        self.snd_wnd == Some(0) && self.unsent() > 0
    }

    /// How many bytes the peer acknowledged beyond the data that was sent: our SYN and our FIN. On
    /// an idle connection it grows only when our FIN is acknowledged.
    pub(crate) fn acked_past_data(&self) -> Option<i64> {
        let unique = self.bytes_sent?.wrapping_sub(self.bytes_retrans?);
        Some(self.bytes_acked?.wrapping_sub(unique) as i64)
    }

    /// What is wrong with the connection, in words with the numbers.
    pub(crate) fn evidence(&self) -> String {
        let mut facts = Vec::new();
        let mut say = |n: u64, one: &str, more: &str| match n {
            0 => {}
            1 => facts.push(format!("1 {one}")),
            n => facts.push(format!("{n} {more}")),
        };
        // With bytes in the queue the probes test the window or the way out, not an idle peer.
        match self.is_outstanding() {
            true => say(self.probes.into(), "probe unanswered", "probes unanswered"),
            false => {
                let (one, more) = ("keepalive probe unanswered", "keepalive probes unanswered");
                say(self.probes.into(), one, more);
            }
        }
        say(self.unacked.into(), "segment unacked", "segments unacked");
        let retransmits = self.retransmits.into();
        say(retransmits, "retransmission in a row", "retransmissions in a row");
        say(self.unsent().into(), "byte unsent", "bytes unsent");
        if self.is_window_closed() {
            facts.push("the peer's window is closed".to_owned());
        }
        if facts.is_empty() {
            facts.push("nothing of ours waits for an answer".to_owned());
        }
        facts.join(", ")
    }
}

fn field<const N: usize>(told: &[u8], at: usize) -> Option<[u8; N]> {
    told.get(at..at + N)?.try_into().ok()
}

fn u16(told: &[u8], at: usize) -> Option<u16> {
    field(told, at).map(u16::from_ne_bytes)
}

fn u32(told: &[u8], at: usize) -> Option<u32> {
    field(told, at).map(u32::from_ne_bytes)
}

fn u64(told: &[u8], at: usize) -> Option<u64> {
    field(told, at).map(u64::from_ne_bytes)
}

#[cfg(test)]
impl TcpInfo {
    /// A connection at rest, changed as wanted.
    pub(crate) fn calm(change: impl FnOnce(&mut TcpInfo)) -> TcpInfo {
        let mut bytes = [0; ROOM];
        bytes[0] = 1;
        bytes[228] = 1; // a window
        bytes[120] = 1; // its opening was acknowledged
        let mut info = TcpInfo::parse(&bytes).expect("room for all");
        info.rto = Duration::from_millis(200);
        change(&mut info);
        info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_stands_at_its_offset_and_is_none_past_the_length() {
        let mut bytes = [0; ROOM];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = at as u8; // so a field says where it was read
        }
        bytes[0] = 8;
        let le = |at: usize, n: usize| {
            let mut value = [0; 8];
            value[..n].copy_from_slice(&bytes[at..at + n]);
            u64::from_le_bytes(value)
        };
        let info = TcpInfo::parse(&bytes).unwrap();
        assert_eq!(info.state, TcpState::CloseWait);
        assert_eq!((info.retransmits, info.probes, info.backoff), (2, 3, 4));
        if cfg!(target_endian = "little") {
            assert_eq!(info.rto, Duration::from_micros(le(8, 4)));
            assert_eq!(u64::from(info.unacked), le(24, 4));
            assert_eq!(u64::from(info.sacked), le(28, 4));
            assert_eq!(info.rcv_ooopack.map(u64::from), Some(le(224, 4)));
            assert_eq!(info.last_ack_recv, Duration::from_millis(le(56, 4)));
            assert_eq!(info.bytes_received, Some(le(128, 8)));
            assert_eq!(info.snd_wnd.map(u64::from), Some(le(228, 4)));
            assert_eq!(info.total_rto_recoveries.map(u64::from), Some(le(242, 2)));
        }
        let short = TcpInfo::parse(&bytes[..LEAST]).unwrap();
        assert_eq!(short.total_retransmits, info.total_retransmits);
        assert_eq!((short.bytes_acked, short.snd_wnd, short.min_rtt), (None, None, None));
        let half = TcpInfo::parse(&bytes[..230]).unwrap();
        assert!(half.dsack_dups.is_some() && half.snd_wnd.is_none(), "two of its four bytes");
        assert_eq!(TcpInfo::parse(&bytes[..LEAST - 1]), None);
    }

    #[test]
    fn who_opened_a_connection_is_told_by_the_byte_of_the_opening() {
        use std::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let opened = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let is_accepted = |socket| TcpInfo::of(socket).map(|info| info.is_accepted());
        if cfg!(target_os = "linux") {
            assert!(!is_accepted(&opened).unwrap() && is_accepted(&accepted).unwrap());
        }
    }

    #[test]
    fn evidence_says_the_numbers_and_that_there_are_none() {
        let words = |change: fn(&mut TcpInfo)| TcpInfo::calm(change).evidence();
        assert_eq!(words(|_| ()), "nothing of ours waits for an answer");
        assert_eq!(words(|info| info.probes = 3), "3 keepalive probes unanswered");
        assert_eq!(
            words(|info| (info.unacked, info.retransmits) = (12, 1)),
            "12 segments unacked, 1 retransmission in a row"
        );
        let closed = |info: &mut TcpInfo| {
            (info.snd_wnd, info.notsent_bytes, info.probes) = (Some(0), Some(9), 1);
        };
        let all = "1 probe unanswered, 9 bytes unsent, the peer's window is closed";
        assert_eq!(words(closed), all);
    }
}
