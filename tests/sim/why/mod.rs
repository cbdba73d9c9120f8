//! The inquiry in simulated worlds, beside the pulse: each fault is named in the worlds that have
//! it, nobody is blamed for what was not there, nothing is told twice, nobody is asked too often.
//!
//! It sees what is no part of the crate's interface, and so it is compiled into the crate's own
//! tests: `cargo test --lib why`. A failure prints its seed: `KEEPBEAT_SEED=7 cargo test --lib why`
//! runs that one alone.

mod fate;
mod harmless;
mod kernel;
mod link;
mod path;
mod sides;
mod world;

use std::time::Duration;

use fastrand::Rng;

use crate::cause::Cause;
use crate::diagnose::Confidence;

use fate::{Kind, Meanwhile, is_harmless};
use harmless::Blind;
use link::Told;
use world::{Params, World};

const S: Duration = Duration::from_secs(1);

/// The seeds of a test: all of `range`, or the one asked for.
fn seeds(range: std::ops::Range<u64>) -> Vec<u64> {
    match std::env::var("KEEPBEAT_SEED") {
        Ok(seed) => vec![seed.parse().expect("KEEPBEAT_SEED is a number")],
        Err(_) => range.collect(),
    }
}

/// A world in which this goes wrong after some healthy beats, and is over long enough after.
fn one_fault(seed: u64, kind: Kind, lasts: impl Fn(&Params) -> Duration) -> World {
    let params = Params::draw(seed);
    let (healthy, lasts) = (params.interval * (6 + (seed % 5) as u32), lasts(&params));
    let mut world = World::new(seed, params, 1).with(kind, healthy, lasts);
    world.run(healthy + lasts + 300 * S);
    world
}

#[test]
fn a_healthy_world_has_nothing_to_tell_and_asks_nobody() {
    for seed in seeds(0..50) {
        let mut world = World::new(seed, Params::draw(seed), 1);
        world.run(600 * S);
        world.check();
        if world.told().count() > 0 || !world.shared.opened.is_empty() || world.links[0].misses > 0
        {
            world.fail("nothing was wrong");
        }
        world.expect_up();
    }
}

#[test]
fn each_fault_is_named_in_the_worlds_that_contain_it() {
    let long = |params: &Params| params.detection() * 2;
    let all = [
        Kind::PathDead,
        Kind::HostDown,
        Kind::Killed,
        Kind::Hung,
        Kind::Reset,
        Kind::FlowDropped,
        Kind::LinkDown,
        Kind::AddressGone,
        Kind::NoRoute,
        Kind::Unreachable,
        Kind::Prohibited,
    ];
    for kind in all {
        for seed in seeds(0..80) {
            let world = one_fault(seed, kind, long);
            world.check();
            world.expect(kind.names()[0], Confidence::Likely);
            world.expect_up();
            if kind.is_clear() && !world.shared.opened.is_empty() {
                world.fail("asked for what was known");
            }
        }
    }
}

#[test]
fn what_was_never_there_is_told_by_the_first_attempt() {
    for seed in seeds(0..20) {
        for (kind, cause) in
            [(Kind::Killed, Cause::Refused), (Kind::PathDead, Cause::ConnectTimeout)]
        {
            let params = Params::draw(seed);
            let mut world = World::new(seed, params, 1).with(kind, Duration::ZERO, 100 * S);
            world.run(300 * S);
            world.check();
            world.expect(cause, Confidence::Likely);
            world.expect_up();
        }
    }
}

#[test]
fn a_firewall_that_forgets_is_named_and_so_is_a_peer_that_hangs_up() {
    for seed in seeds(0..60) {
        // Pauses are jittered by a twentieth.
        let params = Params { interval: S * (4 + seed as u32 % 5), ..Params::draw(seed) };
        let limit = params.interval.mul_f64(0.5 + 0.4 * (seed % 7) as f64 / 7.0);
        for kind in [Kind::Nat(limit), Kind::IdleClose(limit)] {
            let mut world = World::new(seed, params.clone(), 1).with(kind, S, 300 * S);
            world.run(400 * S);
            world.check();
            match kind {
                Kind::Nat(_) => world.expect(Cause::FlowForgotten, Confidence::Likely),
                // With one beat on each connection its pause is its age.
                _ => world.expect_among(Cause::IdleClosed),
            }
            world.expect_up();
        }
    }
}

