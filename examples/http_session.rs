//! One session, many requests, and a server that closes idle connections after a second. Shows
//! which connections are reused, what is learnt, and why no POST meets a closed connection.
//!
//!     cargo run --example http_session                     # a small server of its own
//!     cargo run --example http_session https://example.com

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use keepbeat::{Error, Session};

fn main() -> Result<(), Error> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let url = std::env::args().nth(1).unwrap_or_else(|| {
        let url = serve();
        println!("a server that closes idle connections after a second: {url}");
        url
    });
    let session = Session::builder().timeout(Duration::from_secs(10)).build()?;
    let events = session.events();

    // Idle for longer and longer: the first close teaches the limit, and from then on a POST gets a
    // fresh connection before the server could close the kept one under it.
    for pause in [0, 100, 500, 1500, 900, 950, 500, 0] {
        thread::sleep(Duration::from_millis(pause));
        let request = if pause < 900 { session.get(&url) } else { session.post(&url).body("hi") };
        let mut response = request.send()?;
        let length = response.bytes()?.len();
        println!(
            "{:4} ms idle: {}, {length} bytes, {}",
            pause,
            response.status(),
            match response.idle_before() {
                Some(idle) => format!("on a connection kept for {idle:.1?}"),
                None => "on a new connection".to_owned(),
            }
        );
        for event in events.try_iter() {
            println!("           {event}");
        }
    }

    let stats = session.stats();
    println!("{} requests, {} connections", stats.requests, stats.opened);
    for host in stats.hosts {
        match host.learnt {
            Some(limit) => println!("{} closes after {limit:.1?} idle", host.name),
            None => println!("{}: no idle limit is known", host.name),
        }
    }
    Ok(())
}

/// A server that keeps connections, but not for long.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    format!("http://{address}/")
}

/// Answers until no request has come for a second.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut body = 0;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            body = length.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            std::io::copy(&mut std::io::Read::take(&mut lines, body), &mut std::io::sink())?;
            body = 0;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
        }
    }
}
