//! The other end: a responder answers beats, and tells which clients came, fell silent and went.
//!
//! `cargo run --example responder`

use std::net::TcpStream;
use std::time::Duration;

use keepbeat::{ClientEventKind, Coordinator, Error, Exchange, Heartbeat, Responder};

fn main() -> Result<(), Error> {
    env_logger::init();

    // Each client gets a protocol of its own from this function, and a thread, up to 100 of them.
    // A client that says nothing for two seconds is closed: half-open connections would pile up.
    let responder = Responder::builder()
        .max_clients(100)
        .silent_after(Duration::from_secs(2))
        .bind("127.0.0.1:0", || Exchange::answering("heartbeat", "heartbeat_ack"))?;
    println!("answering on {}", responder.local_addr());

    // One client that beats, and one that connects and never says a word.
    let coordinator = Coordinator::new()?;
    let heartbeat = Heartbeat::every(Duration::from_millis(500));
    let exchange = Exchange::new("heartbeat", "heartbeat_ack");
    let good = coordinator.watch(responder.local_addr(), heartbeat, exchange)?;
    let silent = TcpStream::connect(responder.local_addr());

    // `recv_timeout` rather than `for`: a limit on everything.
    let mut gone = 0;
    while let Ok(event) = responder.events().recv_timeout(Duration::from_secs(10)) {
        println!("{event}");
        match event.kind {
            // The silent one is found out. The good one was answered all the while; now it goes,
            // too.
            ClientEventKind::Silent { .. } => coordinator.remove(good)?,
            ClientEventKind::Disconnected { .. } => gone += 1,
            _ => {}
        }
        if gone == 2 {
            break;
        }
    }
    drop(silent);
    coordinator.stop()?;
    responder.stop();
    Ok(())
}
