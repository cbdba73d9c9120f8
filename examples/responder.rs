//! The other end: a responder answers beats, and reports which clients came, fell silent and left.
//!
//! `cargo run --example responder`

use std::net::TcpStream;
use std::time::Duration;

use keepbeat::{ClientEventKind, Coordinator, Error, Exchange, Heartbeat, Responder};

fn main() -> Result<(), Error> {
    env_logger::init();

    // Each client gets its own protocol from this function, and its own thread, up to 100 clients.
    // A client that says nothing for two seconds is closed, so that dead clients do not pile up.
    let responder = Responder::builder()
        .max_clients(100)
        .silent_after(Duration::from_secs(2))
        .bind("127.0.0.1:0", || Exchange::answering("heartbeat", "heartbeat_ack"))?;
    println!("answering on {}", responder.local_addr());

    // One client sends beats, and one connects and never sends a byte.
    let coordinator = Coordinator::new()?;
    let heartbeat = Heartbeat::every(Duration::from_millis(500));
    let exchange = Exchange::new("heartbeat", "heartbeat_ack");
    let good = coordinator.watch(responder.local_addr(), heartbeat, exchange)?;
    let silent = TcpStream::connect(responder.local_addr());

    // `recv_timeout` instead of `for`, as a limit for this example.
    let mut gone = 0;
    while let Ok(event) = responder.events().recv_timeout(Duration::from_secs(10)) {
        println!("{event}");
        match event.kind {
            // The silent client was noticed. The good one was answered all the time; now it ends,
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
