//! Kinds of words: what a router or a firewall says, at the pace that routers say it.

use keepbeat::Cause::*;

use super::bench::{Setting, drawn};
use super::{Bench, Kind};
use crate::net::client;
use crate::row::V6;

pub const KINDS: &[Kind] = &[
    Kind {
        links: plain,
        quick: true,
        ..Kind::new("host-unreachable", &[Unreachable], |b| said(b, "host-unreachable"))
    },
    Kind {
        links: plain,
        ..Kind::new("net-unreachable", &[Unreachable], |b| said(b, "net-unreachable"))
    },
    Kind {
        links: plain,
        quick: true,
        ..Kind::new("admin-prohibited", &[Prohibited], |b| said(b, "admin-prohibited"))
    },
    Kind {
        links: plain,
        ..Kind::new("host-prohibited", &[Prohibited], |b| said(b, "host-prohibited"))
    },
    Kind {
        links: plain,
        ..Kind::new("port-unreachable", &[Prohibited, Refused], |b| said(b, "port-unreachable"))
    },
    Kind {
        links: plain,
        quick: true,
        ..Kind::new("too-many-hops", &[Unreachable], |_| {
            client("ip -n far route add 203.0.113.2/32 via 192.0.2.1");
        })
    },
    Kind {
        links: plain,
        ..Kind::new("no-route-at-a-router", &[Unreachable], |_| {
            client("ip -n near route del default");
        })
    },
    Kind {
        links: plain,
        ..Kind::new("route-prohibited-at-a-router", &[Prohibited], |_| {
            client("ip -n near route add prohibit 203.0.113.0/24");
        })
    },
    Kind {
        links: plain,
        also: &[PathDead, PassingOutage],
        may_be_silent: true,
        ..Kind::new("route-that-flaps", &[Unreachable, PassingOutage], flaps)
    },
    Kind {
        links: v6,
        ..Kind::new("v6-no-route", &[Unreachable], |_| {
            client("ip -n near -6 route del default");
        })
    },
    Kind {
        links: v6,
        ..Kind::new("v6-prohibited", &[Prohibited], |b| {
            b.row.rule("far", "tcp dport 7000 reject with icmpv6 type admin-prohibited");
        })
    },
    Kind {
        links: v6,
        ..Kind::new("v6-address-unreachable", &[Unreachable], |b| {
            b.row.rule("far", "tcp dport 7000 reject with icmpv6 type addr-unreachable");
        })
    },
    Kind { links: v6, ..Kind::new("v6-dead", &[PathDead], |b| b.path(|way| way.loss = 1.0)) },
];

fn said(bench: &mut Bench, word: &str) {
    bench.row.rule("far", &format!("tcp dport 7000 reject with icmp type {word}"));
}

fn flaps(bench: &mut Bench) {
    client("ip -n near route del default");
    bench.wait(2000);
    client("ip -n near route add default via 192.0.2.2");
}

/// One: several would share what routers say in a while, and some of them hear nothing.
fn plain(bench: &mut Bench) -> Vec<Setting> {
    let side = bench.rng.bool();
    vec![drawn(&mut bench.rng, side)]
}

fn v6(bench: &mut Bench) -> Vec<Setting> {
    plain(bench).into_iter().map(|link| Setting { host: V6, ..link }).collect()
}
