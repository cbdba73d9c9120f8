//! The only folder that knows ureq's `unversioned` traits: how our pool, connections and names
//! become an agent's connector, transport and resolver.
//!
//! ureq runs the request: it writes a head, sends the body, waits for 100. What it reads is not
//! what the server sent but what the doorkeeper makes of it.
//!
//! * For a request of the session, the head that ureq writes is a stand-in for the real one, which
//!   it never sees, and so cannot log. The answer that it reads is a status without a body. When it
//!   lets the transport go, the connection goes on to the session, head and body with it.
//! * For a request through the agent itself, ureq's head goes out as it is, and it reads one whole,
//!   clean head and the bytes of the body, unframed.
//!
//! What is asked of ureq for that stands in `tests/it/session/canary.rs`.

mod asked;
pub(crate) mod config;
mod lease;
#[cfg(feature = "tls")]
mod own_tls;

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use ureq::config::{Config, IpFamily};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time::Duration as Lapse;
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, ShutdownHandle};
use ureq::{Agent, Error};

use super::authority::Address;
use super::call::{self, Order, Outbound, Used};
use super::cancel::{Canceller, Hold};
use super::conn::Conn;
use super::core::{Core, Place};
use super::eviction::Eviction;
use super::limits::{FOR_EVER, Limits};
use super::open::{Family, Opening};
use super::pipe::Pipe;
use super::places::{Grant, Key, Opened, Taken, Want};
use super::proxy::Route;
use super::trouble::Trouble;
use asked::{has_own_tls, own_proxy};
use lease::Lease;
#[cfg(feature = "tls")]
use own_tls::with_tls_of_request;

/// An agent whose connections come from the pool of this core: for the requests of the session.
pub(crate) fn agent(core: &Arc<Core>, config: Config) -> Agent {
    made(core, config, false)
}

/// The same for others to use: ended by its own shutdown as well, from the beginning on.
pub(crate) fn outer_agent(core: &Arc<Core>, config: Config) -> Agent {
    let agent = made(core, config, true);
    // A transport registers what a shutdown ends; so one is asked for, and there is none.
    let _ = agent.get("http://localhost/").call();
    agent
}

fn made(core: &Arc<Core>, config: Config, registers: bool) -> Agent {
    let connector = PoolConnector {
        core: Arc::clone(core),
        config: config.clone(),
        closer: OnceLock::new(),
        registers: AtomicBool::new(registers),
    };
    Agent::with_parts(config, connector, NoResolver)
}

/// The wait that ureq allows.
fn allowed(timeout: &NextTimeout) -> Option<Duration> {
    match timeout.after {
        Lapse::Exact(after) => Some(after.min(FOR_EVER)),
        Lapse::NotHappening => None,
    }
}

/// An error of ours as ureq's: a wait that ended by time is ureq's own timeout.
fn failed(error: io::Error, timeout: &NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}

/// Trouble, told to the session past ureq, or to who uses the agent itself.
fn reported(trouble: Trouble, ours: bool, timeout: &NextTimeout, in_body: bool) -> Error {
    if ours {
        call::note(|outcome| outcome.trouble = Some(trouble));
        return Error::ConnectionFailed;
    }
    as_ureq(trouble, timeout, in_body)
}

/// Trouble as ureq's own error, for who uses the agent itself.
fn as_ureq(trouble: Trouble, timeout: &NextTimeout, in_body: bool) -> Error {
    match trouble {
        Trouble::Late | Trouble::Silent(_) => Error::Timeout(timeout.reason),
        Trouble::Shut => Error::Io(super::core::closed()),
        Trouble::Full => Error::Timeout(timeout.reason),
        Trouble::Unconnected(error) => failed(error, timeout),
        Trouble::Ended(error) if !in_body => Error::Io(error),
        // Some kinds are an orderly end of a body to ureq, and these are none.
        other => Error::Io(io::Error::other(other)),
    }
}

/// Names are looked up when a connection is opened, so nothing is looked up before a request.
#[derive(Debug)]
struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
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
    /// The next call only registers what a shutdown ends.
    registers: AtomicBool,
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
        if self.registers.load(Ordering::Relaxed) {
            self.register(details)?;
            self.registers.store(false, Ordering::Relaxed);
            return Ok(None);
        }
        let order = call::take_order();
        let ours = order.is_some();
        // What goes through the agent itself is never replayed.
        let order = order.unwrap_or_else(|| Order {
            want: Want { fresh: false, to_the_last: false, idle_at_most: Duration::MAX },
            pinned: None,
            limits: Limits {
                deadline: None,
                connect: allowed(&details.timeout).unwrap_or(FOR_EVER),
                first_byte: None,
                silence: None,
            },
            cancel: None,
            outbound: Outbound::default(),
            route: None,
        });
        let lent = self.lend(details, order, ours).map(Some);
        lent.map_err(|trouble| reported(trouble, ours, &details.timeout, false))
    }
}

impl PoolConnector {
    fn register(&self, details: &ConnectionDetails) -> Result<(), Error> {
        let closer = self.closer.get_or_init(|| Arc::new(Closer(Arc::downgrade(&self.core))));
        let closer: Weak<Closer> = Arc::downgrade(closer);
        (details.register_shutdown)(closer)
    }

