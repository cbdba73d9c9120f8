//! SessionBuilder: settings, checked where they come together.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::TcpKeepalive;
use ureq::Proxy;
use ureq::config::Config;

use super::Session;
use super::core::Core;
#[cfg(feature = "tls")]
use super::core::Secure;
use super::dial::Options;
use super::names::Names;
use super::places::Bounds;
use super::pool::Pool;
use super::replay::Replay;
use super::request::{Inner, TIMES};
use super::warm::{Warm, Warmer};
use super::wire;
use crate::drive::resolve::{self, Resolve};
use crate::error::Error;

/// Without a `timeout`, a server that is silent for so long in the middle of an exchange has
/// failed.
const SILENCE: Duration = Duration::from_secs(60);

/// Settings of a [`Session`].
///
/// Every setting has a default that suits most; [`build`](SessionBuilder::build) checks them all.
pub struct SessionBuilder {
    bounds: Bounds,
    timeout: Option<Duration>,
    connect_timeout: Duration,
    keepalive: Option<Keepalive>,
    user_timeout: Option<Duration>,
    replay: Replay,
    warm: Option<Warm>,
    proxy: ProxyChoice,
    user_agent: String,
    max_redirects: u32,
    resolve: Arc<Resolve>,
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
            keepalive: Some(Keepalive {
                idle: Duration::from_secs(5),
                interval: Duration::from_secs(3),
                retries: 3,
            }),
            user_timeout: None,
            replay: Replay::default(),
            warm: None,
            proxy: ProxyChoice::Environment,
            user_agent: concat!("keepbeat/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_redirects: 10,
            resolve: Arc::new(resolve::by_system),
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

    /// A heartbeat on idle connections. None unless set.
    pub fn warm(mut self, warm: Warm) -> SessionBuilder {
        self.warm = Some(warm);
        self
    }

    /// A proxy: `http://host:port`, with the feature `socks-proxy` also `socks4://`, `socks4a://`
    /// and `socks5://`; user and password may stand in it. Unless set, the environment's:
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
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
    /// other. `Authorization` and `Cookie` never follow one. A body is never sent twice: 307 and
    /// 308 of a POST are errors.
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
        let config = self.config()?;
        let options =
            Options { keepalive: self.kernel_keepalive(), user_timeout: self.user_timeout };
        let core = Core::new(
            Pool::new(self.bounds),
            Names::new(self.resolve),
            options,
            #[cfg(feature = "tls")]
            Secure { config: self.tls.config()?, warns_before: self.tls.warns_before() },
        );
        let core = Arc::new(core);
        let agent = wire::agent(&core, config);
        let warmer = self.warm.map(Warmer::new);
        Ok(Session::from_inner(Inner { agent, core, replay: self.replay, warmer }))
    }

    fn check(&self) -> Result<(), Error> {
        let times = [
            ("idle_timeout", Some(self.bounds.idle_timeout)),
            ("max_lifetime", Some(self.bounds.max_lifetime)),
            ("timeout", self.timeout),
            ("connect_timeout", Some(self.connect_timeout)),
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

    /// ureq's half of it.
    fn config(&self) -> Result<Config, Error> {
        if ureq::http::HeaderValue::from_str(&self.user_agent).is_err() {
            return Err(Error::invalid("the `user_agent` cannot be sent in a header"));
        }
        let silence = self.timeout.is_none().then_some(SILENCE);
        let config = Config::builder()
            .http_status_as_error(false)
            .max_idle_connections(0)
            .max_redirects(self.max_redirects)
            .user_agent(self.user_agent.as_str())
            .timeout_connect(Some(self.connect_timeout))
            .timeout_global(self.timeout)
            .timeout_per_read(silence)
            .timeout_per_write(silence);
        let config = match &self.proxy {
            ProxyChoice::Environment => config,
            ProxyChoice::None => config.proxy(None),
            ProxyChoice::Url(url) => config.proxy(Some(proxy(url)?)),
        };
        Ok(config.build())
    }
}

fn proxy(url: &str) -> Result<Proxy, Error> {
    let wrong = |what: &str| Error::invalid(format!("the `proxy`: {what}"));
    let proxy = Proxy::new(url).map_err(|_| wrong("write `http://user:password@host:port`"))?;
    if cfg!(not(feature = "socks-proxy")) && url.to_ascii_lowercase().starts_with("socks") {
        return Err(wrong("SOCKS needs the feature `socks-proxy`"));
    }
    Ok(proxy)
}

impl fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBuilder").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
