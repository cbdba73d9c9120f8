//! Responder: the other end. Accepts, answers beats, and reports clients that fell silent.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{debug, info, warn};
use socket2::{Domain, Socket, Type};

use crate::cause::{Cause, Loss};
use crate::drive::guarded::Guarded;
use crate::drive::inbox::Next;
use crate::drive::socket::{Connection, Woke};
use crate::drive::spawn;
use crate::error::Error;
use crate::protocol::{Frame, Protocol};

/// Events that wait to be read; later ones are lost and counted.
const EVENTS: usize = 1024;

/// The longest time for writing one answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Clients that wait to be accepted: thousands of links may start together.
const BACKLOG: i32 = 4096;

/// The pause after an accept that failed, for want of descriptors say, so that it does not spin.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// How long `stop` waits for threads.
const PATIENCE_AT_STOP: Duration = Duration::from_secs(1);

/// A server that answers beats. One thread per client, bounded.
///
/// A client is silent when no whole frame came from it for
/// [`silent_after`](ResponderBuilder::silent_after); it is reported and closed then, or a half-open
/// connection would hold a thread for ever.
///
/// Dropping it stops it without waiting.
///
/// # Examples
///
/// ```
/// use keepbeat::{Line, Responder};
///
/// let responder = Responder::bind("127.0.0.1:0", || Line)?;
/// println!("answering on {}", responder.local_addr());
/// responder.stop();
/// # Ok::<(), keepbeat::Error>(())
/// ```
pub struct Responder {
    address: SocketAddr,
    inner: Arc<Inner>,
    events: Receiver<ClientEvent>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

/// Settings of a [`Responder`].
#[derive(Clone, Debug)]
pub struct ResponderBuilder {
    max_clients: usize,
    silent_after: Duration,
}

/// Something that happened to a client of a [`Responder`].
#[derive(Clone, Debug)]
pub struct ClientEvent {
    /// When, by the clock on the wall.
    pub time: SystemTime,
    /// The client.
    pub peer: SocketAddr,
    /// What.
    pub kind: ClientEventKind,
}

/// What happened to a client.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientEventKind {
    /// It connected.
    Connected,
    /// Nothing came from it for so long; it is closed.
    Silent {
        /// Since its last whole frame.
        silent: Duration,
    },
    /// Its connection ended.
    Disconnected {
        /// Why.
        loss: Loss,
        /// How long it stood.
        lived: Duration,
        /// Beats answered.
        beats: u64,
    },
    /// It was closed at once: there were as many clients as are allowed.
    TurnedAway,
}

impl fmt::Display for ClientEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}: ", self.peer)?;
        match &self.kind {
            ClientEventKind::Connected => f.write_str("connected"),
            ClientEventKind::Silent { silent } => write!(f, "silent for {silent:.1?}: closed"),
            ClientEventKind::Disconnected { loss, lived, beats } => {
                write!(f, "disconnected after {lived:.1?} and {beats} beats: {loss}")
            }
            ClientEventKind::TurnedAway => f.write_str("turned away: too many clients"),
        }
    }
}

struct Inner {
    listener: Socket,
    settings: ResponderBuilder,
    stop: AtomicBool,
    next: AtomicU64,
    lost: AtomicU64,
    events: Sender<ClientEvent>,
    /// Held for some nanoseconds; a client's thread takes it to leave, so nobody joins one under
    /// it.
    clients: Mutex<HashMap<u64, Client>>,
    /// Threads that have left or are about to, to be joined: some nanoseconds, too.
    departed: Mutex<Vec<JoinHandle<()>>>,
}

struct Client {
    socket: Arc<Socket>,
    thread: JoinHandle<()>,
}

impl ResponderBuilder {
    /// The most clients at once. Default 1024; one more is closed at once and reported.
    pub fn max_clients(mut self, clients: usize) -> ResponderBuilder {
        self.max_clients = clients;
        self
    }

    /// How long a client may be silent. Default 90 s; give it at least 1.5 times the interval of
    /// the clients, as MQTT servers do.
    pub fn silent_after(mut self, silent: Duration) -> ResponderBuilder {
        self.silent_after = silent;
        self
    }

