//! The clients of a responder: admitted up to a bound, one thread each, and joined when they have
//! left.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Sender;
use log::{debug, info, warn};
use socket2::Socket;

use crate::base::limits::{Needs, Room};
use crate::base::spawn::{self, Thread};
use crate::cause::{Cause, Loss};
use crate::error::Error;
use crate::event::{ClientEvent, ClientEventKind};
use crate::net::connection::{Connection, Woke};
use crate::net::inbox::Next;
use crate::protocol::Frame;
use crate::protocol::guarded::{Guarded, caught};
use crate::tcp_info::TcpInfo;

/// The longest time for writing one answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after an accept that failed, for want of descriptors say, so that it does not spin.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// How long a stop waits for threads.
const PATIENCE_AT_STOP: Duration = Duration::from_secs(1);

/// The listener of a responder, and whoever came.
pub(crate) struct Clients {
    listener: Socket,
    most: usize,
    silent_after: Duration,
    stop: AtomicBool,
    next: AtomicU64,
    lost: AtomicU64,
    events: Sender<ClientEvent>,
    /// Held for some nanoseconds; a client's thread takes it to leave, so nobody joins one under
    /// it.
    clients: Mutex<HashMap<u64, Client>>,
    /// Threads that have left or are about to, to be joined: some nanoseconds, too. Taken after
    /// `clients` where both are.
    departed: Mutex<Vec<Thread>>,
}

struct Client {
    socket: Arc<Socket>,
    thread: Thread,
    /// We closed it, so its end is none of the peer's doing.
    dismissed: Arc<AtomicBool>,
}

impl Client {
    fn dismiss(&self, how: Shutdown) {
        if !TcpInfo::has_ended(&self.socket) {
            self.dismissed.store(true, Ordering::SeqCst);
        }
        // NotConnected: it has gone by itself.
        let _ = self.socket.shutdown(how);
    }
}

/// Makes the protocol of one client, on that client's thread.
pub(crate) type Make = dyn Fn() -> Guarded + Send + Sync;

