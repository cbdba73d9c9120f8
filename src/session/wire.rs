//! The only file that knows ureq's `unversioned` traits: how our pool, pipes and names become an
//! agent's connector, transport and resolver.
//!
//! It rests on the order of ureq's calls. ureq keeps no idle connection itself
//! (`max_idle_connections(0)`). When a response is read to its end and another request may follow,
//! ureq asks `is_open()`, puts the connection into its own pool and drops it from there at once: a
//! lease that was asked last and dropped then goes back to *our* pool. One that is dropped at any
//! other moment is closed. `tests/it/session/canary.rs` fails if another version does otherwise.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time::Duration as Lapse;
use ureq::unversioned::transport::{
    Buffers as UreqBuffers, ConnectProxyConnector, ConnectionDetails, Connector, Either,
    NextTimeout, ShutdownHandle, Transport, TransportAdapter,
};
use ureq::{Agent, Error, Timeout};

use super::asked::{Answered, has_own_tls, host_and_port, unwrapped};
use super::buffers::Buffers;
use super::call::{Call, Failed, Used};
use super::core::Core;
use super::dial::{Dialled, dial};
use super::lease::{Lease, Line, Place};
use super::pipe::{self, Pipe, Plain, Probe, Unwritten};
use super::places::{Grant, Key, Opened, SlotId, Want};

/// Waits that ureq does not limit end some time, so that sums of times do not overflow.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

/// An agent whose connections come from the pool of this core.
pub(crate) fn agent(core: &Arc<Core>, config: Config) -> Agent {
    let closer = OnceLock::new();
    let connector = PoolConnector { core: Arc::clone(core), config: config.clone(), closer };
    Agent::with_parts(config, connector, LazyResolver { core: Arc::clone(core) })
}

/// The wait that ureq allows.
fn allowed(timeout: &NextTimeout) -> Option<Duration> {
    match timeout.after {
        Lapse::Exact(after) => Some(after.min(FOR_EVER)),
        Lapse::NotHappening => None,
    }
}

fn deadline(timeout: &NextTimeout) -> Instant {
    Instant::now() + allowed(timeout).unwrap_or(FOR_EVER)
}

/// An error of ours as ureq's: a wait that ended by time is ureq's own timeout.
fn failed(error: io::Error, timeout: &NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}

/// Names are looked up when a connection is opened, so nothing is looked up before a request.
#[derive(Debug)]
struct LazyResolver {
    core: Arc<Core>,
}

impl Resolver for LazyResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        // ureq's proxy connectors want the addresses of the proxy, and some that of the target.
        match config.proxy() {
            Some(proxy) if !proxy.is_no_proxy(uri) => {
                addresses(&self.core, uri, config, deadline(&timeout))
            }
            _ => Ok(self.empty()),
        }
    }
}

fn addresses(
    core: &Core,
    uri: &Uri,
    config: &Config,
    until: Instant,
) -> Result<ResolvedSocketAddrs, Error> {
    let (host, port) = host_and_port(uri)?;
    let found = core.names.addresses(host, port, until)?;
    let mut all = ResolvedSocketAddrs::from_fn(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    const MOST: usize = 16; // what ureq has room for
    for address in config.ip_family().keep_wanted(found.into_iter()).take(MOST) {
        all.push(address);
    }
    if all.is_empty() { Err(Error::HostNotFound) } else { Ok(all) }
}

/// Ends what the agent has open: one for all connections, where ureq would keep a list.
struct Closer(Weak<Core>);

impl ShutdownHandle for Closer {
    fn shutdown(&self) {
        if let Some(core) = self.0.upgrade() {
            core.close();
        }
    }
}

struct PoolConnector {
    core: Arc<Core>,
    /// The agent's, to tell a request's own settings.
    config: Config,
    closer: OnceLock<Arc<Closer>>,
}

impl fmt::Debug for PoolConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolConnector")
    }
}

