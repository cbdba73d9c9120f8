//! A chaos relay between a link and a responder, on loopback and without privileges. Its mood can
//! be changed at any time, and holds for the connections that stand as well as for new ones.
//!
//! What a relay cannot do is to lose packets: it is a TCP peer itself, so its kernel acknowledges
//! what the link sends. What is lost on the way is the part of `filtered.rs`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Exchange, Responder};
use socket2::{Domain, SockRef, Socket, Type};

use crate::watching::ms;

/// What it does with whoever is connected, and with whoever wants to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mood {
    /// Relays.
    Well,
    /// Relays each answer so much later.
    Slow(Duration),
    /// Accepts, reads, and answers nothing.
    Hung,
    /// Does not read either.
    Deaf,
    Closing,
    HalfClosing,
    Resetting,
    /// Closes what stands, and nobody listens.
    Gone,
    /// Hung, and its accept queue is full.
    Full,
    /// Answers each beat with these bytes.
    Answers(&'static [u8]),
    /// Says something unasked, once on each connection.
    Talking,
    /// Answers only connections that came after it was set.
    FreshOnly,
    /// Closes connections that were idle for so long.
    IdleLimit(Duration),
}

struct Shared {
    responder: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    mood: Mutex<Mood>,
    visits: AtomicUsize,
    /// Those that stood when the mood last changed.
    old: AtomicUsize,
    over: AtomicBool,
}

impl Shared {
    /// It may have changed while something was waited for.
    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }
}

pub struct Relay {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    /// What fills an accept queue.
    fill: Vec<Socket>,
    _responder: Responder,
}

/// Between two looks at mood, listener and sockets.
const STEP: Duration = Duration::from_millis(2);

impl Relay {
    pub fn new() -> Relay {
        Relay::at("127.0.0.1:0".parse().unwrap(), None)
    }

    /// With receive buffers of so many bytes.
    pub fn narrow(bytes: usize) -> Relay {
        Relay::at("127.0.0.1:0".parse().unwrap(), Some(bytes))
    }

    pub fn at(address: SocketAddr, buffer: Option<usize>) -> Relay {
        let answering = || Exchange::answering("heartbeat", "heartbeat_ack");
        let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
        let listener = listen(address, 64, buffer);
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            responder: responder.local_addr(),
            listener: Mutex::new(Some(listener)),
            mood: Mutex::new(Mood::Well),
            visits: AtomicUsize::new(0),
            old: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        thread::spawn(move || accept(&theirs));
        Relay { address, shared, fill: Vec::new(), _responder: responder }
    }

    /// How many connections it has accepted.
    pub fn visits(&self) -> usize {
        self.shared.visits.load(Ordering::SeqCst)
    }

    pub fn set(&mut self, mood: Mood) {
        let mut listener = self.shared.listener.lock().unwrap();
        self.shared.old.store(self.visits(), Ordering::SeqCst);
        match mood {
            Mood::Gone => drop(listener.take()),
            Mood::Full => {
                drop(listener.take());
                let full = listen(self.address, 0, None);
                self.fill = (0..3).map(|_| begin_to_connect(self.address)).collect();
                *listener = Some(full);
            }
            _ if listener.is_none() || !self.fill.is_empty() => {
                self.fill.clear();
                drop(listener.take());
                *listener = Some(listen(self.address, 64, None));
            }
            _ => {}
        }
        // Last, so that whoever notices it finds the listener as it is to be.
        *self.shared.mood.lock().unwrap() = mood;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
    }
}

fn listen(address: SocketAddr, backlog: i32, buffer: Option<usize>) -> TcpListener {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes).unwrap(); // connections inherit it
    }
    socket.bind(&address.into()).unwrap();
    socket.listen(backlog).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

fn begin_to_connect(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let _ = socket.connect(&address.into()); // in progress
    socket
}

fn accept(shared: &Arc<Shared>) {
    while !shared.over.load(Ordering::SeqCst) {
        let accepted = match &*shared.listener.lock().unwrap() {
            // Asked with the lock held, or it would make room in a queue that is to be full.
            Some(listener) if shared.mood() != Mood::Full => listener.accept().ok(),
            _ => None,
        };
        let Some((client, _)) = accepted else {
            thread::sleep(STEP);
            continue;
        };
        let nth = shared.visits.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        // The end of a connection is the end of its thread.
        thread::spawn(move || drop(serve(&shared, client, nth)));
    }
}

/// What came, if something did.
fn read(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(n) => Ok(Some(bytes[..n].to_vec())),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn serve(shared: &Shared, mut client: TcpStream, nth: usize) -> io::Result<()> {
    let mut server = TcpStream::connect(shared.responder)?;
    for stream in [&client, &server] {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(STEP))?;
        stream.set_nodelay(true)?;
    }
    let (mut busy, mut said) = (Instant::now(), false);
    while !shared.over.load(Ordering::SeqCst) {
        let mood = shared.mood();
        match mood {
            Mood::Deaf => {
                thread::sleep(STEP);
                continue;
            }
            Mood::Closing | Mood::Gone => return Ok(()),
            Mood::Resetting => return SockRef::from(&client).set_linger(Some(Duration::ZERO)),
            Mood::HalfClosing => client.shutdown(Shutdown::Write)?,
            Mood::IdleLimit(limit) if busy.elapsed() >= limit => return Ok(()),
            Mood::Talking if !std::mem::replace(&mut said, true) => client.write_all(b"hello")?,
            _ => {}
        }
        let is_old = nth < shared.old.load(Ordering::SeqCst);
        if let Some(beats) = read(&mut client)? {
            busy = Instant::now();
            match shared.mood() {
                Mood::Hung | Mood::Full | Mood::HalfClosing => {}
                Mood::FreshOnly if is_old => {}
                Mood::Answers(bytes) => client.write_all(bytes)?,
                _ => server.write_all(&beats)?,
            }
        }
        if let Some(acks) = read(&mut server)? {
            if let Mood::Slow(time) = shared.mood() {
                thread::sleep(time); // the fault
            }
            client.write_all(&acks)?;
            busy = Instant::now();
        }
    }
    Ok(())
}

#[test]
fn it_relays_and_its_mood_holds_at_once() {
    let mut relay = Relay::new();
    let mut stream = TcpStream::connect(relay.address).unwrap();
    stream.set_read_timeout(Some(crate::watching::LIMIT)).unwrap();
    let mut ack = [0; 13];
    stream.write_all(b"heartbeat").unwrap();
    stream.read_exact(&mut ack).unwrap();
    assert_eq!(&ack, b"heartbeat_ack");
    relay.set(Mood::Answers(b"nonsense"));
    stream.write_all(b"heartbeat").unwrap();
    stream.read_exact(&mut ack[..8]).unwrap();
    relay.set(Mood::Full);
    let late = TcpStream::connect_timeout(&relay.address, ms(100)).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    relay.set(Mood::Gone);
    assert_eq!(stream.read(&mut ack).unwrap(), 0);
    let refused = TcpStream::connect(relay.address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    relay.set(Mood::Well);
    TcpStream::connect(relay.address).unwrap();
    assert!(relay.visits() >= 1);
}
