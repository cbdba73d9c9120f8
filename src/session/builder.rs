//! SessionBuilder: settings, checked where they come together.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::TcpKeepalive;
use ureq::http::{HeaderValue, header};

use super::Session;
use super::compose::Defaults;
#[cfg(feature = "tls")]
use super::core::Secure;
use super::core::{Core, Parts};
use super::defaults::Common;
use super::dial::Options;
use super::limits::TIMES;
use super::names::Names;
use super::pool::Pool;
use super::pool::places::Bounds;
use super::proxy::{self, Proxies, Proxy};
use super::replay::Replay;
use super::request::{Inner, Settings};
use super::retry::Retry;
use super::source::Source;
use super::warm::{Warm, Warmer};
use super::wire::config;
use crate::error::Error;
use crate::links::resolve::{self, Resolve};

/// Settings of a [`Session`].
///
/// Every setting has a default that suits most; [`build`](SessionBuilder::build) checks them all.
#[must_use = "there is no session before `build`"]
pub struct SessionBuilder {
    bounds: Bounds,
    timeout: Option<Duration>,
    connect_timeout: Duration,
    resolve_timeout: Option<Duration>,
    #[cfg(feature = "tls")]
    tls_timeout: Option<Duration>,
    first_byte_timeout: Option<Duration>,
    silence_timeout: Option<Duration>,
    keepalive: Option<Keepalive>,
    user_timeout: Option<Duration>,
    replay: Replay,
    retry: Option<Retry>,
    use_to_the_last: bool,
    allow_missing_close_notify: bool,
    warm: Option<Warm>,
    #[cfg(feature = "cookies")]
    pub(super) cookies: Option<super::Cookies>,
    proxy: ProxyChoice,
    user_agent: String,
    max_redirects: u32,
    resolve: Arc<Resolve>,
    pub(super) common: Common,
    pub(super) source: Source,
    #[cfg(feature = "tls")]
    tls: crate::tls::Tls,
}

#[derive(Clone, Copy, Debug)]
struct Keepalive {
    idle: Duration,
    interval: Duration,
    retries: u32,
}

enum ProxyChoice {
    Environment,
    None,
    Url(String),
}

impl Default for SessionBuilder {
    fn default() -> SessionBuilder {
        SessionBuilder {
            bounds: Bounds {
                idle_timeout: Duration::from_secs(90),
                max_lifetime: Duration::from_secs(30 * 60),
                max_idle_per_host: 32,
                max_per_host: 256,
                max_total: 4096,
            },
            timeout: None,
            connect_timeout: Duration::from_secs(10),
            resolve_timeout: None,
            #[cfg(feature = "tls")]
            tls_timeout: None,
            first_byte_timeout: None,
            silence_timeout: None,
            keepalive: Some(Keepalive {
                idle: Duration::from_secs(5),
                interval: Duration::from_secs(3),
                retries: 3,
            }),
            user_timeout: None,
            replay: Replay::default(),
            retry: None,
            use_to_the_last: false,
            allow_missing_close_notify: false,
            warm: None,
            #[cfg(feature = "cookies")]
            cookies: None,
            proxy: ProxyChoice::Environment,
            user_agent: concat!("keepbeat/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_redirects: 10,
            resolve: Arc::new(resolve::by_system),
            common: Common::default(),
            source: Source::default(),
            #[cfg(feature = "tls")]
            tls: crate::tls::Tls::new(),
        }
    }
}

impl SessionBuilder {
    /// How long an unused connection is kept: 90 s unless set. What the server says or was seen to
    /// do bounds it further. Long saves connects, short saves the server's memory.
    pub fn idle_timeout(mut self, time: Duration) -> SessionBuilder {
        self.bounds.idle_timeout = time;
        self
    }

    /// How old a connection may become: 30 minutes unless set, of which up to a quarter is left to
    /// chance. So that what a load balancer decided when it was opened is decided again, and not
    /// for all connections at once. An exchange that is under way is not cut short.
    pub fn max_lifetime(mut self, time: Duration) -> SessionBuilder {
        self.bounds.max_lifetime = time;
        self
    }

    /// How many idle connections are kept for one host: 32 unless set; 0 keeps none.
    pub fn max_idle_per_host(mut self, connections: usize) -> SessionBuilder {
        self.bounds.max_idle_per_host = connections;
        self
    }

