//! Kinds of paths: loss, outages, slowness, rates. Nobody but the path is to blame.

use keepbeat::Cause::*;

use super::bench::{Setting, bulk, plain, with_side};
use super::{Bench, Kind};
use crate::row::V4;
use crate::server::SINK;
use crate::watching::ms;

pub const KINDS: &[Kind] = &[
    Kind { may_be_silent: true, ..Kind::new("loss-5", &[LossyPath], |b| loss(b, 0.05)) },
    Kind {
        may_be_silent: true,
        quick: true,
        ..Kind::new("loss-10", &[LossyPath], |b| loss(b, 0.1))
    },
    Kind { may_be_silent: true, ..Kind::new("loss-20", &[LossyPath], |b| loss(b, 0.2)) },
    Kind {
        may_be_silent: true,
        listen: 20,
        ..Kind::new("loss-40", &[LossyPath], |b| loss(b, 0.4))
    },
    Kind {
        may_be_silent: true,
        quick: true,
        ..Kind::new("loss-30-of-replies", &[LossyPath], replies_lost)
    },
    Kind { may_be_silent: true, ..Kind::new("loss-30-of-beats", &[LossyPath], beats_lost) },
    Kind {
        also: &[PathDead],
        may_be_silent: true,
        listen: 20,
        ..Kind::new("loss-in-bursts", &[LossyPath, PassingOutage], bursts)
    },
    Kind {
        also: &[PathDead],
        may_be_silent: true,
        quick: true,
        ..Kind::new("outage-of-1.5-s", &[PassingOutage, LossyPath], |b| outage(b, 1500))
    },
    Kind {
        may_be_silent: true,
        quick: true,
        ..Kind::new("outage-of-3-s", &[PassingOutage, PathDead, LossyPath], |b| outage(b, 3000))
    },
    Kind {
        listen: 15,
        ..Kind::new("outage-of-6-s", &[PassingOutage, PathDead], |b| outage(b, 6000))
    },
    Kind {
        also: &[LossyPath],
        may_be_silent: true,
        ..Kind::new("outage-of-replies", &[PassingOutage, PathDead], outage_of_replies)
    },
    Kind {
        also: &[LossyPath, PathDead],
        may_be_silent: true,
        listen: 20,
        ..Kind::new("outage-again-and-again", &[PassingOutage, PathDead, LossyPath], flaps)
    },
    Kind {
        may_be_silent: true,
        ..Kind::new("round-trip-of-0.6-s", &[SlowPath], |b| slower(b, 600))
    },
    Kind {
        may_be_silent: true,
        quick: true,
        ..Kind::new("round-trip-of-1.2-s", &[SlowPath], |b| slower(b, 1200))
    },
    Kind { listen: 15, ..Kind::new("round-trip-of-2-s", &[SlowPath], |b| slower(b, 2000)) },
    Kind { may_be_silent: true, ..Kind::new("jitter-of-0.6-s", &[SlowPath, LossyPath], jitter) },
    Kind { listen: 15, ..Kind::new("queue-of-others", &[SlowPath], filling) },
    Kind {
        links: one_each,
        may_be_silent: true,
        also: &[LossyPath],
        ..Kind::new("queue-of-our-own-data", &[SlowPath, QueuedBehindData, LossyPath], own_bulk)
    },
    Kind {
        links: one_each,
        also: &[PathDead],
        listen: 20,
        may_be_silent: true,
        ..Kind::new(
            "one-packet-a-second",
            &[RateLimited, LossyPath, SlowPath, PassingOutage],
            |b| police(b, 1.0),
        )
    },
    Kind {
        links: one_each,
        also: &[PathDead],
        listen: 20,
        may_be_silent: true,
        ..Kind::new(
            "two-packets-a-second",
            &[RateLimited, LossyPath, SlowPath, PassingOutage],
            |b| police(b, 2.0),
        )
    },
    Kind { quick: true, ..Kind::new("dead", &[PathDead], |b| b.path(|way| way.loss = 1.0)) },
    Kind { links: plain, ..Kind::new("dead-there", &[PathDead], dead_there) },
    Kind { links: plain, ..Kind::new("dead-back", &[PathDead], dead_back) },
    Kind {
        links: on_a_long_path,
        listen: 15,
        ..Kind::new("dead-and-long", &[PathDead], |b| {
            b.path(|way| way.loss = 1.0);
        })
    },
    Kind {
        links: on_a_lossy_path,
        listen: 15,
        also: &[LossyPath],
        ..Kind::new("dead-and-lossy", &[PathDead], |b| {
            b.path(|way| way.loss = 1.0);
        })
    },
    Kind {
        links: over_two_wires,
        may_be_silent: true,
        // By luck the fresh connections all go one way.
        ..Kind::new("one-wire-of-two", &[SomePathsDead, FlowDropped, PathDead], one_wire)
    },
];

