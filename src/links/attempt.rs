//! What became of the last attempt to connect, beside its loss: for whoever asks why.

use std::net::SocketAddr;

use crate::sys::Icmp;
use crate::tcp_info::TcpInfo;

#[derive(Clone, Debug, Default)]
pub(crate) struct Attempt {
    /// Whom it was made to; of several addresses, the last.
    pub(crate) address: Option<SocketAddr>,
    /// What a router or firewall said, with its type and code.
    pub(crate) icmp: Option<Icmp>,
    /// The kernel's last look, where the connection stood and came to nothing.
    pub(crate) info: Option<TcpInfo>,
}