    /// Listens, and answers each client with a protocol of its own from `protocol`.
    ///
    /// # Errors
    ///
    /// The address cannot be had, with its reason; a limit of zero.
    pub fn bind<P: Protocol + 'static>(
        self,
        address: impl ToSocketAddrs,
        protocol: impl Fn() -> P + Send + Sync + 'static,
    ) -> Result<Responder, Error> {
        if self.max_clients == 0 || self.silent_after.is_zero() {
            return Err(Error::invalid("a responder needs at least 1 client and some silence"));
        }
        let (listener, address) = listen(address)
            .map_err(|error| Error::io("the responder cannot listen there", error))?;
        let (sender, events) = bounded(EVENTS);
        let inner = Arc::new(Inner {
            listener,
            settings: self,
            stop: AtomicBool::new(false),
            next: AtomicU64::new(1),
            lost: AtomicU64::new(0),
            events: sender,
            clients: Mutex::default(),
            departed: Mutex::default(),
        });
        let accepting = Arc::clone(&inner);
        let make = move || Guarded::new(Box::new(protocol()));
        let name = "keepbeat-accept".to_owned();
        let acceptor = spawn::spawn(name, spawn::STACK, move || accepting.accept_all(&make))
            .map_err(|error| Error::io("no thread for the responder", error))?;
        Ok(Responder { address, inner, events, acceptor: Mutex::new(Some(acceptor)) })
    }
}

