//! A connection that belongs to somebody else: keepbeat looks at what the kernel knows of it, and
//! says when it is silent, when it ends, and by whom. Not a byte is read or written.
//!
//! `cargo run --example observe_library`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use keepbeat::{Coordinator, EventKind, Heartbeat, Observe, State};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();

    // A server: it answers twice, and then ends the connection. In earnest it is on another
    // machine, and knows as little of keepbeat as the client does.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> std::io::Result<()> {
        let (mut client, _) = listener.accept()?;
        for _ in 0..2 {
            client.read_exact(&mut [0; 5])?;
            client.write_all(b"world")?;
        }
        thread::sleep(Duration::from_secs(3)); // it is idle, and then restarted
        Ok(())
    });

    // The client: a library, say, with a thread that is blocked in read most of the time. All that
    // is needed of it is a reference to its socket: a `TcpStream`, or whatever has a descriptor.
    let stream = TcpStream::connect(address)?;
    let mut library = stream.try_clone()?;
    let library = thread::spawn(move || -> std::io::Result<usize> {
        for _ in 0..2 {
            library.write_all(b"hello")?;
            library.read_exact(&mut [0; 5])?;
        }
        library.read(&mut [0; 5])
    });

    // Two seconds of silence are a miss, two misses are Down. The kernel asks an idle peer.
    let coordinator = Coordinator::new()?;
    let heartbeat = Heartbeat::every(Duration::from_secs(2)).fall(2);
    let observed = coordinator.observe(Observe::of(&stream).named("library"), heartbeat)?;

    for event in coordinator.events() {
        println!("{event}");
        match event.kind() {
            // Round-trip times, bytes, what is unacknowledged: without having sent anything.
            EventKind::State { to: State::Up, .. } => println!("  {}", observed.look()?),
            EventKind::Ended => break,
            _ => {}
        }
    }

    // The library reads the end as if nobody had looked.
    let read = library.join().expect("the library does not panic")?;
    println!("the library read {read} bytes: the end of the connection");
    println!("  {}", observed.look()?);
    Ok(coordinator.stop()?)
}