    /// A connection for this order.
    fn lend(
        &self,
        details: &ConnectionDetails,
        order: Order,
        ours: bool,
    ) -> Result<Lease, Trouble> {
        if self.core.is_forked() {
            return Err(Trouble::Forked);
        }
        let unfit = |what: &str| {
            Trouble::Unconnected(io::Error::new(ErrorKind::InvalidInput, what.to_owned()))
        };
        let https = details.needs_tls();
        if self.core.options.https_only && !https {
            return Err(unfit("`https_only` allows no other scheme"));
        }
        let address = Address::of(details.uri).map_err(unfit)?;
        let key =
            Key::at(details.uri, &address, https).ok_or_else(|| unfit("it leads to no host"))?;
        let shared = ours || self.shares(details);
        let until = order.limits.connect_until();
        let cancel = order.cancel.as_ref();
        let want = Want { fresh: order.want.fresh || !shared, ..order.want };
        let grant = match order.pinned {
            Some(taken) => Grant::Kept(taken),
            None => self.core.checkout(&key, want, until, cancel)?,
        };
        let (used, pipe, hold, route) = match grant {
            Grant::Kept(taken) => {
                // Only where ureq's own head has to be changed, it matters.
                let route = match ours {
                    true => Route::Direct,
                    false => self.route(details, &address, https)?,
                };
                let (taken, hold) = self.held(taken, cancel)?;
                let used = Used { id: taken.id, idle: Some(taken.idle), born: taken.born };
                (used, taken.pipe, hold, route)
            }
            Grant::Open(id) => {
                let place = Place::new(&self.core, id);
                let route = match order.route {
                    Some(route) => route,
                    None => self.route(details, &address, https)?,
                };
                let (pipe, hold) = self.open(details, &address, (&route, cancel), until, place)?;
                (Used { id, idle: None, born: Instant::now() }, pipe, hold, route)
            }
        };
        call::goes_out_on(used);
        let mut conn = Conn::new(&self.core, used, pipe, shared, order.limits);
        conn.held(hold);
        let forward = match route {
            Route::Forward(proxy) if !ours => Some((proxy, key)),
            _ => None,
        };
        if ours {
            conn.order(order.outbound);
        }
        Ok(Lease::new(conn, ours, forward))
    }

    /// A kept connection in the hands of who may cancel the request, if anybody may.
    fn held(
        &self,
        taken: Taken,
        cancel: Option<&Canceller>,
    ) -> Result<(Taken, Option<Hold>), Trouble> {
        let Some(cancel) = cancel else { return Ok((taken, None)) };
        let socket = self.core.pool().socket(taken.id);
        match socket.and_then(|socket| cancel.hold(&socket)) {
            Some(hold) => Ok((taken, Some(hold))),
            None => {
                self.core.leave_unused(taken, Eviction::NotReusable);
                Err(Trouble::Cancelled)
            }
        }
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

    /// By the session's proxies, unless the request has one of its own, or none.
    fn route(
        &self,
        details: &ConnectionDetails,
        address: &Address,
        https: bool,
    ) -> Result<Route, Trouble> {
        if details.request_level && details.config.proxy() != self.config.proxy() {
            let own = own_proxy(details.config, details.uri).map_err(Trouble::Unconnected)?;
            return Ok(own.map_or(Route::Direct, |proxy| Route::by(&Arc::new(proxy), https)));
        }
        Ok(self.core.proxies.route(https, address.host, address.port_for(https)))
    }

    /// Opens a connection and puts it into its place.
    fn open(
        &self,
        details: &ConnectionDetails,
        address: &Address,
        (route, cancel): (&Route, Option<&Canceller>),
        until: Instant,
        mut place: Place,
    ) -> Result<(Box<dyn Pipe>, Option<Hold>), Trouble> {
        let start = Instant::now();
        let family = match details.config.ip_family() {
            IpFamily::Any => Family::Any,
            IpFamily::Ipv4Only => Family::Ipv4,
            IpFamily::Ipv6Only => Family::Ipv6,
        };
        let https = details.needs_tls();
        let mut opening = Opening {
            core: &self.core,
            id: place.id,
            host: address.host,
            port: address.port_for(https),
            route,
            family,
            no_delay: details.config.no_delay(),
            until,
            cancel,
            hold: None,
            found: None,
        };
        let pipe = opening.open().and_then(|pipe| match https {
            false => Ok(pipe),
            true if has_own_tls(details.config) => with_tls_of_request(pipe, details),
            true => opening.secured(pipe),
        });
        let pipe = pipe.map_err(|error| {
            place.unreachable = opening.found.is_none();
            self.core.ended(cancel).unwrap_or(Trouble::Unconnected(error))
        })?;
        let found = opening.found;
        let opened = Opened {
            peer: found.and_then(|found| found.peer),
            took: start.elapsed(),
            rtt: found.map(|found| found.took),
            // Of the server, and of no proxy on the way.
            expires: https.then(|| pipe.facts().expires).flatten(),
            warns_before: self.core.warns_before(),
        };
        self.core.opened(place.id, opened).map_err(|_| Trouble::Shut)?;
        place.keep();
        Ok((pipe, opening.hold.take()))
    }
}

#[cfg(not(feature = "tls"))]
fn with_tls_of_request(_: Box<dyn Pipe>, _: &ConnectionDetails) -> io::Result<Box<dyn Pipe>> {
    Err(io::Error::new(ErrorKind::Unsupported, "https needs the feature `tls`"))
}