fn listen(address: impl ToSocketAddrs) -> io::Result<(Socket, SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        let result = (|| {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let bound = socket.local_addr()?.as_socket().unwrap_or(address);
            Ok((socket, bound))
        })();
        match result {
            Ok(listening) => return Ok(listening),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Responder {
    /// With default settings: 1024 clients, silent after 90 s.
    ///
    /// # Errors
    ///
    /// As [`ResponderBuilder::bind`].
    pub fn bind<P: Protocol + 'static>(
        address: impl ToSocketAddrs,
        protocol: impl Fn() -> P + Send + Sync + 'static,
    ) -> Result<Responder, Error> {
        Responder::builder().bind(address, protocol)
    }

    /// Settings first.
    pub fn builder() -> ResponderBuilder {
        ResponderBuilder { max_clients: 1024, silent_after: Duration::from_secs(90) }
    }

    /// Where it listens, with the port that was chosen for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What happens to clients. Holds 1024 events; later ones are lost, and counted in
    /// [`lost_events`](Responder::lost_events).
    pub fn events(&self) -> &Receiver<ClientEvent> {
        &self.events
    }

    /// How many events found the queue full.
    pub fn lost_events(&self) -> u64 {
        self.inner.lost.load(Ordering::Relaxed)
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.inner.clients().len()
    }

    /// Closes every connection in an orderly way (FIN), and goes on accepting. For drills: what do
    /// the clients do?
    pub fn close_clients(&self) {
        for client in self.inner.clients().values() {
            let _ = client.socket.shutdown(Shutdown::Both);
        }
    }

    /// Breaks every connection off (RST), and goes on accepting. For drills.
    pub fn reset_clients(&self) {
        for client in self.inner.clients().values() {
            // Half a shutdown wakes the thread without a FIN; its close then resets.
            let _ = client.socket.set_linger(Some(Duration::ZERO));
            let _ = client.socket.shutdown(Shutdown::Read);
        }
    }

    /// Stops listening, closes every client and joins every thread.
    pub fn stop(&self) {
        self.signal();
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if acceptor.is_some_and(|thread| thread.join().is_err()) {
            warn!("the responder's thread panicked: a bug in keepbeat");
        }
        let deadline = Instant::now() + PATIENCE_AT_STOP;
        for (_, client) in self.inner.clients().drain() {
            // Once more: it may have been admitted after the signal.
            let _ = client.socket.shutdown(Shutdown::Both);
            self.inner.departed().push(client.thread);
        }
        while self.inner.join_departed() > 0 {
            if Instant::now() >= deadline {
                warn!("a client's thread is blocked in its protocol and was left behind");
                break;
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    fn signal(&self) {
        self.inner.stop.store(true, Ordering::SeqCst);
        // On Linux this ends a blocked accept; elsewhere a connection does.
        let _ = self.inner.listener.shutdown(Shutdown::Both);
        #[cfg(not(target_os = "linux"))]
        let _ = std::net::TcpStream::connect_timeout(&self.address, Duration::from_millis(100));
        self.close_clients();
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.signal();
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Inner {
    fn clients(&self) -> MutexGuard<'_, HashMap<u64, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn departed(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.departed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the threads that are over; how many are not.
    fn join_departed(&self) -> usize {
        let mut departed = self.departed();
        let (over, left): (Vec<_>, Vec<_>) = departed.drain(..).partition(JoinHandle::is_finished);
        *departed = left;
        let left = departed.len();
        drop(departed);
        for thread in over {
            let _ = thread.join(); // a panic of the protocol has been told as an event
        }
        left
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn tell(&self, peer: SocketAddr, kind: ClientEventKind) {
        let event = ClientEvent { time: SystemTime::now(), peer, kind };
        match event.kind {
            ClientEventKind::Silent { .. } | ClientEventKind::TurnedAway => warn!("{event}"),
            ClientEventKind::Connected => info!("{event}"),
            ClientEventKind::Disconnected { .. } => debug!("{event}"),
        }
        if self.events.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn accept_all(self: &Arc<Inner>, protocol: &dyn Fn() -> Guarded) {
        while !self.is_stopping() {
            match self.listener.accept() {
                Ok((socket, address)) => {
                    if let Some(peer) = address.as_socket() {
                        self.admit(socket, peer, protocol());
                    }
                }
                Err(_) if self.is_stopping() => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    warn!("the responder cannot accept: {error}");
                    thread::sleep(AFTER_FAILED_ACCEPT);
                }
            }
        }
    }

    fn admit(self: &Arc<Inner>, socket: Socket, peer: SocketAddr, protocol: Guarded) {
        // Under the lock until the thread is entered, so that it cannot leave before.
        let mut clients = self.clients();
        if clients.len() >= self.settings.max_clients || self.is_stopping() {
            drop(clients);
            return self.tell(peer, ClientEventKind::TurnedAway);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let socket = Arc::new(socket);
        let inner = Arc::clone(self);
        let connection = Connection::accepted(Arc::clone(&socket), peer, WRITE_TIMEOUT);
        let body = move || inner.serve(id, peer, connection, protocol);
        match spawn::spawn(format!("keepbeat-c{id}"), spawn::STACK, body) {
            Ok(thread) => {
                clients.insert(id, Client { socket, thread });
            }
            Err(error) => warn!("client {peer}: turned away, no thread: {error}"),
        }
    }

    /// The whole life of a client's thread.
    fn serve(
        &self,
        id: u64,
        peer: SocketAddr,
        connection: io::Result<Connection>,
        protocol: Guarded,
    ) {
        let start = Instant::now();
        self.tell(peer, ClientEventKind::Connected);
        let mut visit = Visit { protocol, beats: 0, silent_after: self.settings.silent_after };
        let loss = match connection {
            Ok(mut connection) => visit.run(&mut connection, &|kind| self.tell(peer, kind)),
            Err(error) => Loss::new(Cause::LocalResources, error.to_string()),
        };
        let loss = if self.is_stopping() { Cause::Stopped.into() } else { loss };
        let (lived, beats) = (start.elapsed(), visit.beats);
        self.join_departed();
        if let Some(itself) = self.clients().remove(&id) {
            self.departed().push(itself.thread);
        }
        self.tell(peer, ClientEventKind::Disconnected { loss, lived, beats });
    }
}

/// One client being served.
struct Visit {
    protocol: Guarded,
    beats: u64,
    silent_after: Duration,
}

impl Visit {
    /// Until the connection ends, for the reason that is returned.
    fn run(&mut self, connection: &mut Connection, tell: &dyn Fn(ClientEventKind)) -> Loss {
        let mut out = Vec::new();
        let mut heard = Instant::now();
        loop {
            let before = self.beats;
            match self.answer(connection, &mut out) {
                Ok(true) => heard = Instant::now(),
                Ok(false) => {}
                Err(loss) => return loss,
            }
            if self.beats > before {
                if let Err(loss) = connection.write(&out, WRITE_TIMEOUT) {
                    return loss;
                }
                out.clear();
            }
            match connection.wait(Some(heard + self.silent_after), None) {
                Woke::Bytes | Woke::Interrupted => {}
                Woke::Lost(loss) => return loss,
                Woke::Quiet => {
                    let silent = heard.elapsed();
                    tell(ClientEventKind::Silent { silent });
                    let detail = format!("no whole frame for {silent:.1?}");
                    return Loss::new(Cause::AckTimeout, detail);
                }
            }
        }
    }

    /// Takes what has come, and puts the answers into `out`. True if a whole frame was among it.
    fn answer(&mut self, connection: &mut Connection, out: &mut Vec<u8>) -> Result<bool, Loss> {
        let mut whole = false;
        loop {
            match connection.inbox.next(&mut self.protocol)? {
                Next::Frame(frame) => {
                    whole = true;
                    if let Frame::Beat(seq) = frame {
                        self.protocol.ack(seq, out)?;
                        self.beats += 1;
                    }
                }
                Next::Partial | Next::Nothing => return Ok(whole),
            }
        }
    }
}
