//! A heartbeat on a serial line: the program has the device open, a thread of its own reads it, and
//! keepbeat asks for beats to be written and is told what came.
//!
//! `cargo run --example serial_line /dev/ttyUSB0`
//!
//! Reader and writer are two handles of the device, so neither waits for the other. `over` says
//! that it is a serial line, so that what is suspected fits: a cable, not a firewall.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use keepbeat::{
    Cause, Coordinator, EventKind, Follower, Following, Framed, Heartbeat, State, Transport,
};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    env_logger::init();
    let Some(device) = std::env::args().nth(1) else {
        eprintln!("which device? for example /dev/ttyUSB0");
        std::process::exit(2);
    };
    // Bytes as they are, at this speed. A program may as well set them by itself.
    let set = ["-F", &device, "115200", "raw", "-echo"];
    if !Command::new("stty").args(set).status()?.success() {
        return Err(format!("{device} cannot be set up").into());
    }
    let line = File::options().read(true).write(true).open(&device)?;
    let reader = line.try_clone()?;

    let coordinator = Coordinator::new()?;
    let heartbeat = Heartbeat::every(Duration::from_secs(1)).timeout(Duration::from_millis(500));
    let scale = Following::named("scale").over(Transport::Serial);
    let writer = Mutex::new(line); // the program's own orders take it as well
    let follower = coordinator.follow_as(scale, heartbeat, Framed::lines("PING", "PONG")?, {
        move |beat| writer.lock().map_err(|_| std::io::Error::other("poisoned"))?.write_all(beat)
    })?;
    // It sits in read for ever where the line stays silent, so nobody waits for it.
    thread::spawn(move || read(reader, &follower));
    for event in coordinator.events() {
        if !matches!(event.kind(), EventKind::Beat { .. }) {
            println!("{event}");
        }
        if let EventKind::State { to: State::Down, .. } = event.kind() {
            break;
        }
    }
    coordinator.stop()?;
    Ok(())
}

/// The program's reader. What it reads is told at once, and then looked at.
fn read(line: File, follower: &Follower) {
    let mut line = BufReader::new(line);
    loop {
        let bytes = match line.fill_buf() {
            Ok([]) => return follower.lost(Cause::ClosedByPeer),
            Ok(bytes) => bytes.to_vec(),
            Err(error) => return follower.lost(error), // a cable that came out is EIO
        };
        line.consume(bytes.len());
        if follower.heard(&bytes).is_err() {
            return; // the link is over
        }
        for text in String::from_utf8_lossy(&bytes).lines().filter(|text| *text != "PONG") {
            println!("the scale says: {text}");
        }
    }
}
