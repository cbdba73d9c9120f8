//! Years of heartbeats in seconds: a pulse in a simulated world with one clock and one seed.
//!
//! Safety is checked at each step; then the world heals, and the link must be Up within a bound. A
//! failure prints its seed: `KEEPBEAT_SEED=7 cargo test --test sim` runs that one alone.
//!
//! `why/` runs the inquiry beside the pulse. It sees what is no part of the crate's interface, and
//! so it is among the crate's own tests: `cargo test --lib why`.

mod checks;
mod ends;
mod faults;
mod habits;
mod roles;
mod world;

use std::time::{Duration, Instant};

use fastrand::Rng;
use keepbeat::pulse::{Input, Output, Pulse};
use keepbeat::{Cause, Heartbeat, Loss, Role, State};

use world::{Faults, Params, Rule, World};

/// The ordinary run simulates at least this many beats.
const BEATS: u64 = 10_000_000;

/// The seeds of a test: all of `range`, or the one asked for.
fn seeds(range: std::ops::Range<u64>) -> Vec<u64> {
    match std::env::var("KEEPBEAT_SEED") {
        Ok(seed) => vec![seed.parse().expect("KEEPBEAT_SEED is a number")],
        Err(_) => range.collect(),
    }
}

#[test]
fn ten_million_beats_are_safe_at_each_step_and_every_link_is_up_after_healing() {
    let seeds = seeds(0..1000);
    let each = BEATS / seeds.len() as u64 + 1;
    let (mut beats, mut simulated, mut ups, mut downs) = (0, Duration::ZERO, 0, 0);
    for seed in &seeds {
        let params = Params::draw(*seed);
        // Every second peer has a habit of its own as well.
        let rule = if seed % 4 < 2 { Rule::Idle } else { Rule::Lifetime };
        let habit = (seed % 2 == 0).then(|| habits::habit(*seed, &params, rule, seed % 8 < 4));
        let mut world = World::new(*seed, params, Faults { habit, ..Faults::ALL });
        world.run_for_beats(each);
        world.heal_and_expect_up();
        world.stop_and_expect_done();
        beats += world.checks.beats;
        simulated += world.elapsed();
        ups += world.checks.ups;
        downs += world.checks.downs;
    }
    let years = simulated.as_secs_f64() / 31_557_600.0;
    println!("{beats} beats over {} seeds, {years:.1} years, {downs} falls", seeds.len());
    if seeds.len() > 1 {
        assert!(beats >= BEATS, "only {beats} beats");
        // A world in which nothing ever goes wrong would prove nothing.
        assert!(downs > 10_000 && ups >= downs, "{downs} falls, {ups} rises");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut world = World::new(seed, Params::draw(seed), Faults::ALL);
        world.run_for_beats(3000);
        world.checks.trace
    };
    let all: Vec<_> = (0..50).map(trace).collect();
    assert_eq!(all, (0..50).map(trace).collect::<Vec<_>>());
    let mut distinct = all.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), all.len(), "another seed gives another trace");
}

#[test]
fn our_own_pauses_convict_nobody() {
    for seed in seeds(0..200) {
        let deaf_pauses = seed % 2 == 1;
        let faults = Faults { our_pauses: true, deaf_pauses, ..Faults::NONE };
        let mut world = World::new(seed, Params::draw(seed).without_loss(), faults);
        world.run_for_beats(2000);
        let checks = &world.checks;
        assert!(checks.stalls > 0, "seed {seed}: no pause was long enough to notice");
        assert_eq!((checks.misses, checks.downs), (0, 0), "seed {seed}: the peer was blamed");
    }
}

#[test]
fn a_healthy_world_has_no_miss_and_keeps_its_pace() {
    for seed in seeds(0..200) {
        let params = Params::draw(seed).without_loss();
        let interval = params.interval;
        let mut world = World::new(seed, params, Faults::NONE);
        world.run_for_beats(2000);
        assert_eq!((world.checks.misses, world.checks.downs), (0, 0), "seed {seed}");
        let mean = world.elapsed().as_secs_f64() / 2000.0;
        let pace = mean / interval.as_secs_f64();
        assert!((0.98..1.02).contains(&pace), "seed {seed}: {pace} of the interval");
    }
}

