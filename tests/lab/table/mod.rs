//! The table of kinds: each a fault between or in four hosts, the words that are right for it, and
//! those that accuse somebody who did nothing. Settings are drawn at random; the seed is printed,
//! and `KEEPBEAT_LAB_SEED` repeats it. `KEEPBEAT_LAB_TABLE=all` runs every kind, a name (or its
//! beginning) those alone; without it a quick selection runs.

mod bench;
mod healthy;
mod hosts;
mod names;
mod ours;
mod path;
mod score;
mod single;
mod swallowed;
mod words;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use keepbeat::Cause;

use crate::net;
pub use bench::{Bench, Setting};
use score::{Figures, Outcome};

/// So many kinds run side by side: most of the time they wait.
const AT_ONCE: usize = 8;

/// One kind of fault.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub right: &'static [Cause],
    /// What may be said beside it, at first or later, and is no contradiction.
    pub also: &'static [Cause],
    /// Whoever is told as likely in these words is accused wrongly, whatever stands beside.
    pub wrong: &'static [Cause],
    /// Nothing told is right as well.
    pub may_be_silent: bool,
    /// The links begin when the fault is there already, so none of them comes Up.
    pub late: bool,
    /// For how many seconds it is listened, from the fault on.
    pub listen: u64,
    /// In the quick selection, too.
    pub quick: bool,
    pub links: fn(&mut Bench) -> Vec<Setting>,
    pub fault: fn(&mut Bench),
    /// What must hold in the end, beside what was told; else what is wrong.
    pub check: fn(&mut Bench) -> Result<(), String>,
}

/// Whoever is not to blame for a path.
pub const PEOPLE: &[Cause] = &[
    Cause::FlowDropped,
    Cause::FlowForgotten,
    Cause::RepliesFiltered,
    Cause::PayloadFiltered,
    Cause::SizeFiltered,
    Cause::AllPayloadDropped,
    Cause::PortFiltered,
    Cause::Prohibited,
    Cause::PeerSilent,
    Cause::ConversationSilent,
    Cause::AcceptQueueFull,
    Cause::SomePathsDead,
    Cause::LocalNetwork,
    Cause::NotTransmitted,
    Cause::ResetByMiddlebox,
    Cause::SingleClient,
];

impl Kind {
    pub const fn new(name: &'static str, right: &'static [Cause], fault: fn(&mut Bench)) -> Kind {
        let links = bench::usual;
        let (also, wrong) = (&[], &[]);
        let (may_be_silent, late, listen, quick) = (false, false, 12, false);
        let check = |_: &mut Bench| Ok(());
        Kind { name, right, also, wrong, may_be_silent, late, listen, quick, links, fault, check }
    }

    /// Those of people who are not to blame, but for the ones that are right.
    pub fn accuses(&self, cause: Cause) -> bool {
        let listed = self.wrong.contains(&cause) || PEOPLE.contains(&cause);
        listed && !self.right.contains(&cause) && !self.also.contains(&cause)
    }
}

fn all() -> Vec<Kind> {
    [
        path::KINDS,
        hosts::KINDS,
        swallowed::KINDS,
        words::KINDS,
        ours::KINDS,
        names::KINDS,
        single::KINDS,
        healthy::KINDS,
    ]
    .concat()
}

fn selection() -> Vec<Kind> {
    match std::env::var("KEEPBEAT_LAB_TABLE").as_deref() {
        Ok("all") => all(),
        Ok(name) => all().into_iter().filter(|kind| kind.name.starts_with(name)).collect(),
        Err(_) => all().into_iter().filter(|kind| kind.quick).collect(),
    }
}

fn seed() -> u64 {
    let given = std::env::var("KEEPBEAT_LAB_SEED").ok();
    given.map_or_else(|| fastrand::u64(..1_000_000), |seed| seed.parse().unwrap())
}

/// The child's part: one kind in namespaces of its own. What comes of it goes to stdout.
pub fn child(words: &str) {
    let (name, seed) = words.rsplit_once('@').unwrap();
    let kind = all().into_iter().find(|kind| kind.name == name).unwrap();
    let (outcomes, checked) = bench::run(&kind, seed.parse().unwrap());
    outcomes.iter().for_each(|outcome| println!("{outcome}"));
    checked.unwrap();
}

/// Every kind of the selection, side by side, and the goals over all of them.
pub fn kinds_are_told_by_their_name() {
    let (kinds, seed) = (selection(), seed());
    println!("KEEPBEAT_LAB_SEED={seed} repeats these settings");
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let broken = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(kinds.len()) {
            scope.spawn(|| {
                while let Some(kind) = kinds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (found, failed) = one(kind, seed);
                    outcomes.lock().unwrap().extend(found);
                    broken.lock().unwrap().extend(failed);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let figures = Figures::of(&outcomes);
    outcomes.iter().filter(|outcome| !outcome.is_clean()).for_each(|outcome| println!("{outcome}"));
    println!("{figures}");
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    figures.hold();
}

/// What was told of one kind; and what is wrong with it, if something is.
fn one(kind: &Kind, seed: u64) -> (Vec<Outcome>, Option<String>) {
    let words = format!("{}@{seed}", kind.name);
    let output = net::enter_as("kind", &words).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let failed = (!output.status.success()).then(|| format!("{words}: {said}"));
    (score::parse(&told), failed)
}