    /// How many connections there may be to one host: 256 unless set. A request beyond it waits, at
    /// most the [`connect_timeout`](SessionBuilder::connect_timeout), the first come first served.
    pub fn max_per_host(mut self, connections: usize) -> SessionBuilder {
        self.bounds.max_per_host = connections;
        self
    }

    /// How many connections there may be in all: 4096 unless set. Idle ones of other hosts make
    /// room; then as [`max_per_host`](SessionBuilder::max_per_host).
    pub fn max_total(mut self, connections: usize) -> SessionBuilder {
        self.bounds.max_total = connections;
        self
    }

    /// For a whole request, from the name to the last byte of the body. Unless set there is none: a
    /// large body may take as long as it takes, but 60 s of silence fail it.
    pub fn timeout(mut self, time: Duration) -> SessionBuilder {
        self.timeout = Some(time);
        self
    }

    /// For a connection to come to be: name, TCP, proxy and TLS, or the wait for one that is in
    /// use. 10 s unless set.
    pub fn connect_timeout(mut self, time: Duration) -> SessionBuilder {
        self.connect_timeout = time;
        self
    }

    /// For a name to become addresses, within the
    /// [`connect_timeout`](SessionBuilder::connect_timeout). Unless set, that alone counts.
    pub fn resolve_timeout(mut self, time: Duration) -> SessionBuilder {
        self.resolve_timeout = Some(time);
        self
    }

    /// For a handshake of TLS, within the [`connect_timeout`](SessionBuilder::connect_timeout).
    /// Unless set, that alone counts.
    #[cfg(feature = "tls")]
    pub fn tls_timeout(mut self, time: Duration) -> SessionBuilder {
        self.tls_timeout = Some(time);
        self
    }

    /// From the last byte of a request to the first of an answer, be it an interim one: for a
    /// server that hangs, where an answer may be long. Unless set, the
    /// [`silence_timeout`](SessionBuilder::silence_timeout) counts.
    pub fn first_byte_timeout(mut self, time: Duration) -> SessionBuilder {
        self.first_byte_timeout = Some(time);
        self
    }

    /// How long the server may send nothing, or take nothing, while a request is under way. Unless
    /// set, 60 s without a [`timeout`](SessionBuilder::timeout), and with one, that alone counts.
    pub fn silence_timeout(mut self, time: Duration) -> SessionBuilder {
        self.silence_timeout = Some(time);
        self
    }

    /// The kernel's keepalive: probes begin after `idle`, follow each other at `interval`, and
    /// after `retries` without an answer the connection is dead. 5 s, 3 s and 3 unless set: a host
    /// that vanished is known after 14 s. Whole seconds, the kernel knows no others; 1 s, 1 s and 2
    /// is the tightest that survives a lost packet.
    pub fn tcp_keepalive(
        mut self,
        idle: Duration,
        interval: Duration,
        retries: u32,
    ) -> SessionBuilder {
        self.keepalive = Some(Keepalive { idle, interval, retries });
        self
    }

