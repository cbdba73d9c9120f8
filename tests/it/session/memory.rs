//! What an idle connection costs.

use keepbeat::Session;

use super::server::Server;
use crate::allocations::live;

/// Bytes that this thread holds for so many idle connections.
fn held_by(connections: usize) -> i64 {
    let server = Server::ok();
    let before = live();
    let session = Session::builder().max_idle_per_host(1000).build().unwrap();
    let responses: Vec<_> =
        (0..connections).map(|_| session.get(server.url("/")).send().unwrap()).collect();
    drop(responses);
    assert_eq!(session.stats().idle, connections);
    live() - before
}

#[test]
fn an_idle_connection_holds_less_than_four_kilobytes() {
    // The difference of two leaves out what a session costs once.
    let (few, many) = (50, 250);
    let each = (held_by(many) - held_by(few)) / (many - few) as i64;
    println!("{each} bytes for each idle connection");
    assert!((1..4096).contains(&each), "{each}");
}