#[test]
fn what_comes_of_our_own_sleep_is_not_laid_at_anybodys_door() {
    for seed in seeds(0..100) {
        for meanwhile in [Meanwhile::Nothing, Meanwhile::Forgotten, Meanwhile::GivenUp] {
            let world = one_fault(seed, Kind::Suspend(meanwhile), |_| Duration::ZERO);
            world.check();
            if meanwhile != Meanwhile::Nothing {
                world.expect(Cause::ResumedFromSleep, Confidence::Likely);
            }
            world.expect_up();
        }
    }
}

#[test]
fn where_every_host_is_silent_it_is_our_own_network_and_that_is_told_once() {
    for seed in seeds(0..30) {
        let params = Params::draw(seed);
        let (healthy, lasts) = (params.interval * 6, params.detection() * 2);
        let hosts = 4 + (seed % 5) as u8;
        let mut world = World::new(seed, params, hosts).with(Kind::PathDead, healthy, lasts);
        world.run(healthy + lasts + 300 * S);
        world.check();
        world.expect(Cause::LocalNetwork, Confidence::Likely);
        world.expect_up();
        let alarms = world.told().filter(|told| told.is_alarm).count();
        if alarms != 1 {
            world.fail(format!("{alarms} alarms"));
        }
        // A link says so with its state, and makes no event of its own of it.
        let alone = |told: &&Told| told.state.is_none() && !told.is_alarm;
        if world.told().filter(alone).any(|told| told.why.cause() == Cause::LocalNetwork) {
            world.fail("told by each link");
        }
    }
}

#[test]
fn a_bad_moment_accuses_nobody() {
    for seed in seeds(0..200) {
        let (mut rng, params) = (Rng::with_seed(seed), Params::draw(seed));
        let short = Duration::from_millis(rng.u64(1..3000)).min(params.timeout * params.fall);
        let mut world = one_fault(seed, Kind::PathDead, |_| short);
        world.check();
        world.expect_up();
        let blames = |told: &Told| {
            !is_harmless(told.why.cause()) && told.why.confidence() >= Confidence::Likely
        };
        if world.told().any(blames) {
            world.fail("it was over in a moment");
        }
        world.stop();
    }
}

/// The faults of a world in which one follows another, at any time.
fn chaos(seed: u64) -> World {
    let (mut rng, params) = (Rng::with_seed(seed ^ 0xC4A05), Params::draw(seed));
    let mut world = World::new(seed, params.clone(), 1 + rng.u8(0..2));
    let mut at = params.interval * 4;
    for _ in 0..20 {
        let kind = match rng.u8(0..14) {
            0 => Kind::PathDead,
            1 => Kind::HostDown,
            2 => Kind::Killed,
            3 => Kind::Hung,
            4 => Kind::Reset,
            5 => Kind::FlowDropped,
            6 => Kind::LinkDown,
            7 => Kind::NoRoute,
            8 => Kind::Unreachable,
            9 => Kind::Prohibited,
            10 => Kind::Suspend(Meanwhile::Forgotten),
            11 => Kind::Suspend(Meanwhile::GivenUp),
            12 => Kind::IdleClose(params.interval.mul_f64(0.3 + rng.f64())),
            _ => Kind::Stall,
        };
        let lasts = (params.detection() * 2).mul_f64(rng.f64());
        world = world.with(kind, at, lasts);
        at += lasts + (params.detection() * 2).mul_f64(rng.f64());
    }
    world.run(at + 600 * S);
    world
}

#[test]
fn one_fault_after_another_is_told_once_asked_seldom_and_blamed_on_what_was_there() {
    for seed in seeds(0..400) {
        let world = chaos(seed);
        world.check();
        world.expect_up();
    }
}

#[test]
fn whatever_is_seen_is_harmless_at_any_time() {
    for seed in seeds(0..200) {
        Blind::run(seed, 500);
    }
}

#[test]
fn where_only_we_were_away_nobody_is_blamed() {
    for seed in seeds(0..200) {
        let short = |params: &Params| params.timeout * (seed % 40) as u32 / 2;
        let world = one_fault(seed, Kind::Stall, short);
        world.check();
        if world.links[0].misses > 0 || world.told().any(|t| t.why.cause() != Cause::LocalStall) {
            world.fail("the peer was blamed");
        }
        world.expect_up();
    }
}
