//! Peers that end their connections by a rule: after a pause, or at an age. Where their protocol
//! allows that, nobody is ever Down for it; where it does not, only until the rule is known.

use std::time::Duration;

use fastrand::Rng;

use crate::seeds;
use crate::world::{Faults, Habit, Params, Rule, World};

const BEATS: u64 = 1000;

/// A world whose peer has this habit, with a limit around the interval.
fn world(seed: u64, rule: Rule, is_free: bool) -> World {
    let params = Params::draw(seed).without_loss();
    let habit = Some(habit(seed, &params, rule, is_free));
    World::new(seed, params, Faults { habit, ..Faults::NONE })
}

pub fn habit(seed: u64, params: &Params, rule: Rule, is_free: bool) -> Habit {
    let mut rng = Rng::with_seed(seed ^ 0xE4D);
    let limit = match rule {
        // Half the interval to twice as long; every third about as long as the interval.
        Rule::Idle if seed % 3 == 0 => params.interval.mul_f64(0.95 + 0.1 * rng.f64()),
        Rule::Idle => params.interval.mul_f64(0.5 + 1.5 * rng.f64()),
        Rule::Lifetime => params.interval.mul_f64(1.5 + 20.0 * rng.f64()),
    };
    // What answers later than it ends has no limit that anybody could live with.
    let limit = limit.max(params.delay * 8);
    Habit { rule, limit, is_free }
}

#[test]
fn where_a_peer_may_end_its_connections_every_beat_is_answered_and_none_is_down() {
    for rule in [Rule::Idle, Rule::Lifetime] {
        for seed in seeds(0..400) {
            let mut world = world(seed, rule, true);
            world.run_for_beats(BEATS);
            let checks = &world.checks;
            assert_eq!((checks.misses, checks.downs, checks.ups), (0, 0, 1), "{rule:?} {seed}");
            // The last ones may still be on their way, and those that met an end count twice.
            let crossed = checks.beats - checks.acks;
            assert!(crossed <= checks.renewals + 2, "{rule:?} {seed}: {crossed} not answered");
            // One to see, one for a beat that crossed the end.
            let attempts = checks.attempts;
            let bound = if rule == Rule::Idle { BEATS + 20 } else { 2 * checks.renewals + 2 };
            assert!(attempts <= bound, "{rule:?} {seed}: {attempts} connections");
        }
    }
}

#[test]
fn a_known_idle_limit_makes_crossings_rare() {
    let (mut crossed, mut beats) = (0, 0);
    for seed in seeds(0..300) {
        let mut world = world(seed - seed % 3, Rule::Idle, true);
        world.run_for_beats(BEATS);
        crossed += world.checks.beats - world.checks.acks;
        beats += world.checks.beats;
    }
    assert!(crossed * 100 < beats, "{crossed} of {beats} beats met the end of their connection");
}

#[test]
fn an_end_by_a_rule_is_told_twice_at_most_and_then_costs_a_connect() {
    for rule in [Rule::Idle, Rule::Lifetime] {
        for seed in seeds(0..400) {
            let mut world = world(seed, rule, false);
            // Shorter than a second is never called regular.
            if world.habit().is_none_or(|habit| habit.limit < Duration::from_secs(2)) {
                continue;
            }
            world.run_for_beats(BEATS / 4);
            let known = world.checks.downs;
            world.run_for_beats(BEATS);
            let more = world.checks.downs - known;
            assert_eq!((world.checks.misses, more), (0, 0), "{rule:?} {seed}: {known} before");
        }
    }
}