#[test]
fn silence_is_found_within_the_bound_of_rule_4() {
    for seed in seeds(0..2000) {
        let params = Params::draw(seed).without_loss();
        let bound = params.interval.mul_f64(1.05)
            + params.fall * params.timeout
            + Duration::from_millis(50);
        let mut world = World::new(seed, params, Faults::NONE);
        world.run_for_beats(5 + seed % 7);
        world.peer_vanishes();
        let took = world.run_until(State::Down, bound * 2);
        assert!(took <= bound, "seed {seed}: {took:?}, over {bound:?}");
        assert_eq!(world.checks.last_cause, Some(Cause::AckTimeout), "seed {seed}");
    }
}

#[test]
fn a_peer_that_really_dies_while_we_sleep_is_found_in_spite_of_all_grants() {
    for seed in seeds(0..500) {
        let params = Params::draw(seed).without_loss();
        // Three grants, and timeouts stretched by what the sleeps did to our own score.
        let bound = params.interval.mul_f64(1.05) + (params.fall + 3) * params.timeout * 5;
        let mut world = World::new(seed, params, Faults::NONE);
        world.run_for_beats(10);
        world.sleep(bound);
        world.peer_vanishes();
        let took = world.run_until(State::Down, bound * 3);
        assert!(took <= bound, "seed {seed}: {took:?}, over {bound:?}");
    }
}

#[test]
fn a_dead_peer_is_not_protected_for_ever_by_our_own_overload() {
    for seed in seeds(0..500) {
        let params = Params::draw(seed).without_loss();
        let wake = params.timeout.max(Duration::from_millis(200));
        // Each round is five timeouts long at the worst, and we wake too late for it.
        let bound = params.interval.mul_f64(1.05) + (params.fall + 4) * (params.timeout * 5 + wake);
        let faults = Faults { overload: true, ..Faults::NONE };
        let mut world = World::new(seed, params, faults);
        world.run_for_beats(3);
        world.peer_vanishes();
        let took = world.run_until(State::Down, bound * 3);
        assert!(took <= bound, "seed {seed}: {took:?}, over {bound:?}");
    }
}

#[test]
fn a_peer_that_accepts_and_closes_does_not_make_the_link_spin() {
    for seed in seeds(0..200) {
        let faults = Faults { slams: true, ..Faults::NONE };
        let mut world = World::new(seed, Params::draw(seed).without_loss(), faults);
        world.run_for(Duration::from_secs(3600));
        let attempts = world.checks.attempts;
        // The waits are 30 s on average once they have grown to the cap.
        assert!((60..240).contains(&attempts), "seed {seed}: {attempts} attempts in an hour");
    }
}

#[test]
fn a_peer_that_ends_its_connections_in_good_order_costs_a_connect_and_nothing_else() {
    for (seed, renews) in seeds(0..200).into_iter().zip([256, 64].into_iter().cycle()) {
        let params = Params::draw(seed).without_loss();
        let interval = params.interval;
        let faults = Faults { renews, ..Faults::NONE };
        let mut world = World::new(seed, params, faults);
        world.run_for_beats(2000);
        let checks = &world.checks;
        assert_eq!((checks.misses, checks.downs, checks.ups), (0, 0, 1), "seed {seed}");
        assert!(checks.renewals >= 200, "seed {seed}: {} renewals", checks.renewals);
        // The first connection, and the one whose ack is still to come.
        assert!(checks.attempts <= checks.renewals + 2, "seed {seed}: it spins");
        let pace = world.elapsed().as_secs_f64() / 2000.0 / interval.as_secs_f64();
        // Connect and ack take a quarter of an interval each at the most: a round may be skipped.
        assert!((0.98..1.3).contains(&pace), "seed {seed}: {pace} of the interval");
    }
}

