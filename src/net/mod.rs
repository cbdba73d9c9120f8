//! One connection: its socket, TLS on it, and the bytes that came.

pub(crate) mod connection;
pub(crate) mod inbox;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
pub(crate) mod tls;
