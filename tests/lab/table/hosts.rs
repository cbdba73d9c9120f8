//! Kinds of trouble at the peer: its process, its kernel, its host.

use std::net::TcpStream;

use keepbeat::Cause::*;

use super::bench::{Setting, Speech, drawn, plain, with_side};
use super::{Bench, Kind};
use crate::net::client;
use crate::row::V4;
use crate::server::{SHORT_BACKLOG, SHORT_QUEUE, SILENT, SMALL_ROOM, Server};
use crate::watching::ms;

pub const KINDS: &[Kind] = &[
    Kind { quick: true, ..Kind::new("hung", &[PeerSilent], |b| b.row.server.freeze()) },
    Kind {
        links: busy,
        quick: true,
        ..Kind::new("hung-with-data", &[PeerSilent], |b| b.row.server.freeze())
    },
    Kind {
        links: doubled,
        ..Kind::new("hung-and-doubled", &[PeerSilent], |b| b.row.server.freeze())
    },
    Kind {
        links: reordered,
        ..Kind::new("hung-and-reordered", &[PeerSilent], |b| b.row.server.freeze())
    },
    Kind {
        also: &[LossyPath],
        links: lossy,
        ..Kind::new("hung-and-lossy", &[PeerSilent], |b| b.row.server.freeze())
    },
    Kind {
        links: with_side,
        quick: true,
        wrong: &[PathDead],
        also: &[AcceptQueueFull],
        ..Kind::new("hung-behind-dropped-syns", &[PeerSilent, AcceptQueueFull], dropped_syns)
    },
    Kind {
        links: short_queue,
        wrong: &[PathDead],
        also: &[PeerSilent],
        ..Kind::new("accept-queue-full", &[AcceptQueueFull, PeerSilent], full_queue)
    },
    Kind { ..Kind::new("mute", &[PeerSilent], |b| order(b, "mute")) },
    Kind { links: plain, ..Kind::new("slow-to-answer", &[PeerSilent], |b| order(b, "think 2000")) },
    Kind {
        links: plain,
        also: &[PeerSilent],
        ..Kind::new("hung-for-a-while", &[PeerSilent], hung_for_a_while)
    },
    // Between two beats of HTTP an end is free; what comes after it is told.
    Kind::new("killed", &[ClosedByPeer, Reset, Refused], |b| b.row.server.kill()),
    Kind { quick: true, ..Kind::new("restarted", &[ClosedByPeer, Reset, Refused], restarted) },
    Kind {
        links: plain,
        also: &[Unreachable],
        ..Kind::new("host-off", &[PathDead, Unreachable], |_| {
            client("ip -n server link set s0 down");
        })
    },
    Kind {
        links: plain,
        also: &[Refused, ConnectTimeout],
        listen: 20,
        quick: true,
        ..Kind::new(
            "host-reboots",
            &[PathDead, Unreachable, PassingOutage, ClosedByPeer, Reset],
            reboots,
        )
    },
    Kind {
        links: deaf_links,
        ..Kind::new("does-not-read", &[PeerNotReading], |b| order(b, "deaf"))
    },
    Kind { links: plain, ..Kind::new("garbage", &[WrongReply], |b| order(b, "garbage")) },
    Kind { links: plain, ..Kind::new("part-of-a-reply", &[PartialReply], |b| order(b, "partial")) },
    Kind {
        links: silent_tls,
        late: true,
        quick: true,
        ..Kind::new("silent-tls", &[TlsFailed], super::bench::nothing)
    },
];

/// They are not opened again: what is said when they fall is all that is said.
fn busy(bench: &mut Bench) -> Vec<Setting> {
    let mut link = |n: u64| {
        let link = drawn(&mut bench.rng, n % 2 == 0).busy(23 + n * 50);
        Setting { timeout: link.timeout.max(500), ..link }
    };
    (0..6).map(&mut link).collect()
}

fn doubled(bench: &mut Bench) -> Vec<Setting> {
    bench.base.twice = 1.0;
    bench.heal();
    plain(bench)
}

fn reordered(bench: &mut Bench) -> Vec<Setting> {
    (bench.base.jitter, bench.base.reorders) = (ms(20), true);
    bench.heal();
    busy(bench)
}

fn lossy(bench: &mut Bench) -> Vec<Setting> {
    bench.base.loss = 0.03;
    bench.heal();
    plain(bench)
}

fn dropped_syns(bench: &mut Bench) {
    bench.row.rule("far", "tcp flags & (fin|syn|rst|ack) == syn drop");
    bench.row.server.freeze();
}

fn short_queue(bench: &mut Bench) -> Vec<Setting> {
    (0..3).map(|_| drawn(&mut bench.rng, true).at(SHORT_QUEUE)).collect()
}

fn full_queue(bench: &mut Bench) {
    bench.row.server.freeze();
    let address = format!("{V4}:{SHORT_QUEUE}").parse().unwrap();
    for _ in 0..SHORT_BACKLOG + 3 {
        if let Ok(stream) = TcpStream::connect_timeout(&address, ms(300)) {
            bench.keeps.push(Box::new(stream));
        }
    }
}

fn hung_for_a_while(bench: &mut Bench) {
    bench.row.server.freeze();
    bench.wait(4000);
    bench.row.server.thaw();
}

fn restarted(bench: &mut Bench) {
    bench.row.server.kill();
    bench.wait(1500);
    bench.row.server = Server::start();
}

fn reboots(bench: &mut Bench) {
    client("ip -n server link set s0 down");
    bench.row.server.kill();
    let off = bench.rng.u64(3000..7000);
    bench.wait(off);
    client(
        "ip -n server link set s0 up
         ip -n server route add default via 203.0.113.1",
    );
    bench.row.server = Server::start();
}

fn deaf_links(bench: &mut Bench) -> Vec<Setting> {
    let link =
        |n: usize| drawn(&mut bench.rng, n % 2 == 0).at(SMALL_ROOM).says(Speech::Long(20_000));
    (0..6).map(link).collect()
}

fn silent_tls(bench: &mut Bench) -> Vec<Setting> {
    let link = |n: usize| drawn(&mut bench.rng, n % 2 == 0).says(Speech::Https).at(SILENT);
    (0..6).map(link).collect()
}

pub fn order(bench: &mut Bench, what: &str) {
    bench.row.server.order(what);
}
