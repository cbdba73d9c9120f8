//! Kinds of paths that are hard and healthy: nobody is accused, and hardly anybody suspected.

use std::thread;
use std::time::{Duration, Instant};

use keepbeat::Cause::*;

use super::bench::{Setting, bulk, drawn, plain, usual};
use super::hosts::order;
use super::{Bench, Kind};
use crate::row::V4;
use crate::server::LINES;
use crate::watching::ms;

const fn kind(name: &'static str, fault: fn(&mut Bench)) -> Kind {
    let right = &[LossyPath, SlowPath];
    Kind { may_be_silent: true, listen: 20, ..Kind::new(name, right, fault) }
}

pub const KINDS: &[Kind] = &[
    kind("healthy-loss-1", |b| b.path(|way| way.loss = 0.01)),
    Kind { quick: true, ..kind("healthy-loss-3", |b| b.path(|way| way.loss = 0.03)) },
    kind("healthy-jitter-120", |b| b.path(|way| way.jitter = ms(120))),
    kind("healthy-reordered", |b| b.path(|way| (way.jitter, way.reorders) = (ms(60), true))),
    Kind { links: over_a_satellite, ..kind("healthy-satellite", satellite) },
    kind("healthy-busy-cores", busy_cores),
    kind("healthy-bulk-beside", |_| bulk(V4, LINES)),
    kind("healthy-doubled", |b| b.path(|way| way.twice = 1.0)),
    Kind { links: plain, ..kind("healthy-pauses", |b| order(b, "think 180")) },
    Kind {
        links: long_replies,
        ..kind("healthy-large-replies", |b| b.path(|way| way.loss = 0.02))
    },
];

fn over_a_satellite(bench: &mut Bench) -> Vec<Setting> {
    bench.base.delay = ms(300);
    bench.heal();
    let links = usual(bench);
    links
        .into_iter()
        .map(|link| Setting { timeout: link.timeout.max(1000) + 1000, ..link })
        .collect()
}

fn satellite(bench: &mut Bench) {
    bench.path(|way| way.loss = 0.01);
}

fn busy_cores(bench: &mut Bench) {
    let until = Instant::now() + Duration::from_secs(15);
    for _ in 0..3 {
        thread::spawn(move || while Instant::now() < until {});
    }
    let _ = bench;
}

fn long_replies(bench: &mut Bench) -> Vec<Setting> {
    (0..6).map(|n| drawn(&mut bench.rng, n % 2 == 0).at(crate::server::LARGE)).collect()
}
