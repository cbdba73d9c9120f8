//! How a connection comes to be: name, TCP, a proxy on the way, TLS; all within one time, and ended
//! by a shutdown.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cancel::{Canceller, Hold};
use super::core::Core;
use super::dial::{Dialled, Unanswered, dial, is_exhausted};
use super::pipe::{Pipe, Plain};
use super::pool::places::SlotId;
use super::proxy::{self, Goal, Kind, Proxy, Route};
use super::unix::dial_unix;

/// Which addresses of a name are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Family {
    #[default]
    Any,
    Ipv4,
    Ipv6,
}

impl Family {
    fn has(self, address: &SocketAddr) -> bool {
        match self {
            Family::Any => true,
            Family::Ipv4 => address.is_ipv4(),
            Family::Ipv6 => address.is_ipv6(),
        }
    }
}

/// One connection on its way to stand.
pub(crate) struct Opening<'a> {
    pub(crate) core: &'a Arc<Core>,
    pub(crate) id: SlotId,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) route: &'a Route,
    pub(crate) family: Family,
    pub(crate) no_delay: bool,
    /// For all of it.
    pub(crate) until: Instant,
    /// What may end it, and has it in hand once there is a socket.
    pub(crate) cancel: Option<&'a Canceller>,
    pub(crate) hold: Option<Hold>,
    /// The socket below it all, once it stands.
    pub(crate) found: Option<Found>,
}

/// What is known of the socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) peer: Option<SocketAddr>,
    /// The connect alone.
    pub(crate) took: Duration,
}

impl<'a> Opening<'a> {
    /// Up to where TLS with the server begins, or HTTP.
    pub(crate) fn open(&mut self) -> io::Result<Box<dyn Pipe>> {
        match self.route {
            Route::Direct => self.tcp(self.host, self.port),
            Route::Forward(proxy) => self.reach_proxy(proxy),
            Route::Tunnel(proxy) if proxy.is_http() => {
                let pipe = self.reach_proxy(proxy)?;
                let name = self.core.user_agent.as_deref();
                proxy::through_http(pipe, proxy, (self.host, self.port), name, self.until)
            }
            Route::Tunnel(proxy) => {
                let goal = self.goal(proxy)?;
                let mut pipe = self.reach_proxy(proxy)?;
                proxy::through_socks(&mut *pipe, proxy, goal, self.until)?;
                Ok(pipe)
            }
        }
    }

    /// TLS with the server on it, as the session has it.
    pub(crate) fn secured(&self, under: Box<dyn Pipe>) -> io::Result<Box<dyn Pipe>> {
        self.encrypted(under, self.host)
    }

    /// TLS on it.
    #[cfg(feature = "tls")]
    fn encrypted(&self, under: Box<dyn Pipe>, host: &str) -> io::Result<Box<dyn Pipe>> {
        let config = Arc::clone(&self.core.secure.config);
        let until = self.no_later_than(self.core.secure.handshake);
        let tls = super::tls::Tls::connect(under, config, host, Some(until));
        let tls = tls.map_err(|error| self.too_late(error, "a handshake", "tls_timeout"))?;
        Ok(Box::new(tls))
    }

    #[cfg(not(feature = "tls"))]
    fn encrypted(&self, _: Box<dyn Pipe>, _: &str) -> io::Result<Box<dyn Pipe>> {
        Err(io::Error::new(ErrorKind::Unsupported, "https needs the feature `tls`"))
    }

    fn reach_proxy(&mut self, proxy: &Proxy) -> io::Result<Box<dyn Pipe>> {
        let pipe = self.tcp(&proxy.host, proxy.port).map_err(|error| {
            let text = format!("{proxy}: {error}");
            if error.kind() == ErrorKind::WouldBlock { error } else { wrapped(&error, text) }
        })?;
        if proxy.kind != Kind::Https {
            return Ok(pipe);
        }
        self.encrypted(pipe, &proxy.host)
    }

    /// What the proxy is asked for: some are given an address that was looked up here.
    fn goal(&self, proxy: &Proxy) -> io::Result<Goal<'a>> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(Goal::Address(SocketAddr::new(ip, self.port)));
        }
        if matches!(proxy.kind, Kind::Socks4a | Kind::Socks5h) {
            return Ok(Goal::Name(self.host, self.port));
        }
        let four = proxy.kind == Kind::Socks4;
        let all = self.addresses(self.host, self.port)?;
        let wanted = all.into_iter().find(|address| !four || address.is_ipv4());
        wanted.map(Goal::Address).ok_or_else(|| no_address(self.host))
    }

    /// By a shutdown, or by its canceller.
    fn is_ended(&self) -> bool {
        self.core.ended(self.cancel).is_some()
    }

    /// For a part of it that has this time.
    fn no_later_than(&self, time: Option<Duration>) -> Instant {
        time.map_or(self.until, |time| self.until.min(Instant::now() + time))
    }

    /// The words of a part that took longer than it may, though there was time for the whole.
    fn too_late(&self, error: io::Error, part: &str, setting: &str) -> io::Error {
        let late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        if !late || Instant::now() >= self.until {
            return error;
        }
        let text = format!("{part} took longer than the `{setting}`");
        io::Error::new(ErrorKind::TimedOut, text)
    }

    fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let closed = || self.is_ended();
        let until = self.no_later_than(self.core.options.resolve);
        let found = self.core.names.addresses(host, port, until, &closed);
        let found = found.map_err(|error| match self.core.options.resolve {
            Some(_) => self.too_late(error, "the lookup of a name", "resolve_timeout"),
            None => error,
        });
        // The system's resolver hides it that it could not open its own files.
        let found = found.map_err(|error| match File::open("/dev/null") {
            Err(why) if is_exhausted(&why) => {
                io::Error::new(error.kind(), Unanswered::exhausted(format!("{error}: {why}")))
            }
            _ => error,
        })?;
        let wanted: Vec<_> = found
            .into_iter()
            .filter(|address| self.family.has(address))
            .filter(|address| self.core.options.source.reaches(address))
            .collect();
        if wanted.is_empty() { Err(no_address(host)) } else { Ok(wanted) }
    }

    fn tcp(&mut self, host: &str, port: u16) -> io::Result<Box<dyn Pipe>> {
        let closed = || self.is_ended();
        let Dialled { stream, peer, took } = match &self.core.options.source.unix {
            Some(path) => dial_unix(path, self.until, &closed)?,
            None => {
                let addresses = self.addresses(host, port)?;
                dial(&addresses, self.until, &self.core.options, &closed)
                    .inspect_err(|_| self.core.names.forget(host, port))?
            }
        };
        if !self.no_delay && peer.is_some() {
            stream.set_nodelay(false)?;
        }
        let stream: Arc<TcpStream> = Arc::new(stream);
        self.core.opening(self.id, &stream)?;
        if let Some(cancel) = self.cancel {
            self.hold = Some(cancel.hold(&stream).ok_or_else(super::pipe::closed)?);
        }
        self.found = Some(Found { peer, took });
        Ok(Box::new(Plain::new(stream)))
    }
}

fn no_address(host: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("`{host}` has no address of the wanted kind"))
}

/// The same error with more words.
fn wrapped(error: &io::Error, text: String) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Unanswered>()) {
        Some(inner) => io::Error::new(error.kind(), inner.with(text)),
        None => io::Error::new(error.kind(), text),
    }
}
