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
mod words;

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use ureq::config::{Config, IpFamily};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, ShutdownHandle};
use ureq::{Agent, Error};

use super::authority::Address;
use super::call::{self, Order};
use super::cancel::{Canceller, Hold};
use super::conn::Conn;
use super::core::{Core, Place, Taken};
use super::eviction::Eviction;
use super::exchange::{Outbound, Used};
use super::limits::{FOR_EVER, Limits};
use super::open::{Family, Opening};
use super::pipe::Pipe;
use super::pool::places::{Grant, Key, Opened, Want};
use super::proxy::Route;
use super::trouble::Trouble;
use asked::{has_own_tls, own_proxy};
use lease::Lease;
#[cfg(feature = "tls")]
use own_tls::with_tls_of_request;
use words::{allowed, reported};

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
        let (order, ours) = match call::take_order() {
            Some(order) => (Ok(order), true),
            None => (self.order_of_agent(details), false),
        };
        let lent = order.and_then(|order| self.lend(details, order, ours)).map(Some);
        lent.map_err(|trouble| reported(trouble, ours, &details.timeout, false))
    }
}

/// A connection for a request.
struct Lent {
    used: Used,
    pipe: Box<dyn Pipe>,
    hold: Option<Hold>,
}

fn unfit(what: &str) -> Trouble {
    Trouble::Unconnected(io::Error::new(ErrorKind::InvalidInput, what.to_owned()))
}

impl PoolConnector {
    fn register(&self, details: &ConnectionDetails) -> Result<(), Error> {
        let closer = self.closer.get_or_init(|| Arc::new(Closer(Arc::downgrade(&self.core))));
        let closer: Weak<Closer> = Arc::downgrade(closer);
        (details.register_shutdown)(closer)
    }

    /// What a request through the agent itself wants. It is never replayed.
    fn order_of_agent(&self, details: &ConnectionDetails) -> Result<Order, Trouble> {
        let https = details.needs_tls();
        let address = Address::of(details.uri).map_err(unfit)?;
        let key =
            Key::at(details.uri, &address, https).ok_or_else(|| unfit("it leads to no host"))?;
        Ok(Order {
            route: self.route(details, &address, https)?,
            key,
            want: Want {
                fresh: !self.shares(details),
                to_the_last: false,
                idle_at_most: Duration::MAX,
            },
            pinned: None,
            limits: Limits {
                deadline: None,
                connect: allowed(&details.timeout).unwrap_or(FOR_EVER),
                first_byte: None,
                silence: None,
            },
            cancel: None,
            outbound: Outbound::default(),
        })
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
        let Order { key, want, route, .. } = order;
        if self.core.options.https_only && !key.https {
            return Err(unfit("`https_only` allows no other scheme"));
        }
        let shared = ours || !want.fresh;
        let cancel = order.cancel.as_ref();
        let Lent { used, pipe, hold } = match order.pinned {
            Some(taken) => self.kept(taken, cancel)?,
            None => {
                let until = order.limits.connect_until();
                match self.core.checkout(&key, want, until, cancel)? {
                    Grant::Kept(taken) => self.kept(taken, cancel)?,
                    Grant::Open(id) => {
                        let place = Place::new(&self.core, id);
                        let (pipe, hold) =
                            self.open(details, &key, (&route, cancel), until, place)?;
                        let used = Used { id, idle: None, born: Instant::now() };
                        Lent { used, pipe, hold }
                    }
                }
            }
        };
        call::goes_out_on(used);
        let mut conn = Conn::new(&self.core, used, pipe, shared, order.limits);
        conn.held(hold);
        // ureq's own head has to be changed only for requests of the agent.
        let forward = match route {
            Route::Forward(proxy) if !ours => Some((proxy, key)),
            _ => None,
        };
        if ours {
            conn.order(order.outbound);
        }
        Ok(Lease::new(conn, ours, forward))
    }

    /// A kept connection, registered with the request's canceller if it has one.
    fn kept(&self, taken: Taken, cancel: Option<&Canceller>) -> Result<Lent, Trouble> {
        let used = Used { id: taken.id, idle: Some(taken.idle), born: taken.born };
        let Some(cancel) = cancel else {
            return Ok(Lent { used, pipe: taken.conn, hold: None });
        };
        let socket = self.core.pool().socket(taken.id);
        match socket.and_then(|socket| cancel.hold(&socket)) {
            Some(hold) => Ok(Lent { used, pipe: taken.conn, hold: Some(hold) }),
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
        key: &Key,
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
        let https = key.https;
        let address = Address::read(key.authority.as_str()).map_err(unfit)?;
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
            wall: SystemTime::now(),
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
