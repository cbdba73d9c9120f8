//! Kinds of devices that serve one client: our own side connection may be what disturbs them, once
//! in their life at most.

use keepbeat::Cause;
use keepbeat::Cause::*;

use super::bench::Setting;
use super::{Bench, Kind};
use crate::server::ONE_CLIENT;

const OTHERS: &[Cause] = &[Reset, ClosedByPeer];

const fn kind(name: &'static str, links: fn(&mut Bench) -> Vec<Setting>) -> Kind {
    let kind = Kind::new(name, &[PeerSilent, SingleClient, ConversationSilent], thinks);
    Kind { links, wrong: OTHERS, listen: 25, check: once, ..kind }
}

pub const KINDS: &[Kind] = &[
    Kind { quick: true, ..kind("one-client-that-is-closed", |_| device(0)) },
    Kind { quick: true, ..kind("one-client-that-is-reset", |_| device(1)) },
    kind("one-client-that-is-forgotten", |_| device(2)),
    kind("one-client-and-another-is-ignored", |_| device(3)),
    kind("one-client-and-another-is-refused", |_| device(4)),
];

fn device(n: usize) -> Vec<Setting> {
    vec![Setting::new(500, 400, 20).with_side(false).at(ONE_CLIENT[n].0)]
}

/// Each fourth answer takes three seconds.
fn thinks(bench: &mut Bench) {
    bench.row.server.order("think 3000");
}

fn once(bench: &mut Bench) -> Result<(), String> {
    // Two came before the links.
    let (visits, connects) = (bench.visits() - 2, bench.connects());
    let is_once = visits <= connects + 1;
    is_once.then_some(()).ok_or(format!("{visits} connections, {connects} of them the link's"))
}
