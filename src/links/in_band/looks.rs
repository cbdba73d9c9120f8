//! What an inquiry may see of a link that carries data.

use std::net::SocketAddr;
use std::time::Instant;

use crate::cause::Loss;
use crate::drive::looks::{Found, look_at};
use crate::drive::scene::{Allowed, Scene};
use crate::protocol::guarded::Guarded;
use crate::pulse::{Input, Patience, Report};
use crate::sys;
use crate::tcp_info::TcpInfo;

use super::{InBand, Line, Origin};

struct View<'a> {
    line: Option<&'a Line>,
    protocol: &'a mut Guarded,
    origin: &'a Origin,
}

impl Scene for View<'_> {
    fn look(&self) -> Option<TcpInfo> {
        TcpInfo::of(&*self.line?.socket).ok()
    }

    fn local(&self) -> Option<SocketAddr> {
        self.line?.socket.local_addr().ok()?.as_socket()
    }

    fn is_ours(&self) -> bool {
        matches!(self.origin, Origin::Dialed(..))
    }

    fn allowed(&mut self, beat_bytes: usize) -> Result<Allowed, Loss> {
        let secure = match self.origin {
            Origin::Dialed(dialer, _) => dialer.secure.clone(),
            Origin::Adopted { .. } => None,
        };
        Ok(Allowed { secure, ..Allowed::by(self.protocol, beat_bytes)? })
    }
}

impl InBand {
    pub(super) fn report_with_cause(&mut self, report: Report) {
        let InBand { inquiry, pulse, reporter, line, protocol, origin, .. } = self;
        let mut view = View { line: line.as_ref(), protocol, origin };
        inquiry.report(report, pulse.rtt(), &mut view, reporter);
    }

    pub(super) fn begin_inquiry(&mut self, peer: SocketAddr) {
        let InBand { inquiry, reporter, line, protocol, origin, .. } = self;
        let view = View { line: line.as_ref(), protocol, origin };
        inquiry.on_connected(Some(peer), &view, reporter);
    }

    /// What side connections have found, and what else is due.
    pub(super) fn attend(&mut self) {
        if !self.inquiry.is_calm() {
            let InBand { inquiry, reporter, line, protocol, origin, .. } = self;
            inquiry.attend(&View { line: line.as_ref(), protocol, origin }, reporter);
        }
    }

    /// The kernel's own timeout, where the patience goes by it.
    pub(super) fn ask_rto(&mut self) {
        if self.heartbeat.patience == Patience::FromRtt {
            let rto = self.line.as_ref().and_then(|l| sys::retransmission_timeout(&*l.socket));
            if let Some(rto) = rto {
                self.tell(Input::Rto(rto));
            }
        }
    }

    /// What the kernel knows just before a beat.
    pub(super) fn look_before(&self) -> Option<TcpInfo> {
        let line = self.line.as_ref().filter(|_| self.inquiry.is_on())?;
        TcpInfo::of(&*line.socket).ok()
    }

    /// The beat in flight is not answered as soon as usual: has a router said something?
    pub(super) fn look(&mut self, now: Instant) {
        let thorough = self.inquiry.on_looked(now);
        let Some(line) = &self.line else { return };
        let (found, info) = look_at(&line.socket, line.peer);
        let InBand { inquiry, reporter, line, protocol, origin, .. } = self;
        let mut view = View { line: line.as_ref(), protocol, origin };
        match found {
            Found::Nothing => inquiry.on_quiet(info, thorough, &mut view, reporter),
            Found::End(loss) => self.on_end(loss),
            Found::Icmp(errno) => inquiry.on_icmp(errno, &mut view, reporter),
        }
    }
}