impl Connector<()> for PoolConnector {
    type Out = Lease;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<Lease>, Error> {
        self.register(details)?;
        let uri = details.uri;
        let key = Key::of(uri).ok_or_else(|| Error::BadUri(format!("{uri}: no host")))?;
        let until = deadline(&details.timeout);
        let kept = self.shares(details);
        // What goes through the agent itself is never replayed.
        let any = Want { fresh: false, replayable: false, idle_at_most: Duration::MAX };
        let (mut want, pinned) = Call::begin_hop().unwrap_or((any, None));
        want.fresh |= !kept;
        let grant = match pinned {
            Some(taken) => Grant::Kept(taken),
            None => self.core.checkout(&key, want, until).map_err(|error| {
                if error.kind() != ErrorKind::TimedOut {
                    return Error::Io(error);
                }
                Call::could_not_connect(Failed::Full);
                Error::Timeout(details.timeout.reason)
            })?,
        };
        let (id, pipe, idle, born) = match grant {
            Grant::Kept(taken) => (taken.id, taken.pipe, Some(taken.idle), taken.born),
            Grant::Open(id) => {
                let place = Place::new(&self.core, id);
                (id, self.open(details, until, place)?, None, Instant::now())
            }
        };
        Call::goes_out_on(Used { id, idle, born });
        Ok(Some(Lease::new(&self.core, id, pipe, kept)))
    }
}

impl PoolConnector {
    fn register(&self, details: &ConnectionDetails) -> Result<(), Error> {
        if self.closer.get().is_some() {
            return Ok(());
        }
        let closer = self.closer.get_or_init(|| Arc::new(Closer(Arc::downgrade(&self.core))));
        let closer: Weak<Closer> = Arc::downgrade(closer);
        (details.register_shutdown)(closer)
    }

    /// Whether the request's settings are those that the kept connections were made with.
    fn shares(&self, details: &ConnectionDetails) -> bool {
        let (its, ours) = (details.config, &self.config);
        !details.request_level
            || (its.proxy() == ours.proxy()
                && !has_own_tls(its)
                && its.ip_family() == ours.ip_family()
                && its.no_delay() == ours.no_delay())
    }

    /// Opens a connection and puts it into its place.
    fn open(
        &self,
        details: &ConnectionDetails,
        until: Instant,
        mut place: Place,
    ) -> Result<Box<dyn Pipe>, Error> {
        let start = Instant::now();
        let (core, found) = (Arc::clone(&self.core), Arc::default());
        let opening = Opening { core, id: place.id, until, found };
        let pipe = match opening.connect(details, has_own_tls(details.config)) {
            Ok(pipe) => pipe,
            Err(error) => {
                Call::could_not_connect(Failed::Connect);
                place.unreachable = opening.found().is_none();
                return Err(error);
            }
        };
        let found = opening.found();
        let expires = found.as_ref().and_then(|found| found.expires);
        let (peer, rtt) = found.map(|found| (found.peer, found.took)).unzip();
        let warns_before = self.core.warns_before();
        let opened = Opened { peer, took: start.elapsed(), rtt, expires, warns_before };
        self.core.opened(place.id, opened)?;
        place.keep();
        Ok(pipe)
    }
}

/// One connection on its way to stand.
#[derive(Clone)]
struct Opening {
    core: Arc<Core>,
    id: SlotId,
    /// For all of it: the steps share one time.
    until: Instant,
    found: Arc<Mutex<Option<Found>>>,
}

/// The socket below it all.
#[derive(Clone)]
struct Found {
    stream: Arc<TcpStream>,
    peer: SocketAddr,
    /// The connect alone.
    took: Duration,
    /// When the certificate of the server expires.
    expires: Option<SystemTime>,
}

impl Opening {
    /// What is left of the time, for ureq's own steps.
    fn left(&self, timeout: &NextTimeout) -> NextTimeout {
        let left = self.until.saturating_duration_since(Instant::now());
        NextTimeout { after: Lapse::Exact(left), ..*timeout }
    }

