//! Kinds of filters: what the path swallows, and what it passes.

use keepbeat::Cause::*;

use super::bench::{Setting, Speech, drawn, plain, with_side};
use super::{Bench, Kind};
use crate::net::own_ports;
use crate::server::{LARGE, WHOLE};

pub const KINDS: &[Kind] = &[
    Kind {
        links: by_a_port,
        quick: true,
        ..Kind::new("port-filtered", &[PortFiltered], |b| {
            b.row.rule("far", "tcp dport 7000 drop");
        })
    },
    Kind {
        also: &[FlowForgotten],
        quick: true,
        ..Kind::new("flow-dropped", &[FlowDropped], drop_flows)
    },
    Kind {
        links: lossy,
        also: &[FlowForgotten, LossyPath],
        ..Kind::new("flow-dropped-and-lossy", &[FlowDropped], drop_flows)
    },
    Kind {
        links: busy,
        also: &[FlowForgotten],
        ..Kind::new("flow-dropped-with-data", &[FlowDropped], drop_flows)
    },
    Kind {
        links: seldom,
        also: &[FlowDropped],
        late: true,
        listen: 18,
        quick: true,
        ..Kind::new("flow-forgotten", &[FlowForgotten], |b| b.row.forgets_after(2))
    },
    Kind {
        links: very_seldom,
        also: &[FlowDropped],
        late: true,
        listen: 28,
        ..Kind::new("flow-forgotten-after-5-s", &[FlowForgotten], |b| b.row.forgets_after(5))
    },
    Kind {
        links: with_side,
        quick: true,
        ..Kind::new("payload-filtered", &[PayloadFiltered], payload)
    },
    Kind {
        links: plain,
        ..Kind::new(
            "payload-filtered-for-all",
            &[PayloadFiltered, SizeFiltered, AllPayloadDropped],
            payload,
        )
    },
    Kind {
        links: long_beats,
        quick: true,
        ..Kind::new("size-filtered", &[SizeFiltered], |b| {
            b.each_way(|there| there.longest = Some(1000), |_| ());
        })
    },
    Kind {
        links: longer_beats,
        ..Kind::new("size-filtered-of-several", &[SizeFiltered], |b| {
            b.each_way(|there| there.longest = Some(1300), |_| ());
        })
    },
    Kind {
        links: large_replies,
        quick: true,
        ..Kind::new("replies-too-large", &[SizeFiltered], |b| {
            b.each_way(|_| (), |back| back.longest = Some(1300));
        })
    },
    Kind {
        links: whole_replies,
        ..Kind::new("replies-of-full-size", &[SizeFiltered, RepliesFiltered, PeerSilent], |b| {
            b.each_way(|_| (), |back| back.longest = Some(1300));
        })
    },
    Kind {
        links: https,
        late: true,
        quick: true,
        ..Kind::new("certificate-too-large", &[SizeFiltered], |b| {
            b.each_way(|_| (), |back| back.longest = Some(1300));
        })
    },
    Kind {
        links: with_side,
        ..Kind::new("all-payload-dropped", &[AllPayloadDropped], |b| {
            b.row.rule("far", "tcp dport 7000 tcp flags & psh == psh drop");
        })
    },
    Kind {
        links: plain,
        ..Kind::new("replies-filtered", &[RepliesFiltered, PeerSilent], |b| {
            b.row.rule("far", "tcp sport 7000 tcp flags & psh == psh drop");
        })
    },
    Kind {
        also: &[Refused],
        links: plain,
        ..Kind::new("reset-by-a-router", &[Reset, ResetByMiddlebox], |b| {
            b.row.rule("near", "tcp dport 7000 reject with tcp reset");
        })
    },
    Kind {
        links: few,
        ..Kind::new("beats-rate-limited", &[RateLimited, LossyPath, PayloadFiltered], |b| {
            let over = "limit rate over 1/second burst 1 packets drop";
            b.row.rule("far", &format!("tcp dport 7000 tcp flags & psh == psh {over}"));
        })
    },
];

fn drop_flows(bench: &mut Bench) {
    let ports = own_ports();
    bench.row.rule("far", &format!("tcp sport {{ {ports} }} drop\ntcp dport {{ {ports} }} drop"));
}

fn payload(bench: &mut Bench) {
    bench.row.rule("far", "tcp dport 7000 @ih,0,72 0x686561727462656174 drop");
}

fn by_a_port(bench: &mut Bench) -> Vec<Setting> {
    (0..6).map(|_| drawn(&mut bench.rng, true).with_side(true)).collect()
}

fn lossy(bench: &mut Bench) -> Vec<Setting> {
    bench.base.loss = 0.02;
    bench.heal();
    plain(bench)
}

/// With side connections: without any nobody knows, since such a connection is not opened again.
fn busy(bench: &mut Bench) -> Vec<Setting> {
    let link = |n: u64| {
        let link = drawn(&mut bench.rng, true).busy(23 + n * 50);
        Setting { fall: 3, timeout: link.timeout.max(1000), ..link }
    };
    (0..6).map(link).collect()
}

fn seldom(bench: &mut Bench) -> Vec<Setting> {
    let mut link = |n: u64| {
        let link = Setting::new(3500 + 300 * n, 1000, 1 + n as u32 % 3);
        if bench.rng.bool() { link.with_side(false) } else { link }
    };
    (0..6).map(&mut link).collect()
}

fn very_seldom(bench: &mut Bench) -> Vec<Setting> {
    let links = seldom(bench);
    links.into_iter().map(|link| Setting { interval: link.interval + 3500, ..link }).collect()
}

/// Of one segment.
fn long_beats(bench: &mut Bench) -> Vec<Setting> {
    let mut link = |n: usize| {
        let more = bench.rng.usize(1100..1400);
        drawn(&mut bench.rng, n < 4).says(Speech::Long(more))
    };
    (0..6).map(&mut link).collect()
}

/// Of several segments.
fn longer_beats(bench: &mut Bench) -> Vec<Setting> {
    let mut link = |n: usize| {
        let more = bench.rng.usize(2000..4000);
        drawn(&mut bench.rng, n % 2 == 0).says(Speech::Long(more))
    };
    (0..6).map(&mut link).collect()
}

fn large_replies(bench: &mut Bench) -> Vec<Setting> {
    (0..6).map(|n| drawn(&mut bench.rng, n % 2 == 0).at(LARGE)).collect()
}

fn whole_replies(bench: &mut Bench) -> Vec<Setting> {
    (0..6).map(|n| drawn(&mut bench.rng, n % 2 == 0).at(WHOLE)).collect()
}

fn https(bench: &mut Bench) -> Vec<Setting> {
    (0..6).map(|n| drawn(&mut bench.rng, n % 2 == 0).says(Speech::Https)).collect()
}

fn few(bench: &mut Bench) -> Vec<Setting> {
    (0..2).map(|n| drawn(&mut bench.rng, n == 0)).collect()
}
