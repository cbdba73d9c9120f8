//! Kinds of many: hosts that fail together, or some of them, and names that move.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use keepbeat::Cause::*;
use keepbeat::Coordinator;

use super::bench::{Setting, drawn};
use super::{Bench, Kind};
use crate::row::{OTHER_SITE, SITE};

pub const KINDS: &[Kind] = &[
    Kind {
        links: other_site_alone,
        quick: true,
        also: &[PathDead],
        ..Kind::new("three-of-ten-hosts", &[FarNetwork], |b| {
            b.row.rule("far", "ip daddr 192.0.2.64/28 drop")
        })
    },
    Kind {
        links: ten_hosts,
        quick: true,
        ..Kind::new("all-of-ten-hosts", &[LocalNetwork], |b| b.path(|way| way.loss = 1.0))
    },
    Kind {
        links: moved,
        also: &[ConnectTimeout, Unreachable],
        ..Kind::new("name-that-moves", &[ClosedByPeer, Reset], moves)
    },
];

fn ten_hosts(bench: &mut Bench) -> Vec<Setting> {
    bench.together = true;
    let first = drawn(&mut bench.rng, false);
    let first = Setting { interval: first.interval.min(2000), fall: 3, ..first };
    let hosts = OTHER_SITE.iter().chain(&SITE);
    hosts.map(|host| Setting { host, ..first.clone() }).collect()
}

/// Only the links that fail are judged; the others are there.
fn other_site_alone(bench: &mut Bench) -> Vec<Setting> {
    bench.judged = Some(OTHER_SITE.len());
    ten_hosts(bench)
}

static MOVED: AtomicBool = AtomicBool::new(false);

fn resolver() -> Coordinator {
    let resolve = |_: &str, port: u16| -> io::Result<Vec<SocketAddr>> {
        let host: std::net::Ipv4Addr = match MOVED.load(Ordering::SeqCst) {
            true => "203.0.113.99".parse().unwrap(),
            false => "203.0.113.2".parse().unwrap(),
        };
        Ok(vec![(host, port).into()])
    };
    Coordinator::builder().resolver(resolve).build().unwrap()
}

fn moved(bench: &mut Bench) -> Vec<Setting> {
    bench.resolve = Some(resolver);
    (0..3).map(|_| Setting { host: "peer.example.com", ..drawn(&mut bench.rng, false) }).collect()
}

fn moves(bench: &mut Bench) {
    MOVED.store(true, Ordering::SeqCst);
    bench.row.server.order("close");
}
