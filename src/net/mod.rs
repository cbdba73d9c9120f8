//! One connection: its socket, TLS on it, and the bytes that came.

pub(crate) mod connection;
pub(crate) mod inbox;
pub(crate) mod read_half;
#[cfg(feature = "tls")]
pub(crate) mod records;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
pub(crate) mod tls;
pub(crate) mod write_half;
