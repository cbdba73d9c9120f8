//! Responder: the other end. Accepts, answers beats, and reports clients that fell silent.

pub(crate) mod clients;

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use socket2::{Domain, Socket, Type};

use crate::base::spawn::{self, Thread};
use crate::error::Error;
use crate::event::ClientEvent;
use crate::links::respond::clients::{Clients, Make};
use crate::protocol::Protocol;
use crate::protocol::guarded::Guarded;
use crate::sys::Own;

/// Events that wait to be read; later ones are lost and counted.
const EVENTS: usize = 1024;

/// The longest silence that may be allowed: more is no limit.
const LONGEST_SILENCE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Clients that wait to be accepted: thousands of links may start together.
const BACKLOG: i32 = 4096;

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
#[must_use = "dropping it stops the responder"]
pub struct Responder {
    own: Own<Server>,
}

struct Server {
    address: SocketAddr,
    all: Arc<Clients>,
    events: Receiver<ClientEvent>,
    acceptor: Mutex<Option<Thread>>,
}

/// Settings of a [`Responder`].
#[must_use = "nothing listens before `bind`"]
#[derive(Clone, Debug)]
pub struct ResponderBuilder {
    max_clients: usize,
    silent_after: Duration,
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
    /// The address cannot be had, with its reason; a limit of zero, or a silence over 30 days.
    pub fn bind<P: Protocol + 'static>(
        self,
        address: impl ToSocketAddrs,
        protocol: impl Fn() -> P + Send + Sync + 'static,
    ) -> Result<Responder, Error> {
        if self.max_clients == 0 {
            return Err(Error::invalid("0 clients cannot work: allow 1 or more"));
        }
        if self.silent_after.is_zero() || self.silent_after > LONGEST_SILENCE {
            return Err(Error::invalid(format!(
                "{:?} of silence cannot work: allow more than 0 and at most 30 days",
                self.silent_after
            )));
        }
        let (listener, address) = listen(address)
            .map_err(|error| Error::io("the responder cannot listen there", error))?;
        let (sender, events) = bounded(EVENTS);
        let all = Arc::new(Clients::new(listener, self.max_clients, self.silent_after, sender));
        let accepting = Arc::clone(&all);
        let make: Arc<Make> = Arc::new(move || Guarded::new(Box::new(protocol())));
        let name = "keepbeat-accept";
        let acceptor = spawn::spawn(name, spawn::STACK, move || accepting.accept_all(&make))
            .map_err(|error| Error::io("no thread for the responder", error))?;
        let acceptor = Mutex::new(Some(acceptor));
        Ok(Responder { own: Own::new(Server { address, all, events, acceptor }) })
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
        self.own.address
    }

    /// What happens to clients. Holds 1024 events; later ones are lost, and counted in
    /// [`lost_events`](Responder::lost_events).
    pub fn events(&self) -> &Receiver<ClientEvent> {
        &self.own.events
    }

    /// How many events found the queue full.
    pub fn lost_events(&self) -> u64 {
        self.own.all.lost_events()
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        if self.own.is_forked() { 0 } else { self.own.all.count() }
    }

    /// Closes every connection in an orderly way (FIN), and goes on accepting. For drills: what do
    /// the clients do?
    pub fn close_clients(&self) {
        self.end_all(false);
    }

    /// Breaks every connection off (RST), and goes on accepting. For drills.
    pub fn reset_clients(&self) {
        self.end_all(true);
    }

    fn end_all(&self, reset: bool) {
        if !self.own.is_forked() {
            self.own.all.end_all(reset);
        }
    }

    /// Stops listening, closes every client and joins every thread, within a second. One that is
    /// blocked in a protocol is left behind, and that is logged. In a forked child it does nothing.
    pub fn stop(&self) {
        if self.own.is_forked() {
            return;
        }
        let Server { address, all, acceptor, .. } = &*self.own;
        all.stop(*address);
        all.join(acceptor.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.all.stop(self.address);
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("address", &self.own.address).finish_non_exhaustive()
    }
}
