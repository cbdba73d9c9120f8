//! DECIDES: whether what the kernel tells of a connection can be true. Sandboxes that stand in for
//! a kernel tell mostly zeroes, some others numbers of another kind. What this process itself has
//! written and read speaks against that. Pure.

use std::time::Duration;

use crate::tcp_info::{TcpInfo, TcpState};

/// Of a connection that carries an application's data, too, nobody here counts the segments.
const MOST_UNACKED: u32 = 1 << 20;

/// How far the kernel's ages may be off, suspended machines included.
const SLACK: Duration = Duration::from_secs(10);

/// What this process knows of a connection without asking.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// It was opened from here: the byte of the opening was acknowledged.
    pub(crate) opened: bool,
    /// Bytes that were written, where that is all of them.
    pub(crate) wrote: Option<u64>,
    /// Answers that were read.
    pub(crate) answers: u64,
    /// How long it has stood, where that is known.
    pub(crate) age: Option<Duration>,
}

impl Ledger {
    /// What cannot be true of it, if something is.
    pub(crate) fn doubts(&self, info: &TcpInfo) -> Option<String> {
        let said = |name: &str, what: &str| Some(format!("{name}: {what}"));
        match info.state {
            TcpState::Unknown | TcpState::Listening | TcpState::SynSent => {
                return said("state", "a connection that stands is told to be none");
            }
            TcpState::Closed => return None, // after the end most of it reads 0
            _ => {}
        }
        if self.opened && info.bytes_acked == Some(0) {
            return said("bytes_acked", "0, of a connection whose opening was acknowledged");
        }
        if self.answers > 0 {
            let zero = [
                ("bytes_acked", info.bytes_acked == Some(0)),
                ("bytes_received", info.bytes_received == Some(0)),
                ("segs_in", info.segs_in == Some(0)),
            ];
            if let Some((name, _)) = zero.iter().find(|(_, zero)| *zero) {
                return said(name, &format!("0 after {} answers were read", self.answers));
            }
        }
        // Each segment carries a byte at least, but for the end.
        let most =
            self.wrote.map_or(MOST_UNACKED, |wrote| u32::try_from(wrote).unwrap_or(u32::MAX));
        if info.unacked > most.saturating_add(2).min(MOST_UNACKED) {
            return said("unacked", &format!("{} segments, and {most} are the most", info.unacked));
        }
        if info.rto.is_zero() {
            return said("rto", "0");
        }
        let oldest = info.last_ack_recv.max(info.last_data_sent).max(info.last_data_recv);
        match self.age.filter(|age| oldest > *age + SLACK) {
            Some(age) => said("ages", &format!("{oldest:.1?}, of a connection of {age:.1?}")),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn ledger() -> Ledger {
        Ledger { opened: true, wrote: Some(90), answers: 10, age: Some(60 * S) }
    }

    fn doubts(change: impl FnOnce(&mut TcpInfo)) -> Option<String> {
        let info = TcpInfo::calm(|info| {
            (info.bytes_acked, info.bytes_received, info.segs_in) = (Some(91), Some(130), Some(20));
            change(info);
        });
        ledger().doubts(&info)
    }

    #[test]
    fn what_agrees_with_what_was_read_and_written_is_believed() {
        assert_eq!(doubts(|_| ()), None);
        assert_eq!(doubts(|info| info.unacked = 3), None);
        let older = |info: &mut TcpInfo| {
            (info.bytes_acked, info.bytes_received, info.segs_in) = (None, None, None);
        };
        assert_eq!(doubts(older), None, "what is not told is no lie");
        assert_eq!(doubts(|info| info.state = TcpState::Closed), None);
        assert_eq!(doubts(|info| info.last_ack_recv = 60 * S), None);
    }

    #[test]
    fn zeroes_and_numbers_of_another_kind_are_not_believed() {
        let named = |told: Option<String>, name: &str| {
            assert!(told.as_ref().is_some_and(|told| told.starts_with(name)), "{name}: {told:?}");
        };
        named(doubts(|info| info.bytes_acked = Some(0)), "bytes_acked");
        named(doubts(|info| info.bytes_received = Some(0)), "bytes_received");
        named(doubts(|info| info.segs_in = Some(0)), "segs_in");
        named(doubts(|info| info.unacked = 3_000_000_000), "unacked");
        named(doubts(|info| info.unacked = 93), "unacked");
        named(doubts(|info| info.state = TcpState::Unknown), "state");
        named(doubts(|info| info.rto = Duration::ZERO), "rto");
        named(doubts(|info| info.last_data_recv = 3600 * S), "ages");
        let fresh = Ledger { answers: 0, ..ledger() };
        let zero = TcpInfo::calm(|info| info.bytes_acked = Some(0));
        named(fresh.doubts(&zero), "bytes_acked");
        let accepted = Ledger { opened: false, ..fresh };
        assert_eq!(accepted.doubts(&zero), None, "nothing was acknowledged yet");
        let data = Ledger { wrote: None, ..ledger() };
        let many = TcpInfo::calm(|info| {
            (info.unacked, info.bytes_acked, info.bytes_received) = (5000, Some(1 << 30), Some(9));
            info.segs_in = Some(9);
        });
        assert_eq!(data.doubts(&many), None, "an application may have written as much");
    }
}
