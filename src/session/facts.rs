//! Facts: what is known of the connection that a response came over.

use std::net::SocketAddr;
use std::time::SystemTime;

/// Of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) local: Option<SocketAddr>,
    pub(crate) peer: Option<SocketAddr>,
    /// The version of TLS.
    pub(crate) tls: Option<&'static str>,
    pub(crate) expires: Option<SystemTime>,
}
