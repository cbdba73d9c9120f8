//! The simplest watch: one connection, a beat every second, and a line whenever something changes.
//!
//! `cargo run --example simple_watch`, or with `RUST_LOG=trace` in front to see each beat.

use std::time::Duration;

use keepbeat::{Coordinator, Error, EventKind, Exchange, Heartbeat, Responder, State};

fn main() -> Result<(), Error> {
    env_logger::init();

    // Something to watch. Usually this is another program on another machine.
    let peer =
        Responder::bind("127.0.0.1:0", || Exchange::answering("heartbeat", "heartbeat_ack"))?;

    // A beat every second, half a second for its ack, Down after three misses in a row.
    let heartbeat =
        Heartbeat::every(Duration::from_secs(1)).timeout(Duration::from_millis(500)).fall(3);

    // From here on a thread keeps the connection, and opens it again when it is lost.
    let coordinator = Coordinator::new()?;
    let beat = Exchange::new("heartbeat", "heartbeat_ack");
    let link = coordinator.watch(peer.local_addr(), heartbeat, beat)?;

    for event in coordinator.events() {
        match event.kind() {
            // Skip the acks, except for this one.
            EventKind::Beat { seq, .. } if *seq == 3 => {
                println!("three beats were acked; now the peer hangs up");
                peer.close_clients();
            }
            EventKind::Beat { .. } => {}
            // `Display` of an event is a line to read; a program acts on its kind.
            EventKind::State { from: State::Down, to: State::Up, .. } => {
                println!("{event}");
                break;
            }
            _ => println!("{event}"),
        }
    }

    // The status is there at any time, also without reading events.
    let status = coordinator.status(link)?;
    println!("{} of {} beats acked, {} reconnects", status.acked, status.sent, status.reconnects);
    coordinator.stop()
}