impl Clients {
    pub(crate) fn new(
        listener: Socket,
        most: usize,
        silent_after: Duration,
        events: Sender<ClientEvent>,
    ) -> Clients {
        Clients {
            listener,
            most,
            silent_after,
            stop: AtomicBool::new(false),
            next: AtomicU64::new(1),
            lost: AtomicU64::new(0),
            events,
            clients: Mutex::default(),
            departed: Mutex::default(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.clients().len()
    }

    /// How many events found the queue full.
    pub(crate) fn lost_events(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Ends every connection that stands: with a FIN, or with a reset.
    pub(crate) fn end_all(&self, reset: bool) {
        for client in self.clients().values() {
            if reset {
                // Half a shutdown wakes the thread without a FIN; its close then resets.
                let _ = client.socket.set_linger(Some(Duration::ZERO));
                client.dismiss(Shutdown::Read);
            } else {
                client.dismiss(Shutdown::Both);
            }
        }
    }

    /// No more clients, and no more of those that are. Waits for nobody.
    pub(crate) fn stop(&self, address: SocketAddr) {
        self.stop.store(true, Ordering::SeqCst);
        // On Linux this ends a blocked accept; elsewhere a connection does.
        let _ = self.listener.shutdown(Shutdown::Both);
        if cfg!(not(target_os = "linux")) {
            let _ = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100));
        }
        self.end_all(false);
    }

    /// Joins the acceptor and every client's thread, after `stop`.
    pub(crate) fn join(&self, acceptor: Option<Thread>) {
        let deadline = Instant::now() + PATIENCE_AT_STOP;
        self.departed().extend(acceptor);
        for (_, client) in self.clients().drain() {
            self.departed().push(client.thread);
        }
        while self.join_departed() > 0 {
            if Instant::now() >= deadline {
                warn!("a thread is blocked in a protocol and was left behind: it ends by itself");
                break;
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<u64, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn departed(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.departed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the threads that are over; how many are not.
    fn join_departed(&self) -> usize {
        let mut departed = self.departed();
        let (over, left): (Vec<_>, Vec<_>) = departed.drain(..).partition(Thread::is_finished);
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

    /// The whole life of the acceptor's thread.
    pub(crate) fn accept_all(self: &Arc<Clients>, make: &Arc<Make>) {
        let mut room = Room::default();
        while !self.is_stopping() {
            match self.listener.accept() {
                Ok((socket, address)) => {
                    if let Some(peer) = address.as_socket() {
                        self.admit(socket, peer, make, &mut room);
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

    fn admit(
        self: &Arc<Clients>,
        socket: Socket,
        peer: SocketAddr,
        make: &Arc<Make>,
        room: &mut Room,
    ) {
        // Under the lock until the thread is entered, so that it cannot leave before.
        let mut clients = self.clients();
        let full = clients.len() >= self.most || self.is_stopping();
        let refused =
            if full { Err(Error::limit("too many clients")) } else { room.take(Needs::CLIENT, 0) };
        let result = refused.and_then(|()| {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let socket = Arc::new(socket);
            let dismissed = Arc::new(AtomicBool::new(false));
            let all = Arc::clone(self);
            let (make, theirs, flag) =
                (Arc::clone(make), Arc::clone(&socket), Arc::clone(&dismissed));
            // Made on its own thread: where there is none, it must not leave under our lock.
            let body = move || {
                let start = Instant::now();
                let (beats, loss) = (0, None);
                let leaving = Leaving { all, id, peer, start, beats, dismissed: flag, loss };
                leaving.serve(theirs, &*make)
            };
            let thread = spawn::spawn(&format!("keepbeat-c{id}"), spawn::STACK, body)
                .map_err(|error| Error::limit(format!("no thread: {error}")))?;
            clients.insert(id, Client { socket, thread, dismissed });
            Ok(())
        });
        drop(clients);
        if let Err(error) = result {
            debug!("client {peer}: {error}");
            self.tell(peer, ClientEventKind::TurnedAway);
        }
    }
}

/// A client's thread; its drop says that the client is gone, however that came.
struct Leaving {
    all: Arc<Clients>,
    id: u64,
    peer: SocketAddr,
    start: Instant,
    beats: u64,
    dismissed: Arc<AtomicBool>,
    loss: Option<Loss>,
}

impl Leaving {
    /// The whole life of a client's thread.
    fn serve(mut self, socket: Arc<Socket>, make: &Make) {
        self.all.tell(self.peer, ClientEventKind::Connected);
        let protocol = caught(make)
            .map_err(|text| Loss::new(Cause::ProtocolPanicked, format!("its factory {text}")));
        let connection = Connection::new(socket, self.peer, WRITE_TIMEOUT)
            .map_err(|error| Loss::new(Cause::LocalResources, error.to_string()));
        self.loss = Some(match (protocol, connection) {
            (Ok(protocol), Ok(mut connection)) => {
                let silent_after = self.all.silent_after;
                let mut visit = Visit { protocol, beats: 0, silent_after };
                let loss = visit.run(&mut connection, &|kind| self.all.tell(self.peer, kind));
                self.beats = visit.beats;
                loss
            }
            (Err(loss), _) | (_, Err(loss)) => loss,
        });
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.all.join_departed();
        if let Some(itself) = self.all.clients().remove(&self.id) {
            self.all.departed().push(itself.thread);
        }
        let ours = self.dismissed.load(Ordering::SeqCst);
        let loss = self.loss.take().unwrap_or_else(|| {
            Loss::new(Cause::ProtocolPanicked, "the thread of this client panicked")
        });
        let loss = if ours { Cause::Stopped.into() } else { loss };
        let (lived, beats) = (self.start.elapsed(), self.beats);
        self.all.tell(self.peer, ClientEventKind::Disconnected { loss, lived, beats });
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
            match connection.read.inbox.next(&mut self.protocol)? {
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
