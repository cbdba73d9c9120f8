//! Four hosts in a row: client, near router, far router, server; IPv4 and IPv6. Between the routers
//! lies a [`Wire`]. The test itself is the client.

use crate::net::{ask, client, on};
use crate::server::Server;
use crate::wire::{Way, Wire};

/// Where the server is, by either family, and its addresses behind another prefix.
pub const V4: &str = "203.0.113.2";
pub const V6: &str = "2001:db8:3::2";
pub const SITE: [&str; 7] = [
    "203.0.113.2",
    "203.0.113.3",
    "203.0.113.4",
    "203.0.113.5",
    "203.0.113.6",
    "203.0.113.7",
    "203.0.113.8",
];
pub const OTHER_SITE: [&str; 3] = ["192.0.2.66", "192.0.2.67", "192.0.2.68"];

const HOSTS: &str = r#"
ip netns add near
ip netns add far
ip netns add server
ip link add c0 type veth peer name rc netns near
ip -n far link add rs type veth peer name s0 netns server
"#;

const ADDRESSES: &str = r#"
ip -batch - <<COMMANDS
addr add 198.51.100.2/24 dev c0
addr add 2001:db8:1::2/64 dev c0 nodad
link set c0 up
link set lo up
route add default via 198.51.100.1
route add default via 2001:db8:1::1
COMMANDS
ip -n near -batch - <<COMMANDS
addr add 198.51.100.1/24 dev rc
addr add 2001:db8:1::1/64 dev rc nodad
addr add 192.0.2.1/30 dev w0
addr add 2001:db8:2::1/64 dev w0 nodad
link set lo up
link set rc up
link set w0 up
route add default via 192.0.2.2
route add default via 2001:db8:2::2
COMMANDS
ip -n far -batch - <<COMMANDS
addr add 203.0.113.1/24 dev rs
addr add 192.0.2.65/28 dev rs
addr add 2001:db8:3::1/64 dev rs nodad
addr add 192.0.2.2/30 dev w0
addr add 2001:db8:2::2/64 dev w0 nodad
link set lo up
link set rs up
link set w0 up
route add 198.51.100.0/24 via 192.0.2.1
route add 2001:db8:1::/64 via 2001:db8:2::1
COMMANDS
(
  for n in 2 3 4 5 6 7 8; do echo addr add 203.0.113.$n/24 dev s0; done
  for n in 66 67 68; do echo addr add 192.0.2.$n/28 dev s0; done
  echo addr add 2001:db8:3::2/64 dev s0 nodad
  echo link set s0 up
  echo link set lo up
  echo route add default via 203.0.113.1
  echo route add default via 2001:db8:3::1
) | ip -n server -batch -
for host in near far; do
  ip netns exec $host sh -ec '
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
    nft add table inet kb
    nft add chain inet kb forward "{ type filter hook forward priority 0; policy accept; }"
  '
done
"#;

/// A second wire between the routers; which one a connection takes, its ports decide.
const SECOND_WIRE: &str = r#"
echo 0 > /proc/sys/net/core/txrehash 2>/dev/null || true
ip -n near -batch - <<COMMANDS
addr add 192.0.2.5/30 dev w1
link set w1 up
route replace default nexthop via 192.0.2.2 dev w0 nexthop via 192.0.2.6 dev w1
COMMANDS
ip -n far -batch - <<COMMANDS
addr add 192.0.2.6/30 dev w1
link set w1 up
COMMANDS
ip netns exec near sh -ec 'echo 1 > /proc/sys/net/ipv4/fib_multipath_hash_policy'
"#;

pub struct Row {
    pub wire: Wire,
    /// The second one, where there is one.
    pub second: Option<Wire>,
    pub server: Server,
    seed: u64,
}

impl Row {
    pub fn new(seed: u64) -> Row {
        client(HOSTS);
        let wire = Wire::between(["near", "far"], "w0", seed);
        client(ADDRESSES);
        Row { wire, second: None, server: Server::start(), seed }
    }

    pub fn add_wire(&mut self) {
        self.second = Some(Wire::between(["near", "far"], "w1", self.seed + 1));
        client(SECOND_WIRE);
    }

    /// From now on that router does this with what passes it, and nothing else.
    pub fn rule(&self, router: &str, rules: &str) {
        let text = format!(
            "flush chain inet kb forward\ntable inet kb {{\nchain forward {{\n{rules}\n}}\n}}\n"
        );
        on(router, "nft", &["-f", "-"], &text);
    }

    pub fn heal(&self) {
        self.rule("near", "");
        self.rule("far", "");
        self.wire.set(Way::default());
    }

    /// A far router that forgets flows after so many seconds, and lets no other ones pass.
    pub fn forgets_after(&self, seconds: u32) {
        self.rule(
            "far",
            "ct state established,related accept\ntcp dport 7000-8999 ct state new tcp flags & \
             (fin|syn|rst|ack) == syn accept\ndrop",
        );
        ask(
            "far",
            &format!(
                "echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose
                 echo {seconds} > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established"
            ),
        );
    }
}
