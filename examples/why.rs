//! A diagnosis in a program: the cause, how sure it is, the other possibilities, what was measured,
//! and who should act. The peer here answers three beats on each connection, then hangs while its
//! kernel goes on acknowledging.
//!
//! `cargo run --example why`

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use keepbeat::{Coordinator, Diagnose, EventKind, Exchange, Heartbeat, State};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || listener.incoming().flatten().try_for_each(hang_after_three));

    let coordinator = Coordinator::new()?;
    let beat = Heartbeat::every(Duration::from_millis(200))
        .timeout(Duration::from_millis(500))
        // Other connections to the same address tell more. Allow them only if the peer accepts
        // them.
        .diagnose(Diagnose::side_connections());
    let link = coordinator.watch(address, beat, Exchange::new("heartbeat", "heartbeat_ack"))?;

    for event in coordinator.events() {
        let Some(diagnosis) = event.kind().diagnosis() else { continue };
        println!("\n{} is {}", event.name(), coordinator.status(link)?.state);
        println!("  cause       {} ({})", diagnosis.cause(), diagnosis.confidence());
        for other in diagnosis.alternatives() {
            println!("  or          {other}: {}", other.sentence());
        }
        println!("  seen        {}", diagnosis.detail());
        println!("  to do       {}", diagnosis.advice());
        for (name, fact) in diagnosis.evidence().facts() {
            println!("    {name:<20} {fact}");
        }
        if matches!(event.kind(), EventKind::State { to: State::Down, .. }) {
            break;
        }
    }
    coordinator.stop()?;
    Ok(())
}

/// Answers three beats, then reads everything and says nothing.
fn hang_after_three(mut stream: TcpStream) -> io::Result<()> {
    thread::spawn(move || -> io::Result<()> {
        let mut beat = [0; 9];
        for _ in 0..3 {
            stream.read_exact(&mut beat)?;
            stream.write_all(b"heartbeat_ack")?;
        }
        io::copy(&mut stream, &mut io::sink()).map(|_| ())
    });
    Ok(())
}
