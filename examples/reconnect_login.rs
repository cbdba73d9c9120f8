//! A connection that is opened again when it is lost, and logs in before anything else is sent.
//!
//! `cargo run --example reconnect_login`, or with `RUST_LOG=debug` in front to see more.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use keepbeat::protocol::Rejected;
use keepbeat::{Connect, Coordinator, Framed, Heartbeat, Received};

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    let server = serve()?;

    let coordinator = Coordinator::new()?;
    let beat = Heartbeat::every(Duration::from_millis(300)).timeout(Duration::from_secs(1));
    let machine = Connect::from(server)
        // Frames that are sent while the link is down wait for the next connection. Without a queue
        // `send` would return an error with the cause.
        .queue(100)
        // On each new connection, before frames flow.
        .login(|login| {
            login.send("LOGIN monitor")?;
            match login.receive()?.as_slice() {
                b"WELCOME" => Ok(()),
                _ => Err(Rejected::login_refused("is `monitor` known there?")),
            }
        });
    let link = coordinator.connect(machine, beat, Framed::lines("PING", "PONG")?)?;

    // Each frame has a number, by which the link reports what happened to it.
    let mut sent = HashMap::new();
    for n in 1..=6 {
        sent.insert(link.send(format!("order {n}"))?, format!("order {n}"));
    }
    let mut confirmed = HashSet::new();
    for received in link.frames() {
        match received {
            Received::Connected { connection } => println!("connection {connection}, logged in"),
            Received::Frame(data) => {
                println!("the server says: {}", String::from_utf8_lossy(&data));
                confirmed.insert(data);
            }
            // The peer may have read the frames in doubt or not. The application must know what to
            // do: these orders have a number, so they can be sent again.
            Received::Lost { loss, in_doubt, .. } => {
                println!("lost: {loss}; frames {in_doubt:?} are in doubt");
                for number in in_doubt {
                    let Some(order) = sent.remove(&number) else { continue };
                    sent.insert(link.send(&order)?, order);
                }
            }
            _ => {}
        }
        if confirmed.len() == 6 {
            break;
        }
    }
    link.close()?;
    coordinator.stop()?;
    Ok(())
}

/// A server that closes the connection of each of its first clients in the middle of the work.
fn serve() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for (nth, stream) in listener.incoming().enumerate() {
            let _ = stream.and_then(|stream| work(stream, 2 * (nth + 1))); // the client is gone
        }
    });
    Ok(address)
}

/// Confirms this number of orders, then closes the connection.
fn work(mut stream: TcpStream, mut orders: usize) -> std::io::Result<()> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        match line.as_str() {
            "PING" => stream.write_all(b"PONG\n")?,
            "LOGIN monitor" => stream.write_all(b"WELCOME\n")?,
            order => {
                if orders == 0 {
                    break;
                }
                orders -= 1;
                stream.write_all(format!("{order} is on its way\n").as_bytes())?;
            }
        }
    }
    Ok(())
}