    /// No probes of the kernel. An idle connection whose path has vanished is then found by the
    /// request that uses it.
    pub fn no_tcp_keepalive(mut self) -> SessionBuilder {
        self.keepalive = None;
        self
    }

    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`, RFC 5482). Unless set the
    /// kernel decides, a quarter of an hour. It also ends an upload to a living server that does
    /// not read for so long, and replaces the count of
    /// [`tcp_keepalive`](SessionBuilder::tcp_keepalive): so it is no default. Linux only.
    pub fn user_timeout(mut self, time: Duration) -> SessionBuilder {
        self.user_timeout = Some(time);
        self
    }

    /// Which requests may be sent twice: [`Replay::Idempotent`] unless set.
    pub fn replay(mut self, replay: Replay) -> SessionBuilder {
        self.replay = replay;
        self
    }

    /// Whether, and how often, a request that failed is tried again: never unless set.
    pub fn retry(mut self, retry: Retry) -> SessionBuilder {
        self.retry = Some(retry);
        self
    }

    /// Whether GET, HEAD and their like use a kept connection up to the last moment that is known
    /// of the server's idle limit: off unless set. It saves a connect now and then, and costs a
    /// replay where that moment had passed. Nothing that changes something ever does that.
    pub fn use_to_the_last(mut self, yes: bool) -> SessionBuilder {
        self.use_to_the_last = yes;
        self
    }

    /// Takes a body without a length as whole though its connection ended without the farewell of
    /// TLS: for servers that leave it out. Anybody on the way can cut such a body short.
    pub fn allow_missing_close_notify(mut self, yes: bool) -> SessionBuilder {
        self.allow_missing_close_notify = yes;
        self
    }

    /// A heartbeat on idle connections. None unless set.
    pub fn warm(mut self, warm: Warm) -> SessionBuilder {
        self.warm = Some(warm);
        self
    }

    /// A proxy for all requests: `http://host:port`, `https://`, `socks4://`, `socks4a://`,
    /// `socks5://` or `socks5h://` (those with a letter more look names up themselves); user and
    /// password may stand in it.
    ///
    /// Unless set, the environment's, as curl reads it: `http_proxy` for `http://`, `https_proxy`
    /// for `https://`, then `all_proxy`; capitals where there is no small one, but for `HTTP_PROXY`
    /// under CGI. `no_proxy` has exceptions: names with all below them, addresses, networks
    /// (`10.0.0.0/8`), each with a port or without, or `*`. This machine itself is never asked of
    /// them.
    pub fn proxy(mut self, url: impl Into<String>) -> SessionBuilder {
        self.proxy = ProxyChoice::Url(url.into());
        self
    }

    /// No proxy, whatever the environment says.
    pub fn no_proxy(mut self) -> SessionBuilder {
        self.proxy = ProxyChoice::None;
        self
    }

    /// Whom to trust under https: the public authorities unless set.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: crate::tls::Tls) -> SessionBuilder {
        self.tls = tls;
        self
    }

    /// The header `User-Agent`: `keepbeat/VERSION` unless set.
    pub fn user_agent(mut self, name: impl Into<String>) -> SessionBuilder {
        self.user_agent = name.into();
        self
    }

    /// How many redirects are followed: 10 unless set; with 0 a redirect is a response like any
    /// other.
    ///
    /// 301 and 302 make a GET of a POST, 303 of everything but HEAD; otherwise method and body
    /// stay, and a body that was read and cannot be read again is an error. `Authorization`,
    /// `Cookie` and a `Host` of the request's own follow to the same origin alone: scheme, host and
    /// port.
    pub fn max_redirects(mut self, redirects: u32) -> SessionBuilder {
        self.max_redirects = redirects;
        self
    }

    /// How names become addresses: the system's resolver unless set. Its answers are kept for 60 s,
    /// or until a connect fails.
    pub fn resolver<F>(mut self, resolve: F) -> SessionBuilder
    where
        F: Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    {
        self.resolve = Arc::new(resolve);
        self
    }

    /// Makes the session.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid): names the setting that cannot work.
    pub fn build(self) -> Result<Session, Error> {
        self.check()?;
        let proxies = self.proxies()?;
        let options = Options {
            keepalive: self.kernel_keepalive(),
            user_timeout: self.user_timeout,
            resolve: self.resolve_timeout,
            source: self.source.clone(),
            https_only: self.common.https_only,
            allow_missing_close_notify: self.allow_missing_close_notify,
        };
        let settings = Settings {
            replay: self.replay,
            use_to_the_last: self.use_to_the_last,
            max_redirects: self.max_redirects,
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
            first_byte: self.first_byte_timeout,
            silence: self.silence_timeout,
            defaults: self.defaults()?,
            common: Arc::new(self.common.settled()?),
            retry: self.retry,
            #[cfg(feature = "cookies")]
            cookies: self.cookies,
        };
        let configs =
            (config::inner(), config::outer(&settings, self.user_agent.as_str(), &proxies));
        let core = Core::new(Parts {
            pool: Pool::new(self.bounds, fastrand::u64(..)),
            names: Names::new(self.resolve),
            options,
            proxies,
            user_agent: (!self.user_agent.is_empty()).then_some(self.user_agent),
            #[cfg(feature = "tls")]
            secure: Secure {
                config: super::tls::config(&self.tls)?,
                warns_before: self.tls.warns_before(),
                handshake: self.tls_timeout,
            },
        });
        let warmer = self.warm.map(Warmer::new);
        Ok(Session::from_inner(Inner::new(Arc::new(core), configs, settings, warmer)))
    }