    fn found(&self) -> Option<Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn connect(&self, details: &ConnectionDetails, own_tls: bool) -> Result<Box<dyn Pipe>, Error> {
        let under = match self.through_proxy(details)? {
            Some(tunnel) => tunnel,
            None => self.tcp(details)?,
        };
        if !details.needs_tls() {
            return Ok(under);
        }
        if own_tls { with_tls_of_request(under, details) } else { self.with_tls(under, details) }
    }

    fn tcp(&self, details: &ConnectionDetails) -> Result<Box<dyn Pipe>, Error> {
        let (host, port) = host_and_port(details.uri)?;
        let addresses: Vec<_> = match details.addrs.is_empty() {
            true => addresses(&self.core, details.uri, details.config, self.until)?.to_vec(),
            false => details.addrs.to_vec(),
        };
        let Dialled { stream, peer, took } = dial(&addresses, self.until, &self.core.options)
            .inspect_err(|_| self.core.names.forget(host, port))?;
        let stream = Arc::new(stream);
        self.core.opening(self.id, &stream)?;
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Found { stream: Arc::clone(&stream), peer, took, expires: None });
        Ok(Box::new(Plain::new(stream)))
    }

    /// None: no proxy is wanted.
    fn through_proxy(&self, details: &ConnectionDetails) -> Result<Option<Box<dyn Pipe>>, Error> {
        if details.config.proxy().is_none() {
            return Ok(None);
        }
        let opening = self.clone();
        // The connection to the proxy itself is no entry of the pool.
        let run = move |details: &ConnectionDetails| -> Result<Box<dyn Transport>, Error> {
            Ok(Box::new(Line::new(opening.connect(details, false)?)))
        };
        let details = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: (details.current_time)(),
            timeout: self.left(&details.timeout),
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::new(run),
            register_shutdown: Arc::clone(&details.register_shutdown),
        };
        #[cfg(feature = "socks-proxy")]
        {
            let socks = ureq::unversioned::transport::SocksConnector::default();
            if let Some(Either::B(transport)) = socks.connect(&details, None::<()>)? {
                return Ok(Some(Box::new(self.tunnel(Box::new(transport), &details))));
            }
        }
        let tunnel = ConnectProxyConnector::default().connect(&details, None::<()>)?;
        Ok(match tunnel {
            Some(Either::B(transport)) => Some(Box::new(self.tunnel(transport, &details))),
            _ => None,
        })
    }

    fn tunnel(&self, transport: Box<dyn Transport>, details: &ConnectionDetails) -> Tunnel {
        Tunnel::new(transport, self.found().map(|found| found.stream), details)
    }

    #[cfg(feature = "tls")]
    fn with_tls(
        &self,
        under: Box<dyn Pipe>,
        details: &ConnectionDetails,
    ) -> Result<Box<dyn Pipe>, Error> {
        let (host, _) = host_and_port(details.uri)?;
        let config = Arc::clone(&self.core.secure.config);
        let tls = super::tls::Tls::connect(under, config, host, Some(self.until))
            .map_err(|error| failed(error, &details.timeout))?;
        if let Some(found) = &mut *self.found.lock().unwrap_or_else(PoisonError::into_inner) {
            found.expires = tls.certificate_expires();
        }
        Ok(Box::new(tls))
    }

    #[cfg(not(feature = "tls"))]
    fn with_tls(&self, _: Box<dyn Pipe>, _: &ConnectionDetails) -> Result<Box<dyn Pipe>, Error> {
        Err(Error::Tls("https needs the feature `tls`"))
    }
}

/// A request with TLS settings of its own has them from ureq, and so ureq's own TLS.
#[cfg(feature = "tls")]
fn with_tls_of_request(
    under: Box<dyn Pipe>,
    details: &ConnectionDetails,
) -> Result<Box<dyn Pipe>, Error> {
    let connector = ureq::unversioned::transport::RustlsConnector::default();
    match connector.connect(details, Some(Line::new(under)))? {
        Some(Either::B(tls)) => Ok(Box::new(Tunnel::new(Box::new(tls), None, details))),
        _ => Err(Error::TlsRequired),
    }
}

