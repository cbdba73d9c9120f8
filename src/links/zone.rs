//! A host that is an address, and perhaps names the interface that it is reached by: an IPv6
//! address of one link alone (`fe80::1%eth0`) means nothing without it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::cause::{Cause, Loss};
use crate::sys;

/// The address, if the host is one; or why it cannot be reached from here.
pub(crate) fn address(host: &str, port: u16) -> Option<Result<SocketAddr, Loss>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(match ip {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Err(no_route(format!(
                "`{host}` is an address of one link alone: name the interface that it is reached \
                 by, as in `[{host}%eth0]:{port}`; `ip link` lists them"
            ))),
            ip => Ok(SocketAddr::new(ip, port)),
        });
    }
    let (address, zone) = host.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let scope = zone.parse().ok().or_else(|| sys::interface_index(zone));
    Some(match scope {
        Some(scope) => Ok(SocketAddrV6::new(address, port, 0, scope).into()),
        None => Err(no_route(format!(
            "`{host}`: this machine has no interface `{zone}`; `ip link` lists those it has"
        ))),
    })
}

fn no_route(detail: String) -> Loss {
    Loss::new(Cause::NoLocalRoute, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(host: &str) -> Option<Result<String, Loss>> {
        address(host, 80).map(|found| found.map(|address| address.to_string()))
    }

    #[test]
    fn an_interface_is_known_by_name_and_by_number() {
        let lo = sys::interface_index("lo").expect("every machine has one");
        assert_eq!(found("fe80::1%lo"), Some(Ok(format!("[fe80::1%{lo}]:80"))));
        assert_eq!(found("fe80::1%7"), Some(Ok("[fe80::1%7]:80".to_owned())));
        assert_eq!(found("127.0.0.1"), Some(Ok("127.0.0.1:80".to_owned())));
        assert_eq!(found("::1"), Some(Ok("[::1]:80".to_owned())));
        assert_eq!(found("a.example"), None);
        assert_eq!(found("a%lo"), None);
        let none = found("fe80::1%eth99").and_then(Result::err).expect("no such interface");
        assert!(none.detail.contains("no interface `eth99`"), "{none}");
        let bare = found("fe80::1").and_then(Result::err).expect("no interface");
        assert!(bare.detail.contains("`[fe80::1%eth0]:80`"), "{bare}");
        assert_eq!((none.cause, bare.cause), (Cause::NoLocalRoute, Cause::NoLocalRoute));
    }
}
