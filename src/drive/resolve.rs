//! From a host to its addresses, on the thread of the link that asks, anew at each attempt.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::cause::{Cause, Loss};
use crate::drive::guarded::caught;
use crate::drive::handle::Handle;
use crate::drive::zone;

/// How names become addresses.
pub(crate) type Resolve = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// The system's own resolver.
pub(crate) fn by_system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
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
        Err(error) => {
            // EAI_AGAIN reaches us as its words only.
            let silent = error.to_string().contains("emporary failure");
            let cause = if silent { Cause::NameServerSilent } else { Cause::NameNotResolved };
            Err(Loss::new(cause, format!("`{host}`: {error}")))
        }
    }
}
