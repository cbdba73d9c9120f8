//! The connection of a library: keepbeat looks at what the kernel knows of it, and says when it is
//! silent, when it ends, and who ended it. No byte is read or written.
//!
//! `cargo run --example observe_library`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use keepbeat::{Coordinator, EventKind, Heartbeat, Observe, State};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();

    // A server that answers twice, and then ends the connection. Usually it is on another machine.
    // Neither the server nor the client knows of keepbeat.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> std::io::Result<()> {
        let (mut client, _) = listener.accept()?;
        for _ in 0..2 {
            client.read_exact(&mut [0; 5])?;
            client.write_all(b"world")?;
        }
        thread::sleep(Duration::from_secs(3)); // idle, then it ends, as after a restart
        Ok(())
    });

    // The client, for example a library whose thread is blocked in read most of the time. keepbeat
    // needs only a reference to its socket: a `TcpStream`, or any type that has a descriptor.
    let stream = TcpStream::connect(address)?;
    let mut library = stream.try_clone()?;
    let library = thread::spawn(move || -> std::io::Result<usize> {
        for _ in 0..2 {
            library.write_all(b"hello")?;
            library.read_exact(&mut [0; 5])?;
        }
        library.read(&mut [0; 5])
    });

    // Two seconds of silence are a miss, two misses are Down. The kernel probes an idle peer.
    let coordinator = Coordinator::new()?;
    let heartbeat = Heartbeat::every(Duration::from_secs(2)).fall(2);
    let observed = coordinator.observe(Observe::of(&stream).named("library"), heartbeat)?;

    for event in coordinator.events() {
        println!("{event}");
        match event.kind() {
            // Shows round-trip times, bytes, and what is unacknowledged. Nothing was sent for it.
            EventKind::State { to: State::Up, .. } => println!("  {}", observed.look()?),
            EventKind::Ended => break,
            _ => {}
        }
    }

    // The library reads the end as it would without keepbeat.
    let read = library.join().expect("the library does not panic")?;
    println!("the library read {read} bytes: the end of the connection");
    println!("  {}", observed.look()?);
    Ok(coordinator.stop()?)
}
