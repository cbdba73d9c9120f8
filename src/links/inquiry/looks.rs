//! A look at the socket of a beat that is not answered: has a router said something? And how many
//! links look.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::Socket;

use crate::cause::Loss;
use crate::net::read_half::loss_of;
use crate::tcp_info::{TcpInfo, TcpState};

/// What a look at a socket found; nothing, as a rule.
pub(crate) enum Found {
    Nothing,
    /// The kernel's number for what a router or firewall said. The connection stands.
    Icmp(i32),
    /// It was no word of a router, but the end, which no read will tell any more.
    End(Loss),
}

/// Has a router said something of the connection? Only its link's thread may ask: the error is told
/// once. And what the kernel knows of one that stands, if it tells.
pub(crate) fn look_at(socket: &Socket, peer: SocketAddr) -> (Found, Option<TcpInfo>) {
    let look = || TcpInfo::of(socket).ok();
    let state = |info: &Option<TcpInfo>| info.as_ref().map(|info| info.state);
    let info = look();
    if state(&info) == Some(TcpState::Closed) {
        return (Found::Nothing, None); // a read tells it, behind what came before it
    }
    let Ok(Some(error)) = socket.take_error() else { return (Found::Nothing, info) };
    let found = match (state(&look()), error.raw_os_error()) {
        (None | Some(TcpState::Closed), _) => Found::End(loss_of(&error, peer)),
        (_, Some(errno)) => Found::Icmp(errno),
        (_, None) => Found::Nothing,
    };
    (found, info)
}

/// Whether a link looks at its beat, among all of its coordinator.
pub(crate) struct Looker {
    is_one: bool,
    all: Arc<AtomicU32>,
}

impl Drop for Looker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Looker {
    pub(crate) fn new(all: Arc<AtomicU32>) -> Looker {
        Looker { is_one: false, all }
    }

    /// It looks; how many do.
    pub(crate) fn look(&mut self) -> u32 {
        let more = u32::from(!std::mem::replace(&mut self.is_one, true));
        self.all.fetch_add(more, Ordering::Relaxed) + more
    }

    /// No beat of it is in flight.
    pub(crate) fn stop(&mut self) {
        if std::mem::take(&mut self.is_one) {
            self.all.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_looks_is_counted_once() {
        let all = Arc::new(AtomicU32::new(1000));
        let mut looker = Looker::new(Arc::clone(&all));
        assert_eq!((looker.look(), looker.look()), (1001, 1001));
        looker.stop();
        drop(looker);
        assert_eq!(all.load(Ordering::Relaxed), 1000);
    }
}
