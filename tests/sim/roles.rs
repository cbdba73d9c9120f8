//! Ends of all roles on connections that stay: who listens is never wrong while the other lives,
//! and knows its end in time; what fell comes back.

use std::time::Duration;

use keepbeat::pulse::Report;
use keepbeat::{Heartbeat, Role, State};

use crate::ends::{Cut, Ends};
use crate::seeds;
use crate::world::Params;

const MARGIN: Duration = Duration::from_millis(50);

fn is_alive(report: &Report) -> bool {
    matches!(report, Report::Alive { .. })
}

fn draw(seed: u64) -> (Params, Heartbeat) {
    let params = Params::draw(seed).without_loss();
    let beat = params.heartbeat().jitter(0.05);
    (params, beat)
}

fn first_death(params: &Params, seed: u64) -> Duration {
    params.interval.mul_f64(20.0 + (seed % 97) as f64 / 97.0)
}

/// Rule 4: from the end of the peer to Down.
fn bound(params: &Params) -> Duration {
    params.interval.mul_f64(1.05) + params.fall * params.timeout + MARGIN
}

/// The same where other signs of life than acks count: a round that had one, and no ack, is waited
/// for to its end. That costs time only where a timeout is longer than the interval.
fn bound_with_other_life(params: &Params) -> Duration {
    let late = params.timeout > params.interval.mul_f64(0.9);
    bound(params) + if late { params.timeout } else { Duration::ZERO }
}

#[test]
fn a_passive_end_never_suspects_a_peer_that_lives_and_knows_its_death_in_time() {
    for seed in seeds(0..1000) {
        let (params, beat) = draw(seed);
        let mut ends =
            Ends::new(seed, params.delay, [(beat.clone(), Role::Active), (beat, Role::Passive)]);
        ends.run_for(params.interval * 300);
        for end in &ends.ends {
            assert_eq!((end.complaints(), end.state()), (0, State::Up), "seed {seed}");
        }
        assert!(ends.ends[0].beats >= 280 && ends.ends[1].beats == 0, "seed {seed}");
        ends.run_for(first_death(&params, seed));
        ends.kill(0);
        let took = ends.run_until(1, State::Down, bound(&params) * 2);
        assert!(took <= bound(&params), "seed {seed}: {took:?}, over {:?}", bound(&params));
    }
}

#[test]
fn two_ends_that_only_send_and_expect_to_hear_know_of_each_other() {
    for seed in seeds(0..1000) {
        let (params, beat) = draw(seed);
        let limit = params.interval * 2; // as in AMQP
        let beat = beat.expect_every(limit);
        let mut ends =
            Ends::new(seed, params.delay, [(beat.clone(), Role::SendOnly), (beat, Role::SendOnly)]);
        ends.run_for(params.interval * 300);
        for end in &ends.ends {
            assert_eq!((end.complaints(), end.state()), (0, State::Up), "seed {seed}");
        }
        ends.run_for(first_death(&params, seed));
        let dies = (seed % 2) as usize;
        ends.kill(dies);
        let bound = limit + params.fall * params.timeout + MARGIN;
        let took = ends.run_until(1 - dies, State::Down, bound * 2);
        assert!(took <= bound, "seed {seed}: {took:?}, over {bound:?}");
        let beats = ends.ends[1 - dies].beats;
        ends.run_for(params.interval * 10);
        assert!(ends.ends[1 - dies].beats >= beats + 8, "seed {seed}: it goes on sending");
    }
}

#[test]
fn when_idle_leaves_no_direction_silent_for_two_intervals_and_saves_beats() {
    let (mut sent, mut rounds) = (0, 0);
    for seed in seeds(0..1000) {
        let (params, beat) = draw(seed);
        let roles = [(beat.clone().when_idle(), Role::Active), (beat, Role::Passive)];
        let mut ends = Ends::new(seed, params.delay, roles);
        // Both talk, one talks, none does, they talk about as often as beats go.
        for phase in 0..12 {
            let often = |n: u64| match (seed + phase) >> n & 3 {
                0 => None,
                1 => Some(params.interval),
                _ => Some(params.interval / 10),
            };
            ends.talk(0, often(0));
            ends.talk(1, often(1));
            ends.run_for(params.interval * 25);
        }
        for end in &ends.ends {
            assert_eq!((end.complaints(), end.state()), (0, State::Up), "seed {seed}");
            let gap = end.longest_gap;
            assert!(gap <= params.interval * 2, "seed {seed}: {gap:?} of {:?}", params.interval);
        }
        (sent, rounds) = (sent + ends.ends[0].beats, rounds + 300);
    }
    assert!(sent < rounds * 8 / 10, "{sent} beats in {rounds} intervals");
}

#[test]
fn what_fell_in_place_comes_back_when_the_path_has_healed() {
    for seed in seeds(0..2000) {
        let (params, beat) = draw(seed);
        let role = if seed & 4 == 0 { Role::Active } else { Role::Passive };
        let other = if role == Role::Active { Role::Passive } else { Role::Active };
        let mut ends = Ends::new(seed, params.delay, [(beat.clone(), role), (beat, other)]);
        if seed & 1 == 0 {
            ends = ends.without_numbers();
        }
        ends.run_for(params.interval * 20);
        for round in 0..4_u32 {
            ends.cut(if seed & 2 == 0 { Cut::Lost } else { Cut::Late });
            // Without numbers, acks of a path that loses some come late for ever.
            let bound = bound_with_other_life(&params);
            let took = ends.run_until(0, State::Down, bound * 4);
            assert!(took <= bound, "seed {seed}: {took:?}, over {bound:?}");
            ends.run_for(params.interval * (round * 17));
            ends.heal();
            // Beats go at their ordinary pace, and a round is judged at its timeout at the latest.
            let each = params.interval.mul_f64(1.05) + params.timeout;
            let limit = (params.rise + 1) * each + MARGIN;
            let took = ends.run_until(0, State::Up, limit * 4);
            assert!(took <= limit, "seed {seed}: healed, and not Up within {limit:?} but {took:?}");
            let downs = |ends: &Ends| {
                let down = |r: &Report| matches!(r, Report::State { to: State::Down, .. });
                ends.ends[0].count(down)
            };
            let before = downs(&ends);
            ends.run_for(params.interval * 60);
            assert_eq!((downs(&ends), ends.ends[0].state()), (before, State::Up), "seed {seed}");
        }
    }
}

#[test]
fn data_without_acks_is_life_and_neither_is_death() {
    for seed in seeds(0..1000) {
        let (params, beat) = draw(seed);
        let roles = [(beat.clone(), Role::Active), (beat, Role::Passive)];
        let mut ends = Ends::new(seed, params.delay, roles);
        ends.ends[1].mute = true;
        // At least once within each timeout.
        ends.talk(1, Some(params.timeout / 4));
        ends.run_for(params.interval.max(params.timeout) * 100);
        let end = &ends.ends[0];
        assert_eq!((end.complaints(), end.state()), (0, State::Up), "seed {seed}");
        assert!(end.count(is_alive) >= 45, "seed {seed}: {}", end.count(is_alive));
        ends.run_for(first_death(&params, seed));
        ends.kill(1);
        let bound = bound_with_other_life(&params);
        let took = ends.run_until(0, State::Down, bound * 2);
        assert!(took <= bound, "seed {seed}: {took:?}, over {bound:?}");
    }
}