#[test]
fn random_inputs_are_harmless_in_every_phase() {
    for seed in seeds(0..3000) {
        let mut rng = Rng::with_seed(seed);
        let params = Params::draw(seed);
        let mut now = world::start();
        let heartbeat = random_role(params.heartbeat(), &mut rng);
        let stays = rng.bool();
        let new = if stays { Pulse::staying } else { Pulse::new };
        let mut pulse = new(heartbeat, seed, now);
        let mut stopped = false;
        for _ in 0..400 {
            let nanos = rng.u64(0..=2 * params.interval.as_nanos() as u64);
            // Sometimes backwards: it counts as standing still.
            now = if rng.u8(..) < 16 {
                now - Duration::from_nanos(nanos.min(1000))
            } else {
                now + Duration::from_nanos(nanos)
            };
            let input = random_input(&mut rng, now);
            stopped |= input == Input::Stop;
            pulse.handle(now, input);
            let outputs = (0..32)
                .take_while(|_| match pulse.poll() {
                    Output::Wait(_) => false,
                    Output::Done => {
                        stopped = true;
                        false
                    }
                    Output::Connect | Output::Beat(_) => {
                        assert!(!stopped, "seed {seed}: active after its end");
                        true
                    }
                    _ => true,
                })
                .count();
            assert!(outputs < 16, "seed {seed}: {outputs} outputs without an end");
            assert!(pulse.outstanding() <= params.most_outstanding(), "seed {seed}");
            assert!(pulse.doubt() <= 8, "seed {seed}");
            if stopped {
                assert_eq!(pulse.poll(), Output::Done, "seed {seed}");
            }
        }
    }
}

fn random_role(heartbeat: Heartbeat, rng: &mut Rng) -> Heartbeat {
    let roles = [Role::Active, Role::Active, Role::Passive, Role::SendOnly, Role::ListenOnly];
    let heartbeat = heartbeat.role(roles[rng.usize(0..roles.len())]);
    match rng.u8(0..8) {
        0 => heartbeat.expect_every(Duration::from_millis(rng.u64(1..10_000))),
        1 => heartbeat.when_idle(),
        _ => heartbeat,
    }
}

fn random_input(rng: &mut Rng, now: Instant) -> Input {
    match rng.u32(0..=200) {
        0..40 => Input::Connected,
        40..70 => Input::Ack(None),
        70..90 => Input::Ack(Some(rng.u64(0..50))),
        90..98 => Input::Stands(rng.u64(0..50)),
        98..100 => Input::Skipped(rng.u64(0..50)),
        100..120 => Input::Sent { seq: rng.u64(0..50), at: world::start() },
        120..124 => Input::Partial,
        124..128 => Input::Heard(now),
        128..129 => Input::Wrote(now),
        129..130 => Input::Vouched,
        130..140 => Input::Lost(Loss::from(Cause::Reset)),
        140..145 => Input::Lost(Loss::from(Cause::LoginRefused)),
        145..150 => Input::Pause,
        150..155 => Input::Resume,
        155..156 => Input::Renew,
        156..158 => {
            let cause = [Cause::ClosedByPeer, Cause::Renewed][rng.usize(0..2)];
            Input::Ended { loss: Loss::from(cause), repeat: rng.bool() }
        }
        158..159 => Input::IdleLimit(Duration::from_millis(rng.u64(0..100_000))),
        159..160 => Input::Rto(Duration::from_micros(rng.u64(0..10_000_000))),
        160..200 => Input::Tick,
        _ => Input::Stop,
    }
}

#[test]
fn rounds_end_the_link_by_themselves() {
    for seed in seeds(0..200) {
        let params = Params::draw(seed);
        let rounds = 1 + seed % 20;
        let heartbeat: Heartbeat = params.heartbeat().rounds(rounds);
        // A beat that meets the end of its connection is one round, however often it goes out.
        let habit = habits::habit(seed, &params, Rule::Idle, true);
        let faults = Faults { habit: (seed % 2 == 0).then_some(habit), ..Faults::NONE };
        let mut world = World::with_heartbeat(seed, params, faults, heartbeat);
        world.run_to_the_end();
        let done = world.checks.rounds;
        assert_eq!(done, rounds, "seed {seed}");
    }
}