fn loss(bench: &mut Bench, share: f64) {
    bench.path(|way| way.loss = share);
}

fn replies_lost(bench: &mut Bench) {
    bench.each_way(|_| (), |back| back.loss = 0.3);
}

fn beats_lost(bench: &mut Bench) {
    bench.each_way(|there| there.loss = 0.3, |_| ());
}

fn bursts(bench: &mut Bench) {
    bench.path(|way| way.outage = Some((ms(1200), ms(4000))));
}

fn outage(bench: &mut Bench, millis: u64) {
    bench.path(|way| way.loss = 1.0);
    bench.wait(millis);
    bench.heal();
}

fn outage_of_replies(bench: &mut Bench) {
    bench.each_way(|_| (), |back| back.loss = 1.0);
    bench.wait(3000);
    bench.heal();
}

fn flaps(bench: &mut Bench) {
    for _ in 0..3 {
        outage(bench, 2000);
        bench.wait(4000);
    }
}

fn slower(bench: &mut Bench, millis: u64) {
    bench.path(|way| way.delay = ms(millis / 2));
}

fn jitter(bench: &mut Bench) {
    bench.path(|way| way.jitter = ms(600));
}

fn filling(bench: &mut Bench) {
    bench.each_way(|there| there.filling = Some((1.0, ms(3000))), |_| ());
}

fn own_bulk(bench: &mut Bench) {
    bench.each_way(|there| there.rate = Some((60_000.0, 120_000.0)), |_| ());
    bulk(V4, SINK);
}

fn police(bench: &mut Bench, rate: f64) {
    bench.path(|way| way.police = Some((rate, 1.0)));
}

fn dead_there(bench: &mut Bench) {
    bench.each_way(|there| there.loss = 1.0, |_| ());
}

fn dead_back(bench: &mut Bench) {
    bench.each_way(|_| (), |back| back.loss = 1.0);
}

fn one_each(bench: &mut Bench) -> Vec<Setting> {
    let side = bench.rng.bool();
    vec![super::bench::drawn(&mut bench.rng, side)]
}

fn on_a_long_path(bench: &mut Bench) -> Vec<Setting> {
    bench.base.delay = ms(150);
    bench.heal();
    let links = plain(bench);
    links.into_iter().map(|link| Setting { timeout: link.timeout.max(1000), ..link }).collect()
}

fn on_a_lossy_path(bench: &mut Bench) -> Vec<Setting> {
    bench.base.loss = 0.03;
    bench.heal();
    let links = plain(bench);
    links.into_iter().map(|link| Setting { timeout: link.timeout.max(1000), ..link }).collect()
}

fn over_two_wires(bench: &mut Bench) -> Vec<Setting> {
    bench.row.add_wire();
    with_side(bench)
}

fn one_wire(bench: &mut Bench) {
    let dead = crate::wire::Way { loss: 1.0, ..Default::default() };
    bench.row.second.as_ref().unwrap().set_each(dead, dead);
}
