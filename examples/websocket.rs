//! A heartbeat on a WebSocket of tungstenite's: pings as beats, pongs as acks.
//!
//! A WebSocket has one owner, who reads and writes. So a beat is handed to that thread, which looks
//! for one whenever nothing came for a moment. That costs a beat some milliseconds, and no lock.
//!
//! `cargo run --example websocket`

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use keepbeat::crossbeam_channel::{Receiver, bounded};
use keepbeat::{
    Cause, Coordinator, EventKind, Follower, Following, Framed, Heartbeat, State, Transport,
};
use tungstenite::{Error, Message, WebSocket};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// How soon a beat is noticed.
const MOMENT: Duration = Duration::from_millis(10);

fn main() -> Result<(), AnyError> {
    env_logger::init();
    let server = serve()?;
    let stream = TcpStream::connect(server)?;
    let (mut socket, _) = tungstenite::client(format!("ws://{server}/prices"), stream)?;
    socket.get_ref().set_read_timeout(Some(MOMENT))?;

    let coordinator = Coordinator::new()?;
    let (to_owner, beats) = bounded(4);
    // What a beat says is in the ping, and comes back in its pong: "PING 12".
    let pings = Framed::lines("PING", "PONG")?.numbered();
    let heartbeat = Heartbeat::every(Duration::from_millis(300)).timeout(Duration::from_secs(1));
    let prices = Following::named("prices").over(Transport::Tcp);
    let follower = coordinator.follow_as(prices, heartbeat, pings, move |beat| {
        let gone = |_| std::io::Error::from(ErrorKind::NotConnected);
        to_owner.send(beat.to_vec()).map_err(gone)
    })?;
    let owner = {
        let follower = follower.clone();
        thread::spawn(move || follower.lost(own(&mut socket, &beats, &follower)))
    };

    // The server sends two prices, answers pings for a while, and hangs.
    for event in coordinator.events() {
        println!("{event}");
        if let EventKind::State { to: State::Down, .. } = event.kind() {
            break;
        }
    }
    drop(follower);
    coordinator.stop()?; // no beat comes any more, and the owner ends
    owner.join().map_err(|_| "the owner panicked")?;
    Ok(())
}

/// Reads and writes until the connection or the link is over; says why.
fn own(
    socket: &mut WebSocket<TcpStream>,
    beats: &Receiver<Vec<u8>>,
    follower: &Follower,
) -> keepbeat::Loss {
    loop {
        let read = socket.read();
        let told = match read {
            Ok(Message::Pong(beat)) => follower.acked(number(&beat)),
            Ok(Message::Close(_)) => return Cause::ClosedByPeer.into(),
            Ok(message) => {
                println!("the server says: {message}");
                follower.alive()
            }
            Err(Error::Io(error)) if is_pause(error.kind()) => Ok(()),
            Err(Error::Io(error)) => return error.into(),
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                return Cause::ClosedByPeer.into();
            }
            Err(other) => return std::io::Error::other(other).into(),
        };
        // The link may be over: then nobody beats, and nobody is told.
        if told.is_err() {
            return Cause::Stopped.into();
        }
        while let Ok(beat) = beats.try_recv() {
            if let Err(Error::Io(error)) = socket.send(Message::Ping(beat.into())) {
                return error.into();
            }
        }
    }
}

/// Nothing came for a moment.
fn is_pause(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn number(beat: &[u8]) -> Option<u64> {
    std::str::from_utf8(beat).ok()?.trim().strip_prefix("PING ")?.parse().ok()
}

/// A server that hangs after a while: it neither reads nor answers, and its kernel goes on.
fn serve() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> Result<(), AnyError> {
        let (stream, _) = listener.accept()?;
        let mut socket = tungstenite::accept(stream).map_err(|error| error.to_string())?;
        for price in ["101.5", "101.7"] {
            socket.send(Message::Text(price.into()))?;
        }
        for _ in 0..4 {
            socket.read()?; // a ping, which it answers
            socket.flush()?;
        }
        thread::sleep(Duration::from_secs(3600)); // hung
        Ok(())
    });
    Ok(address)
}
