//! DECIDES: whether an observed connection has ended, and by whom, from two looks and what epoll
//! said. The error that waits to be read is the application's, and is not touched.

use std::net::SocketAddr;

use crate::cause::{Cause, Loss};
use crate::links::observe::observed_fd::Gone;
use crate::sys::Happened;
use crate::tcp_info::{TcpInfo, TcpState};

/// What epoll said since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signs {
    ended: bool,
    hung_up: bool,
    failed: bool,
}

impl Signs {
    pub(crate) fn on_happened(&mut self, happened: &Happened) {
        self.ended |= happened.ended;
        self.hung_up |= happened.hung_up;
        self.failed |= happened.failed;
    }

    /// Nothing more will come, and our own side is still open.
    fn is_fin(self) -> bool {
        self.ended && !self.hung_up && !self.failed
    }
}

/// The looks before, as far as they say how a connection ends.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    last: TcpInfo,
    /// The most that was acknowledged past the data, while the connection was established.
    most: Option<i64>,
}

impl Before {
    pub(crate) fn new(first: TcpInfo) -> Before {
        let most = first.acked_past_data();
        Before { last: first, most }
    }

    pub(crate) fn last(&self) -> &TcpInfo {
        &self.last
    }

    /// A look at a connection that goes on.
    pub(crate) fn keep(&mut self, look: TcpInfo) {
        self.most = self.most.max(look.acked_past_data());
        self.last = look;
    }

    /// How the connection has ended, if it has.
    pub(crate) fn end(
        &self,
        look: &Result<TcpInfo, Gone>,
        signs: Signs,
        peer: SocketAddr,
    ) -> Option<Loss> {
        let look = match look {
            Ok(look) => look,
            Err(gone) => return Some(self.end_of_gone(*gone, signs, peer)),
        };
        match look.state {
            TcpState::Established | TcpState::SynReceived | TcpState::Unknown => None,
            TcpState::CloseWait => {
                let detail = format!("a FIN of {peer} waits to be read");
                Some(Loss::new(Cause::ClosedByPeer, detail))
            }
            // Only a FIN of the peer that came first leads there.
            TcpState::LastAck => Some(closed_by_peer(peer)),
            TcpState::Closed if signs.failed || !self.is_fin_acked(look) => {
                Some(self.broken(look, peer))
            }
            _ => Some(shut_down()),
        }
    }

    /// The descriptor was closed before this look, though maybe after what epoll saw.
    fn end_of_gone(&self, gone: Gone, signs: Signs, peer: SocketAddr) -> Loss {
        if signs.is_fin() {
            closed_by_peer(peer)
        } else if signs.failed {
            self.broken(&self.last, peer)
        } else {
            gone.into()
        }
    }

    /// Our own FIN was acknowledged: the connection ended in an orderly way, from this side.
    fn is_fin_acked(&self, look: &TcpInfo) -> bool {
        let now = look.acked_past_data();
        self.most.zip(now).is_some_and(|(most, now)| now > most)
    }

    /// Not in an orderly way. A reset is a segment that came; when the kernel gives a connection up
    /// that was in want of answers, none did.
    fn broken(&self, look: &TcpInfo, peer: SocketAddr) -> Loss {
        let silent = look.segs_in == self.last.segs_in;
        let in_vain = self.last.is_asking() || look.retransmits > 0 || look.probes > 0;
        let before = self.last.evidence();
        if silent && in_vain {
            let detail = format!("sent to {peer} in vain: before it, {before}");
            return Loss::new(Cause::KernelGaveUp, detail);
        }
        let by = if silent { "on this machine: no segment came with it" } else { "by a segment" };
        let detail = format!("the connection to {peer} was reset {by}; before it, {before}");
        Loss::new(Cause::Reset, detail)
    }
}

fn closed_by_peer(peer: SocketAddr) -> Loss {
    let detail = format!("a FIN of {peer} came, and the application closed its side after it");
    Loss::new(Cause::ClosedByPeer, detail)
}