#[cfg(not(feature = "tls"))]
fn with_tls_of_request(_: Box<dyn Pipe>, _: &ConnectionDetails) -> Result<Box<dyn Pipe>, Error> {
    Err(Error::Tls("https needs the feature `tls`"))
}

impl UreqBuffers for Buffers {
    fn output(&mut self) -> &mut [u8] {
        self.output()
    }

    fn input(&self) -> &[u8] {
        self.input()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.space()
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled(amount);
    }

    fn input_consume(&mut self, amount: usize) {
        self.used(amount);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.piece_and_output()
    }

    fn can_use_input(&self) -> bool {
        self.is_usable()
    }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn UreqBuffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        self.write(amount, allowed(&timeout)).map_err(|unwritten| match unwritten.answered {
            true => Error::Io(io::Error::new(ErrorKind::ConnectionAborted, Answered)),
            false => failed(unwritten.error, &timeout),
        })
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let n = self.read(allowed(&timeout)).map_err(|error| failed(error, &timeout))?;
        Ok(n > 0)
    }

    fn is_open(&mut self) -> bool {
        self.buffers.input().is_empty() && matches!(self.pipe.probe(), Probe::Quiet)
    }
}

impl Transport for Lease {
    fn buffers(&mut self) -> &mut dyn UreqBuffers {
        &mut self.line().buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        self.write(amount, allowed(&timeout)).map_err(|error| failed(error, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        // That nobody said 100 in time is no fault: the body is sent all the same.
        let may_pass = timeout.reason == Timeout::Await100;
        let n = self.read(allowed(&timeout), may_pass).map_err(|error| failed(error, &timeout))?;
        Ok(n > 0)
    }

    fn is_open(&mut self) -> bool {
        self.is_clean()
    }

    fn is_tls(&self) -> bool {
        // ureq asks once, and refuses https without it; TLS is our own business here, and no
        // connection for https is made without.
        true
    }
}

/// A transport of ureq's as a pipe: a connection through a proxy, or under ureq's own TLS.
struct Tunnel {
    adapter: TransportAdapter,
    /// None for a socket that is ureq's own.
    socket: Option<Arc<TcpStream>>,
}

impl Tunnel {
    fn new(
        transport: Box<dyn Transport>,
        socket: Option<Arc<TcpStream>>,
        details: &ConnectionDetails,
    ) -> Tunnel {
        let clock = Arc::clone(&details.current_time);
        Tunnel { adapter: TransportAdapter::new(transport, clock), socket }
    }

    fn set_timeout(&mut self, most: Option<Duration>) {
        let after = most.map_or(Lapse::NotHappening, Lapse::Exact);
        self.adapter.set_timeout(NextTimeout { after, ..NextTimeout::default() });
    }
}

impl Pipe for Tunnel {
    fn read(&mut self, buffer: &mut [u8], most: Option<Duration>) -> io::Result<usize> {
        self.set_timeout(most);
        self.adapter.read(buffer).map_err(unwrapped)
    }

    fn write_all(&mut self, bytes: &[u8], most: Option<Duration>) -> Result<(), Unwritten> {
        self.set_timeout(most);
        self.adapter.write_all(bytes).map_err(|error| {
            let answered = error.get_ref().is_some_and(|inner| inner.is::<Answered>());
            // How much of it went out is not known.
            Unwritten { error: unwrapped(error), begun: true, answered }
        })
    }

    fn probe(&mut self) -> Probe {
        if self.holds_bytes() {
            return Probe::Bytes;
        }
        match &self.socket {
            Some(socket) => pipe::look(socket),
            None if self.adapter.get_mut().is_open() => Probe::Quiet,
            None => Probe::Closed,
        }
    }

    /// The transport below has read ahead.
    fn holds_bytes(&mut self) -> bool {
        !self.adapter.get_mut().buffers().input().is_empty()
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel")
    }
}