    fn check(&self) -> Result<(), Error> {
        let times = [
            ("idle_timeout", Some(self.bounds.idle_timeout)),
            ("max_lifetime", Some(self.bounds.max_lifetime)),
            ("timeout", self.timeout),
            ("connect_timeout", Some(self.connect_timeout)),
            ("resolve_timeout", self.resolve_timeout),
            #[cfg(feature = "tls")]
            ("tls_timeout", self.tls_timeout),
            ("first_byte_timeout", self.first_byte_timeout),
            ("silence_timeout", self.silence_timeout),
            ("user_timeout", self.user_timeout),
        ];
        for (name, time) in times {
            if time.is_some_and(|time| !TIMES.contains(&time)) {
                return Err(Error::invalid(format!("`{name}` must be 1 ms to a year")));
            }
        }
        // The kernel counts milliseconds in an int.
        let most = Duration::from_millis(i32::MAX as u64);
        if self.user_timeout.is_some_and(|time| time > most) {
            return Err(Error::invalid("`user_timeout` must be 24 days at most"));
        }
        for (name, count) in
            [("max_per_host", self.bounds.max_per_host), ("max_total", self.bounds.max_total)]
        {
            if count == 0 {
                return Err(Error::invalid(format!("`{name}` of 0 allows no connection at all")));
            }
        }
        if let Some(keepalive) = self.keepalive {
            let seconds = Duration::from_secs(1)..=Duration::from_secs(32_767);
            if ![keepalive.idle, keepalive.interval].iter().all(|time| seconds.contains(time))
                || !(1..=127).contains(&keepalive.retries)
            {
                return Err(Error::invalid(
                    "`tcp_keepalive` takes times of 1 s to 32767 s and 1 to 127 retries",
                ));
            }
        }
        self.source.check()?;
        if self.retry.is_some_and(|retry| !retry.is_valid()) {
            let text =
                "the waits of a `retry` must be 1 ms to a year, the first no longer than the last";
            return Err(Error::invalid(text));
        }
        if self.warm.as_ref().is_some_and(|warm| !warm.is_valid()) {
            return Err(Error::invalid("the path to keep `warm` must begin with `/`"));
        }
        Ok(())
    }

    fn kernel_keepalive(&self) -> Option<TcpKeepalive> {
        let keepalive = self.keepalive?;
        Some(
            TcpKeepalive::new()
                .with_time(keepalive.idle)
                .with_interval(keepalive.interval)
                .with_retries(keepalive.retries),
        )
    }

    fn proxies(&self) -> Result<Proxies, Error> {
        match &self.proxy {
            ProxyChoice::Url(_) if self.source.unix.is_some() => {
                Err(Error::invalid("a `unix_socket` is not reached through a `proxy`"))
            }
            _ if self.source.unix.is_some() => Ok(Proxies::default()),
            ProxyChoice::Environment => proxy::from_environment(|name| std::env::var_os(name)),
            ProxyChoice::None => Ok(Proxies::default()),
            ProxyChoice::Url(url) => Proxy::read(url)
                .map(Proxies::all)
                .map_err(|what| Error::invalid(format!("the `proxy`: {what}"))),
        }
    }

    /// What every request says unless it says something else.
    fn defaults(&self) -> Result<Defaults, Error> {
        let name = HeaderValue::from_str(&self.user_agent)
            .map_err(|_| Error::invalid("the `user_agent` cannot be sent in a header"))?;
        let mut fields = Vec::new();
        if !name.is_empty() {
            fields.push((header::USER_AGENT, name));
        }
        fields.push((header::ACCEPT, HeaderValue::from_static("*/*")));
        // HTTP/1.1 does not need it, but Apache tells its idle limit only to who sends it.
        fields.push((header::CONNECTION, HeaderValue::from_static("keep-alive")));
        if cfg!(feature = "gzip") {
            fields.push((header::ACCEPT_ENCODING, HeaderValue::from_static("gzip")));
        }
        Ok(Defaults::new(fields))
    }
}

impl fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBuilder").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
