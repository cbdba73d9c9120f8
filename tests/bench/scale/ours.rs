//! keepbeat as a contestant: a coordinator and a user who reads each event.

use std::time::{Duration, Instant};

use keepbeat::{Builder, Coordinator, Diagnose, Error, EventKind, Exchange, Heartbeat, State};

use crate::measure::{Figures, INTERVAL, Run, Usage, resident};

pub fn run(name: &str, run: &Run) -> Figures {
    let builder = Coordinator::builder().connects_per_second(1_000_000).events_capacity(1 << 15);
    let (builder, beat) = settings(name, builder, Heartbeat::every(INTERVAL));
    let coordinator = builder.build().expect("a coordinator");
    if std::env::var_os("KEEPBEAT_SCALE_FILLS").is_some() {
        return fill(&coordinator, run, &beat);
    }
    let mut figures = Figures::default();
    let (before, begin) = (resident(), Instant::now());
    (0..run.links).for_each(|_| watch(&coordinator, run, &beat).expect("a link"));
    let (mut up, mut all) = (0, 0);
    while up < run.links {
        let event = coordinator.events().recv().expect("links that run");
        match event.kind() {
            EventKind::State { to: State::Up, .. } => up += 1,
            EventKind::Beat { .. } => all += 1,
            // What was lost may have been a link that came up.
            EventKind::Overflowed { .. } => up = all_up(&coordinator),
            _ => {}
        }
    }
    figures.set("start", begin.elapsed().as_secs_f64());
    all += beats_until(&coordinator, Instant::now() + 2 * INTERVAL);
    let usage = Usage::now();
    let beats = beats_until(&coordinator, Instant::now() + Duration::from_secs(run.seconds));
    usage.cost(beats, &mut figures);
    figures.set("memory", (resident() - before) / run.links as f64);
    figures.set("all beats", (all + beats) as f64);
    figures.set("missed", coordinator.statuses().iter().map(|s| s.missed as f64).sum());
    let begin = Instant::now();
    let left = left_behind(coordinator.stop());
    figures.set("stop", begin.elapsed().as_secs_f64());
    figures.set("left", left);
    figures
}

/// What a contestant sets that others leave as it is.
fn settings(name: &str, builder: Builder, beat: Heartbeat) -> (Builder, Heartbeat) {
    match name {
        "keepbeat" => (builder, beat),
        "keepbeat-bare" => (builder, beat.diagnose(Diagnose::off())),
        other => panic!("no contestant is called {other}"),
    }
}

fn watch(coordinator: &Coordinator, run: &Run, beat: &Heartbeat) -> Result<(), Error> {
    let exchange = Exchange::new("heartbeat", "heartbeat_ack");
    coordinator.watch(run.address, beat.clone(), exchange).map(drop)
}

fn all_up(coordinator: &Coordinator) -> usize {
    coordinator.statuses().iter().filter(|status| status.state == State::Up).count()
}

/// Reads events until then, as a user would; how many beats were among them.
fn beats_until(coordinator: &Coordinator, until: Instant) -> u64 {
    let mut beats = 0;
    while let Ok(event) = coordinator.events().recv_deadline(until) {
        match event.kind() {
            EventKind::Beat { .. } => beats += 1,
            EventKind::Overflowed { count } => eprintln!("the benchmark has lost {count} events"),
            _ => {}
        }
        if Instant::now() >= until {
            break;
        }
    }
    beats
}

/// How many threads a stop has left behind.
fn left_behind(stopped: Result<(), Error>) -> f64 {
    let Err(error) = stopped else { return 0.0 };
    let text = error.to_string();
    let count = text.split(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty());
    count.and_then(|count| count.parse().ok()).unwrap_or(f64::NAN)
}

/// Links until there is no room for another.
fn fill(coordinator: &Coordinator, run: &Run, beat: &Heartbeat) -> Figures {
    let mut figures = Figures::default();
    let mut links = 0;
    let refused = loop {
        match watch(coordinator, run, beat) {
            Ok(()) if links < run.links => links += 1,
            Ok(()) => break None,
            Err(error) => break Some(error),
        }
    };
    eprintln!("{links} links: {}", refused.map_or_else(String::new, |error| error.to_string()));
    let deadline = Instant::now() + Duration::from_secs(60);
    while all_up(coordinator) < links && Instant::now() < deadline {
        let _ = beats_until(coordinator, Instant::now() + Duration::from_millis(100));
    }
    figures.set("links", all_up(coordinator) as f64);
    let _ = coordinator.stop(); // how long that takes is asked elsewhere
    figures
}
