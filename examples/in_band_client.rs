//! A client whose own connection carries the beats: lines of data, with `PING` and `PONG` between
//! them.
//!
//! `cargo run --example in_band_client`, or with `RUST_LOG=trace` in front to see each beat.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use keepbeat::{Coordinator, Framed, Heartbeat, Received};

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    let server = serve()?;

    // The application opens its connection as it always did, and hands it over.
    let stream = TcpStream::connect(server)?;
    let coordinator = Coordinator::new()?;
    // A beat every quarter of a second. `when_idle()` would leave beats out while data flows.
    let beat = Heartbeat::every(Duration::from_millis(250)).timeout(Duration::from_secs(2));
    let link = coordinator.adopt(stream, beat, Framed::lines("PING", "PONG")?)?;

    // Any thread may send whole frames. A beat is never sent in the middle of one.
    let writer = link.try_clone()?;
    let writing = thread::spawn(move || -> Result<(), keepbeat::Error> {
        for n in 1..=4 {
            writer.send(format!("measure {n}"))?;
            thread::sleep(Duration::from_millis(300)); // the pace of this application
        }
        writer.send("enough")?;
        Ok(())
    });

    // The application receives its own frames only. The last message says why the connection ended.
    for received in link.frames() {
        match received {
            Received::Frame(data) => println!("the server says: {}", String::from_utf8(data)?),
            Received::Lost { loss, .. } => println!("the connection is over: {loss}"),
            other => println!("{other:?}"),
        }
    }
    writing.join().expect("it does not panic")?;
    let status = link.status();
    println!("{} of {} beats were acked on the way", status.acked, status.sent);
    coordinator.stop()?;
    Ok(())
}

/// The other end, which knows nothing of keepbeat.
fn serve() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        for line in BufReader::new(stream.try_clone()?).lines() {
            match line?.as_str() {
                "PING" => stream.write_all(b"PONG\n")?,
                "enough" => break,
                data => stream.write_all(format!("{data} is noted\n").as_bytes())?,
            }
        }
        Ok(())
    });
    Ok(address)
}
