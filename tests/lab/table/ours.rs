//! Kinds of trouble on our own side: nobody else may be blamed for it.

use keepbeat::Cause;
use keepbeat::Cause::*;

use super::bench::plain;
use super::{Bench, Kind};
use crate::net::client;

const OTHERS: &[Cause] = &[PathDead, Unreachable];

pub const KINDS: &[Kind] = &[
    Kind {
        links: plain,
        wrong: OTHERS,
        quick: true,
        ..Kind::new("own-link-down", &[LinkDown], |_| client("ip link set c0 down"))
    },
    Kind {
        links: plain,
        wrong: OTHERS,
        ..Kind::new("own-route-gone", &[NoLocalRoute], |_| client("ip route del default"))
    },
    Kind {
        links: plain,
        wrong: OTHERS,
        ..Kind::new("own-address-gone", &[LocalAddressGone], |_| {
            client("ip addr del 198.51.100.2/24 dev c0");
        })
    },
    Kind {
        links: plain,
        wrong: OTHERS,
        also: &[NoLocalRoute, LinkDown, PassingOutage],
        may_be_silent: true,
        quick: true,
        ..Kind::new("own-address-away-for-2-s", &[LocalAddressGone, NoLocalRoute], address_away)
    },
    Kind {
        links: plain,
        wrong: OTHERS,
        may_be_silent: true,
        ..Kind::new("own-route-away-for-2-s", &[NoLocalRoute], route_away)
    },
    Kind {
        links: plain,
        wrong: OTHERS,
        may_be_silent: true,
        also: &[NoLocalRoute],
        ..Kind::new("own-link-away-for-2-s", &[LinkDown, NoLocalRoute], link_away)
    },
    Kind {
        links: plain,
        wrong: OTHERS,
        quick: true,
        ..Kind::new("own-rule-prohibits", &[NoLocalRoute], |_| {
            client("ip rule add prohibit to 203.0.113.0/24");
        })
    },
    Kind {
        links: plain,
        wrong: OTHERS,
        ..Kind::new("own-rule-is-a-black-hole", &[NoLocalRoute], |_| {
            client("ip rule add blackhole to 203.0.113.0/24");
        })
    },
    Kind {
        links: plain,
        wrong: OTHERS,
        ..Kind::new("own-rule-says-unreachable", &[NoLocalRoute], |_| {
            client("ip rule add unreachable to 203.0.113.0/24");
        })
    },
    Kind {
        links: plain,
        wrong: OTHERS,
        also: &[NoLocalRoute],
        ..Kind::new("own-firewall-drops", &[Cause::NotTransmitted], |_| {
            own_rule("tcp dport 7000 drop");
        })
    },
    Kind {
        links: plain,
        wrong: &[RateLimited],
        also: &[LocalResources, Unreachable, ConnectTimeout],
        ..Kind::new("no-descriptors-left", &[PathDead, LocalResources], no_descriptors)
    },
    Kind {
        links: plain,
        also: &[FlowForgotten, LocalResources],
        ..Kind::new("no-ports-left", &[FlowDropped, LocalResources], no_ports)
    },
    Kind {
        links: plain,
        wrong: OTHERS,
        may_be_silent: true,
        quick: true,
        ..Kind::new("own-queue-full", &[Cause::NotTransmitted, SlowPath, LossyPath], own_queue)
    },
];

fn address_away(bench: &mut Bench) {
    client("ip addr del 198.51.100.2/24 dev c0");
    bench.wait(2000);
    client("ip addr add 198.51.100.2/24 dev c0; ip route add default via 198.51.100.1");
}

fn route_away(bench: &mut Bench) {
    client("ip route del default");
    bench.wait(2000);
    client("ip route add default via 198.51.100.1");
}

fn link_away(bench: &mut Bench) {
    client("ip link set c0 down");
    bench.wait(2000);
    client("ip link set c0 up; ip route replace default via 198.51.100.1");
}

fn own_rule(rule: &str) {
    client(&format!(
        "nft add table ip own
         nft add chain ip own o '{{ type filter hook output priority 0; policy accept; }}'
         nft add rule ip own o {rule}"
    ));
}

/// All that are left are taken, and the path dies.
fn no_descriptors(bench: &mut Bench) {
    use std::fs::File;
    let most = libc::rlimit { rlim_cur: 256, rlim_max: 256 };
    // SAFETY: the limits live for the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &most) }, 0);
    bench.path(|way| way.loss = 1.0);
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    bench.keeps.push(Box::new(taken));
}

/// There is no port for another connection, and a firewall drops those that stand.
fn no_ports(bench: &mut Bench) {
    let ports = crate::net::own_ports();
    bench.row.rule("far", &format!("tcp sport {{ {ports} }} drop\ntcp dport {{ {ports} }} drop"));
    client("echo 60000 60001 > /proc/sys/net/ipv4/ip_local_port_range");
    for port in [60000, 60001] {
        let socket = std::net::TcpListener::bind(("0.0.0.0", port)).unwrap();
        bench.keeps.push(Box::new(socket));
    }
}

/// What leaves this machine waits behind others, and some of it is thrown away here.
fn own_queue(_: &mut Bench) {
    client("tc qdisc add dev c0 root tbf rate 16kbit burst 1600 limit 3000");
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    std::thread::spawn(move || {
        loop {
            let _ = socket.send_to(&[0; 500], (crate::row::V4, 9)); // it may be full
            std::thread::sleep(crate::watching::ms(100));
        }
    });
}