fn shut_down() -> Loss {
    Loss::new(Cause::ClosedByApplication, "the application shut its side of the connection down")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIN: Signs = Signs { ended: true, hung_up: false, failed: false };
    const SHUT: Signs = Signs { ended: true, hung_up: true, failed: false };
    const RST: Signs = Signs { ended: true, hung_up: true, failed: true };
    const NOTHING: Signs = Signs { ended: false, hung_up: false, failed: false };

    fn end(before: &Before, look: Result<TcpInfo, Gone>, signs: Signs) -> Option<Cause> {
        let peer = SocketAddr::from(([10, 0, 0, 5], 7000));
        before.end(&look, signs, peer).map(|loss| loss.cause)
    }

    fn in_state(state: TcpState) -> Result<TcpInfo, Gone> {
        Ok(TcpInfo::calm(|info| (info.state, info.segs_in) = (state, Some(9))))
    }

    #[test]
    fn each_state_has_its_cause() {
        let before = Before::new(TcpInfo::calm(|_| ()));
        for (state, signs, cause) in [
            (TcpState::Established, NOTHING, None),
            (TcpState::Established, FIN, None), // its own shutdown of the reading side
            (TcpState::CloseWait, FIN, Some(Cause::ClosedByPeer)),
            (TcpState::LastAck, SHUT, Some(Cause::ClosedByPeer)),
            (TcpState::FinWait1, NOTHING, Some(Cause::ClosedByApplication)),
            (TcpState::FinWait2, SHUT, Some(Cause::ClosedByApplication)),
            (TcpState::Closing, SHUT, Some(Cause::ClosedByApplication)),
            (TcpState::TimeWait, SHUT, Some(Cause::ClosedByApplication)),
            (TcpState::SynSent, NOTHING, Some(Cause::ClosedByApplication)),
            (TcpState::Closed, RST, Some(Cause::Reset)),
            (TcpState::Closed, SHUT, Some(Cause::Reset)), // the error was read already
        ] {
            assert_eq!(end(&before, in_state(state), signs), cause, "{state:?} {signs:?}");
        }
    }

    #[test]
    fn a_closed_descriptor_was_closed_by_the_application_unless_epoll_saw_more() {
        let before = Before::new(TcpInfo::calm(|_| ()));
        for gone in [Gone::Closed, Gone::Reused] {
            assert_eq!(end(&before, Err(gone), NOTHING), Some(Cause::ClosedByApplication));
            assert_eq!(end(&before, Err(gone), SHUT), Some(Cause::ClosedByApplication));
            assert_eq!(end(&before, Err(gone), FIN), Some(Cause::ClosedByPeer));
            assert_eq!(end(&before, Err(gone), RST), Some(Cause::Reset));
        }
    }

    #[test]
    fn a_reset_is_a_segment_and_a_kernel_that_gives_up_has_heard_none() {
        let asking = TcpInfo::calm(|info| (info.unacked, info.segs_in) = (1, Some(5)));
        let before = Before::new(asking);
        let closed =
            |segs| Ok(TcpInfo::calm(|i| (i.state, i.segs_in) = (TcpState::Closed, Some(segs))));
        assert_eq!(end(&before, closed(5), RST), Some(Cause::KernelGaveUp));
        assert_eq!(end(&before, closed(6), RST), Some(Cause::Reset));
        let calm = Before::new(TcpInfo::calm(|info| info.segs_in = Some(5)));
        assert_eq!(end(&calm, closed(5), RST), Some(Cause::Reset), "made on this machine");
    }

    #[test]
    fn an_orderly_end_from_this_side_that_nobody_saw_is_no_reset() {
        let acked = |state, acked: u64| {
            TcpInfo::calm(|info| {
                (info.state, info.segs_in) = (state, Some(acked as u32));
                (info.bytes_sent, info.bytes_retrans) = (Some(15), Some(5));
                info.bytes_acked = Some(acked);
            })
        };
        // The SYN and ten bytes; then the FIN, too.
        let before = Before::new(acked(TcpState::Established, 11));
        let closed = |n| Ok(acked(TcpState::Closed, n));
        assert_eq!(end(&before, closed(12), SHUT), Some(Cause::ClosedByApplication));
        assert_eq!(end(&before, closed(11), SHUT), Some(Cause::Reset));
        assert_eq!(end(&before, closed(12), RST), Some(Cause::Reset), "an error waits");
    }
}
