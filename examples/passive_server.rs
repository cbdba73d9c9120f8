//! A server that expects beats: it answers the beats of its clients, and says which client fell
//! silent.
//!
//! `cargo run --example passive_server`, or with `RUST_LOG=debug` in front to see more.

use std::error::Error;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use keepbeat::{Adopt, Coordinator, EventKind, Framed, Heartbeat, Prefix, Role, State};

/// Frames with a length of two bytes in front. The frames `beat` and `ack` are the heartbeat.
fn protocol() -> Result<Framed, keepbeat::Error> {
    Framed::prefixed(Prefix::U16Be, "beat", "ack")
}

/// The same for both ends: the server expects beats as often as the client sends them.
fn heartbeat() -> Heartbeat {
    Heartbeat::every(Duration::from_millis(300)).timeout(Duration::from_millis(300)).fall(2)
}

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let clients = thread::spawn(move || run_clients(address));

    let coordinator = Coordinator::new()?;
    let mut links = Vec::new();
    for name in ["press 1", "press 2"] {
        let (stream, _) = listener.accept()?;
        let passive = heartbeat().role(Role::Passive);
        let link = coordinator.adopt(Adopt::new(stream).named(name), passive, protocol()?)?;
        link.send(format!("welcome, {name}"))?;
        links.push(link);
    }

    // One queue has the events of all clients.
    let mut gone = 0;
    for event in coordinator.events() {
        if let EventKind::State { to, .. } = event.kind() {
            println!("{event}");
            gone += u32::from(*to == State::Down);
        }
        if gone == 2 {
            break;
        }
    }
    for link in &links {
        let data = link.data().map(|data| String::from_utf8_lossy(&data).into_owned());
        println!("{} had said: {:?}", link.status().name, data.collect::<Vec<_>>());
    }
    coordinator.stop()?;
    clients.join().expect("they do not panic").map_err(|error| error.to_string())?;
    Ok(())
}

/// Two clients: one closes its connection, the other falls silent and leaves its connection open.
fn run_clients(server: SocketAddr) -> Result<(), Box<dyn Error + Send + Sync>> {
    let coordinator = Coordinator::new()?;
    let polite = coordinator.adopt(TcpStream::connect(server)?, heartbeat(), protocol()?)?;
    let rude = coordinator.adopt(TcpStream::connect(server)?, heartbeat(), protocol()?)?;
    polite.send("turning")?;
    rude.send("turning, too")?;
    thread::sleep(Duration::from_secs(1)); // a second of beats, both ways
    polite.close()?;
    // The connection is handed back and stays open, but no more beats are sent on it.
    let hung = rude.into_stream()?;
    thread::sleep(Duration::from_secs(2));
    drop(hung);
    Ok(coordinator.stop()?)
}
