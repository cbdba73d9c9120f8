//! What an inquiry may look at, and what the protocol of a link allows on another connection.

use std::net::SocketAddr;

use crate::cause::Loss;
use crate::net::tls::Secure;
use crate::protocol::guarded::Guarded;
use crate::tcp_info::TcpInfo;

/// What an inquiry may look at and ask of a link, as far as the link has it.
pub(crate) trait SocketView {
    /// What the kernel knows of the connection now.
    fn look(&self) -> Option<TcpInfo>;

    fn local(&self) -> Option<SocketAddr>;

    /// Whether keepbeat has opened the connection itself.
    fn is_ours(&self) -> bool {
        false
    }

    /// Whether it carries the application's data as well, so that nobody counts the bytes.
    fn carries_data(&self) -> bool {
        false
    }

    /// What may be said on another connection, beside a beat of so many bytes. A loss is a panic of
    /// the protocol.
    fn allowed(&mut self, beat_bytes: usize) -> Result<Allowed, Loss>;
}

/// What another connection to the same address may carry.
#[derive(Default)]
pub(crate) struct Allowed {
    pub(crate) secure: Option<Secure>,
    /// A fresh instance of the protocol, and one for a second try.
    pub(crate) protocol: Option<Guarded>,
    pub(crate) again: Option<Guarded>,
    /// Other bytes of the beat's length, and a tiny payload.
    pub(crate) same_length: Option<Vec<u8>>,
    pub(crate) tiny: Option<Vec<u8>>,
}

impl Allowed {
    /// What this protocol allows.
    pub(crate) fn by(protocol: &mut Guarded, beat_bytes: usize) -> Result<Allowed, Loss> {
        let same_length = if beat_bytes > 0 { protocol.neutral(beat_bytes)? } else { None };
        let tiny = match protocol.neutral(1)? {
            Some(one) => Some(one),
            None => protocol.neutral(2)?,
        };
        let (first, again) = (protocol.fresh()?, protocol.fresh()?);
        Ok(Allowed { secure: None, protocol: first, again, same_length, tiny })
    }
}

/// A link of which something may be seen, and nothing is asked.
pub(crate) struct Quiet<'a>(pub(crate) &'a dyn SocketView);

impl SocketView for Quiet<'_> {
    fn look(&self) -> Option<TcpInfo> {
        self.0.look()
    }

    fn local(&self) -> Option<SocketAddr> {
        self.0.local()
    }

    fn is_ours(&self) -> bool {
        self.0.is_ours()
    }

    fn allowed(&mut self, _beat_bytes: usize) -> Result<Allowed, Loss> {
        Ok(Allowed::default())
    }
}

/// A link of which nothing is seen.
pub(crate) struct Unseen;

impl SocketView for Unseen {
    fn look(&self) -> Option<TcpInfo> {
        None
    }

    fn local(&self) -> Option<SocketAddr> {
        None
    }

    fn allowed(&mut self, _beat_bytes: usize) -> Result<Allowed, Loss> {
        Ok(Allowed::default())
    }
}
