//! Connect-only: for ports that speak first or never. No byte is sent; what comes is ignored.

use super::{Frame, Protocol, Rejected};

/// Keeps a connection open and sends nothing on it.
///
/// For ports that speak first (SSH, SMTP), speak never, or must not be disturbed. Whatever the peer
/// sends is ignored; its FIN or RST is reported at once, with what it said last, and a beat counts
/// as answered as long as the connection stands; the first once that has stood for half a second,
/// or for the timeout if that is shorter: who accepts is not yet who serves.
///
/// The kernel's own keepalive probes the path in the beat's stead: a second after `interval`, then
/// every `timeout` (whole seconds), and it gives up after `fall` probes and some. So a host that is
/// gone is found as well, as `kernel-gave-up`.
///
/// What it cannot see: a service that hangs while its kernel still answers. Acks carry no
/// round-trip time.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectOnly;

impl Protocol for ConnectOnly {
    fn beat(&mut self, _seq: u64, _out: &mut Vec<u8>) {}

    fn scheme(&self) -> Option<&'static str> {
        Some("connect")
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        Ok((!bytes.is_empty()).then_some((Frame::Data, bytes.len())))
    }
}
