//! Names to addresses by the C library's resolver, with the code of its answer. std makes the same
//! call and hands on the words alone, and those differ from one C library to the next.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::{fmt, io, ptr};

/// Why a name has no address.
#[derive(Debug)]
pub(crate) struct NameFault {
    pub(crate) kind: NameFaultKind,
    words: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameFaultKind {
    /// The name does not exist, or it has no address.
    Missing,
    /// No name server gave an answer.
    Silent,
    /// A name server answered that it cannot tell.
    Failed,
    /// This machine ran out of descriptors or memory.
    Resources,
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = match self.kind {
            NameFaultKind::Missing => "there is no such name, or it has no address",
            NameFaultKind::Silent => "no name server answered",
            NameFaultKind::Failed => "the name server answered that it cannot tell",
            NameFaultKind::Resources => "it could not be looked up",
        };
        // The C library's own words are what people search for.
        write!(f, "{plain} ({})", self.words)
    }
}

impl std::error::Error for NameFault {}

/// Every address of the host for TCP, in the C library's order; `fe80::1%eth0` has its zone.
pub(crate) fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, NameFault> {
    struct List(*mut libc::addrinfo);
    impl Drop for List {
        fn drop(&mut self) {
            // SAFETY: the list was made by getaddrinfo, is not null, and is freed once.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
    let Ok(name) = CString::new(host) else {
        let words = "a name has no zero byte".to_owned();
        return Err(NameFault { kind: NameFaultKind::Missing, words });
    };
    // SAFETY: all zeros is a valid addrinfo: no flags, any family, null pointers.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut first = ptr::null_mut();
    // SAFETY: the name ends with a zero byte, the hints live until the call returns, and it writes
    // one pointer.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &hints, &mut first) };
    if code != 0 {
        let errno = io::Error::last_os_error();
        reload();
        return Err(fault(code, &errno));
    }
    if first.is_null() {
        return Ok(Vec::new());
    }
    let list = List(first);
    let (mut next, mut found) = (list.0, Vec::new());
    while !next.is_null() {
        // SAFETY: each element of the list is valid until the list is freed.
        let entry = unsafe { &*next };
        found.extend(address(entry, port));
        next = entry.ai_next;
    }
    Ok(found)
}

/// The address of an element. Of a family that is neither IPv4 nor IPv6 there is none.
fn address(entry: &libc::addrinfo, port: u16) -> Option<SocketAddr> {
    let long_enough = |size: usize| entry.ai_addrlen as usize >= size && !entry.ai_addr.is_null();
    match entry.ai_family {
        libc::AF_INET if long_enough(size_of::<libc::sockaddr_in>()) => {
            // SAFETY: of this family and length, it points to a sockaddr_in.
            let v4 = unsafe { ptr::read_unaligned(entry.ai_addr.cast::<libc::sockaddr_in>()) };
            Some((Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)), port).into())
        }
        libc::AF_INET6 if long_enough(size_of::<libc::sockaddr_in6>()) => {
            // SAFETY: as above, a sockaddr_in6.
            let v6 = unsafe { ptr::read_unaligned(entry.ai_addr.cast::<libc::sockaddr_in6>()) };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn fault(code: libc::c_int, errno: &io::Error) -> NameFault {
    // Without a descriptor the resolver reads neither its files nor any answer, and says of the
    // name what it likes.
    if let Err(full) = File::open("/") {
        if is_full(&full) {
            return NameFault { kind: NameFaultKind::Resources, words: full.to_string() };
        }
    }
    let words = if code == libc::EAI_SYSTEM { errno.to_string() } else { words(code) };
    let kind = match code {
        libc::EAI_AGAIN => NameFaultKind::Silent,
        libc::EAI_FAIL => NameFaultKind::Failed,
        libc::EAI_MEMORY => NameFaultKind::Resources,
        libc::EAI_SYSTEM if is_full(errno) => NameFaultKind::Resources,
        // Its socket to the name server failed.
        libc::EAI_SYSTEM => NameFaultKind::Silent,
        // EAI_NONAME, EAI_NODATA, EAI_ADDRFAMILY: not every C library has each of them.
        _ => NameFaultKind::Missing,
    };
    NameFault { kind, words }
}

fn is_full(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS))
}

/// What this C library, in this language, says of a code.
fn words(code: libc::c_int) -> String {
    // SAFETY: gai_strerror returns a text that ends with a zero byte and lives as long as the
    // process, or until the next call on this thread.
    let text = unsafe {
        let text = libc::gai_strerror(code);
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    };
    text.unwrap_or_else(|| format!("code {code} of getaddrinfo"))
}

/// Whether a text ends with the words that this C library has for a name server that gives no
/// answer. For errors of std, which hides the code.
pub(crate) fn says_silent(text: &str) -> bool {
    text.ends_with(&words(libc::EAI_AGAIN))
}

/// glibc before 2.26 reads /etc/resolv.conf once, and never sees a name server that comes later.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn reload() {
    // SAFETY: gnu_get_libc_version returns a constant text that ends with a zero byte.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    let version = version.to_str().ok().and_then(|text| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    if version.is_some_and(|version| version < (2, 26)) {
        // SAFETY: it sets the resolver's state of this thread alone.
        unsafe { libc::res_init() };
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn reload() {}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: libc::c_int, errno: libc::c_int) -> NameFaultKind {
        fault(code, &io::Error::from_raw_os_error(errno)).kind
    }

    #[test]
    fn the_code_tells_a_silent_server_from_a_missing_name() {
        assert_eq!(kind(libc::EAI_AGAIN, 0), NameFaultKind::Silent);
        assert_eq!(kind(libc::EAI_NONAME, 0), NameFaultKind::Missing);
        assert_eq!(kind(libc::EAI_FAIL, 0), NameFaultKind::Failed);
        assert_eq!(kind(libc::EAI_MEMORY, 0), NameFaultKind::Resources);
        assert_eq!(kind(libc::EAI_SYSTEM, libc::EMFILE), NameFaultKind::Resources);
        assert_eq!(kind(libc::EAI_SYSTEM, libc::ECONNREFUSED), NameFaultKind::Silent);
        #[cfg(target_os = "linux")]
        assert_eq!(kind(libc::EAI_NODATA, 0), NameFaultKind::Missing);
        let system = fault(libc::EAI_SYSTEM, &io::Error::from_raw_os_error(libc::ENETUNREACH));
        assert!(system.to_string().contains("unreachable"), "{system}");
    }

    #[test]
    fn addresses_are_what_they_say_and_keep_their_zone() {
        assert_eq!(resolve("127.0.0.1", 7).unwrap(), ["127.0.0.1:7".parse().unwrap()]);
        assert_eq!(resolve("::1", 7).unwrap(), ["[::1]:7".parse().unwrap()]);
        assert_eq!(resolve("fe80::1%1", 7).unwrap(), ["[fe80::1%1]:7".parse().unwrap()]);
        assert!(resolve("localhost", 7).unwrap().iter().all(|a| a.ip().is_loopback()));
        assert_eq!(resolve("a\0b", 7).unwrap_err().kind, NameFaultKind::Missing);
    }

    #[test]
    fn the_words_of_this_c_library_for_a_silent_server_are_known() {
        let std = format!("failed to lookup address information: {}", words(libc::EAI_AGAIN));
        assert!(says_silent(&std));
        assert!(!says_silent(&format!("failed: {}", words(libc::EAI_NONAME))));
    }
}
