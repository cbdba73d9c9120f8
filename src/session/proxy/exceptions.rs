//! What no proxy is taken for: `NO_PROXY`, as curl and Go read it.

use std::net::IpAddr;

/// Hosts that are reached directly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exceptions {
    /// This machine itself, as Go has it: no proxy elsewhere could reach it.
    loopback: bool,
    all: bool,
    some: Vec<Exception>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    host: Host,
    /// None: any.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// A name, and what stands below it.
    Name(String),
    /// A network: its address and how many bits of it count.
    Network(IpAddr, u8),
}

impl Exceptions {
    /// From the value of `NO_PROXY`. What makes no sense in it excepts nothing.
    pub(crate) fn read(text: &str) -> Exceptions {
        let mut except = Exceptions { loopback: true, ..Exceptions::default() };
        for entry in text.split([',', ' ', '\t', '\r', '\n']).filter(|entry| !entry.is_empty()) {
            match entry {
                "*" => except.all = true,
                _ => except.some.extend(Exception::read(entry)),
            }
        }
        except
    }

    pub(crate) fn contain(&self, host: &str, port: u16) -> bool {
        let name = canonical(host);
        let ip = name.parse::<IpAddr>().ok();
        let loopback =
            || name == "localhost" || ip.is_some_and(|ip| ip.to_canonical().is_loopback());
        self.all
            || self.loopback && loopback()
            || self.some.iter().any(|exception| exception.matches(&name, ip, port))
    }
}

/// In lower case and without the dot of the root.
fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

impl Exception {
    fn read(entry: &str) -> Option<Exception> {
        if let Some(network) = network(entry) {
            return Some(Exception { host: network, port: None });
        }
        let (host, port) = match entry.rsplit_once(':') {
            // An IPv6 address has colons of its own.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().ok()?))
            }
            _ => (entry, None),
        };
        if let Some(network) = network(host) {
            return Some(Exception { host: network, port });
        }
        let name = host.strip_prefix('*').unwrap_or(host);
        let name = canonical(name.strip_prefix('.').unwrap_or(name));
        (!name.is_empty()).then_some(Exception { host: Host::Name(name), port })
    }

    fn matches(&self, name: &str, ip: Option<IpAddr>, port: u16) -> bool {
        if self.port.is_some_and(|only| only != port) {
            return false;
        }
        match &self.host {
            Host::Name(suffix) => {
                let above = name.strip_suffix(suffix.as_str());
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
            Host::Network(network, bits) => ip.is_some_and(|ip| shares(ip, *network, *bits)),
        }
    }
}

/// An address, with brackets or without, or a network as `address/bits`.
fn network(text: &str) -> Option<Host> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let address: IpAddr = bare.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some(Host::Network(address, bits))
}

/// Whether the first bits are the same.
fn shares(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            let differs = ip.to_bits() ^ network.to_bits();
            differs.checked_shr(32 - u32::from(bits)).unwrap_or(0) == 0
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            let differs = ip.to_bits() ^ network.to_bits();
            differs.checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(text: &str, host: &str) -> bool {
        Exceptions::read(text).contain(host, 80)
    }

    #[test]
    fn names_except_themselves_and_what_stands_below() {
        for text in [
            "example.com",
            ".example.com",
            "*.example.com",
            " x , EXAMPLE.com. ,y",
            "x example.com",
        ] {
            for host in ["example.com", "www.example.com", "A.b.Example.COM", "example.com."] {
                assert!(contains(text, host), "{text} {host}");
            }
            for host in ["notexample.com", "example.org", "example.com.org", "com", "10.0.0.1"] {
                assert!(!contains(text, host), "{text} {host}");
            }
        }
        assert!(contains("*", "anything") && contains("x,*", "10.0.0.1"));
        assert!(!contains("", "x") && !contains(",, ,.,*.", "x"));
        assert!(!contains("ample.com", "example.com"), "not in the middle of a word");
    }

    #[test]
    fn addresses_and_networks_are_read_in_every_spelling() {
        for (text, host) in [
            ("10.1.2.3", "10.1.2.3"),
            ("10.0.0.0/8", "10.255.0.1"),
            ("192.168.1.7/24", "192.168.1.99"),
            ("0.0.0.0/0", "8.8.8.8"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:0db8:0::1"),
            ("2001:db8::/32", "2001:db8:ffff::1"),
            ("[2001:db8::]/32", "2001:db8:ffff::1"),
            ("::/0", "2001:db8::1"),
        ] {
            assert!(contains(text, host), "{text} {host}");
        }
        for (text, host) in [
            ("10.1.2.3", "10.1.2.30"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/33", "10.0.0.1"),
            ("10.0.0.0/x", "10.0.0.1"),
            ("2001:db8::/32", "2001:db9::1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1"),
            ("10.0.0.0/8", "10.example.com"),
        ] {
            assert!(!contains(text, host), "{text} {host}");
        }
    }

    #[test]
    fn a_port_excepts_that_port_alone() {
        for (text, host) in
            [("h.test:8080", "www.h.test"), ("10.0.0.1:8080", "10.0.0.1"), ("[::2]:8080", "::2")]
        {
            let except = Exceptions::read(text);
            assert!(except.contain(host, 8080) && !except.contain(host, 80), "{text}");
        }
        assert!(!contains("h.test:x", "h.test"));
    }

    #[test]
    fn this_machine_is_never_asked_of_a_proxy_elsewhere() {
        for host in ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
        {
            assert!(contains("", host), "{host}");
            assert!(!Exceptions::default().contain(host, 80), "one that was set is asked");
        }
    }
}
