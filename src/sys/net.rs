//! What this machine knows of its own addresses, interfaces and routes. Nothing is sent.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ptr;

/// Whether the address is one of this machine's.
pub(crate) fn is_own(address: IpAddr) -> bool {
    let gone = |error: io::Error| error.raw_os_error() == Some(libc::EADDRNOTAVAIL);
    !UdpSocket::bind((address, 0)).is_err_and(gone)
}

/// Whether there is a route to the peer. A UDP socket that is connected asks for one and sends
/// nothing.
pub(crate) fn has_route(peer: SocketAddr) -> bool {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let asked = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(peer));
    let none = |error: io::Error| {
        matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH))
    };
    !asked.is_err_and(none)
}

/// The interface that has this address, and whether it is up and has a carrier. None where none
/// has it by name, such as 127.0.0.2.
pub(crate) fn interface_of(address: IpAddr) -> Option<(String, bool)> {
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
        return None;
    }
    let list = List(first);
    let mut next = list.0;
    while !next.is_null() {
        // SAFETY: each element of the list is valid until the list is freed, and so are its name,
        // which ends with 0, and its address, if it has one.
        let (entry, name) = unsafe { (&*next, CStr::from_ptr((*next).ifa_name)) };
        if ip_of(entry.ifa_addr) == Some(address) {
            let wanted = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_uint;
            let runs = entry.ifa_flags & wanted == wanted;
            return Some((name.to_string_lossy().into_owned(), runs));
        }
        next = entry.ifa_next;
    }
    None
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
        assert!(is_own(loopback) && is_own(IpAddr::from([127, 0, 0, 9])));
        assert!(!is_own(IpAddr::from([192, 0, 2, 1])), "for documentation, RFC 5737");
        assert!(has_route(SocketAddr::from(([127, 0, 0, 1], 9))));
        let (name, runs) = interface_of(loopback).unwrap();
        assert!(name.starts_with("lo") && runs, "{name}");
        assert_eq!(interface_of(IpAddr::from([127, 0, 0, 9])), None);
    }
}
