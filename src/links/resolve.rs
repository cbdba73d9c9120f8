//! From a host to its addresses, on the thread of the link that asks, anew at each attempt.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use crate::cause::{Cause, Loss};
use crate::links::handle::Handle;
use crate::links::zone;
use crate::protocol::guarded::caught;
use crate::sys::{self, NameFault, NameFaultKind};

/// How names become addresses.
pub(crate) type Resolve = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// The system's own resolver.
pub(crate) fn by_system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    sys::resolve(host, port).map_err(|fault| {
        let missing = fault.kind == NameFaultKind::Missing;
        io::Error::new(if missing { ErrorKind::NotFound } else { ErrorKind::Other }, fault)
    })
}

pub(crate) fn addresses(
    handle: &Handle,
    resolve: &Resolve,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, Loss> {
    if let Some(address) = zone::address(host, port) {
        return Ok(vec![address?]);
    }
    // A resolver of the user's own may panic.
    let answer = handle.resolving(|| caught(|| resolve(host, port)));
    let answer =
        answer.unwrap_or_else(|text| Err(io::Error::other(format!("the resolver {text}"))));
    match answer {
        Ok(addresses) if addresses.is_empty() => {
            Err(Loss::new(Cause::NameNotResolved, format!("`{host}` has no address")))
        }
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(Loss::new(cause(&error), format!("`{host}`: {error}"))),
    }
}

fn cause(error: &io::Error) -> Cause {
    let fault = error.get_ref().and_then(|inner| inner.downcast_ref::<NameFault>());
    match fault.map(|fault| fault.kind) {
        Some(NameFaultKind::Missing) => Cause::NameNotResolved,
        Some(NameFaultKind::Silent | NameFaultKind::Failed) => Cause::NameServerSilent,
        Some(NameFaultKind::Resources) => Cause::LocalResources,
        // Of a resolver of the user's own, which may have asked std.
        None if error.kind() == ErrorKind::TimedOut => Cause::NameServerSilent,
        None if sys::says_silent(&error.to_string()) => Cause::NameServerSilent,
        None => Cause::NameNotResolved,
    }
}
