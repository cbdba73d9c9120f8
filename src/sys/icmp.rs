//! What a router or firewall says of a connection that is being opened: ICMP, with its type and
//! code and who sent it. Only before a connection stands: on a live one the option would turn a
//! passing trouble into its end.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

/// What came, as RFC 792 and RFC 4443 number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Icmp {
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// Who says so.
    pub(crate) from: Option<IpAddr>,
    is_v6: bool,
}

impl Icmp {
    /// It is a rule that says no, and not a way that is missing.
    pub(crate) fn is_prohibition(self) -> bool {
        match (self.is_v6, self.kind) {
            // Network, host and communication prohibited; the port, by whoever speaks for the host.
            (false, 3) => matches!(self.code, 3 | 9 | 10 | 13),
            // Prohibited, the port, the policy, a route that rejects.
            (true, 1) => matches!(self.code, 1 | 4 | 5 | 6),
            _ => false,
        }
    }

    /// In words.
    pub(crate) fn words(self) -> &'static str {
        match (self.is_v6, self.kind, self.code) {
            (false, 3, 0) => "network unreachable",
            (false, 3, 1) => "host unreachable",
            (false, 3, 3) | (true, 1, 4) => "port unreachable",
            (false, 3, 9 | 10 | 13) | (true, 1, 1 | 5 | 6) => "administratively prohibited",
            (true, 1, 0) => "no route",
            (true, 1, 3) => "address unreachable",
            (false, 11, _) | (true, 3, _) => "too many hops",
            _ => "no way",
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use crate::sys::tcp::set;
    use std::mem::{MaybeUninit, size_of};
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::os::fd::AsRawFd;
    use std::ptr;

    /// Asks for ICMP in the queue of errors, or for no more of it.
    pub(crate) fn listen_to_icmp(socket: &impl AsFd, is_v6: bool, on: bool) -> io::Result<()> {
        let (level, name) = match is_v6 {
            true => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
            false => (libc::IPPROTO_IP, libc::IP_RECVERR),
        };
        set(socket.as_fd().as_raw_fd(), level, name, on.into())
    }

    /// The first word of a router in the queue of errors, if there is one.
    pub(crate) fn take_icmp(socket: &impl AsFd) -> Option<Icmp> {
        const ROOM: usize = 512;
        #[repr(align(8))]
        struct Control([u8; ROOM]);
        let mut control = Control([0; ROOM]);
        let mut byte = 0u8;
        let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        // SAFETY: a msghdr of zeroes is one without any parts.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = ROOM as _;
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: the message points to one byte and to ROOM bytes of control, which all live.
        if unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &mut message, flags) } < 0 {
            return None;
        }
        // SAFETY: the kernel has filled the message; the macros walk within its control bytes.
        let mut head = unsafe { libc::CMSG_FIRSTHDR(&message) };
        while !head.is_null() {
            // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return whole headers within the control bytes.
            let (level, kind, len) =
                unsafe { ((*head).cmsg_level, (*head).cmsg_type, (*head).cmsg_len as usize) };
            let is_v6 = (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_RECVERR);
            let is_v4 = (level, kind) == (libc::IPPROTO_IP, libc::IP_RECVERR);
            // SAFETY: it only computes where the data of this header begins.
            let data = unsafe { libc::CMSG_DATA(head) };
            let least = size_of::<libc::sock_extended_err>();
            // SAFETY: it only computes a length.
            let header = unsafe { libc::CMSG_LEN(0) } as usize;
            if (is_v4 || is_v6) && len >= header + least {
                // SAFETY: so many bytes of data are there.
                let error = unsafe { ptr::read_unaligned(data.cast::<libc::sock_extended_err>()) };
                let from = || offender(data, len - header, least);
                let icmp = [libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6];
                return icmp.contains(&error.ee_origin).then(|| Icmp {
                    kind: error.ee_type,
                    code: error.ee_code,
                    from: from(),
                    is_v6: error.ee_origin == libc::SO_EE_ORIGIN_ICMP6,
                });
            }
            // SAFETY: `head` is a header of this message.
            head = unsafe { libc::CMSG_NXTHDR(&message, head) };
        }
        None
    }

    /// The address behind the error, within `len` bytes from `data`.
    fn offender(data: *const u8, len: usize, at: usize) -> Option<IpAddr> {
        let family = size_of::<libc::sa_family_t>();
        if len < at + family {
            return None;
        }
        // SAFETY: at least the family is there, behind the error.
        let found = unsafe { ptr::read_unaligned(data.add(at).cast::<libc::sa_family_t>()) };
        match i32::from(found) {
            libc::AF_INET if len >= at + size_of::<libc::sockaddr_in>() => {
                // SAFETY: so many bytes are there, and the family says what they are.
                let v4 = unsafe { ptr::read_unaligned(data.add(at).cast::<libc::sockaddr_in>()) };
                Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 if len >= at + size_of::<libc::sockaddr_in6>() => {
                // SAFETY: as above.
                let v6 = unsafe { ptr::read_unaligned(data.add(at).cast::<libc::sockaddr_in6>()) };
                Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{listen_to_icmp, take_icmp};

#[cfg(not(target_os = "linux"))]
pub(crate) fn listen_to_icmp(_: &impl AsFd, _is_v6: bool, _on: bool) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn take_icmp(_: &impl AsFd) -> Option<Icmp> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_told_from_a_missing_way() {
        let icmp = |is_v6, kind, code| Icmp { kind, code, from: None, is_v6 };
        for code in [3, 9, 10, 13] {
            assert!(icmp(false, 3, code).is_prohibition(), "{code}");
        }
        for code in [0, 1, 5, 6, 7] {
            assert!(!icmp(false, 3, code).is_prohibition(), "{code}");
        }
        assert!(icmp(true, 1, 1).is_prohibition() && !icmp(true, 1, 3).is_prohibition());
        assert!(!icmp(false, 11, 0).is_prohibition(), "too many hops");
        assert_eq!(icmp(false, 3, 13).words(), "administratively prohibited");
    }
}
