//! What this machine knows of its own addresses, interfaces and routes. Nothing is sent.

use std::ffi::{CStr, CString};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ptr;

/// Whether the address is gone from this machine. Where that cannot be asked it is not.
pub(crate) fn is_gone(address: IpAddr) -> bool {
    let gone = |error: io::Error| error.raw_os_error() == Some(libc::EADDRNOTAVAIL);
    UdpSocket::bind((address, 0)).is_err_and(gone)
}

/// Why there is no route to the peer, from this address of ours if there is one: some rules go by
/// that. None if there is one. A UDP socket that is connected asks for one and sends nothing.
pub(crate) fn route_error(local: Option<SocketAddr>, peer: SocketAddr) -> Option<i32> {
    let mut from = local.unwrap_or_else(|| anywhere(peer));
    from.set_port(0);
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(peer).err().filter(is_no_route)?.raw_os_error()
}

/// Whether a connect was refused by this machine itself, before anything went out: there is no
/// route, or one that says `unreachable`, `prohibit` or `blackhole`.
pub(crate) fn is_no_route(error: &io::Error) -> bool {
    let none = [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EACCES, libc::EINVAL];
    error.raw_os_error().is_some_and(|errno| none.contains(&errno))
}

/// The address from which a new connection to the peer would leave.
pub(crate) fn source(peer: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(anywhere(peer)).ok()?;
    socket.connect(peer).ok()?;
    socket.local_addr().ok().map(|from| from.ip())
}

fn anywhere(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

/// An address of this machine, its interface, and whether that is up and has a carrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) address: IpAddr,
    pub(crate) name: String,
    pub(crate) runs: bool,
}

/// All that have an address by name; 127.0.0.2, say, is none of those. None where the kernel does
/// not tell. With thousands of interfaces it takes some milliseconds.
pub(crate) fn interfaces() -> Vec<Interface> {
    struct List(*mut libc::ifaddrs);
    impl Drop for List {
        fn drop(&mut self) {
            // SAFETY: the list was made by getifaddrs and is freed once.
            unsafe { libc::freeifaddrs(self.0) };
        }
    }
    let mut first = ptr::null_mut();
    // SAFETY: getifaddrs writes one pointer, to a list that List frees.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Vec::new();
    }
    let list = List(first);
    let (mut next, mut found) = (list.0, Vec::new());
    while !next.is_null() {
        // SAFETY: each element of the list is valid until the list is freed, and so is its address,
        // if it has one.
        let entry = unsafe { &*next };
        if let Some(address) = ip_of(entry.ifa_addr).filter(|_| !entry.ifa_name.is_null()) {
            // SAFETY: not null, so it is a name that ends with 0, as valid as its element.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) };
            let wanted = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_uint;
            let runs = entry.ifa_flags & wanted == wanted;
            found.push(Interface { address, name: name.to_string_lossy().into_owned(), runs });
        }
        next = entry.ifa_next;
    }
    found
}

/// The kernel's number of the interface with this name.
pub(crate) fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name ends with 0 and is only read.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    Some(index).filter(|index| *index > 0)
}

fn ip_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: not null, so it points to an address whose family says which one it is.
    match i32::from(unsafe { (*address).sa_family }) {
        libc::AF_INET => {
            // SAFETY: of this family, it is a sockaddr_in; it may be unaligned for none.
            let v4 = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in>()) };
            Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, a sockaddr_in6.
            let v6 = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in6>()) };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_ours_and_runs_and_a_foreign_address_is_not() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!(!is_gone(loopback) && !is_gone(IpAddr::from([127, 0, 0, 9])));
        let foreign = IpAddr::from([192, 0, 2, 1]); // for documentation, RFC 5737
        assert!(is_gone(foreign));
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        let errors = [None, Some((loopback, 7).into())].map(|local| route_error(local, peer));
        assert_eq!((errors, source(peer)), ([None; 2], Some(loopback)));
        let gone = route_error(Some((foreign, 7).into()), peer);
        assert_eq!(gone, None, "an address that is gone is no route");
        let all = interfaces();
        let of = |address| all.iter().find(|one| one.address == address);
        assert!(of(loopback).is_some_and(|lo| lo.name.starts_with("lo") && lo.runs), "{all:?}");
        assert_eq!(of(IpAddr::from([127, 0, 0, 9])), None);
        let index = of(loopback).and_then(|lo| interface_index(&lo.name));
        assert!(index.is_some() && interface_index("no such one").is_none());
    }
}
